//! What limits allow, as `RateLimit-Policy` tells it: it changes only with the limits, so that each
//! thread keeps what it wrote last.

use std::cell::RefCell;

use http::HeaderValue;
use smallvec::SmallVec;
use weir_core::admit::LimitView;
use weir_core::limit::{Algorithm, Unit};

use super::text::{begin_item, number, seconds, told};

/// What a limit is told to allow.
#[derive(Clone, Copy, PartialEq)]
struct Term {
    name: &'static str,
    unit: Unit,
    algorithm: Algorithm,
    limit: u64,
    window_s: i64,
}

type Terms = SmallVec<[Term; 6]>;

thread_local! {
    static WRITTEN: RefCell<Vec<(Terms, HeaderValue)>> = const { RefCell::new(Vec::new()) };
}

/// The value of the header; none where no limit is finite and enforced.
pub(super) fn policy(views: &[LimitView]) -> Option<HeaderValue> {
    let terms: Terms = views.iter().filter_map(Term::of).collect();
    if terms.is_empty() {
        return None;
    }
    WRITTEN.with_borrow_mut(|written| {
        if let Some((_, line)) = written.iter().find(|(of, _)| *of == terms) {
            return Some(line.clone());
        }
        let line = write(&terms)?;
        if written.len() == LINES_MAX {
            written.clear();
        }
        written.push((terms, line.clone()));
        Some(line)
    })
}

impl Term {
    fn of(view: &LimitView) -> Option<Self> {
        let LimitView { name, unit, algorithm, .. } = *view;
        let window_s = view.now.window.secs_ceil().max(1);
        let limit = view.now.limit.filter(|_| !view.shadow)?;
        Some(Self { name, unit, algorithm, limit, window_s })
    }
}

fn write(terms: &[Term]) -> Option<HeaderValue> {
    let mut text = Vec::new();
    for (index, term) in terms.iter().enumerate() {
        begin_item(&mut text, index, term.name);
        text.extend_from_slice(b";q=");
        number(&mut text, told(term.unit, term.limit));
        if term.algorithm == Algorithm::Concurrency {
            text.extend_from_slice(b";qu=\"concurrent-requests\"");
        } else {
            text.extend_from_slice(b";w=");
            number(&mut text, seconds(term.window_s));
        }
        text.extend_from_slice(match term.unit {
            Unit::Requests => b"",
            Unit::Tokens => b";weir-unit=\"tokens\"",
            Unit::Credits => b";weir-unit=\"micro-credits\"",
        });
    }
    HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).ok()
}

/// Lines that a thread keeps: as many as plans have routes whose limits differ, or so.
const LINES_MAX: usize = 64;
