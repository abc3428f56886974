//! Windows in, pages out.

use super::*;
use crate::{
    aggregate::{
        fixture::{MS, S},
        tcp::{Counters, FailedConnects, HalfClosed, ProcessSockets, States, fixture::*},
    },
    attach::State,
    present::json::SCHEMA_VERSION,
};

fn check(tcp: Tcp, width: usize) -> String {
    let style = Style {
        width,
        ..Style::default()
    };
    page(&window_with(tcp), None, style)
}

fn sick() -> Tcp {
    let nginx = process(901, "nginx");
    let states = States {
        listen: 3,
        established: 850,
        fin_wait_2: 500,
        fin_wait_2_orphaned: 400,
        time_wait: 26_104,
        ..States::default()
    };
    let api = States {
        time_wait: 26_104,
        established: 20,
        ..States::default()
    };
    Tcp {
        timeline: still(states),
        ports: vec![Ports {
            opened_per_s: 401.0,
            closed_by_us_per_s: 400.0,
            growth_per_s: 30.0,
            levels_off_at: 24_020.0,
            seconds_left: Some(71.0),
            closer: Some(process(4711, "php-fpm8.2")),
            failures: 7,
            first_failure_ns: Some(S),
            ..ports("203.0.113.5:443", api)
        }],
        half_closed: vec![HalfClosed {
            holders: vec![(process(77, "proxy"), 100, 12)],
            ..half_closed(to("10.0.0.9:8080"), 400, 100, 40 * S)
        }],
        listeners: vec![ListenQueue {
            queue: 9,
            queue_max: 9,
            full: 8,
            overflows: 412,
            overflows_inexact: true,
            accepted: 5000,
            wait: durations(&[(800 * MS, 5000)]),
            ..queue(on_port(443), 8)
        }],
        failed: vec![failed(nginx, path("/run/php.sock"), libc::ENOENT, 12)],
        gaps: vec![gap(path("/run/php.sock"), 240 * MS, libc::ENOENT, 12)],
        counters: Counters {
            listen_overflows: Some(412),
            listen_drops: Some(0),
            ..Counters::default()
        },
        slowed_to_ns: Some(4 * S),
        census_ns: 200 * MS,
        ..healthy()
    }
}

#[test]
fn a_healthy_node_has_a_short_page() {
    assert_eq!(
        check(healthy(), 80),
        "\
stallscope 0.1.0   web-07   this network namespace   10.0 s   6,864 sockets

   count   state           entered      left  stayed p50     p99
   6,000   time_wait         100/s     100/s        60 s    60 s  oldest 60 s
     850   established       100/s     102/s      900 ms  900 ms
      12   listen
       2   fin_wait_2                                             0 held

By peer                       sockets  by state
10.0.0.8:6379                   3,100  time_wait 3,000, established 100; closed
                                       first: we 500 (php-fpm8.2 4711), they 0
198.51.100.7 > tcp :443         3,752  time_wait 3,000, established 750,
                                       fin_wait_2 2; closed first: we 500 (nginx
                                       812), they 20

By process                    sockets  by state
nginx 812                         752  established 750, listen 2

Ports to                        used      of    opened  we close
10.0.0.8:6379                  3,100  28,232      50/s      50/s  11 %
    levels off at 3,100; php-fpm8.2 4711 closes first

Waiting for accept()           now  most limit refused  accepted     p50     p99
tcp :443                         0     3   511       0       520    1 ms    1 ms
    nginx 812

Saw it all     6 of 6 probes active, 0 events lost
Cost           0.4 % of one core (kernel 0.3, own 0.1), 11 MB + 6 MB maps
"
    );
}

#[test]
fn a_sick_node_shows_what_is_wrong() {
    assert_eq!(
        check(sick(), 80),
        "\
stallscope 0.1.0   web-07   this network namespace   10.0 s   27,457 sockets

   count   state           entered      left  stayed p50     p99
  26,104   time_wait         100/s     100/s        60 s    60 s  oldest 60 s
     850   established       100/s     102/s      900 ms  900 ms
     500   fin_wait_2                                             100 held
       3   listen

By peer                       sockets  by state
10.0.0.8:6379                   3,100  time_wait 3,000, established 100; closed
                                       first: we 500 (php-fpm8.2 4711), they 0
198.51.100.7 > tcp :443         3,752  time_wait 3,000, established 750,
                                       fin_wait_2 2; closed first: we 500 (nginx
                                       812), they 20

By process                    sockets  by state
nginx 812                         752  established 750, listen 2

FIN_WAIT_2: they did not close orphans   held  age p50     p99
10.0.0.9:8080                      400    100     40 s    40 s
    held: 100 by proxy 77 (fd 12)

Ports to                        used      of    opened  we close
203.0.113.5:443               26,124  28,232     401/s     400/s  end in 71 s
    7 connects failed with EADDRNOTAVAIL; levels off at 24,020; php-fpm8.2 4711
    closes first

Waiting for accept()           now  most limit refused  accepted     p50     p99
tcp :443                         9     9     8    ~412     5,000  772 ms  800 ms
    nginx 812; full at 8 of 10 looks

Failed connects to              times  error
/run/php.sock                      12  ENOENT by nginx 901, 2.00 s to 4.00 s

Nobody listened on                for  failed connects
/run/php.sock                  240 ms  12 ENOENT, of nginx 901; from 2.00 s;
                                       then php-fpm8.2 1234 listened

Kernel counts  ListenOverflows +412

Not seen       what happens between two censuses, 4.00 s apart as each took up
               to 200 ms
Saw it all     6 of 6 probes active, 0 events lost
Cost           0.4 % of one core (kernel 0.3, own 0.1), 11 MB + 6 MB maps
"
    );
}

#[test]
fn an_idle_node_has_almost_nothing_to_say() {
    let states = States {
        listen: 1,
        ..States::default()
    };
    let idle = Tcp {
        timeline: still(states),
        owners_known: true,
        ..Tcp::default()
    };
    let text = check(idle, 80);
    assert!(text.lines().count() <= 9, "{text}");
}

#[test]
fn names_are_escaped_and_lines_fit() {
    let evil = "\x1b[2J\n\u{202e}/x".repeat(9);
    let mut tcp = sick();
    let who = || process(u32::MAX, &evil);
    tcp.failed = vec![failed(who(), path(&evil), libc::EAGAIN, u64::MAX)];
    tcp.gaps = vec![gap(path(&evil), u64::MAX / 2, libc::EAGAIN, u64::MAX)];
    tcp.gaps[0].back = Some(who());
    tcp.listeners[0].address = on_path(&evil);
    tcp.listeners[0].owners = vec![who(); 8];
    tcp.half_closed[0].holders[0].0 = who();
    tcp.ports[0].closer = Some(who());
    tcp.peers[0].closer = Some(who());
    tcp.peers[0].peer = to("[2001:db8:1234:5678:9abc:def0:1234:5678]:65535");
    tcp.processes = vec![ProcessSockets {
        process: who(),
        states: States::default(),
    }];
    for width in [60, 80, 120] {
        let text = check(tcp.clone(), width);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
        for line in text.lines() {
            assert!(line.chars().count() <= width.max(80), "{line}");
        }
    }
    let json = json(&window_with(tcp));
    assert_eq!(json.lines().count(), 1);
    let text = json.trim_end();
    assert!(text.chars().all(|c| !c.is_control() && c != '\u{202e}'));
}

#[test]
fn what_could_not_be_seen_is_said() {
    let mut window = window_with(Tcp {
        timeline: Vec::new(),
        ..healthy()
    });
    window.probes[4].state = State::Off("no iterator: \x1b[2J".to_owned());
    let text = page(&window, None, Style::default());
    assert!(text.contains("no count of sockets"), "{text}");
    assert!(
        text.contains(
            "Not seen       how many sockets are in which state (tcp_census: no iterator: \\x1b[2J)"
        ),
        "{text}"
    );
    window.tcp.as_mut().unwrap().timeline = still(States::default());
    let text = page(&window, None, Style::default());
    assert!(
        text.contains("counted from /proc (tcp_census: no"),
        "{text}"
    );
}

#[test]
fn a_page_is_cut_to_the_screen() {
    let mut tcp = sick();
    tcp.failed = (0..50)
        .map(|n| FailedConnects {
            count: 100 - n,
            ..tcp.failed[0].clone()
        })
        .collect();
    let rows = |rows| page(&window_with(tcp.clone()), rows, Style::default());
    let all = rows(None);
    assert!(all.contains("and 40 more kinds"), "{all}");
    let cut = rows(Some(45));
    assert!(cut.lines().count() <= 45, "{cut}");
}

#[test]
fn json_is_keyed_by_the_names_of_opentelemetry() {
    let v: serde_json::Value = serde_json::from_str(&json(&window_with(sick()))).unwrap();
    assert_eq!(v["schema_version"], SCHEMA_VERSION);
    let census = v["census"].as_object().unwrap();
    let mut keys: Vec<&str> = census.keys().map(String::as_str).collect();
    keys.sort_unstable();
    let mut states = States::default().named().map(|n| n.0);
    states.sort_unstable();
    assert_eq!(keys, states);
    assert_eq!(census["time_wait"], 26_104);
    assert_eq!(
        (&v["fin_wait_2_orphaned"], &v["fin_wait_2_held"]),
        (&400.into(), &100.into())
    );
    assert_eq!(v["half_closed"][0]["holders"][0]["process.pid"], 77);
    assert_eq!(v["half_closed"][0]["holders"][0]["fd"], 12);
    assert_eq!(v["ports"][0]["seconds_left"], 71.0);
    assert_eq!(v["ports"][0]["failures"], 7);
    assert_eq!(v["listeners"][0]["overflows"], 412);
    assert_eq!(v["failed_connects"][0]["error.type"], "ENOENT");
    assert_eq!(v["failed_connects"][0]["process.executable.name"], "nginx");
    assert_eq!(v["gaps"][0]["length_ns"], 240 * MS);
    assert_eq!(v["gaps"][0]["failed_connects"], 12);
    assert_eq!(v["settings"]["tcp_fin_timeout"], 60);
    assert_eq!(v["states"][0]["duration"][0]["count"], 1020);
    // What was not counted is not 0.
    let uncounted = Tcp {
        timeline: Vec::new(),
        ..healthy()
    };
    let v: serde_json::Value = serde_json::from_str(&json(&window_with(uncounted))).unwrap();
    assert!(v["census"].is_null() && v["fin_wait_2_held"].is_number());
    // Without TCP the rest of the document stands.
    let none = Window {
        tcp: None,
        ..window_with(Tcp::default())
    };
    let v: serde_json::Value = serde_json::from_str(&json(&none)).unwrap();
    assert!(v["census"].is_null() && v["probes"].is_array());
}

#[test]
fn the_nearest_limits_are_named() {
    assert_eq!(
        closest(&healthy()),
        [
            "3,100 of 28,232 ports to 10.0.0.8:6379",
            "3 of 511 waiting for accept() on tcp :443"
        ]
    );
    assert!(closest(&Tcp::default()).is_empty());
}

#[test]
fn what_nobody_ever_served_is_no_gap() {
    let mut tcp = healthy();
    let mut never = gap(path("/run/nscd/socket"), 240 * MS, libc::ENOENT, 12);
    (never.end_ns, never.back, never.served_before) = (None, None, false);
    tcp.gaps = vec![never.clone()];
    assert!(!check(tcp.clone(), 80).contains("Nobody listened"));
    never.served_before = true;
    tcp.gaps = vec![never];
    assert!(check(tcp, 80).contains("Nobody listened"));
}
