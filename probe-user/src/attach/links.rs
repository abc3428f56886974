//! What ties programs to tracepoints, closed all at once.
//!
//! The kernel waits for a grace period in each close (synchronize_rcu_tasks_trace), some 50 ms and more on
//! a busy node: one after the other, the fifty of them take seconds. Waits that overlap share a period.

use std::{any::Any, sync::Mutex, thread};

/// Closes under way at once: as many as there are links, within reason.
const THREADS: usize = 64;

/// Attached links; dropping them detaches.
#[derive(Default)]
pub struct Links(Vec<Box<dyn Any + Send>>);

impl Links {
    /// Takes over a link, which detaches when it is dropped.
    pub fn add(&mut self, link: impl Any + Send) {
        self.0.push(Box::new(link));
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        let threads = THREADS.min(self.0.len());
        let queue = Mutex::new(std::mem::take(&mut self.0));
        let close_all = || {
            loop {
                // In a statement of its own: the queue is free again while a link is closed.
                let next = queue.lock().ok().and_then(|mut links| links.pop());
                match next {
                    Some(link) => drop(link),
                    None => break,
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..threads {
                // Without a further thread, those that are there do its share.
                let _ = thread::Builder::new().spawn_scoped(scope, close_all);
            }
            close_all();
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::{Duration, Instant},
    };

    use super::*;

    static CLOSED: AtomicUsize = AtomicUsize::new(0);

    struct Slow;

    impl Drop for Slow {
        fn drop(&mut self) {
            thread::sleep(Duration::from_millis(50));
            CLOSED.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn all_links_are_closed_and_many_at_once() {
        let mut links = Links::default();
        (0..48).for_each(|_| links.add(Slow));
        let began = Instant::now();
        drop(links);
        assert_eq!(CLOSED.load(Ordering::Relaxed), 48);
        // One after the other it would be 2.4 s.
        assert!(began.elapsed() < Duration::from_millis(1200));
        drop(Links::default());
    }
}
