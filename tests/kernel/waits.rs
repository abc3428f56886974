//! Waits on several descriptors are charged to the one that ended them.

use std::{
    fmt::{self, Debug},
    time::Duration,
};

use anyhow::ensure;
use probe_tests::{
    child, ensure_time, feature,
    sys::{self, EpollCall},
    upstream::{Behaviour, Upstream},
    watch::{Watch, assert_between, slack_ns},
};

use crate::steps::{LONG, ask, connect, hear, report_and_stay, timed};

const DELAY_MS: u64 = 40;

/// A call that waits for one of several descriptors.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Poll,
    Ppoll,
    Select,
    Pselect6,
    Epoll(EpollCall),
}

impl Debug for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.op())
    }
}

impl Wait {
    const ALL: [Self; 7] = [
        Self::Poll,
        Self::Ppoll,
        Self::Select,
        Self::Pselect6,
        Self::Epoll(EpollCall::Wait),
        Self::Epoll(EpollCall::Pwait),
        Self::Epoll(EpollCall::Pwait2),
    ];

    /// Those that this kernel has.
    fn here() -> Vec<Self> {
        let pwait2 = feature::require(&feature::EPOLL_PWAIT2).is_ok();
        let all = Self::ALL.into_iter();
        all.filter(|w| pwait2 || *w != Self::Epoll(EpollCall::Pwait2))
            .collect()
    }

    fn op(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Ppoll => "ppoll",
            Self::Select => "select",
            Self::Pselect6 => "pselect6",
            Self::Epoll(EpollCall::Wait) => "epoll_wait",
            Self::Epoll(EpollCall::Pwait) => "epoll_pwait",
            Self::Epoll(EpollCall::Pwait2) => "epoll_pwait2",
        }
    }

    /// Waits until one of them is readable; what the call returned.
    fn wait(self, epoll: i32, fds: &[i32], time: Duration) -> sys::Result {
        let mut set: Vec<_> = fds
            .iter()
            .map(|fd| sys::pollfd(*fd, libc::POLLIN))
            .collect();
        match self {
            Self::Poll => sys::poll(&mut set, time.as_millis() as i32),
            Self::Ppoll => sys::ppoll(&mut set, time),
            Self::Select => sys::select(fds, time),
            Self::Pselect6 => sys::pselect6(fds, time),
            Self::Epoll(how) => sys::epoll_wait(how, epoll, time).map(|e| e.len() as i64),
        }
    }
}

pub fn each_call_is_charged_to_the_descriptor_that_woke_it() -> anyhow::Result<()> {
    if feature::kernel_version() >= feature::EPOLL_PWAIT2.since {
        feature::require(&feature::EPOLL_PWAIT2)?;
    }
    let silent = Upstream::tcp(Behaviour::bytes(0))?;
    let answers = Upstream::tcp(Behaviour::bytes(DELAY_MS))?;
    let (a, b) = (silent.addr.clone(), answers.addr.clone());
    // Asked before the fork: asking is a call as well.
    let waits = Wait::here();
    // The one that wakes is first, second, last; select sees them by number, so the order of connecting
    // matters as well.
    for order in [[0, 1, 1], [1, 0, 1], [1, 1, 0]] {
        let (a, b, all) = (a.clone(), b.clone(), waits.clone());
        let mut worker = child::fork(move |link| {
            link.wait();
            let fds = order.map(|quiet| connect(if quiet == 1 { &a } else { &b }));
            let waker = fds[order.iter().position(|quiet| *quiet == 0).expect("one")];
            let epoll = sys::epoll_create().expect("epoll_create1");
            for fd in fds {
                sys::epoll_add(epoll, fd, libc::EPOLLIN, fd as u64).expect("epoll_ctl");
            }
            let mut measured = Vec::new();
            for wait in all {
                ask(waker);
                measured.push(timed(|| {
                    assert_eq!(wait.wait(epoll, &fds, LONG), Ok(1), "{wait:?}")
                }));
                hear(waker);
            }
            report_and_stay(link, &measured);
        })?;
        let mut watch = Watch::of(&[&worker])?;
        let measured = watch.step(&mut worker)?;
        let seen = watch.read()?;
        let exchanges = answers.exchanges();
        let own = &exchanges[exchanges.len() - measured.len()..];
        for ((wait, measured), own) in waits.iter().copied().zip(measured).zip(own) {
            let calls = seen.by_peer(worker.pid, wait.op());
            ensure!(
                calls.len() == 1 && calls.get(&answers.text()).is_some_and(|c| c.count == 1),
                "{wait:?} in order {order:?}: {calls:?}, woken by {}{}",
                answers.text(),
                seen.dump(worker.pid)
            );
            let call = &calls[&answers.text()];
            let what = format!("{wait:?}");
            assert_between(&what, call.total_ns, measured, measured);
            let (blocked, total) = (call.blocked_ns, call.total_ns);
            ensure!(
                blocked <= total,
                "{wait:?}: blocked {blocked} ns of {total} ns"
            );
            let answered = (own.answer_ns - own.request_ns).min(measured);
            ensure_time!(
                blocked + slack_ns(measured) >= answered,
                "{wait:?}: blocked {blocked} ns of {total} ns, answered after {answered} ns"
            );
        }
    }
    Ok(())
}

pub fn epoll_data_need_not_be_the_descriptor() -> anyhow::Result<()> {
    let silent = Upstream::tcp(Behaviour::bytes(0))?;
    let answers = Upstream::tcp(Behaviour::bytes(DELAY_MS))?;
    let (a, b) = (silent.addr.clone(), answers.addr.clone());
    let mut worker = child::fork(move |link| {
        link.wait();
        let (quiet, waker) = (connect(&a), connect(&b));
        let epoll = sys::epoll_create().expect("epoll_create1");
        // Each carries the number of the other: whoever takes the data for a descriptor is wrong.
        sys::epoll_add(epoll, quiet, libc::EPOLLIN, waker as u64).expect("epoll_ctl");
        sys::epoll_add(epoll, waker, libc::EPOLLIN, quiet as u64).expect("epoll_ctl");
        ask(waker);
        let got = sys::epoll_wait(EpollCall::Wait, epoll, LONG);
        assert_eq!(got, Ok(vec![quiet as u64]));
        // The same with a pointer, as most libraries have it.
        let second = sys::epoll_create().expect("epoll_create1");
        hear(waker);
        sys::epoll_add(second, quiet, libc::EPOLLIN, 0x7fff_1234_5678).expect("epoll_ctl");
        sys::epoll_add(second, waker, libc::EPOLLIN, 0x7fff_8765_4321).expect("epoll_ctl");
        ask(waker);
        let got = sys::epoll_wait(EpollCall::Wait, second, LONG);
        assert_eq!(got, Ok(vec![0x7fff_8765_4321]));
        report_and_stay(link, &[]);
    })?;
    let mut watch = Watch::of(&[&worker])?;
    watch.step(&mut worker)?;
    let seen = watch.read()?;
    let calls = seen.by_peer(worker.pid, "epoll_wait");
    ensure!(
        calls.len() == 1 && calls.get(&answers.text()).is_some_and(|c| c.count == 2),
        "{calls:?}, woken by {}",
        answers.text()
    );
    Ok(())
}

pub fn epoll_registered_before_attach_has_its_peer() -> anyhow::Result<()> {
    let silent = Upstream::tcp(Behaviour::bytes(0))?;
    let answers = Upstream::tcp(Behaviour::bytes(DELAY_MS))?;
    let (a, b) = (silent.addr.clone(), answers.addr.clone());
    let mut worker = child::fork(move |link| {
        let (quiet, waker) = (connect(&a), connect(&b));
        let epoll = sys::epoll_create().expect("epoll_create1");
        sys::epoll_add(epoll, quiet, libc::EPOLLIN, quiet as u64).expect("epoll_ctl");
        sys::epoll_add(epoll, waker, libc::EPOLLIN, waker as u64).expect("epoll_ctl");
        link.send(&[]);
        link.wait();
        ask(waker);
        let ns = timed(|| {
            let got = sys::epoll_wait(EpollCall::Wait, epoll, LONG);
            assert_eq!(got, Ok(vec![waker as u64]));
        });
        report_and_stay(link, &[ns]);
    })?;
    worker.recv()?;
    let mut watch = Watch::fresh(&[&worker])?;
    let measured = watch.step(&mut worker)?[0];
    let seen = watch.read()?;
    let calls = seen.by_peer(worker.pid, "epoll_wait");
    ensure!(calls.len() == 1, "{calls:?}");
    for (peer, call) in &calls {
        ensure!(
            *peer == answers.text(),
            "charged to {peer}, woken by {}",
            answers.text()
        );
        assert_between("epoll_wait", call.total_ns, measured, measured);
    }
    Ok(())
}

pub fn a_time_out_is_charged_to_the_only_peer_or_to_several() -> anyhow::Result<()> {
    let (one, two) = (
        Upstream::tcp(Behaviour::bytes(0))?,
        Upstream::tcp(Behaviour::bytes(0))?,
    );
    let (a, b) = (one.addr.clone(), two.addr.clone());
    let mut worker = child::fork(move |link| {
        link.wait();
        let fds = [connect(&a), connect(&b)];
        // As curl_multi holds them: six connections to one peer.
        let same: Vec<i32> = (0..6).map(|_| connect(&a)).collect();
        let time = Duration::from_millis(15);
        for wait in [Wait::Poll, Wait::Ppoll] {
            assert_eq!(wait.wait(-1, &same, time), Ok(0));
        }
        for wait in [Wait::Poll, Wait::Ppoll, Wait::Select, Wait::Pselect6] {
            assert_eq!(wait.wait(-1, &fds[..1], time), Ok(0));
            assert_eq!(wait.wait(-1, &fds, time), Ok(0));
        }
        report_and_stay(link, &[]);
    })?;
    let mut watch = Watch::of(&[&worker])?;
    watch.step(&mut worker)?;
    let seen = watch.read()?;
    for wait in [Wait::Poll, Wait::Ppoll, Wait::Select, Wait::Pselect6] {
        let calls = seen.by_peer(worker.pid, wait.op());
        // For select, descriptors of one peer are not compared.
        let expected = if matches!(wait, Wait::Poll | Wait::Ppoll) {
            2
        } else {
            1
        };
        ensure!(
            calls.len() == 2
                && calls.get(&one.text()).is_some_and(|c| c.count == expected)
                && calls.get("several").is_some_and(|c| c.count == 1),
            "{wait:?}: {calls:?}"
        );
    }
    Ok(())
}
