//! Windows in, pages out.

use super::*;
use crate::aggregate::{
    dns::{
        Waiting,
        fixture::{healthy, server, storm, window_with, www},
    },
    fixture::S,
    udp::fixture::{dropping, sick},
};

fn check(dns: Dns, rows: Option<usize>) -> String {
    let style = Style {
        width: 80,
        ..Style::default()
    };
    page(&window_with(dns), rows, style)
}

#[test]
fn a_storm() {
    let mut window = window_with(storm());
    let dns = window.dns.as_mut().unwrap();
    dns.waiting = vec![Waiting {
        group: www(),
        pid: 4711,
        tid: 4711,
        server: server("127.0.0.53"),
        name: Some(b"hooks.example.com".to_vec()),
        qtype: 28,
        for_ns: 3 * S,
    }];
    window.udp = Some(Box::new(sick(dropping("127.0.0.53:53", 3500))));
    let style = Style {
        width: 80,
        ..Style::default()
    };
    assert_eq!(
        page(&window, None, style),
        "\
stallscope 0.1.0   web-07   all processes   10.0 s   10,000 DNS questions,
1,000/s, at worst 50,000/s

Who asks                  asked  same retried no answer     p50     p99     lost
pool www                 10,000  64 %   3,600     3,600 39.8 ms   40 ms  5 h 0 m
    6 processes; 3,600 time-outs of 5.00 s on average
    resolv.conf: 127.0.0.53; timeout:5 attempts:2

For what                  asked  same retried no answer     p50     p99     lost
hooks.example.com A      10,000  64 %   3,600     3,600 39.8 ms   40 ms  5 h 0 m

Whom                      asked  same retried no answer     p50     p99     lost
127.0.0.53:53            10,000  64 %   3,600     3,600 39.8 ms   40 ms  5 h 0 m

Waiting now                 for
pool www 4711            3.00 s  hooks.example.com AAAA from 127.0.0.53:53
Buffer full    127.0.0.53:53 (unbound 812) dropped 3,500 datagrams, 440/s at
               worst: see `stallscope udp`

Saw it all     22 of 22 probes active, 0 events lost
Cost           0.4 % of one core (kernel 0.3, own 0.1), 11 MB + 6 MB maps
"
    );
}

#[test]
fn a_page_is_cut_to_its_screen_and_keeps_its_foot() {
    let mut dns = healthy();
    dns.names = (0..100).flat_map(|_| healthy().names).collect();
    for rows in [8, 12, 23, 40] {
        let text = check(dns.clone(), Some(rows));
        assert!(text.lines().count() <= rows, "{rows}: {text}");
        assert!(text.contains("Cost  "), "{text}");
    }
    assert!(check(dns, Some(40)).contains(" more names"));
    assert!(check(Dns::default(), None).contains("Nobody asked anything."));
}

#[test]
fn names_of_any_bytes_are_harmless_and_lines_fit() {
    let mut dns = storm();
    dns.clients[0].group.name = b"\x1b[2J\x07".to_vec();
    dns.names[0].name = Some(b"a\\027[2j\\010.example".to_vec());
    dns.names.push(dns.names[0].clone());
    // What the kernel side must never hand over all the same.
    dns.names[1].name = Some(b"\x1b]0;x\x07.example".to_vec());
    dns.names.push(dns.names[0].clone());
    dns.names[2].name = Some(vec![b'x'; 1000]);
    dns.names.push(dns.names[0].clone());
    (dns.names[3].name, dns.names[3].qtype) = (Some(Vec::new()), 65_280);
    dns.names.push(dns.names[0].clone());
    dns.names[4].name = None;
    dns.other_names = dns.total.clone();
    dns.clients[0].sums.rcodes[3] = 12;
    dns.clients[0].expanded = 8;
    let text = check(dns.clone(), None);
    assert!(!text.contains(['\x1b', '\x07', '\r']), "{text:?}");
    assert!(text.contains("pool \\x1b[2J\\x07"), "{text}");
    assert!(text.contains("a\\027[2j\\010.example A"), "{text}");
    assert!(text.contains("\n. TYPE65280 "), "{text}");
    assert!(text.contains("\nnames without a place "), "{text}");
    assert!(
        text.contains("NXDOMAIN 12; 8 tried with a search domain in vain"),
        "{text}"
    );
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let text = json(&window_with(dns));
    let v: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let names = &v["dns"]["names"];
    assert_eq!(names[0]["dns.question.name"], "a\\027[2j\\010.example");
    assert_eq!(names[3]["dns.question.name"], "");
    assert!(names[4]["dns.question.name"].is_null());
    assert_eq!(v["dns"]["clients"][0]["rcodes"]["NXDOMAIN"], 12);
    assert_eq!(v["dns"]["total"]["timed_out_total_ns"], 18_000 * S);
    assert_eq!(v["dns"]["servers"][0]["peer"]["network.peer.port"], 53);
}
