//! U02 and U01 as one cause with its symptom: a real unbound that stands still while PHP workers look names up; and the
//! same load while it answers.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, ensure};
use probe_tests::{
    netns::{self, Netns},
    report::{Report, evidence, measured},
    tool::Tool,
    web::{self, FastCgi, ResolvConf, Settings, Stack, Unbound},
};
use serde_json::Value;

const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
/// So many ask at once.
const WORKERS: usize = 16;
/// What unbound asks for. The kernel doubles it, which holds some twenty questions.
const BUFFER: u32 = 8 << 10;
/// A and AAAA, each sent twice.
const QUESTIONS: u64 = 4 * WORKERS as u64;

/// A pool whose workers ask `SERVER`, and nothing else.
struct Site {
    stack: Stack,
    unbound: Unbound,
    pool: String,
    _resolv: ResolvConf,
    _netns: Netns,
}

impl Site {
    fn start() -> anyhow::Result<Self> {
        let netns = Netns::enter()?;
        let resolv = ResolvConf::with(&format!(
            "nameserver {SERVER}\noptions timeout:1 attempts:2 ndots:1\n"
        ))?;
        let unbound = Unbound::start(SERVER, BUFFER)?;
        let pool = format!("asks-{}", std::process::id());
        let stack = Stack::start(Settings {
            pool: &pool,
            workers: WORKERS,
            fastcgi: FastCgi::Unix,
            keep_conn: false,
        })?;
        Ok(Self {
            stack,
            unbound,
            pool,
            _resolv: resolv,
            _netns: netns,
        })
    }

    fn diagnose(&self) -> anyhow::Result<Tool> {
        let pool = self.pool.as_str();
        Tool::start_attached(&["diagnose", "--pool", pool, "--duration", "60s", "--json"])
    }

    /// So many pages at once, each of which looks one name up for IPv4 and IPv6: what the workers' own clocks say
    /// of each lookup, ns, and when the first and the last began.
    fn look_up(&self, name: &str, pages: usize) -> anyhow::Result<Lookups> {
        let path = format!("/lookup.php?name={name}");
        let answers = web::get_many(self.stack.addr, &path, pages, pages)?;
        let mut lookups = Lookups::default();
        for answer in &answers {
            let json: Value = serde_json::from_str(&answer.body)?;
            let number = |field: &str| json[field].as_u64().context(answer.body.clone());
            lookups.took_ns += number("took_ns")?;
            lookups.found += u64::from(json["found"] == true);
            lookups.began_ns.push(number("began_ns")?);
        }
        Ok(lookups)
    }
}

#[derive(Debug, Default)]
struct Lookups {
    took_ns: u64,
    found: u64,
    began_ns: Vec<u64>,
}

impl Lookups {
    /// From the first lookup's begin to the last one's.
    fn spread(&self) -> Duration {
        let (first, last) = (self.began_ns.iter().min(), self.began_ns.iter().max());
        Duration::from_nanos(last.unwrap_or(&0) - first.unwrap_or(&0))
    }
}

pub fn a_resolver_that_stands_still_is_one_cause_with_its_symptom() -> anyhow::Result<()> {
    let mut site = Site::start()?;
    let tool = site.diagnose()?;
    let well = site.look_up("well.test", 1)?;
    ensure!(well.found == 1, "the test is wrong: {well:?}");

    site.unbound.spawned.signal(libc::SIGSTOP);
    let storm = site.look_up("db.test", WORKERS);
    site.unbound.spawned.signal(libc::SIGCONT);
    let storm = storm?;
    let output = tool.interrupt()?;
    ensure!(
        storm.found == 0 && storm.spread() < Duration::from_millis(500),
        "the test is wrong: {storm:?}"
    );
    let dropped = netns::counter("Udp", "RcvbufErrors")?;
    ensure!(dropped > 0 && dropped < QUESTIONS, "{dropped} dropped");

    let report = Report::of(&output)?;
    let cause = report.finding("U01")?;
    ensure!(
        cause["culprit"]["process.pid"] == site.unbound.spawned.process.id(),
        "{cause}"
    );
    ensure!(
        measured(cause, "dropped") == Some(dropped as f64),
        "{dropped} dropped: {cause}"
    );
    ensure!(report.finding("U02").is_err(), "{}", report.brief());
    let symptoms = cause["symptoms"].as_array().context("no symptoms")?;
    let symptom = symptoms.iter().find(|s| {
        let rule = s["rule"].as_str();
        rule.is_some_and(|rule| rule.starts_with("U02"))
    });
    let symptom = symptom.with_context(|| {
        let (rules, dns) = (report.brief(), &report.0["dns"]);
        format!("no U02 behind U01: {rules}\n{dns}\n{cause}")
    })?;

    // One worker asks first for each of both types; what it and the others send again is no duplicate.
    let asked = |what: &str| evidence(symptom, "questions", what).map(|n| n as u64);
    let counted = ["asked", "answered", "retries", "duplicates"].map(asked);
    let expected = [QUESTIONS + 2, 2, QUESTIONS / 2, 2 * (WORKERS as u64 - 1)];
    ensure!(
        counted == expected.map(Some),
        "{counted:?}, not {expected:?}: {symptom}"
    );
    let lost = evidence(symptom, "time-outs", "in all").context("no time")?;
    let off = (lost - storm.took_ns as f64).abs() / storm.took_ns as f64;
    ensure!(
        off < 0.02,
        "lost {lost} ns, the workers say {}: {symptom}",
        storm.took_ns
    );
    println!(
        "lost {:.3} s, the workers' clocks say {:.3} s ({:.2} % off); {dropped} of {QUESTIONS} dropped",
        lost / 1e9,
        storm.took_ns as f64 / 1e9,
        off * 100.0
    );
    report.ensure_kept()?;
    Ok(())
}

pub fn the_same_load_with_answers_is_no_finding() -> anyhow::Result<()> {
    let site = Site::start()?;
    let tool = site.diagnose()?;
    for _ in 0..4 {
        // Not all at once: the buffer is small.
        let all = site.look_up("db.test", WORKERS / 4)?;
        ensure!(
            all.found == WORKERS as u64 / 4,
            "the test is wrong: {all:?}"
        );
    }
    let output = tool.interrupt()?;
    let dropped = netns::counter("Udp", "RcvbufErrors")?;
    ensure!(dropped == 0, "the test is wrong: {dropped} dropped");
    let report = Report::of(&output)?;
    ensure!(
        output.code == Some(0) && report.findings().is_empty(),
        "exit code {:?}, {}",
        output.code,
        report.brief()
    );
    let total = &report.0["dns"]["total"];
    let questions = 2 * WORKERS;
    ensure!(
        total["asked"] == questions && total["answered"] == questions,
        "{total}"
    );
    let not_judged = report.0["not_judged"].to_string();
    ensure!(!not_judged.contains("\"U0"), "{not_judged}");
    report.ensure_kept()?;
    Ok(())
}
