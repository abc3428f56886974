//! Windows in, pages out.

use super::*;
use crate::{
    aggregate::{
        tcp::fixture::process,
        udp::fixture::{at, dropping, healthy, sick, window_with},
    },
    attach::State,
};

fn check(udp: Udp, rows: Option<usize>) -> String {
    let style = Style {
        width: 80,
        ..Style::default()
    };
    page(&window_with(udp), rows, style)
}

#[test]
fn a_socket_that_drops() {
    let text = check(sick(dropping("127.0.0.1:53", 4400)), None);
    assert_eq!(
        text,
        "\
stallscope 0.1.0   web-07   this network namespace   10.0 s   14 UDP sockets

Sockets that drop                     drops     rate  at worst   buffer    lasts
127.0.0.1:53                          4,400    440/s     440/s   213 kB   630 ms
    unbound 812 (fd 5); lately from 127.0.0.1:40000; a datagram takes 768 bytes
    queue ▁▁███▁▁▁▁▁▁ at most 212 kB, 276 datagrams
Drops at full buffers: seen 4,400, RcvbufErrors 4,400, the sockets' own counters
4,400; they agree

Waiting to be read                    now      most      limit     full
127.0.0.1:53                          0 B   21.5 kB     213 kB     10 %

Kernel counts  IPv4: in 10,000/s, out 10,000/s, RcvbufErrors 4,400, InErrors
               4,400
Limits         rmem_default 212,992, rmem_max 212,992, memory 41 kB of 189 MB

Saw it all     22 of 22 probes active, 0 events lost
Cost           0.4 % of one core (kernel 0.3, own 0.1), 11 MB + 6 MB maps
"
    );
}

#[test]
fn a_healthy_node_says_so() {
    let text = check(healthy(), None);
    assert!(text.contains("\nNo socket dropped a datagram.\n"), "{text}");
    assert!(!text.contains("Drops at full"), "{text}");
}

#[test]
fn names_are_escaped_addresses_are_whole_and_lines_fit() {
    let mut udp = sick(Dropping {
        owners: vec![
            (process(1, "\x1b[2J\nevil"), 3),
            (process(2, "a"), 3),
            (process(3, "b"), 3),
            (process(4, "c"), 3),
        ],
        remote: Some(at("[2001:db8:aaaa:bbbb:cccc:dddd:eeee:1]:65535")),
        ..dropping(
            "[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:65535",
            999_999_999,
        )
    });
    udp.sockets[0].before = Some(145_902);
    let text = check(udp, None);
    assert!(!text.contains(['\x1b', '\r']), "{text:?}");
    assert!(text.contains("\\x1b[2J\\x0aevil 1 (fd 3), a 2 (fd 3), b 3 (fd 3), 1 more"));
    assert!(text.contains("\n[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:65535\n"));
    assert!(text.contains("dropped 145,902 before"));
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn a_page_is_cut_to_its_screen_and_keeps_its_foot() {
    let mut udp = sick(dropping("127.0.0.1:53", 4400));
    for n in 1..100 {
        udp.sockets
            .push(dropping(&format!("127.0.0.1:{}", 1000 + n), 10));
    }
    for rows in [6, 10, 23, 40] {
        let text = check(udp.clone(), Some(rows));
        assert!(text.lines().count() <= rows, "{rows}: {text}");
        assert!(text.contains("Cost  "), "{text}");
    }
    assert!(check(udp, Some(40)).contains(" more sockets"));
}

#[test]
fn what_could_not_be_seen_is_said() {
    let mut window = window_with(healthy());
    let drops = window.probes.iter_mut().find(|p| p.id == "udp_drops");
    drops.unwrap().state = State::Off("no BTF".to_owned());
    let udp = window.udp.as_mut().unwrap();
    (udp.agreement.traced, udp.other_drops) = (None, 7);
    let text = page(&window, None, Style::default());
    assert!(!text.contains("No socket dropped"), "{text}");
    assert!(
        text.contains("Not seen       why datagrams are dropped"),
        "{text}"
    );
    assert!(
        text.contains("which sockets dropped 7 datagrams more"),
        "{text}"
    );
    window.udp = None;
    assert!(page(&window, None, Style::default()).contains("no count of sockets"));
    assert!(json(&window).contains("\"schema_version\""));
}

#[test]
fn json_has_numbers_and_names_of_open_telemetry() {
    let text = json(&window_with(sick(dropping("127.0.0.1:53", 4400))));
    let v: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let s = &v["sockets"][0];
    assert_eq!(s["network.local.address"], "127.0.0.1");
    assert_eq!(
        (&s["network.local.port"], &s["drops"]),
        (&53.into(), &4400.into())
    );
    assert_eq!(s["owners"][0]["process.executable.name"], "unbound");
    assert_eq!(s["reasons"]["buffer_full"], 4400);
    assert_eq!(s["queue"].as_array().map(Vec::len), Some(11));
    assert_eq!(v["agreement"]["rcvbuf_errors"], 4400);
    assert_eq!(v["counters"]["ipv4"]["in_errors"], 4400);
}
