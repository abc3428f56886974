//! The ring of events, emptied in time whatever the rest of the tool does meanwhile.
//!
//! A whole look, its diagnosis and a report take tens of milliseconds of a CPU, and on a node whose CPUs are all taken several
//! times that, while the ring has room for a quarter of a second at 14,000 requests a second. So a thread of its own takes records
//! over where a quarter of the ring has filled: it only copies them, and sleeps otherwise.

use std::{
    io, mem,
    os::fd::{AsFd as _, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use aya::maps::{MapData, RingBuf};
use tokio::{
    io::{Interest, unix::AsyncFd},
    runtime,
    sync::oneshot,
};

/// Bytes that are taken over at most before somebody asks for them; then the ring fills, and the kernel side counts what is lost.
const MOST: usize = 16 << 20;
/// What there can be at a time: that, and what the ring itself holds (`EVENTS_BYTES` in probe-ebpf/src/maps.rs).
const AT_ONCE: usize = MOST + (2 << 20);
/// Bytes of room that are kept for the next records.
const KEPT: usize = 1 << 20;

/// The ring, and the thread that empties it. Dropping it ends the thread.
pub struct Ring {
    shared: Arc<Mutex<Shared>>,
    fd: OwnedFd,
    /// Room that was used before.
    room: Vec<u8>,
    /// Dropping the sender ends the thread.
    thread: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

struct Shared {
    ring: RingBuf<MapData>,
    /// Records that were taken over: the length of each, u32, and its bytes.
    taken: Vec<u8>,
}

impl Shared {
    /// Takes over what is in the ring, until there are so many bytes of it.
    fn take(&mut self, most: usize) {
        while self.taken.len() < most
            && let Some(record) = self.ring.next()
        {
            let len = record.len() as u32;
            self.taken.extend_from_slice(&len.to_ne_bytes());
            self.taken.extend_from_slice(&record);
        }
    }
}

/// Nobody panics with the lock held, and every state of what it guards is a valid one.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ring {
    /// Takes the ring and starts the thread.
    ///
    /// # Errors
    /// There can be no more descriptors or threads.
    pub fn start(ring: RingBuf<MapData>) -> io::Result<Self> {
        let fd = ring.as_fd().try_clone_to_owned()?;
        let shared = Arc::new(Mutex::new(Shared {
            ring,
            taken: Vec::new(),
        }));
        let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
        let (of_thread, waited) = (Arc::clone(&shared), fd.try_clone()?);
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("ring".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = stopped => {}
                        () = take_over(&of_thread, waited) => {}
                    }
                });
            })?;
        Ok(Self {
            shared,
            fd,
            room: Vec::new(),
            thread: Some((stop, thread)),
        })
    }

    /// To wait for, in the runtime of whoever calls: the kernel side says when the ring fills.
    pub fn filling(&self) -> io::Result<AsyncFd<OwnedFd>> {
        filling(self.fd.try_clone()?)
    }

    /// Gives every record that there is by now to `each`, in the order in which they came. What comes meanwhile may be among them, but
    /// where records come faster than `each` takes them, the rest waits for the next call: it would go on, and memory grow, for ever.
    pub fn empty(&mut self, each: impl FnMut(&[u8])) {
        let mut bytes = mem::take(&mut self.room);
        // They are looked at without the lock: for as long as it is held, nobody empties the ring.
        {
            let mut shared = lock(&self.shared);
            shared.take(AT_ONCE);
            mem::swap(&mut shared.taken, &mut bytes);
        }
        records(&bytes).for_each(each);
        bytes.clear();
        bytes.shrink_to(KEPT);
        self.room = bytes;
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

fn filling(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor stays the same and open for as long as it is owned.
    let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    registered.map_err(io::Error::from)
}

/// Takes records over whenever the kernel side says that the ring fills, for ever.
async fn take_over(shared: &Mutex<Shared>, fd: OwnedFd) {
    let Ok(ring) = filling(fd) else { return };
    // Readiness is told at a change only: what lies in the ring by then wakes nobody.
    while let Ok(mut ready) = ring.readable().await {
        ready.clear_ready();
        lock(shared).take(MOST);
    }
}

/// The records in what was taken over.
fn records(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = bytes.split_first_chunk()?;
        let (record, rest) = rest.split_at_checked(u32::from_ne_bytes(*len) as usize)?;
        bytes = rest;
        Some(record)
    })
}

#[cfg(test)]
mod tests {
    use super::records;

    #[test]
    fn records_come_out_as_they_went_in() {
        let mut bytes = Vec::new();
        for record in [&b"first"[..], b"", b"third"] {
            bytes.extend_from_slice(&(record.len() as u32).to_ne_bytes());
            bytes.extend_from_slice(record);
        }
        let all: Vec<&[u8]> = records(&bytes).collect();
        assert_eq!(all, [&b"first"[..], b"", b"third"]);
        assert_eq!(records(&bytes[..bytes.len() - 1]).count(), 2);
    }
}
