//! The system calls that are measured, and the worker processes that make them.

use std::ops::Range;

use anyhow::ensure;
use probe_tests::{
    child::{self, Child, Link},
    sys::{self, Addr},
};

/// What a worker is called, for tools that count by name.
pub const COMM: &str = "bench-calls";

/// A measured call.
pub struct Call {
    /// Its name in the result.
    pub id: &'static str,
    make: fn(&mut Place) -> bool,
}

/// All of them, in the order in which the result has them.
pub const CALLS: &[Call] = &[
    Call {
        id: "poll_none",
        make: |_| sys::poll(&mut [], 0) == Ok(0),
    },
    Call {
        id: "poll_socket",
        make: |place| sys::poll(std::slice::from_mut(&mut place.ready), 0) == Ok(1),
    },
    Call {
        id: "recv_again",
        make: |place| {
            sys::recvfrom(place.empty, &mut place.buffer, libc::MSG_DONTWAIT) == Err(libc::EAGAIN)
        },
    },
    Call {
        id: "getppid",
        make: |_| getppid(),
    },
];

/// Calls of one kind in a row, between two looks at the clock.
const BATCH: u64 = 4000;

/// What the calls work on.
struct Place {
    /// A connected loopback TCP socket that can be written to.
    ready: libc::pollfd,
    /// The same socket, which has nothing to read.
    empty: i32,
    buffer: [u8; 64],
}

fn getppid() -> bool {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::syscall(libc::SYS_getppid) > 0 }
}

/// What one sample found.
pub struct Sample {
    /// CPU time of one call, ns, in the order of [`CALLS`].
    pub ns: Vec<f64>,
    /// The same by the clock: what a process loses that is stopped for each call, too.
    pub wall_ns: Vec<f64>,
    /// How many calls were made, in the same order.
    pub made: Vec<u64>,
}

impl Sample {
    /// How many calls of this name were made.
    pub fn made(&self, id: &str) -> u64 {
        let calls = CALLS.iter().zip(&self.made);
        calls
            .filter(|(call, _)| call.id == id)
            .map(|(_, made)| *made)
            .sum()
    }
}

/// A process that makes calls when told to.
pub struct Worker {
    child: Child,
}

impl Worker {
    /// Starts one on a CPU.
    pub fn start(cpu: usize) -> anyhow::Result<Self> {
        let mut child = child::fork(move |link| work(link, cpu))?;
        ensure!(child.recv()?.is_empty(), "the worker is out of step");
        Ok(Self { child })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.pid
    }

    /// Makes every call for `ms` milliseconds of CPU time.
    pub fn sample(&mut self, ms: u64) -> anyhow::Result<Sample> {
        self.child.tell(ms)?;
        let numbers = self.child.recv()?;
        ensure!(
            numbers.len() == CALLS.len() * 3,
            "the worker is out of step"
        );
        let (spent, rest) = numbers.split_at(CALLS.len());
        let (wall, made) = rest.split_at(CALLS.len());
        let each = |all: &[u64]| {
            let all = all.iter().zip(made);
            all.map(|(ns, n)| *ns as f64 / *n as f64).collect()
        };
        Ok(Sample {
            ns: each(spent),
            wall_ns: each(wall),
            made: made.to_vec(),
        })
    }
}

fn work(link: &mut Link, cpu: usize) {
    pin(cpu..cpu + 1).expect("pin the worker");
    sys::set_comm(COMM.as_bytes());
    let (client, _server) = connection();
    let mut place = Place {
        ready: sys::pollfd(client, libc::POLLOUT),
        empty: client,
        buffer: [0; 64],
    };
    link.send(&[]);
    loop {
        let wanted = link.wait() * 1_000_000;
        let (mut spent, mut wall) = ([0; CALLS.len()], [0; CALLS.len()]);
        let mut made = [0; CALLS.len()];
        // The calls take turns batch by batch, so that all see the same minutes of the machine, and a tool
        // that does more now and then does it to all.
        while spent.iter().any(|ns| *ns < wanted) {
            for (index, call) in CALLS.iter().enumerate() {
                if spent[index] >= wanted {
                    continue;
                }
                let (before, began) = (sys::thread_cpu_ns(), sys::now_ns());
                let mut right = true;
                for _ in 0..BATCH {
                    right &= (call.make)(&mut place);
                }
                spent[index] += sys::thread_cpu_ns() - before;
                wall[index] += sys::now_ns() - began;
                made[index] += BATCH;
                assert!(right, "{} does not return what it should", call.id);
            }
        }
        link.send(&[spent, wall, made].concat());
    }
}

/// Both ends of a TCP connection over loopback.
fn connection() -> (i32, i32) {
    let listener = sys::socket(libc::AF_INET, libc::SOCK_STREAM).expect("socket");
    let any = Addr::Inet(([127, 0, 0, 1], 0).into());
    sys::bind(listener, &any).expect("bind");
    sys::listen(listener, 1).expect("listen");
    let to = Addr::Inet(([127, 0, 0, 1], sys::local_port(listener)).into());
    let client = sys::connected(&to).expect("connect");
    let server = sys::accept(listener).expect("accept");
    // Closed, so that the connection counts as outbound from here.
    sys::close(listener).expect("close");
    (client, server)
}

/// Binds the calling thread, and what it starts from now on, to some CPUs.
pub fn pin(cpus: Range<usize>) -> anyhow::Result<()> {
    // SAFETY: an empty set is all zeroes.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for cpu in cpus.clone() {
        // SAFETY: the set is valid, and a CPU beyond its end is ignored.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: reads one set of this size.
    let r = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    ensure!(
        r == 0,
        "cannot pin to CPUs {cpus:?}: {}",
        std::io::Error::last_os_error()
    );
    Ok(())
}
