//! The screen of UDP and DNS, through the widget.

use insta::assert_snapshot;

use super::SCREEN;
use crate::{
    aggregate::{
        Grown, Peer, Window,
        dns::{
            self, Dns, GroupId, Waiting,
            fixture::{answered, server, storm, www},
        },
        fixture::{MS, S},
        udp::{
            Dropping, QueueUse,
            fixture::{at, dropping, sick},
        },
    },
    attach::State,
    present::tui::{
        Data,
        screens::check::{EVIL, shots, sound},
    },
};

/// A storm of questions to a resolver on this machine, whose buffer is full.
fn data() -> Data {
    let mut dns: Dns = storm();
    let crawler = GroupId {
        name: b"crawler".to_vec(),
        php_fpm: false,
    };
    let other = dns::fixture::asked_by(crawler, "example.org", "10.0.0.3", answered(300, MS), 60.0);
    dns.clients.extend(other.clients);
    dns.servers.extend(other.servers);
    dns.names.extend(other.names);
    dns.rows.extend(other.rows);
    dns.other_names = answered(40, MS);
    dns.timeline = (0..=10)
        .map(|second| Grown {
            at_ns: second * S,
            since_start: [if second < 4 { 0 } else { 10_000 }, 0],
        })
        .collect();
    dns.waiting = vec![Waiting {
        group: www(),
        pid: 4711,
        tid: 4712,
        server: server("127.0.0.53"),
        name: Some(b"hooks.example.com".to_vec()),
        qtype: 28,
        for_ns: 3 * S,
    }];
    let mut udp = sick(dropping("127.0.0.53:53", 3500));
    udp.queues.push(QueueUse {
        local: at("[2001:db8::7]:443"),
        remote: Some(at("[2001:db8::8]:40000")),
        bytes: 1280,
        max_bytes: 2304,
        rcvbuf_bytes: None,
    });
    let mut window = dns::fixture::window_with(dns);
    window.udp = Some(Box::new(udp));
    of(window)
}

fn of(window: Window) -> Data {
    Data {
        recent: window,
        ..Data::default()
    }
}

#[test]
fn every_table_says_where_trouble_is() {
    let data = data();
    for (n, section) in SCREEN.sections.iter().enumerate() {
        let name = section.title.replace(' ', "_");
        let keys = format!("5{}", ">".repeat(n));
        assert_snapshot!(name.clone(), shots(&data, &keys));
        assert_snapshot!(format!("{name}_opened"), shots(&data, &format!("{keys}\n")));
    }
}

#[test]
fn an_empty_table_says_why() {
    let mut quiet = dns::fixture::window_with(Dns::default());
    let said = |window: &Window| -> Vec<String> {
        let data = of(window.clone());
        SCREEN.sections.iter().map(|s| (s.empty)(&data)).collect()
    };
    let texts = said(&quiet);
    assert_eq!(
        texts[0],
        "No UDP socket dropped a datagram in the last 10.0 s."
    );
    assert_eq!(texts[2], "Nobody asked a name server in the last 10.0 s.");
    for probe in &mut quiet.probes {
        probe.state = State::Off("no BTF".to_owned());
    }
    assert!(said(&quiet)[0].starts_with("Not seen: why datagrams are dropped"));
    (quiet.udp, quiet.dns) = (None, None);
    let texts = said(&quiet);
    assert_eq!(
        texts[2],
        "DNS is not watched: questions and answers (dns: no BTF)."
    );
    quiet.probes.clear();
    assert_eq!(said(&quiet)[0], "UDP is not watched.");
    for n in 0..SCREEN.sections.len() {
        let screen = shots(&Data::default(), &format!("5{}", ">".repeat(n)));
        assert!(screen.contains("Nothing has been read yet."), "{screen}");
    }
}

#[test]
fn names_of_any_bytes_are_harmless() {
    let mut data = data();
    let evil = || EVIL.to_vec();
    let udp = data.recent.udp.as_mut().unwrap();
    udp.sockets[0].owners[0].0.comm = evil();
    udp.sockets.push(Dropping {
        owners: Vec::new(),
        rcvbuf_bytes: None,
        queue: Vec::new(),
        datagram_bytes: None,
        reasons: None,
        remote: Some(at("[2001:db8:aaaa:bbbb:cccc:dddd:eeee:1]:65535")),
        peak_per_s: f64::NAN,
        ..dropping(
            "[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:65535",
            99_999_999_999,
        )
    });
    let dns = data.recent.dns.as_mut().unwrap();
    dns.clients[0].group.name = evil();
    dns.rows[0].group.name = evil();
    dns.resolvers[0].group.name = evil();
    for name in [&mut dns.names[0].name, &mut dns.rows[0].name] {
        *name = Some(evil());
    }
    dns.names[1].name = Some(vec![b'x'; 1000]);
    dns.rows[1].name = None;
    dns.servers[0].peer = Peer::Unix { path: evil() };
    dns.rows[0].server = Peer::Unix { path: evil() };
    dns.waiting[0].group.name = evil();
    dns.waiting[0].name = Some(evil());
    sound(&SCREEN, &data);
    for probe in &mut data.recent.probes {
        probe.state = State::Off("a reason\x1b[2J".to_owned());
    }
    sound(&SCREEN, &data);
}
