//! Clients that connect and say nothing are not waited for.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A connection whose client must soon say as much as tells HTTP/1 from HTTP/2. The HTTP library
/// waits for that without end, and has patience of its own only behind it.
#[derive(Debug)]
pub(crate) struct FirstWord<S> {
    stream: S,
    /// As long as it is not said: how long it is still waited for.
    awaited: Option<Pin<Box<Sleep>>>,
    /// How much of the preface of HTTP/2 has come.
    seen: usize,
}

impl<S> FirstWord<S> {
    pub(crate) fn new(stream: S, patience: Duration) -> Self {
        Self { stream, awaited: Some(Box::pin(sleep(patience))), seen: 0 }
    }

    /// Takes the next bytes that the client said.
    fn hear(&mut self, bytes: &[u8]) {
        let expected = PREFACE.get(self.seen..).unwrap_or_default();
        self.seen += bytes.len();
        if self.seen >= PREFACE.len() || !expected.starts_with(bytes) {
            self.awaited = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstWord<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        let Some(awaited) = &mut this.awaited else { return polled };
        if polled.is_ready() {
            this.hear(buffer.filled().get(before..).unwrap_or_default());
            return polled;
        }
        awaited.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstWord<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::timeout;

    use super::*;

    /// What reading comes to when the client says this and then nothing: too late, or still waiting.
    async fn check(said: &[&[u8]], waits: bool) {
        let (mut client, server) = duplex(64);
        let mut server = FirstWord::new(server, Duration::from_millis(40));
        for piece in said {
            client.write_all(piece).await.unwrap();
            server.read_exact(&mut vec![0; piece.len()]).await.unwrap();
        }
        let read = timeout(Duration::from_millis(120), server.read_u8()).await;
        match read {
            Err(_) => assert!(waits, "{said:?} is waited for"),
            Ok(read) => {
                assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut, "{said:?}");
                assert!(!waits, "{said:?} is not waited for");
            }
        }
    }

    #[tokio::test]
    async fn who_does_not_say_which_http_it_is_is_not_waited_for() {
        check(&[], false).await;
        check(&[b"P"], false).await;
        check(&[b"PRI * HTTP/2.0\r\n", b"\r\nSM\r\n\r"], false).await;
        check(&[b"PRI * HTTP/2.0\r\n", b"\r\nSM\r\n\r", b"\n"], true).await;
        check(&[b"PO"], true).await;
        check(&[b"P", b"RO"], true).await;
        check(&[b"G"], true).await;
    }
}
