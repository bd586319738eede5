//! The waiting room in front of an upstream that bears only so many calls.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::limits::reached;
use crate::seed::{ANY_KEY, KeyWish, on};
use crate::server::Weir;
use crate::support::{Mock, eventually};
use crate::wire::Answer;

const SLOW: &str = "x-mock-delay-ms: 300";

fn weir(mock: &Mock, read: &str) -> Weir {
    let config = format!(
        "[upstreams.mock]\nurls = [\"http://{}\"]\nmax_in_flight = 1\n[plans.any]\n\
         limits = {{ read = \"{read}\" }}\n[[routes]]\nmatch = \"GET /*\"\nupstream = \"mock\"\n",
        mock.address
    );
    let urgent = KeyWish { urgency: Some("critical"), ..ANY_KEY };
    Weir::start(&config, &[on("any"), on("any").with(urgent)])
}

fn get(weir: &Weir, key: usize, path: &str, headers: &[&str]) -> Answer {
    let bearer = weir.bearer(key);
    let mut all = vec![bearer.as_str()];
    all.extend(headers);
    weir.line().call("GET", path, &all, "")
}

#[test]
fn calls_beyond_max_in_flight_wait_and_the_urgent_pass_first() {
    let mock = Mock::start();
    let weir = weir(&mock, "1000/hour");
    let order = Mutex::new(Vec::new());
    let call = |name: &'static str, key, headers: &[&str]| {
        let answer = get(&weir, key, &format!("/{name}"), headers);
        assert_eq!(answer.status, 200, "{answer:?}");
        order.lock().unwrap().push(name);
        answer
    };
    // Calls that others wait for take so long that those have come before; answers that come after
    // others take so long that those have been noted.
    let long = "x-mock-delay-ms: 2000";
    std::thread::scope(|scope| {
        scope.spawn(|| call("first", 0, &[long]));
        eventually("the first call is at the upstream", || reached(&mock, "/first") == 1);
        scope.spawn(|| call("normal", 0, &[SLOW]));
        scope.spawn(|| {
            let answer = call("critical", 1, &[long, "x-priority: critical"]);
            assert_eq!(answer.header("x-priority"), Some("critical"));
        });
        eventually("an urgent call is at the upstream", || reached(&mock, "/critical") == 1);
        // A key that may not be urgent is not, whatever it says.
        let answer = call("claims", 0, &["x-mock-delay-ms: 1000", "priority: u=0"]);
        assert_eq!(answer.header("x-priority"), Some("normal"));
    });
    assert_eq!(*order.lock().unwrap(), ["first", "critical", "normal", "claims"]);
}

#[test]
fn what_waits_holds_nothing_and_may_be_refused_after_waiting() {
    let mock = Mock::start();
    let weir = weir(&mock, "2/hour");
    let began = Instant::now();
    let statuses = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| statuses.lock().unwrap().push(get(&weir, 0, "/x", &[SLOW]).status));
        }
    });
    let mut statuses = statuses.into_inner().unwrap();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 429, 429]);
    assert!(began.elapsed() >= Duration::from_millis(600), "two calls ran at once");
    assert_eq!(reached(&mock, "/x"), 2);
}

#[test]
fn a_full_queue_says_when_to_come_again_and_takes_nothing() {
    let mock = Mock::start();
    let weir = weir(&mock, "1000/hour");
    let overloaded = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                let bearer = weir.bearer(0);
                let answer = weir.line().call("GET", "/y", &[&bearer, "x-mock-delay-ms: 50"], "");
                match answer.status {
                    200 => {}
                    503 => overloaded.lock().unwrap().push(answer),
                    _ => panic!("{answer:?}"),
                }
            });
        }
    });
    let overloaded = overloaded.into_inner().unwrap();
    // One runs and 64 wait; the rest came too late, but for those that saw a place become free.
    assert!((1..=35).contains(&overloaded.len()), "{}", overloaded.len());
    assert_eq!(reached(&mock, "/y"), 100 - overloaded.len() as u64);
    for answer in &overloaded {
        assert_eq!(
            (answer.code().as_str(), answer.header("retry-after")),
            ("overloaded", Some("1"))
        );
        assert!(answer.header("x-ratelimit-limit").is_some(), "{}", answer.head);
    }
}
