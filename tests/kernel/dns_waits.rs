//! Questions without an answer: time-outs, retries, refusals, and the time that waiting for them takes.

use std::time::Duration;

use anyhow::ensure;
use probe_tests::{
    child::Link,
    dns::{
        A, AAAA, FOUND, framed, hear, question, send, sendmmsg, serve, server, tcp_pair,
        udp_client, udp_server, wait,
    },
    sys,
};

use crate::{
    dns_seen::{DnsWatch, rows},
    steps::timed,
};

/// Long for a time-out.
const WAIT_MS: i32 = 150;

/// All that was lost in waiting is as the workload measured it: within 2 % (and what a call costs).
fn lost_is(watch: &DnsWatch, measured: u64) -> anyhow::Result<()> {
    let lost: u64 = watch.dns.sums.iter().map(|q| q.timed_out.total_ns).sum();
    ensure!(
        lost.abs_diff(measured) < measured / 50 + 1_000_000,
        "lost {lost} ns, the workload says {measured}"
    );
    Ok(())
}

pub fn time_outs_and_retries_as_glibc_makes_them() -> anyhow::Result<()> {
    let work = |link: &mut Link| {
        let (first, second) = (server("127.0.0.1"), server("127.0.0.2"));
        let (_silent, serving) = (udp_server(&first), udp_server(&second));
        let messages = [
            question(21, "slow.test", A),
            question(22, "slow.test", AAAA),
        ];
        let both = || messages.each_ref().map(Vec::as_slice);
        let (one, two) = (udp_client(&first), udp_client(&second));
        let mut lost = 0;
        // The first server, the second, the first again: the same messages, the same sockets.
        for fd in [one, two, one] {
            sendmmsg(fd, &both());
            assert!(!wait(fd, 0));
            lost += timed(|| assert!(!wait(fd, WAIT_MS)));
        }
        // Now the second server answers.
        sendmmsg(two, &both());
        for _ in 0..4 {
            serve(serving, FOUND);
        }
        for _ in 0..2 {
            assert!(wait(two, 5000));
            hear(two);
        }
        link.send(&[lost]);
    };
    let (watch, numbers) = rows(
        work,
        &[
            "udp 127.0.0.1 53 slow.test 1 asked 2 retried 1 timed out 2",
            "udp 127.0.0.1 53 slow.test 28 asked 2 retried 1",
            "udp 127.0.0.2 53 slow.test 1 asked 2 retried 2 answered 1 timed out 1",
            "udp 127.0.0.2 53 slow.test 28 asked 2 retried 2 answered 1",
        ],
    )?;
    lost_is(&watch, numbers[0])?;
    // Nobody waits for the first server any more.
    ensure!(
        watch.open()
            == [
                "udp 127.0.0.1 53 slow.test 1",
                "udp 127.0.0.1 53 slow.test 28"
            ],
        "{:?}",
        watch.open()
    );
    Ok(())
}

pub fn another_lookup_after_one_in_vain_is_no_retry() -> anyhow::Result<()> {
    let work = |link: &mut Link| {
        let at = server("127.0.0.1");
        let _silent = udp_server(&at);
        let mut lost = 0;
        for id in [1, 2] {
            let fd = udp_client(&at);
            send(fd, &question(id, "gone.test", A), None);
            lost += timed(|| assert!(!wait(fd, WAIT_MS)));
            sys::close(fd).expect("close");
        }
        // Without having waited in vain, another id is another try.
        let fd = udp_client(&at);
        for id in [3, 4] {
            send(fd, &question(id, "hurry.test", A), None);
        }
        link.send(&[lost]);
    };
    let (watch, numbers) = rows(
        work,
        &[
            "udp 127.0.0.1 53 gone.test 1 asked 2 duplicates 1 timed out 2",
            "udp 127.0.0.1 53 hurry.test 1 asked 2 retried 1",
        ],
    )?;
    lost_is(&watch, numbers[0])
}

pub fn every_way_of_waiting_in_vain_is_lost_time() -> anyhow::Result<()> {
    let work = |link: &mut Link| {
        let at = server("127.0.0.1");
        let _silent = udp_server(&at);
        let wait = Duration::from_millis(WAIT_MS as u64);
        let mut lost = Vec::new();
        let mut ask = |name: &str, in_vain: &mut dyn FnMut(i32)| {
            let fd = udp_client(&at);
            send(fd, &question(lost.len() as u16, name, A), None);
            lost.push(timed(|| in_vain(fd)));
            fd
        };
        ask("poll", &mut |fd| {
            let mut set = [sys::pollfd(fd, libc::POLLIN)];
            assert_eq!(sys::poll(&mut set, WAIT_MS), Ok(0));
        });
        ask("ppoll", &mut |fd| {
            let mut set = [sys::pollfd(fd, libc::POLLIN)];
            assert_eq!(sys::ppoll(&mut set, wait), Ok(0));
        });
        ask("select", &mut |fd| {
            assert_eq!(sys::select(&[fd], wait), Ok(0));
        });
        ask("recv", &mut |fd| {
            let time = libc::timeval {
                tv_sec: 0,
                tv_usec: i64::from(WAIT_MS) * 1000,
            };
            // SAFETY: the value lives through the call.
            let r = unsafe {
                libc::setsockopt(
                    fd,
                    libc::SOL_SOCKET,
                    libc::SO_RCVTIMEO,
                    (&raw const time).cast(),
                    size_of::<libc::timeval>() as u32,
                )
            };
            assert_eq!(r, 0);
            assert_eq!(sys::recvfrom(fd, &mut [0; 64], 0), Err(libc::EAGAIN));
        });
        let lost: u64 = lost.iter().sum();
        // A look is not a wait.
        let fd = udp_client(&at);
        send(fd, &question(9, "look", A), None);
        sys::set_nonblocking(fd, true).expect("O_NONBLOCK");
        assert_eq!(sys::recvfrom(fd, &mut [0; 64], 0), Err(libc::EAGAIN));
        let mut set = [sys::pollfd(fd, libc::POLLIN)];
        assert_eq!(sys::poll(&mut set, 0), Ok(0));
        // Nor is a wait for what was answered.
        let at = server("127.0.0.2");
        let (serving, fd) = (udp_server(&at), udp_client(&at));
        send(fd, &question(10, "answered", A), None);
        serve(serving, FOUND);
        hear(fd);
        let mut set = [sys::pollfd(fd, libc::POLLIN)];
        assert_eq!(sys::poll(&mut set, WAIT_MS), Ok(0));
        link.send(&[lost]);
    };
    let (watch, numbers) = rows(
        work,
        &[
            "udp 127.0.0.1 53 look 1 asked 1",
            "udp 127.0.0.1 53 poll 1 asked 1 timed out 1",
            "udp 127.0.0.1 53 ppoll 1 asked 1 timed out 1",
            "udp 127.0.0.1 53 recv 1 asked 1 timed out 1",
            "udp 127.0.0.1 53 select 1 asked 1 timed out 1",
            "udp 127.0.0.2 53 answered 1 asked 1 answered 1",
        ],
    )?;
    lost_is(&watch, numbers[0])
}

pub fn a_refusal_ends_a_question() -> anyhow::Result<()> {
    let work = |link: &mut Link| {
        // Nobody listens: the kernel says so to whoever is connected.
        let fd = udp_client(&server("127.0.0.1"));
        send(fd, &question(1, "refused.test", A), None);
        assert!(wait(fd, 5000));
        assert_eq!(sys::recvfrom(fd, &mut [0; 64], 0), Err(libc::ECONNREFUSED));
        // The next server is asked the same.
        let at = server("127.0.0.2");
        let (serving, fd) = (udp_server(&at), udp_client(&at));
        send(fd, &question(1, "refused.test", A), None);
        serve(serving, FOUND);
        hear(fd);
        // The answer to a first message may be told to the second.
        let fd = udp_client(&server("127.0.0.3"));
        send(fd, &question(5, "told.test", A), None);
        assert_eq!(
            sys::sendto(fd, &question(6, "late.test", A), None),
            Err(libc::ECONNREFUSED)
        );
        // A server that closes.
        let (client, serving) = tcp_pair(&server("127.0.0.4"));
        send(client, &framed(&question(7, "closed.test", A)), None);
        hear(serving);
        sys::close(serving).expect("close");
        assert_eq!(sys::read(client, &mut [0; 64]), Ok(0));
        link.send(&[]);
    };
    let (watch, _) = rows(
        work,
        &[
            "tcp 127.0.0.4 53 closed.test 1 asked 1 refused 1",
            "udp 127.0.0.1 53 refused.test 1 asked 1 refused 1",
            "udp 127.0.0.2 53 refused.test 1 asked 1 retried 1 answered 1",
            "udp 127.0.0.3 53 told.test 1 asked 1 refused 1",
        ],
    )?;
    ensure!(watch.open().is_empty(), "{:?}", watch.open());
    Ok(())
}
