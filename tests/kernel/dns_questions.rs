//! Questions and answers are found in every call that carries them, and what is answered is told apart.

use std::time::Duration;

use anyhow::ensure;
use probe_tests::{
    dns::{
        A, AAAA, Answer, FOUND, answer, framed, hear, question, question_of, recvmmsg, send,
        sendmmsg, sendmsg, serve, server, take, tcp_pair, udp_client, udp_server, wait, writev,
    },
    sys,
};

use crate::{dns_seen::rows, steps::timed};

pub fn every_sending_call_over_udp() -> anyhow::Result<()> {
    for ip in ["127.0.0.1", "::1"] {
        let work = move |link: &mut probe_tests::child::Link| {
            let at = server(ip);
            let (serving, client) = (udp_server(&at), udp_client(&at));
            let q = |n: u16| question(n, &format!("n{n}.test"), A);
            send(client, &q(1), None);
            sys::write(client, &q(2)).expect("write");
            writev(client, &[&q(3)]);
            sendmsg(client, &[&q(4)]);
            sendmmsg(client, &[&q(5), &q(6), &q(7), &q(8), &q(9)]);
            for _ in 1..=9 {
                serve(serving, FOUND);
                hear(client);
            }
            // Not connected: the address is in the call.
            let client = sys::socket(at.family(), libc::SOCK_DGRAM).expect("socket");
            send(client, &q(10), Some(&at));
            serve(serving, FOUND);
            hear(client);
            link.send(&[]);
        };
        let mut expected: Vec<String> = (1..=10)
            .map(|n| format!("udp {ip} 53 n{n}.test 1 asked 1 answered 1"))
            .collect();
        expected.sort();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        let (watch, _) = rows(work, &expected)?;
        ensure!(watch.open().is_empty(), "{:?}", watch.open());
        ensure!(watch.unreadable() == 0);
        let last = watch.steps.last().expect("a reading ends with a step");
        ensure!((last.asked, last.answered) == (10, 10), "{last:?}");
    }
    Ok(())
}

pub fn every_receiving_call_over_udp() -> anyhow::Result<()> {
    let work = |link: &mut probe_tests::child::Link| {
        let at = server("127.0.0.1");
        let (serving, client) = (udp_server(&at), udp_client(&at));
        let mut buf = [0; 512];
        for how in 0..5u16 {
            send(client, &question(how, &format!("r{how}.test"), A), None);
            serve(serving, FOUND);
            let n = match how {
                0 => sys::recvfrom(client, &mut buf, 0),
                1 => sys::recvmsg(client, &mut buf),
                2 => sys::read(client, &mut buf),
                3 => sys::readv(client, &mut buf),
                _ => {
                    // A look first, which takes nothing away.
                    assert!(sys::recvfrom(client, &mut buf, libc::MSG_PEEK).is_ok());
                    sys::recvmmsg(client, &mut buf)
                }
            };
            assert!(n.is_ok_and(|n| n > 0));
        }
        for id in 5..8 {
            send(client, &question(id, &format!("r{id}.test"), A), None);
            serve(serving, FOUND);
        }
        recvmmsg(client, 3);
        link.send(&[]);
    };
    let expected: Vec<String> = (0..8)
        .map(|n| format!("udp 127.0.0.1 53 r{n}.test 1 asked 1 answered 1"))
        .collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    rows(work, &expected)?;
    Ok(())
}

pub fn a_and_aaaa_at_once_as_glibc_asks() -> anyhow::Result<()> {
    const PAUSE: Duration = Duration::from_millis(40);
    let work = |link: &mut probe_tests::child::Link| {
        let at = server("127.0.0.1");
        let (serving, client) = (udp_server(&at), udp_client(&at));
        let whole = timed(|| {
            sendmmsg(
                client,
                &[
                    &question(7, "Both.Example", A),
                    &question(8, "both.example", AAAA),
                ],
            );
            assert!(!wait(client, 0));
            sys::nanosleep(PAUSE).expect("nanosleep");
            serve(serving, FOUND);
            assert!(wait(client, 5000));
            hear(client);
            sys::nanosleep(PAUSE).expect("nanosleep");
            let nothing = Answer {
                records: 0,
                ..FOUND
            };
            serve(serving, nothing);
            assert!(wait(client, 5000));
            hear(client);
        });
        link.send(&[whole]);
    };
    let (watch, numbers) = rows(
        work,
        &[
            "udp 127.0.0.1 53 both.example 1 asked 1 answered 1",
            "udp 127.0.0.1 53 both.example 28 asked 1 answered 1 empty 1",
        ],
    )?;
    for (qtype, pauses) in [(A, 1), (AAAA, 2)] {
        let row = watch.row("both.example", qtype)?;
        let least = PAUSE.as_nanos() as u64 * pauses;
        ensure!(row.latency.count == 1 && row.latency.total_ns == row.latency.max_ns);
        ensure!(
            (least..=numbers[0]).contains(&row.latency.total_ns),
            "{:?} of {numbers:?}",
            row.latency
        );
        ensure!(row.latency.hist.len() == 1 && row.first_ns == row.last_ns);
    }
    Ok(())
}

pub fn answers_are_told_apart_by_code() -> anyhow::Result<()> {
    let work = |link: &mut probe_tests::child::Link| {
        let at = server("127.0.0.1");
        let (serving, client) = (udp_server(&at), udp_client(&at));
        for rcode in 0..16 {
            send(client, &question(rcode.into(), "codes", A), None);
            let answer = Answer {
                rcode,
                records: 0,
                truncated: false,
            };
            serve(serving, answer);
            hear(client);
        }
        // Whoever answers what nobody asked, or a question, is not heard.
        send(client, &question(100, "silent", A), None);
        let (bytes, from) = take(serving);
        send(serving, &bytes, Some(&from));
        hear(client);
        let mut other = answer(&bytes, FOUND);
        other[1] ^= 1;
        send(serving, &other, Some(&from));
        hear(client);
        send(serving, &other[..7], Some(&from));
        hear(client);
        link.send(&[]);
    };
    let codes: String = (1..16).map(|n| format!(" rcode{n} 1")).collect();
    let (watch, _) = rows(
        work,
        &[
            &format!("udp 127.0.0.1 53 codes 1 asked 16 duplicates 15 answered 16{codes} empty 1"),
            "udp 127.0.0.1 53 silent 1 asked 1",
        ],
    )?;
    ensure!(watch.open() == ["udp 127.0.0.1 53 silent 1 waiting"]);
    Ok(())
}

pub fn tcp_however_it_is_cut() -> anyhow::Result<()> {
    for ip in ["127.0.0.1", "::1"] {
        let work = move |link: &mut probe_tests::child::Link| {
            let (client, serving) = tcp_pair(&server(ip));
            let q = |n: u16| question(n, &format!("t{n}.test"), A);
            let length = |m: &[u8]| (m.len() as u16).to_be_bytes();
            // As glibc does: length and message as two buffers, twice.
            writev(client, &[&length(&q(1)), &q(1), &length(&q(2)), &q(2)]);
            // In one buffer, and two messages in one.
            send(client, &framed(&q(3)), None);
            send(client, &[framed(&q(4)), framed(&q(5))].concat(), None);
            // One call for each.
            send(client, &length(&q(6)), None);
            send(client, &q(6), None);
            sendmsg(client, &[&length(&q(7)), &q(7)]);
            let mut buf = [0u8; 512];
            for n in 1..=5 {
                send(serving, &framed(&answer(&q(n), FOUND)), None);
                // As glibc does: the length, then the rest.
                assert_eq!(sys::read(client, &mut buf[..2]), Ok(2));
                let left = buf[1].into();
                assert_eq!(sys::read(client, &mut buf[..left]), Ok(left as i64));
            }
            let both = [6, 7].map(|n| framed(&answer(&q(n), FOUND))).concat();
            send(serving, &both, None);
            assert_eq!(sys::recvfrom(client, &mut buf, 0), Ok(both.len() as i64));
            link.send(&[]);
        };
        let expected: Vec<String> = (1..=7)
            .map(|n| format!("tcp {ip} 53 t{n}.test 1 asked 1 answered 1"))
            .collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        rows(work, &expected)?;
    }
    Ok(())
}

pub fn a_truncated_answer_leads_to_tcp_and_is_no_duplicate() -> anyhow::Result<()> {
    let work = |link: &mut probe_tests::child::Link| {
        let at = server("127.0.0.1");
        let (serving, client) = (udp_server(&at), udp_client(&at));
        let q = question(5, "large.test", A);
        send(client, &q, None);
        let cut = Answer {
            rcode: 0,
            records: 0,
            truncated: true,
        };
        serve(serving, cut);
        hear(client);
        let (client, serving) = tcp_pair(&at);
        send(client, &framed(&q), None);
        send(serving, &framed(&answer(&q, FOUND)), None);
        hear(client);
        link.send(&[]);
    };
    rows(
        work,
        &[
            "tcp 127.0.0.1 53 large.test 1 asked 1 answered 1",
            "udp 127.0.0.1 53 large.test 1 asked 1 answered 1 truncated 1",
        ],
    )?;
    Ok(())
}

pub fn an_answer_may_come_to_another_thread() -> anyhow::Result<()> {
    let work = |link: &mut probe_tests::child::Link| {
        let at = server("127.0.0.1");
        let (serving, client) = (udp_server(&at), udp_client(&at));
        let receiver = std::thread::spawn(move || hear(client));
        sys::nanosleep(Duration::from_millis(20)).expect("nanosleep");
        send(client, &question(1, "threads.test", A), None);
        serve(serving, FOUND);
        receiver.join().expect("the receiver ends");
        link.send(&[]);
    };
    rows(
        work,
        &["udp 127.0.0.1 53 threads.test 1 asked 1 answered 1"],
    )?;
    Ok(())
}

pub fn names_are_any_bytes() -> anyhow::Result<()> {
    let work = |link: &mut probe_tests::child::Link| {
        let client = udp_client(&server("127.0.0.1"));
        let _serving = udp_server(&server("127.0.0.2"));
        let client2 = udp_client(&server("127.0.0.2"));
        let _ = client;
        for (id, labels) in [
            &[b"a.b".as_slice(), b"\\\"\0\x1b[31m", b"\xff\xe9"][..],
            &[],
            &[&[b'x'; 63], &[b'y'; 63], &[b'z'; 63], &[b'w'; 61]],
        ]
        .iter()
        .enumerate()
        {
            send(client2, &question_of(id as u16, labels, 65_535), None);
        }
        link.send(&[]);
    };
    let long = ["x", "y", "z"].map(|c| c.repeat(63)).join(".");
    let (watch, _) = rows(
        work,
        &[
            "udp 127.0.0.2 53  65535 asked 1",
            "udp 127.0.0.2 53 a\\046b.\\092\"\\000\\027[31m.\\255\\233 65535 asked 1",
            &format!("udp 127.0.0.2 53 {long}.{} 65535 asked 1", "w".repeat(61)),
        ],
    )?;
    ensure!(watch.unreadable() == 0);
    Ok(())
}

pub fn what_is_no_question_is_counted_as_that() -> anyhow::Result<()> {
    let work = |link: &mut probe_tests::child::Link| {
        let at = server("127.0.0.1");
        let (_serving, client) = (udp_server(&at), udp_client(&at));
        let good = question(1, "good.test", A);
        let mut unreadable = 0;
        // Cut off anywhere; an empty datagram is nothing at all.
        for n in 1..good.len() {
            send(client, &good[..n], None);
            unreadable += 1;
        }
        // A pointer, a loop of pointers, reserved lengths, a name without an end, a label that runs out.
        for (at, bytes) in [
            (12, &[0xc0, 12][..]),
            (12, &[0xc0, 14, 0xc0, 12]),
            (12, &[0x40]),
            (12, &[0x80]),
            (17, &[63]),
        ] {
            let mut bad = good.clone();
            bad[at..at + bytes.len()].copy_from_slice(bytes);
            send(client, &bad, None);
            unreadable += 1;
        }
        send(client, &[&good[..12], &[1; 400]].concat(), None);
        send(client, &[0xff; 600], None);
        // That one has QR set: an answer, which is something else. So are updates, and no question.
        unreadable += 1;
        for (at, byte) in [(2, 0x81), (2, 0x29), (5, 0)] {
            let mut other = good.clone();
            other[at] = byte;
            send(client, &other, None);
        }
        // More behind the question is as it should be (EDNS); so is a second question.
        send(
            client,
            &[&good[..], &[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]].concat(),
            None,
        );
        link.send(&[unreadable]);
    };
    let (watch, numbers) = rows(work, &["udp 127.0.0.1 53 good.test 1 asked 1"])?;
    ensure!(
        watch.unreadable() == numbers[0],
        "{} of {numbers:?}",
        watch.unreadable()
    );
    Ok(())
}

pub fn other_ports_are_nothing() -> anyhow::Result<()> {
    let work = |link: &mut probe_tests::child::Link| {
        for port in [52, 54, 5353, 853] {
            let at: std::net::SocketAddr = ([127, 0, 0, 1], port).into();
            let at = at.into();
            let (serving, client) = (udp_server(&at), udp_client(&at));
            send(client, &question(1, "elsewhere.test", A), None);
            serve(serving, FOUND);
            hear(client);
        }
        // Whoever serves at port 53 does not ask.
        let at = server("127.0.0.1");
        let serving = udp_server(&at);
        let asker = sys::socket(libc::AF_INET, libc::SOCK_DGRAM).expect("socket");
        link.send(&[]);
        let _ = (serving, asker);
    };
    rows(work, &[])?;
    Ok(())
}
