//! Wakes from other threads, gathered: one system call for all that wait on a core.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

/// Where the calls of one core wait for what another thread does.
///
/// A wake from another thread costs the runtime that is woken a write to its event queue, and a
/// commit wakes dozens of calls. Here those that are woken are put on a list; the first of them
/// wakes the core's own task, which wakes all of them on their own thread.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    woken: Mutex<Vec<Waker>>,
    bell: AtomicWaker,
}

/// A future whose wakes go by a lane.
pub(crate) struct Waiting<F> {
    future: F,
    lane: Arc<Lane>,
    /// Whom to wake, and how the future wakes them.
    seen: Option<(Waker, Waker)>,
}

/// A task that waits on a lane.
struct Waiter {
    task: Waker,
    lane: Arc<Lane>,
}

impl Lane {
    /// Opens the lane of the runtime that this is called in. It closes when nobody has it any more.
    pub(crate) fn open() -> Arc<Self> {
        let lane = Arc::new(Self::default());
        let open = Arc::downgrade(&lane);
        let mut woken = Vec::new();
        tokio::spawn(poll_fn(move |context| {
            let Some(lane) = open.upgrade() else { return Poll::Ready(()) };
            // Before the list is taken: whoever comes later finds it empty, and rings.
            lane.bell.register(context.waker());
            std::mem::swap(&mut woken, &mut *lane.woken.lock());
            woken.drain(..).for_each(Waker::wake);
            Poll::Pending
        }));
        lane
    }

    /// Waits for a future that another thread completes.
    pub(crate) fn wait<F: Future + Unpin>(self: &Arc<Self>, future: F) -> Waiting<F> {
        Waiting { future, lane: Arc::clone(self), seen: None }
    }

    fn wake(&self, task: Waker) {
        let first = {
            let mut woken = self.woken.lock();
            woken.push(task);
            woken.len() == 1
        };
        if first {
            self.bell.wake();
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.bell.wake();
    }
}

impl<F: Future + Unpin> Future for Waiting<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { future, lane, seen } = &mut *self;
        let (_, by_lane) = match seen {
            Some(seen) if seen.0.will_wake(context.waker()) => seen,
            _ => {
                let task = context.waker().clone();
                let waiter = Waiter { task: task.clone(), lane: Arc::clone(lane) };
                seen.insert((task, Waker::from(Arc::new(waiter))))
            }
        };
        Pin::new(future).poll(&mut Context::from_waker(by_lane))
    }
}

impl Wake for Waiter {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.lane.wake(self.task.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn whoever_is_woken_by_another_thread_goes_on() {
        let lane = Lane::open();
        for round in 0..200_u32 {
            let (told, waiting): (Vec<_>, Vec<_>) = (0..round % 7)
                .map(|number| {
                    let (tell, told) = oneshot::channel();
                    let lane = Arc::clone(&lane);
                    let wait = async move { lane.wait(told).await };
                    ((tell, number), tokio::spawn(wait))
                })
                .unzip();
            let teller = std::thread::spawn(move || {
                told.into_iter().for_each(|(tell, number)| tell.send(number).unwrap());
            });
            for (number, waiting) in (0..).zip(waiting) {
                let outcome = timeout(Duration::from_secs(20), waiting).await;
                assert_eq!(outcome.expect("woken").unwrap(), Ok(number));
            }
            teller.join().unwrap();
        }
    }

    #[tokio::test]
    async fn a_lane_that_nobody_has_is_closed() {
        let lane = Lane::open();
        let open = Arc::downgrade(&lane);
        tokio::task::yield_now().await;
        drop(lane);
        let closed = async {
            while tokio::runtime::Handle::current().metrics().num_alive_tasks() > 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(20), closed).await.expect("its task ends");
        assert!(open.upgrade().is_none());
    }
}
