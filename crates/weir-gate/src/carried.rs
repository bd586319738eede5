//! Work that goes on when whoever waits for it goes.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::CatchUnwind;
use tokio::runtime::Handle;

/// Work that is done by whoever waits for it, without a task of its own; dropped before its end it
/// gets one, in which it goes on to its end.
#[derive(Debug)]
pub(crate) struct Carried<F: Future<Output: Send> + Send + 'static> {
    work: Option<Pin<Box<CatchUnwind<AssertUnwindSafe<F>>>>>,
}

/// The work panicked.
pub(crate) type Panicked = Box<dyn Any + Send>;

impl<F: Future<Output: Send> + Send + 'static> Carried<F> {
    pub(crate) fn new(work: F) -> Self {
        Self { work: Some(Box::pin(AssertUnwindSafe(work).catch_unwind())) }
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for Carried<F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(work) = &mut self.work else { return Poll::Pending };
        let outcome = work.as_mut().poll(context);
        if outcome.is_ready() {
            self.work = None;
        }
        outcome
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Carried<F> {
    fn drop(&mut self) {
        // Without a runtime nothing goes on: the work is dropped, and its duties see to it.
        if let Some(work) = self.work.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(work.map(drop));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;

    async fn work(steps: Arc<AtomicU32>) -> u32 {
        for _ in 0..3 {
            steps.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_secs(1)).await;
        }
        steps.load(Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn work_comes_to_its_end_whether_or_not_somebody_waits() {
        let steps = Arc::new(AtomicU32::new(0));
        assert_eq!(Carried::new(work(Arc::clone(&steps))).await.unwrap(), 3);
        let waiting = Carried::new(work(Arc::clone(&steps)));
        assert!(timeout(Duration::from_millis(1_500), waiting).await.is_err());
        assert_eq!(steps.load(Ordering::Relaxed), 5);
        sleep(Duration::from_secs(5)).await;
        assert_eq!(steps.load(Ordering::Relaxed), 6);
        // Also work that nobody has begun to wait for.
        drop(Carried::new(work(Arc::clone(&steps))));
        sleep(Duration::from_secs(5)).await;
        assert_eq!(steps.load(Ordering::Relaxed), 9);
    }

    #[tokio::test]
    async fn a_panic_is_told_and_nothing_goes_on() {
        let work = Carried::new(async {
            tokio::task::yield_now().await;
            panic!("a test");
        });
        assert!(work.await.is_err());
    }
}
