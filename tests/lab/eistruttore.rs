//! Incident B: every page looks a name up, and the resolver on this machine, which has a small receive buffer, stands still or
//! is too slow. Each question that it loses costs a worker the whole time-out of resolv.conf.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use probe_tests::{
    lab::{Expected, Kind, Lab, Outcome, Said, Scenario, Truth},
    netns,
    report::{evidence, measured},
    web::{self, FastCgi, ResolvConf, Settings, Stack, Unbound},
};
use serde_json::Value;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "eistruttore",
        about: "the resolver stands still while every page looks a name up",
        kind: Kind::Incident,
        play: stands_still,
    },
    Scenario {
        name: "eistruttore-slow",
        about: "the resolver runs for milliseconds out of each second, and its buffer overflows in between",
        kind: Kind::Incident,
        play: too_slow,
    },
];

/// A pool whose workers ask a resolver of the scenario's own, and nobody else.
struct Site {
    pool: String,
    workers: usize,
    /// What a worker waits for each answer, and how often it asks.
    timeout: Duration,
    attempts: u64,
    page: String,
    well: String,
    // Ended in this order.
    stack: Stack,
    unbound: Unbound,
    _resolv: ResolvConf,
}

impl Site {
    /// All workers at once ask for A and AAAA: 56 questions or more. A datagram takes 512 bytes or more of a receive buffer, of
    /// which there are twice what is asked for: it has room for 31 at most.
    fn start(lab: &mut Lab, attempts: u64) -> anyhow::Result<Self> {
        let pool = lab.name("pool");
        let workers = lab.number("workers", 28..=44) as usize;
        let server = IpAddr::from([
            127,
            0,
            0,
            lab.number("the resolver's last byte", 2..=254) as u8,
        ]);
        let buffer = lab.number("buffer, bytes", 2_500..=8_000) as u32;
        let timeout_s = lab.number("timeout of resolv.conf, s", 1..=2);
        let resolv = ResolvConf::with(&format!(
            "nameserver {server}\noptions timeout:{timeout_s} attempts:{attempts} ndots:1\n"
        ))?;
        let unbound = Unbound::start(server, buffer)?;
        let name = lab.name("looked up");
        let stack = Stack::start(Settings {
            pool: &pool,
            workers,
            fastcgi: FastCgi::Unix,
            keep_conn: false,
        })?;
        Ok(Self {
            pool,
            workers,
            timeout: Duration::from_secs(timeout_s),
            attempts,
            page: format!("/lookup.php?name={name}.test"),
            well: format!("/lookup.php?name=well-{name}.test"),
            stack,
            unbound,
            _resolv: resolv,
        })
    }

    fn resolver(&self) -> u32 {
        self.unbound.spawned.process.id()
    }

    /// One page for each worker, at once: how long each took to look the name up, by its own clock, and how many found it.
    fn storm(&self, times: usize) -> anyhow::Result<(Vec<Duration>, usize)> {
        let pages = self.workers * times;
        let answers = web::get_many(self.stack.addr, &self.page, pages, self.workers)?;
        let mut found = 0;
        let took = answers.iter().map(|answer| {
            let json: Value = serde_json::from_str(&answer.body)?;
            found += usize::from(json["found"] == true);
            let ns = json["took_ns"].as_u64().context(answer.body.clone())?;
            Ok(Duration::from_nanos(ns))
        });
        let took = took.collect::<anyhow::Result<Vec<_>>>()?;
        Ok((took, found))
    }

    /// While the resolver works.
    fn counts(&self) -> anyhow::Result<Counts> {
        Ok(Counts {
            read: self.unbound.questions()?,
            dropped: netns::counter("Udp", "RcvbufErrors")?,
        })
    }

    /// A lookup while the resolver works, which it answers after everything that was sent to it before.
    fn works(&self) -> anyhow::Result<()> {
        // What has filled the buffer is read at once.
        std::thread::sleep(Duration::from_millis(500));
        let answer = web::get(self.stack.addr, &self.well)?;
        ensure!(
            answer.body.contains("\"found\":true"),
            "the scenario is wrong: the resolver does not answer: {answer:?}"
        );
        Ok(())
    }
}

/// What others count of the questions.
#[derive(Clone, Copy)]
struct Counts {
    /// Those that the resolver has read.
    read: u64,
    /// Those that its buffer had no room for: nobody else is sent datagrams here but for answers.
    dropped: u64,
}

fn stands_still(lab: &mut Lab) -> anyhow::Result<Outcome> {
    let attempts = lab.number("attempts of resolv.conf", 1..=2);
    let mut site = Site::start(lab, attempts)?;
    let whole_s = lab.number("storm, s", 8..=13);
    let times = whole_s.div_ceil(site.timeout.as_secs() * site.attempts);
    let watch = lab.watch(&["--pool", &site.pool])?;
    let before = site.counts()?;
    site.works()?;
    site.unbound.spawned.signal(libc::SIGSTOP);
    let storm = site.storm(times as usize);
    site.unbound.spawned.signal(libc::SIGCONT);
    let (took, found) = storm?;
    site.works()?;
    let after = site.counts()?;
    let said = watch.end()?;
    ensure!(found == 0, "the scenario is wrong: {found} found the name");
    let lost = took.iter().sum();
    Ok(judged(said, &site, before, after, lost, 0.01))
}

fn too_slow(lab: &mut Lab) -> anyhow::Result<Outcome> {
    let attempts = lab.number("attempts of resolv.conf", 2..=3);
    let site = Site::start(lab, attempts)?;
    let run = Duration::from_millis(lab.number("it runs for, ms", 2..=5));
    let pause = Duration::from_millis(lab.number("and stands still for, ms", 150..=450));
    let whole = Duration::from_secs(lab.number("storm, s", 8..=12));
    let watch = lab.watch(&["--pool", &site.pool])?;
    let before = site.counts()?;
    site.works()?;
    let mut took = Vec::new();
    let begun = Instant::now();
    let brake = Brake::on(site.resolver(), run, pause);
    while begun.elapsed() < whole {
        took.extend(site.storm(1)?.0);
    }
    drop(brake);
    site.works()?;
    let after = site.counts()?;
    let said = watch.end()?;
    // A lookup took as many time-outs as it lost questions, one after the other, and what the answer took in the end: less
    // than another time-out.
    let whole_timeouts = |took: &Duration| {
        let lost = took.as_nanos() / site.timeout.as_nanos();
        site.timeout * lost as u32
    };
    let lost = took.iter().map(whole_timeouts).sum();
    Ok(judged(said, &site, before, after, lost, 0.02))
}

/// `lost`: what the workers waited in vain, by their own clocks.
fn judged(
    said: Said,
    site: &Site,
    before: Counts,
    after: Counts,
    lost: Duration,
    within: f64,
) -> Outcome {
    let dropped = after.dropped - before.dropped;
    let report = &said.report;
    let storm = report.anywhere("U02");
    let told = |about, text| storm.and_then(|f| evidence(f, about, text));
    let truths = vec![
        Truth {
            what: "datagrams dropped",
            told: report.anywhere("U01").and_then(|f| measured(f, "dropped")),
            truth: dropped as f64,
            source: "RcvbufErrors",
            within: 0.0,
        },
        // What was not dropped was read in the end.
        Truth {
            what: "questions asked",
            told: told("questions", "asked"),
            truth: (after.read - before.read + dropped) as f64,
            source: "unbound's own count, and RcvbufErrors",
            within: 0.0,
        },
        Truth {
            what: "time lost, ms",
            told: told("time-outs", "in all").map(|ns| ns / 1e6),
            truth: lost.as_secs_f64() * 1e3,
            source: "the pages' own clock",
            within,
        },
    ];
    // The lookups time out because of the drops, and the requests wait for the resolver because of that.
    let pid = format!("\"process.pid\":{}", site.resolver());
    let expected = Expected::first("U01", &["\"unbound\"", &pid], &["U02", "W01"]);
    Outcome {
        said,
        expected,
        truths,
    }
}

/// Lets a process run for a while and stand still for a while, in turn, until this is dropped: it runs then.
struct Brake {
    off: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Brake {
    /// `pid` is a process of ours that is not waited for before this is dropped.
    fn on(pid: u32, run: Duration, pause: Duration) -> Self {
        let off = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&off);
        // SAFETY: plain kill; the process is ours and not reaped, so the pid is still its.
        let signal = move |signal| unsafe { libc::kill(pid as i32, signal) };
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                signal(libc::SIGSTOP);
                std::thread::sleep(pause);
                signal(libc::SIGCONT);
                std::thread::sleep(run);
            }
        });
        Self {
            off,
            thread: Some(thread),
        }
    }
}

impl Drop for Brake {
    fn drop(&mut self) {
        self.off.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
