//! What limits remember across restarts, changed configurations, and a process that is killed.

use crate::seed::{ANY_KEY, KeyWish, on};
use crate::server::Weir;
use crate::support::Mock;

fn config(mock: &Mock, limits: &str) -> String {
    format!(
        "[upstreams.mock]\nurls = [\"http://{}\"]\n[plans.any]\nlimits = {{ {limits} }}\n\
         [[routes]]\nmatch = \"GET /*\"\nupstream = \"mock\"\n[[routes]]\nmatch = \"PUT /*\"\n\
         upstream = \"mock\"\n",
        mock.address
    )
}

#[test]
fn a_clean_stop_keeps_every_window_exactly() {
    let mock = Mock::start();
    let key = KeyWish { limits: &[("all", "50/day")], ..ANY_KEY };
    let text = config(&mock, "read = \"100/hour\", write = \"10/day\"");
    let mut weir = Weir::start(&text, &[on("any").with(key)]);
    for _ in 0..7 {
        assert_eq!(weir.call(0, "GET", "/x", "").status, 200);
        assert_eq!(weir.call(0, "PUT", "/x", "{}").status, 200);
    }
    let before = weir.call(0, "PUT", "/x", "{}");
    weir.stop();
    weir.serve_again();
    let after = weir.call(0, "PUT", "/x", "{}");
    assert_eq!((before.remaining("write"), after.remaining("write")), (Some(2), Some(1)));
    assert_eq!(after.remaining("key:all"), Some(34));
    assert_eq!(after.header("x-ratelimit-reset"), before.header("x-ratelimit-reset"));
    assert_eq!(weir.call(0, "GET", "/x", "").remaining("read"), Some(92));
}

#[test]
fn a_killed_process_forgets_at_most_its_last_second() {
    let mock = Mock::start();
    let mut weir = Weir::start(&config(&mock, "write = \"100/day\""), &[on("any")]);
    for _ in 0..40 {
        assert_eq!(weir.call(0, "PUT", "/x", "{}").status, 200);
    }
    weir.until_stored("write", "100/day", 40);
    assert_eq!(weir.call(0, "PUT", "/x", "{}").remaining("write"), Some(59));
    weir.kill_and_restart();
    let left = weir.call(0, "PUT", "/x", "{}").remaining("write").unwrap_or(0);
    assert!((58..=59).contains(&left), "{left} are left");
}

#[test]
fn another_algorithm_after_a_restart_counts_on_from_what_was_used() {
    let mock = Mock::start();
    let fixed = "read = \"5/hour\"";
    let bucket = "read = { limit = 5, window = \"1h\", algorithm = \"token-bucket\" }";
    let sliding = "read = { limit = 6, window = \"2h\", algorithm = \"sliding-window\" }";
    let mut weir = Weir::start(&config(&mock, fixed), &[on("any")]);
    for left in [4, 3] {
        assert_eq!(weir.call(0, "GET", "/x", "").remaining("read"), Some(left));
    }
    for (limits, left) in [(bucket, 2), (sliding, 2)] {
        weir.stop();
        weir.configure(&config(&mock, limits));
        weir.serve_again();
        let answer = weir.call(0, "GET", "/x", "");
        assert_eq!((answer.status, answer.remaining("read")), (200, Some(left)), "{limits}");
    }
}
