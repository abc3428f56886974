//! Incident A: a page makes many calls to a slow API, one after the other, in every server that may stand behind it.

use std::time::Duration;

use anyhow::Context as _;
use probe_tests::{
    lab::{Expected, Kind, Lab, Outcome, Said, Scenario, Truth},
    upstream::{Behaviour, Upstream},
    web::{self, FastCgi, Gunicorn, Settings, Stack},
};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "enginery",
        about: "a page calls a slow API many times in a row, a connection each",
        kind: Kind::Incident,
        play: |lab| php(lab, FastCgi::Unix, false),
    },
    Scenario {
        name: "enginery-one-handle",
        about: "the same calls on one connection",
        kind: Kind::Incident,
        play: |lab| php(lab, FastCgi::Unix, true),
    },
    Scenario {
        name: "enginery-tcp",
        about: "the same with PHP-FPM behind TCP",
        kind: Kind::Incident,
        play: |lab| php(lab, FastCgi::Tcp, false),
    },
    Scenario {
        name: "enginery-gunicorn",
        about: "the same in gunicorn's sync workers",
        kind: Kind::Incident,
        play: gunicorn,
    },
];

/// Numbers of the incident, drawn.
struct Numbers {
    workers: usize,
    calls: u64,
    requests: usize,
    peer: Upstream,
}

fn numbers(lab: &mut Lab, keep_alive: bool) -> anyhow::Result<Numbers> {
    let workers = lab.number("workers", 3..=8) as usize;
    let delay = Duration::from_millis(lab.number("the API's delay, ms", 15..=50));
    Ok(Numbers {
        workers,
        calls: lab.number("calls of a page", 12..=30),
        requests: workers * lab.number("requests of a worker", 4..=8) as usize,
        peer: Upstream::tcp(Behaviour::http(delay, keep_alive))?,
    })
}

fn php(lab: &mut Lab, fastcgi: FastCgi, one_handle: bool) -> anyhow::Result<Outcome> {
    let Numbers {
        workers,
        calls,
        requests,
        peer,
    } = numbers(lab, one_handle)?;
    let pool = lab.name("pool");
    let stack = Stack::start(Settings {
        pool: &pool,
        workers,
        fastcgi,
        keep_conn: false,
    })?;
    let page = format!(
        "/calls.php?n={calls}&url=http://{}/&reuse={}",
        peer.host_port(),
        u8::from(one_handle)
    );
    let watch = lab.watch(&["--pool", &pool])?;
    let before = stack.access_log()?.len();
    web::get_many(stack.addr, &page, requests, workers)?;
    web::wait_for("the access log", lab.dir(), || {
        stack
            .access_log()
            .is_ok_and(|log| log.len() >= before + requests)
    })?;
    // The worker has a few more calls to make after its answer.
    std::thread::sleep(Duration::from_millis(200));
    let said = watch.end()?;
    let logged = &stack.access_log()?[before..];
    let request_ms: f64 = logged.iter().map(|line| line.request_ms).sum();
    let connects = if one_handle {
        requests as u64
    } else {
        calls * requests as u64
    };
    judged(said, &pool, &peer, logged.len(), request_ms, connects)
}

fn gunicorn(lab: &mut Lab) -> anyhow::Result<Outcome> {
    let Numbers {
        workers,
        calls,
        requests,
        peer,
    } = numbers(lab, false)?;
    let server = Gunicorn::start(workers)?;
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", server.master))?;
    let name = peer.host_port();
    let port = name
        .rsplit_once(':')
        .context("an address without a port")?
        .1;
    let page = format!("/?n={calls}&port={port}");
    let watch = lab.watch(&["--comm", comm.trim_end()])?;
    let answers = web::get_many(server.addr, &page, requests, workers)?;
    std::thread::sleep(Duration::from_millis(200));
    let said = watch.end()?;
    let mut page_ms = 0.0;
    for answer in &answers {
        page_ms += answer.body.parse::<f64>().context(answer.body.clone())? / 1e6;
    }
    let connects = calls * requests as u64;
    judged(
        said,
        comm.trim_end(),
        &peer,
        answers.len(),
        page_ms,
        connects,
    )
}

/// `request_ms`: what the server itself says that the requests took.
fn judged(
    said: Said,
    group: &str,
    peer: &Upstream,
    requests: usize,
    request_ms: f64,
    connects: u64,
) -> anyhow::Result<Outcome> {
    let of = said.report.group(group)?;
    let (_, api) = of.top_peer()?;
    let number = |value: &serde_json::Value| value.as_f64();
    let truths = vec![
        Truth {
            what: "requests",
            told: of.number("requests").ok().map(|n| n as f64),
            truth: requests as f64,
            source: "the server's log",
            within: 0.0,
        },
        Truth {
            what: "time of the requests, ms",
            told: of.number("wall_ns").ok().map(|ns| ns as f64 / 1e6),
            truth: request_ms,
            source: "the server's clock",
            within: 0.05,
        },
        Truth {
            what: "connects to the API",
            told: number(&api["connects"]),
            truth: connects as f64,
            source: "the page's own count",
            within: 0.0,
        },
        Truth {
            what: "answers of the API",
            told: number(&api["exchanges"]),
            truth: peer.exchanges().len() as f64,
            source: "the API's account",
            within: 0.0,
        },
        Truth {
            what: "waited for the API, ms",
            told: number(&api["wait_ns"]).map(|ns| ns / 1e6),
            truth: peer.busy_ns() as f64 / 1e6,
            source: "the API's account",
            within: 0.1,
        },
    ];
    let expected = Expected::first("W01", &[group, &peer.host_port()], &["W02"]);
    Ok(Outcome {
        said,
        expected,
        truths,
    })
}
