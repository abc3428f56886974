//! What is left running for weeks sums up in the same memory, however many processes, threads, addresses and files come and go,
//! and however many there were at once for a moment. The whole tool is looked at by `cargo xtask soak`; here it is the windows.
//!
//! A program of its own, as it counts every allocation.
#![expect(
    unsafe_code,
    reason = "a global allocator is an unsafe trait; it only counts"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use probe_common::{
    count::COMM_LEN,
    op,
    peer::{PeerKey, id, kind},
    request::Exit,
    stat::StatKey,
    task::{self, Task, state},
    tcp::{self, TransitionKey},
};
use stallscope::{
    aggregate::{About, Rolling},
    collect::{
        CallSum, Cost, Process, Reading,
        files::{Directory, FilesReading},
        tcp::{TcpReading, TransitionSum},
    },
};

/// Counts what is allocated at the moment, bytes.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller's promise is ours.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: likewise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const S: u64 = 1_000_000_000;
/// Lives of a second.
const CHURN: u32 = 30;
/// A span of the windows, s.
const SPAN: u64 = 10;

fn comm(name: &[u8]) -> [u8; COMM_LEN] {
    let mut comm = [0; COMM_LEN];
    comm[..name.len()].copy_from_slice(name);
    comm
}

/// A process that begins and ends: it connects to an address of its own and makes a file.
struct Life(u32);

impl Life {
    fn address(&self) -> PeerKey {
        let mut key = PeerKey {
            kind: kind::INET,
            protocol: 6,
            // Ports come again after a while; who has one then is another process.
            port: 1024 + (self.0 % 40_000) as u16,
            ..PeerKey::ZERO
        };
        key.set_address(&[127, 0, 0, 1]);
        key
    }

    fn sum(&self) -> CallSum {
        CallSum {
            count: 1,
            total_ns: u64::from(self.0 % 1000) * 1000,
            max_ns: 1_000_000,
            hist: vec![((self.0 % 100) as u8, 1)].into(),
            ..CallSum::default()
        }
    }

    fn process(&self, ended: bool) -> Process {
        Process {
            pid: self.0,
            start_ticks: self.0,
            ppid: 1,
            comm: b"comes-and-goes".to_vec(),
            pool: None,
            ended,
        }
    }

    fn task(&self, at_ns: u64) -> Task {
        Task {
            tid: self.0,
            tgid: self.0,
            start_ticks: self.0,
            flags: task::flag::IDENTIFIED,
            state: state::RUNNING,
            since_ns: at_ns,
            blocked_nr: -1,
            comm: comm(b"comes-and-goes"),
            ..Task::ZERO
        }
    }

    fn stat(&self) -> (StatKey, CallSum) {
        let key = StatKey {
            tid: self.0,
            start_ticks: self.0,
            tgid: self.0,
            op: op::derived::EXCHANGE,
            peer: id(&self.address()),
        };
        (key, self.sum())
    }

    fn transition(&self) -> (TransitionKey, TransitionSum) {
        let key = TransitionKey {
            peer: id(&self.address()),
            tgid: self.0,
            old: tcp::state::ESTABLISHED,
            new: tcp::state::CLOSE,
            ..TransitionKey::ZERO
        };
        let sum = TransitionSum {
            sum: self.sum(),
            timed: 1,
            last_ns: 1,
            comm: b"comes-and-goes".to_vec(),
        };
        (key, sum)
    }

    fn file(&self) -> Directory {
        Directory {
            pid: self.0,
            comm: b"comes-and-goes".to_vec(),
            created: 1,
            ..Directory::default()
        }
    }

    fn exit(&self, at_ns: u64) -> Exit {
        Exit {
            tgid: self.0,
            tid: self.0,
            start_ticks: self.0,
            end_ns: at_ns,
            comm: comm(b"comes-and-goes"),
            ..Exit::ZERO
        }
    }
}

/// A look at everything, where these live and those have ended since the last one.
fn reading(at_ns: u64, live: &[Life], ended: &[Life]) -> Reading {
    let all = || live.iter().chain(ended);
    Reading {
        at_ns,
        exits: ended.iter().map(|life| life.exit(at_ns)).collect(),
        tasks: live.iter().map(|life| life.task(at_ns)).collect(),
        stats: live.iter().map(Life::stat).collect(),
        retired: ended.iter().map(Life::stat).collect(),
        peers: all()
            .map(|life| (id(&life.address()), life.address()))
            .collect(),
        processes: live
            .iter()
            .map(|life| life.process(false))
            .chain(ended.iter().map(|life| life.process(true)))
            .collect(),
        tcp: Some(Box::new(TcpReading {
            transitions: live.iter().map(Life::transition).collect(),
            retired: ended.iter().map(Life::transition).collect(),
            hz: 250,
            cohort_shift: 8,
            ..TcpReading::default()
        })),
        files: Some(Box::new(FilesReading {
            directories: live.iter().map(Life::file).collect(),
            retired: ended.iter().map(Life::file).collect(),
            ..FilesReading::default()
        })),
        ..Reading::default()
    }
}

#[test]
fn windows_that_move_on_take_the_same_memory_after_thousands_of_lives_and_a_burst() {
    let about = About {
        start_ns: S,
        ..About::default()
    };
    let mut rolling = Rolling::lasting(&about, &reading(S, &[], &[]), Cost::default(), SPAN * S);
    let mut next = 1;
    let mut lives = |n: u32| -> Vec<Life> {
        next += n;
        (next - n..next).map(Life).collect()
    };
    let mut live = Vec::new();
    // What is taken right after a look, the most in each stretch of two spans.
    let mut most = Vec::new();
    for second in 2..=2 + 20 * 2 * SPAN {
        // For one second twenty times as many.
        let burst = second == 9 * 2 * SPAN;
        let ended = std::mem::replace(&mut live, lives(if burst { 20 * CHURN } else { CHURN }));
        let at_ns = second * S;
        drop(rolling.look(&reading(at_ns, &live, &ended), &[], Cost::default(), at_ns));
        if second % (2 * SPAN) == 0 {
            most.push(0);
        }
        if let Some(most) = most.last_mut() {
            *most = LIVE.load(Relaxed).max(*most);
        }
    }
    let (early, late) = (most[3..8].iter().max(), most[most.len() - 6..].iter().max());
    let (early, late) = (*early.unwrap(), *late.unwrap());
    assert!(early > 100_000, "the test is wrong: {early} bytes");
    assert!(
        late as f64 <= early as f64 * 1.02,
        "{early} bytes at first, {late} at the end: {most:?}"
    );
}
