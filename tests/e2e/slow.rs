//! W01 on pages that wait for a slow peer: who, how often, how much, compared with the servers' own numbers.

use std::time::Duration;

use anyhow::ensure;
use probe_tests::{
    report::{Report, culprit, evidence, measured},
    sys,
    tool::Tool,
    upstream::{Behaviour, Upstream},
    watch::ms,
    web::{self, FastCgi, Settings, Stack},
};

const WORKERS: usize = 4;
const REQUESTS: usize = 16;

/// How the page calls its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Calls {
    /// A curl handle, so a connection, for each call.
    Fresh,
    /// One curl handle.
    Reused,
    /// curl_multi.
    AtOnce,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    fastcgi: FastCgi,
    keep_conn: bool,
    calls: Calls,
    /// Does the peer keep its connections?
    keep_alive: bool,
    n: u64,
    delay_ms: u64,
}

/// Sums that the page printed, ns: time in curl, and on the page.
fn page_sums(answers: &[web::Answer]) -> anyhow::Result<(u64, u64)> {
    let mut sums = (0, 0);
    for answer in answers {
        let json: serde_json::Value = serde_json::from_str(&answer.body)?;
        sums.0 += json["curl_ns"].as_u64().unwrap_or(0);
        sums.1 += json["page_ns"].as_u64().unwrap_or(0);
    }
    Ok(sums)
}

fn check(case: Case) -> anyhow::Result<()> {
    run(case).map_err(|error| error.context(format!("{case:?}")))
}

fn run(case: Case) -> anyhow::Result<()> {
    let delay = Duration::from_millis(case.delay_ms);
    let peer = Upstream::tcp(Behaviour::http(delay, case.keep_alive))?;
    let pool = format!("e2e{}", std::process::id());
    let stack = Stack::start(Settings {
        pool: &pool,
        workers: WORKERS,
        fastcgi: case.fastcgi,
        keep_conn: case.keep_conn,
    })?;
    let page = format!(
        "/calls.php?n={}&url=http://{}/&reuse={}&parallel={}",
        case.n,
        peer.host_port(),
        u8::from(case.calls == Calls::Reused),
        u8::from(case.calls == Calls::AtOnce)
    );

    let at_once = if case.keep_conn { WORKERS / 2 } else { WORKERS };
    let tool = Tool::start_attached(&["diagnose", "--pool", &pool, "--duration", "60s", "--json"])?;
    let before = stack.access_log()?.len();
    let answers = web::get_many(stack.addr, &page, REQUESTS, at_once)?;
    web::wait_for("the access log", std::path::Path::new(""), || {
        stack
            .access_log()
            .is_ok_and(|log| log.len() >= before + REQUESTS)
    })?;
    // The worker has a few more calls to make after its answer.
    std::thread::sleep(Duration::from_millis(100));
    let output = tool.interrupt()?;
    let log = &stack.access_log()?[before..];
    let report = Report::of(&output)?;
    let context = || format!("{}\n{}", report.brief(), output.stderr);

    // The verdict.
    ensure!(
        output.code == Some(1),
        "exit code {:?}\n{}",
        output.code,
        context()
    );
    let rules = report.rules();
    ensure!(
        rules.first().is_some_and(|r| r.starts_with("W01")),
        "findings: {rules:?}\n{}",
        context()
    );
    let finding = &report.findings()[0];
    ensure!(
        culprit(finding) == peer.host_port(),
        "the culprit is {}, not {}",
        culprit(finding),
        peer.host_port()
    );

    // Every request, and no other.
    let group = report.group(&pool)?;
    ensure!(
        log.len() == REQUESTS,
        "{} lines in the access log",
        log.len()
    );
    let requests = group.number("requests")?;
    ensure!(
        requests == REQUESTS as u64,
        "{requests} requests, the access log has {REQUESTS}\n{}",
        context()
    );
    report.ensure_kept()?;

    // How often it calls.
    let (name, numbers) = group.top_peer()?;
    ensure!(name == peer.host_port(), "the first peer is {name}");
    let calls = case.n * REQUESTS as u64;
    let connects = if case.calls == Calls::Reused && case.keep_alive {
        REQUESTS as u64
    } else {
        calls
    };
    for (field, text, expected) in [
        ("connects", "connects to it", connects),
        ("exchanges", "rounds with it", calls),
    ] {
        let got = numbers[field].as_u64();
        if field == "exchanges" && case.calls == Calls::AtOnce {
            // Rounds are told apart by peer, not by connection: those at once are one.
            ensure!(
                got.is_some_and(|n| (REQUESTS as u64..=calls).contains(&n)),
                "{numbers}"
            );
            continue;
        }
        ensure!(
            got == Some(expected),
            "{field}: {got:?} instead of {expected}: {numbers}"
        );
        let said = evidence(finding, "per request", text);
        ensure!(
            said == Some(expected as f64 / REQUESTS as f64),
            "the finding says {said:?} {text} per request, made {expected} in {REQUESTS}"
        );
    }
    ensure!(
        peer.exchanges().len() as u64 == calls,
        "the peer answered {}",
        peer.exchanges().len()
    );
    let overlapped = numbers["overlapped_connects"].as_u64().unwrap_or(u64::MAX);
    if case.calls == Calls::AtOnce && case.n > 1 {
        ensure!(
            overlapped > 0,
            "calls at once are not seen as such: {numbers}"
        );
    } else {
        ensure!(
            overlapped == 0,
            "calls in a row are taken for calls at once: {numbers}"
        );
    }

    // How much of the time. The truth lies between the peer's own account (its delay alone) and the page's
    // (everything in curl, CPU time included).
    let (wall, parts) = group.wall_and_parts()?;
    ensure!(
        parts.abs_diff(wall) * 100 <= wall,
        "the parts sum to {parts} ns of {wall} ns"
    );
    let (curl, on_page) = page_sums(&answers)?;
    let nginx_ms: f64 = log.iter().map(|l| l.request_ms).sum();
    // nginx counts in whole ms, and starts before the worker accepts; the page starts after it does.
    let slack = 0.02 * nginx_ms + 2.0 * REQUESTS as f64;
    ensure!(
        ms(wall) <= nginx_ms + slack && ms(wall) + slack >= ms(on_page),
        "wall {:.1} ms; nginx says {nginx_ms:.1} ms, the page {:.1} ms",
        ms(wall),
        ms(on_page)
    );
    let peer_ns = match case.calls {
        // The delays overlap; one after the other there is one per request.
        Calls::AtOnce => delay.as_nanos() as u64 * REQUESTS as u64,
        _ => peer.busy_ns(),
    };
    let waited = numbers["wait_ns"].as_u64().unwrap_or(0);
    let share = waited as f64 / wall as f64;
    // Where the kernel left out a switch outside of a call, the time around it is unexplained.
    let unexplained = group.unexplained()?;
    ensure!(
        unexplained < 0.02,
        "{unexplained:.3} of the time is unexplained"
    );
    let low = peer_ns as f64 / (nginx_ms * 1e6) - 0.02;
    let high = (curl as f64 / on_page as f64).min(1.0) + 0.02;
    ensure!(
        (low..=high).contains(&share),
        "share {share:.4}: the servers' own numbers say {low:.4} to {high:.4}; waited {:.1} ms, the peer \
         says {:.1} ms, the page {:.1} ms\n{}",
        ms(waited),
        ms(peer_ns),
        ms(curl),
        context()
    );
    let said = measured(finding, "share of request wall time");
    ensure!(
        said.is_some_and(|said| (said - share).abs() < 0.001),
        "the finding says {said:?}, its signals say {share:.4}"
    );
    Ok(())
}

pub fn many_calls_on_connections_of_their_own() -> anyhow::Result<()> {
    check(Case {
        fastcgi: FastCgi::Unix,
        keep_conn: false,
        calls: Calls::Fresh,
        keep_alive: false,
        n: 24,
        delay_ms: 10,
    })
}

pub fn many_calls_on_one_connection() -> anyhow::Result<()> {
    check(Case {
        fastcgi: FastCgi::Tcp,
        keep_conn: true,
        calls: Calls::Reused,
        keep_alive: true,
        n: 5,
        delay_ms: 50,
    })
}

pub fn one_slow_call() -> anyhow::Result<()> {
    check(Case {
        fastcgi: FastCgi::Tcp,
        keep_conn: false,
        calls: Calls::Fresh,
        keep_alive: true,
        n: 1,
        delay_ms: 250,
    })
}

pub fn many_calls_kept_alive_over_kept_fastcgi() -> anyhow::Result<()> {
    check(Case {
        fastcgi: FastCgi::Unix,
        keep_conn: true,
        calls: Calls::Fresh,
        keep_alive: true,
        n: 8,
        delay_ms: 30,
    })
}

pub fn calls_at_once() -> anyhow::Result<()> {
    check(Case {
        fastcgi: FastCgi::Unix,
        keep_conn: false,
        calls: Calls::AtOnce,
        keep_alive: false,
        n: 6,
        delay_ms: 200,
    })
}

/// A number of calls and a delay that nobody chose; the failure message tells them.
fn drawn(fastcgi: FastCgi) -> Case {
    let seed = sys::now_ns() / 1000;
    let n = 2 + seed % 19;
    let total_ms = 150 + seed / 19 % 200;
    Case {
        fastcgi,
        keep_conn: (seed / 3800).is_multiple_of(2),
        calls: if (seed / 7600).is_multiple_of(2) {
            Calls::Fresh
        } else {
            Calls::Reused
        },
        keep_alive: (seed / 15200).is_multiple_of(2),
        n,
        delay_ms: total_ms / n,
    }
}

pub fn drawn_numbers_over_a_unix_socket() -> anyhow::Result<()> {
    check(drawn(FastCgi::Unix))
}

pub fn drawn_numbers_over_tcp() -> anyhow::Result<()> {
    check(drawn(FastCgi::Tcp))
}
