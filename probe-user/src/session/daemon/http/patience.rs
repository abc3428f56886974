//! A connection whose other side takes what it asked for in time, or is closed.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// An answer must be taken in this long from when it first could not be written at once.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The connection.
pub(super) struct Patient<S> {
    stream: S,
    patience: Duration,
    /// Runs while the other side has something to take.
    until: Option<Pin<Box<Sleep>>>,
    /// It was not taken in time: what hyper makes of the error does not always tell.
    late: Arc<AtomicBool>,
}

impl<S> Patient<S> {
    pub fn new(stream: S, patience: Duration) -> Self {
        Self {
            stream,
            patience,
            until: None,
            late: Arc::default(),
        }
    }

    /// Becomes true when the other side was too slow.
    pub fn late(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.late)
    }

    /// What became of writing: as long as it is not done, the time runs.
    fn judge<T>(
        &mut self,
        cx: &mut Context<'_>,
        did: Poll<io::Result<T>>,
        done: bool,
    ) -> Poll<io::Result<T>> {
        if did.is_ready() {
            if done {
                self.until = None;
            }
            return did;
        }
        let patience = self.patience;
        let until = self
            .until
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + patience)));
        match until.as_mut().poll(cx) {
            Poll::Ready(()) => {
                self.late.store(true, Ordering::Relaxed);
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let did = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judge(cx, did, false)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let did = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.judge(cx, did, false)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when it has written all that it has.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let did = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(cx, did, true)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let did = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.judge(cx, did, true)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime.unwrap().block_on(future)
    }

    #[test]
    fn who_takes_a_byte_now_and_then_is_cut_off_all_the_same() {
        block_on(async {
            let (ours, mut theirs) = duplex(16);
            let began = Instant::now();
            let reader = tokio::spawn(async move {
                let mut byte = [0];
                while theirs.read_exact(&mut byte).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
            let mut patient = Patient::new(ours, Duration::from_millis(200));
            let late = patient.late();
            let error = patient.write_all(&[0; 1 << 20]).await.unwrap_err();
            assert!(late.load(Ordering::Relaxed));
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(began.elapsed() < Duration::from_secs(2));
            drop(patient);
            reader.await.unwrap();
        });
    }

    #[test]
    fn who_takes_each_answer_in_time_may_go_on_for_as_long_as_he_likes() {
        block_on(async {
            let (ours, mut theirs) = duplex(16);
            let reader = tokio::spawn(async move {
                let mut answer = [0; 64];
                for _ in 0..8 {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    theirs.read_exact(&mut answer).await.unwrap();
                }
            });
            let mut patient = Patient::new(ours, Duration::from_millis(200));
            for _ in 0..8 {
                patient.write_all(&[0; 64]).await.unwrap();
                patient.flush().await.unwrap();
            }
            reader.await.unwrap();
        });
    }
}
