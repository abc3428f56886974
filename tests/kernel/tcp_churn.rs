//! No transition is missed when an interrupt comes upon another one.
//!
//! The kernel leaves a program out in the middle of itself (decision 0010). Loopback alone provokes that a few times in
//! a million: here another CPU's packets are handed to a CPU that does nothing but open and close connections, as
//! a network card would.

use std::{
    fs,
    net::SocketAddr,
    ptr,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use probe_common::loss::slot;
use probe_tests::{
    child::{self, Child},
    feature,
    harness::{Skip, Unseen},
    netns::{self, Netns},
    sys,
};

use crate::{
    steps::{connect, report_and_stay},
    tcp_pair::{PORT, V4, listen},
    tcp_seen::TcpWatch,
};

/// The CPU whose packets are handled elsewhere.
const SENDER: usize = 0;
/// The CPU that handles them.
const RECEIVER: usize = 1;
/// How long the sender opens and closes connections.
const SENDING: Duration = Duration::from_millis(600);
/// How long the receiver does: to the end, but less than the 950 ms of each second that a real-time process gets.
const RECEIVING: Duration = Duration::from_millis(850);
/// How often it is tried.
const ROUNDS: u64 = 30;

pub fn an_interrupted_transition_hides_no_other() -> anyhow::Result<()> {
    if std::thread::available_parallelism()?.get() < 2 {
        return Err(Skip("interrupts from another CPU need a second CPU".to_owned()).into());
    }
    let netns = Netns::enter()?;
    hand_packets_over()?;
    let mut watch = TcpWatch::start(netns, &[])?;
    let (mut made, mut rounds) = (0, 0);
    // Whether an interrupt comes at the right moment is chance. Linux 6.1 is the first that leaves a program out; what is
    // made up for is no loss.
    let mut proved = false;
    while !proved && rounds < ROUNDS {
        made += churn(&mut watch)?;
        rounds += 1;
        // A machine that stands still for long enough sends a FIN twice, and answers what comes for a connection that it has
        // forgotten with a reset. The kernel counts who had not closed yet (RFC 1213, tcpEstabResets).
        let reset = netns::counter("Tcp", "EstabResets")?;
        let mut pairs = vec![
            ("closed>listen", 2 * rounds),
            ("listen>closed", 2 * rounds),
            ("closed>syn_sent", made),
            ("listen>syn_received", made),
            ("syn_sent>established", made),
            ("syn_received>established", made),
            ("established>accepted", made),
            ("established>fin_wait_1", made),
            ("established>close_wait", made),
            ("fin_wait_1>fin_wait_2", made),
            ("fin_wait_2>closed", made),
            ("close_wait>last_ack", made - reset.min(made)),
            ("last_ack>closed", made - reset.min(made)),
        ];
        if reset > 0 {
            pairs.push(("close_wait>closed", reset));
        }
        watch.expect_pairs(&pairs)?;
        let lost = watch.losses[slot::PROGRAM_SKIPPED as usize];
        proved = feature::kernel_version() < (6, 1) || skipped()? > lost;
    }
    if !proved {
        let what = format!("{made} connections, and not one run was left out: nothing was proved");
        return Err(Unseen(what).into());
    }
    Ok(())
}

/// One round; answers how many connections were made.
fn churn(watch: &mut TcpWatch) -> anyhow::Result<u64> {
    // Nobody else runs on the receiver's CPU, also when it waits: it is always a process of ours that packets interrupt.
    let mut receiver = churner(RECEIVER, RECEIVING, true)?;
    let mut keeper = keeper()?;
    let mut sender = churner(SENDER, SENDING, false)?;
    keeper.go()?;
    receiver.go()?;
    sender.go()?;
    Ok(watch.recv(&mut sender)?[0] + watch.recv(&mut receiver)?[0])
}

/// Opens and closes one connection after the other, with itself. Answers how many.
fn churner(cpu: usize, time: Duration, first: bool) -> anyhow::Result<Child> {
    let addr = SocketAddr::new(V4, PORT + cpu as u16).into();
    child::fork(move |link| {
        sys::stay_on(cpu);
        link.wait();
        if first {
            sys::go_first(2);
        }
        let listener = listen(&addr, 8);
        let begin = Instant::now();
        let mut made = 0;
        while begin.elapsed() < time {
            let client = connect(&addr);
            let server = sys::accept(listener).expect("accept");
            sys::close(client).expect("close");
            // The two sides never close at once.
            assert_eq!(sys::read(server, &mut [0; 16]), Ok(0));
            sys::close(server).expect("close");
            made += 1;
        }
        sys::close(listener).expect("close");
        report_and_stay(link, &[made]);
    })
}

/// Keeps the receiver's CPU while the receiver waits.
fn keeper() -> anyhow::Result<Child> {
    child::fork(|link| {
        sys::stay_on(RECEIVER);
        link.wait();
        sys::go_first(1);
        let begin = Instant::now();
        while begin.elapsed() < RECEIVING {
            std::hint::spin_loop();
        }
        report_and_stay(link, &[]);
    })
}

/// Has [`RECEIVER`] handle all packets on loopback (receive packet steering). Their settings are in a sysfs that
/// shows the namespace it was mounted in.
fn hand_packets_over() -> anyhow::Result<()> {
    let mut child = child::fork(|link| {
        let mount = |source: &std::ffi::CStr, target: &std::ffi::CStr, kind, flags| {
            // SAFETY: reads its arguments; affects this process's own mount namespace only.
            unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind, flags, ptr::null()) }
        };
        // SAFETY: changes this process only.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0, "unshare");
        let private = libc::MS_REC | libc::MS_PRIVATE;
        assert_eq!(mount(c"none", c"/", ptr::null(), private), 0, "private");
        assert_eq!(mount(c"none", c"/sys", c"sysfs".as_ptr(), 0), 0, "sysfs");
        let mask = format!("{:x}", 1 << RECEIVER);
        fs::write("/sys/class/net/lo/queues/rx-0/rps_cpus", mask).expect("rps_cpus");
        link.send(&[]);
    })?;
    child.recv().map(drop).context("receive packet steering")
}

/// Runs of our programs that the kernel left out so far.
fn skipped() -> anyhow::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir("/proc/self/fdinfo")? {
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix("recursion_misses:"));
        sum += line.map_or(Ok(0), |n| n.trim().parse::<u64>())?;
    }
    Ok(sum)
}
