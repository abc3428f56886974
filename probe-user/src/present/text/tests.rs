//! Windows in, reports out.

use probe_common::loss::slot;

use super::*;
use crate::{
    aggregate::{
        fixture::{INCIDENT_A, MS, Page, probe, window_of},
        tcp::{Ports, States, fixture as tcp},
    },
    attach::State,
    diagnose::run,
    present::Color,
};

fn check(window: &Window) -> String {
    report(window, &run(window), Style::default())
}

#[test]
fn the_first_ten_lines_tell_the_cause_its_weight_and_what_to_do_first() {
    let text = check(&window_of(412, INCIDENT_A));
    let ten: String = text.split_inclusive('\n').take(10).collect();
    for part in [
        "W01  Requests wait for one slow peer",
        "8.90 s of 9.08 s per request (98 %)",
        "203.0.113.5:443",
        "Do first       take it out of the request",
        "saves about 8.90 s a request",
    ] {
        assert!(ten.contains(part), "{part}: {ten}");
    }
}

#[test]
fn sick() {
    let mut window = window_of(412, INCIDENT_A);
    (0..412 * 24).for_each(|_| window.groups[0].peers[0].exchange.record(371 * MS));
    let text = check(&window);
    assert_eq!(text, "\
stallscope 0.1.0   web-07   Linux 6.1.0-50   10.0 s   pool www: 9 workers, 412 requests

1  CRITICAL  W01  Requests wait for one slow peer, called several times in a row
   8.90 s of 9.08 s per request (98 %) is spent waiting for 203.0.113.5:443 (TCP).
   Do first       take it out of the request: fetch in the background, serve the last value;
                  saves about 8.90 s a request
   Each request opens 24 connections to it, one after the other; none overlap.
     per request  connects to it 24   rounds with it 24   polls 48   longest wait 371 ms
     wait for it  p50 8.93 s   p95 8.93 s
     per call     p50 371 ms   p95 371 ms   p99 371 ms   calls 9,888
     slowest      /catalog.php?cat=excavators 9.08 s
   Explains       >99 % of the time lost in requests; confidence high: 412 requests, each
                  divided completely; nothing was lost that bears on it
   By hand        timeout 10 strace -c -f -p 1 -e trace=connect,poll
                  timeout 10 strace -f -T -p 1 -e trace=network,poll,select
                  timeout 10 bpftrace -e 't:syscalls:sys_enter_poll /pid==1/ {@t[tid]=nsecs} t:syscalls:sys_exit_poll /@t[tid]/ {@ms=hist((nsecs-@t[tid])/1000000); delete(@t[tid])}'
                  ss -tnp dst 203.0.113.5:443
   Do             1. take it out of the request: fetch in the background, serve the last
                     value
                     saves about 8.90 s a request
                     risk: what is served is as old as the last fetch
                  2. ask for all 24 at once (PHP: curl_multi)
                     8.90 s less the longest of them, 371 ms: saves about 8.53 s a request
                     risk: the peer gets as many questions at the same moment; if it is
                     slow, it still hurts
                  3. keep one connection for all calls (PHP: reuse the curl handle)
                     risk: idle connections occupy the peer; one that it has closed must be
                     opened again
                  4. allow all calls of a request together 1.00 s (PHP: CURLOPT_TIMEOUT_MS)
                     8.90 s less 1.00 s: saves about 7.90 s a request
                     risk: past it the page must do without the answer, and must be written
                     so

Not explained  180 ms per request: on CPU 160 ms, waiting for a CPU 20 ms
Saw it all     22 of 22 probes active, 0 events lost
Cost           0.4 % of one core (kernel 0.3, own 0.1), 11 MB + 6 MB maps
");
}

#[test]
fn healthy() {
    let page = Page {
        calls: 1,
        each_ns: 2 * MS,
        cpu_ns: 4 * MS,
        queue_ns: 0,
        ..INCIDENT_A
    };
    let text = check(&window_of(412, page));
    assert_eq!(
        text,
        "\
stallscope 0.1.0   web-07   Linux 6.1.0-50   10.0 s   pool www: 9 workers, 412 requests

Nothing wrong found in 10.0 s: 412 requests of pool www, p95 6.03 ms, 67 % on CPU.
Closest to a limit: 4.5 of the 9 workers of pool www busy on average; 45 % of the space of /
used.

Saw it all     22 of 22 probes active, 0 events lost
Cost           0.4 % of one core (kernel 0.3, own 0.1), 11 MB + 6 MB maps
"
    );
}

#[test]
fn blind() {
    let mut window = window_of(412, INCIDENT_A);
    window.losses[slot::RING_FULL as usize] = 7;
    (window.tcp, window.udp, window.dns) = (None, None, None);
    (window.files, window.journal) = (None, None);
    window.probes[1].state = State::Off("sched_switch: permission denied".to_owned());
    window.probes.push(probe("epoll"));
    let text = check(&window);
    assert_eq!(
        text,
        "\
stallscope 0.1.0   web-07   Linux 6.1.0-50   10.0 s   pool www: 9 workers, 412 requests

No rule could be judged in 10.0 s: see below.
Closest to a limit: 4.5 of the 9 workers of pool www busy on average.

Not judged     W01 blocking-upstream: probe scheduler is off: sched_switch: permission
               denied
Not judged     W02 pool-saturated: TCP was not watched
Not judged     T01 port-exhaustion: TCP was not watched
Not judged     T02 fin-wait2: TCP was not watched
Not judged     T03 accept-queue: TCP was not watched
Not judged     T08 listener-gap: TCP was not watched
Not judged     U01 udp-rcvbuf-drop: UDP was not watched
Not judged     U02 dns-storm: DNS was not watched
Not judged     S01 journal-stall: journals were not watched
Not judged     S02 small-file-storm: files were not watched
Not judged     S03 inode-exhaustion: files were not watched
Saw            22 of 23 probes active (scheduler: sched_switch: permission denied)
Lost           7 finished requests, exits, failed connects or transitions not delivered: the
               ring was full: their counts are too low; averages rest on what arrived
Cost           0.4 % of one core (kernel 0.3, own 0.1), 11 MB + 6 MB maps
"
    );
}

#[test]
fn no_name_of_the_traced_system_reaches_the_terminal_raw() {
    let mut window = window_of(412, INCIDENT_A);
    let evil = "\x1b]0;pwned\x07\u{202e}".as_bytes().to_vec();
    window.host = String::from_utf8_lossy(&evil).into_owned();
    window.target.clone_from(&window.host);
    window.groups[0].name.clone_from(&evil);
    window.groups[0].slowest[0].uri.clone_from(&evil);
    window.groups[0].peers[0].peer = crate::aggregate::Peer::Unix { path: evil };
    let text = check(&window);
    assert!(text.contains("\\x1b]0;pwned\\x07\\u{202e}"));
    assert!(
        text.chars().all(|c| c == '\n' || !c.is_control()),
        "{text:?}"
    );
    assert!(!text.contains('\u{202e}'));
}

#[test]
fn colour_changes_nothing_but_the_colour() {
    let window = window_of(412, INCIDENT_A);
    let coloured = report(
        &window,
        &run(&window),
        Style {
            color: Color::Always,
            ..Style::default()
        },
    );
    assert!(coloured.contains("\x1b[1;31mCRITICAL\x1b[0m"));
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once('\x1b') {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    plain.push_str(rest);
    assert_eq!(plain, check(&window));
}

#[test]
fn lines_fit_the_width_except_commands_to_copy() {
    let window = window_of(412, INCIDENT_A);
    for width in [60, 80, 92, 120] {
        let style = Style {
            width,
            ..Style::default()
        };
        for line in report(&window, &run(&window), style).lines() {
            let command = line.contains("strace") || line.contains("bpftrace");
            assert!(command || line.chars().count() <= width, "{width}: {line}");
        }
    }
}

#[test]
fn a_finding_about_tcp_says_what_it_explains_and_its_commands_stay_whole() {
    let mut tcp = tcp::healthy();
    tcp.ports.insert(
        0,
        Ports {
            opened_per_s: 1200.0,
            closed_by_us_per_s: 1200.0,
            levels_off_at: 72_004.0,
            seconds_left: Some(16.0),
            closer: Some(tcp::process(4711, "php-fpm8.2")),
            opener: Some(tcp::process(4711, "php-fpm8.2")),
            ..tcp::ports(
                "10.0.0.9:443",
                States {
                    established: 4,
                    time_wait: 12_228,
                    ..States::default()
                },
            )
        },
    );
    let text = check(&tcp::window_with(tcp));
    for lines in [
        "\
1  WARNING   T01  The local ports to one destination run out in 16 s
   At this rate the local ports from 10.0.0.2 to 10.0.0.9:443 (TCP) run out in 16.0 s:
   12,232 of 28,232 are in use; kept up, this rate takes 72,004.
",
        "\
     sockets      TIME_WAIT 12,228   ESTABLISHED 4
     rate         opened 1,200/s   closed first by us 1,200/s
     ahead        left 16.0 s   levels off at 72,004
   Explains       >99 % of the ports in use to it; confidence medium: the forecast takes the
                  present rate to go on
   By hand        sysctl net.ipv4.ip_local_port_range net.ipv4.ip_local_reserved_ports
                  ss -Htan state time-wait dst 10.0.0.9:443 | wc -l
",
        "
                     printf '%s\\n' 'net.ipv4.ip_local_port_range = 10240 65535' >> /etc/sysctl.d/90-tcp.conf
",
    ] {
        assert!(text.contains(lines), "{lines}{text}");
    }
}
