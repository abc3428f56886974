//! How much memory something takes: an allocator that counts.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

/// The system's allocator, counted. What C code allocates is not seen; the fuzzer's own limit holds for that.
pub struct Counted;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

/// What is allocated for once, on the first run, and what every run may take.
pub const ALWAYS: usize = 64 << 10;

// SAFETY: everything is the system's allocator's; counting allocates nothing.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        let at = unsafe { System.alloc(layout) };
        if !at.is_null() {
            grown(layout.size());
        }
        at
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) };
        LIVE.fetch_sub(layout.size(), Relaxed);
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        let new = unsafe { System.realloc(at, layout, size) };
        if !new.is_null() {
            // Both may be there for a moment.
            grown(size);
            LIVE.fetch_sub(layout.size(), Relaxed);
        }
        new
    }
}

fn grown(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Relaxed) + bytes;
    MOST.fetch_max(live, Relaxed);
}

/// Runs `f`, which may take so many bytes of memory at once.
///
/// # Panics
/// It takes more.
pub fn within<T>(bytes: usize, f: impl FnOnce() -> T) -> T {
    let before = LIVE.load(Relaxed);
    MOST.store(before, Relaxed);
    let done = f();
    let taken = MOST.load(Relaxed).saturating_sub(before);
    assert!(
        taken <= bytes,
        "it takes {taken} bytes of memory, and {bytes} are enough for this input"
    );
    done
}
