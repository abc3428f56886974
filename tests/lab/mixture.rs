//! Two incidents at once, which have nothing to do with each other; and one incident beside neighbours that are loud and well.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use probe_tests::{
    bpftrace::{Commits, median_beside},
    child::Child,
    ext4::Ext4,
    lab::{Cause, Expected, Kind, Lab, Outcome, Said, Scenario, Truth},
    report::evidence,
    sys::Addr,
    tcp::{self, Account, Manner, Plan, Then},
    upstream::{Behaviour, Upstream},
    web::{self, FastCgi, Haproxy, Settings, Stack},
};
use serde_json::Value;

use crate::aigocy::Few;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "two-incidents",
        about: "a pool calls a slow API while HAProxy runs out of local ports",
        kind: Kind::Mixture,
        play: with_ports,
    },
    Scenario {
        name: "two-incidents-pools",
        about: "one pool calls a slow API, another one waits for a journal",
        kind: Kind::Mixture,
        play: with_journal,
    },
    Scenario {
        name: "loud-neighbour",
        about: "a pool calls a slow API beside a pool at full load and a program with many short connections",
        kind: Kind::Mixture,
        play: loud_neighbour,
    },
];

/// A pool whose page calls a slow API many times in a row, a connection each.
struct Slow {
    pool: String,
    workers: usize,
    calls: u64,
    stack: Stack,
    peer: Upstream,
}

/// What it has served, by its own clock.
#[derive(Default)]
struct Served {
    requests: usize,
    /// Time of the pages in curl, ns.
    called_ns: u64,
}

impl Slow {
    fn start(lab: &mut Lab) -> anyhow::Result<Self> {
        let pool = lab.name("slow pool");
        let workers = lab.number("its workers", 3..=6) as usize;
        let delay = Duration::from_millis(lab.number("the API's delay, ms", 20..=50));
        let stack = Stack::start(Settings {
            pool: &pool,
            workers,
            fastcgi: lab.one_of("it is reached over", &[FastCgi::Unix, FastCgi::Tcp]),
            keep_conn: false,
        })?;
        Ok(Self {
            pool,
            workers,
            calls: lab.number("calls of a page", 10..=24),
            stack,
            peer: Upstream::tcp(Behaviour::http(delay, false))?,
        })
    }

    /// A request for each worker at a time, again and again while `more` says so.
    fn serve(&self, more: impl Fn() -> bool) -> anyhow::Result<Served> {
        let page = format!(
            "/calls.php?n={}&url=http://{}/",
            self.calls,
            self.peer.host_port()
        );
        let mut served = Served::default();
        while more() {
            let answers = web::get_many(self.stack.addr, &page, self.workers, self.workers)?;
            served.requests += answers.len();
            for answer in answers {
                let json: Value = serde_json::from_str(&answer.body)?;
                served.called_ns += json["curl_ns"].as_u64().context(answer.body)?;
            }
        }
        Ok(served)
    }

    fn cause(&self) -> Cause {
        let pool = format!("{:?}", self.pool);
        Cause {
            rule: "W01",
            names: vec![pool, self.peer.host_port()],
        }
    }

    /// The tool's numbers of this pool beside those of the page and of the API.
    fn truths(&self, said: &Said, served: &Served) -> Vec<Truth> {
        let group = said.report.group(&self.pool).ok();
        let of = |name| group.as_ref()?.number(name).ok().map(|n| n as f64);
        let peer = group.as_ref().and_then(|group| {
            let (name, numbers) = group.top_peer().ok()?;
            (name == self.peer.host_port()).then_some(numbers)
        });
        let told = |name: &str| peer?[name].as_f64();
        vec![
            Truth {
                what: "requests of the slow pool",
                told: of("requests"),
                truth: served.requests as f64,
                source: "who asked",
                within: 0.0,
            },
            Truth {
                what: "connects to the API",
                told: told("connects"),
                truth: (self.calls * served.requests as u64) as f64,
                source: "the page's own count",
                within: 0.0,
            },
            Truth {
                what: "answers of the API",
                told: told("exchanges"),
                truth: self.peer.exchanges().len() as f64,
                source: "the API's account",
                within: 0.0,
            },
            // At least what the API says that it took, at most what the page was in curl for: the more the CPUs are wanted by
            // others, the further these are from each other. A worker may lose its CPU between asking and waiting.
            Truth {
                what: "waited for the API, ms",
                told: told("wait_ns").map(|ns| ns / 1e6),
                truth: served.called_ns as f64 / 1e6,
                source: "the page's own clock",
                within: 1.02 - self.peer.busy_ns() as f64 / served.called_ns as f64,
            },
        ]
    }
}

/// What a page does after its answer is sent.
const AFTERWARDS: Duration = Duration::from_millis(200);

fn with_ports(lab: &mut Lab) -> anyhow::Result<Outcome> {
    let slow = Slow::start(lab)?;
    let few = Few::start(lab)?;
    let haproxy = Haproxy::start(&[few.site()])?;
    few.narrow()?;
    let watch = lab.watch(&["--pool", &slow.pool, "--comm", "haproxy"])?;
    let over = AtomicBool::new(false);
    let (visits, served) = std::thread::scope(|scope| -> anyhow::Result<_> {
        let visitors = scope.spawn(|| {
            let visits = few.visit();
            over.store(true, Ordering::Relaxed);
            visits
        });
        let served = slow.serve(|| !over.load(Ordering::Relaxed));
        let visits = visitors.join().ok().context("the visitors panicked")?;
        Ok((visits?, served?))
    })?;
    let (said, end) = few.end(watch)?;
    let mut truths = slow.truths(&said, &served);
    truths.extend(few.truths(&said, visits, &haproxy, end)?);
    Ok(Outcome {
        said,
        expected: both([slow.cause(), few.cause(&haproxy)]),
        truths,
    })
}

/// Neither follows from the other. The slow pool's workers are always busy, and no request waits for one.
fn both(causes: [Cause; 2]) -> Expected {
    Expected::Causes {
        causes: causes.into(),
        in_order: false,
        besides: Vec::new(),
    }
}

fn with_journal(lab: &mut Lab) -> anyhow::Result<Outcome> {
    let slow = Slow::start(lab)?;
    // The data is written by the commit, and meets the limit of the disk.
    let limit = lab.number("writes of the disk a second", 8..=20) as u32;
    let disk = Ext4::with(Some(limit), "nodelalloc")?;
    web::writable_to_all(&disk.dir)?;
    web::open_to_all(disk.place())?;
    let pool = lab.name("writing pool");
    let workers = lab.number("its workers", 3..=5) as usize;
    let files = lab.number("files of a page", 4..=7);
    let stack = Stack::start(Settings {
        pool: &pool,
        workers,
        fastcgi: FastCgi::Unix,
        keep_conn: false,
    })?;
    let page = format!("/write.php?n={files}&dir={}", disk.dir.display());
    let whole = Duration::from_secs(lab.number("load, s", 9..=14));
    let beside = Commits::start(disk.number)?;
    let watch = lab.watch(&["--pool", &slow.pool, "--pool", &pool])?;
    let begun = Instant::now();
    let (served, written) = std::thread::scope(|scope| -> anyhow::Result<_> {
        let writers = scope.spawn(|| -> anyhow::Result<Vec<web::Answer>> {
            let mut all = Vec::new();
            while begun.elapsed() < whole {
                all.extend(web::get_many(stack.addr, &page, workers, workers)?);
            }
            Ok(all)
        });
        let served = slow.serve(|| begun.elapsed() < whole);
        let written = writers.join().ok().context("the writers panicked")?;
        Ok((served?, written?))
    })?;
    std::thread::sleep(AFTERWARDS);
    let said = watch.end()?;
    let commits = beside.end()?;
    let mut fsync_ns = 0.0;
    for answer in &written {
        let json: Value = serde_json::from_str(&answer.body)?;
        fsync_ns += json["fsync_ns"].as_f64().context(answer.body.clone())?;
    }
    let finding = said.report.anywhere("S01");
    let told = |about, text| finding.and_then(|f| evidence(f, about, text));
    let mut truths = slow.truths(&said, &served);
    truths.extend([
        Truth {
            what: "fsyncs",
            told: told("fsync", "calls"),
            truth: written.len() as f64,
            source: "the pages that synced",
            within: 0.0,
        },
        Truth {
            what: "a commit's median, ms",
            told: told("commit", "p50").map(|ns| ns / 1e6),
            truth: median_beside(&commits, told("commit", "ended"), told("commit", "p50")) / 1e6,
            source: "bpftrace",
            within: 0.05,
        },
        Truth {
            what: "time in fsync, ms",
            told: syncs_ns(&said, &pool).map(|ns| ns / 1e6),
            truth: fsync_ns / 1e6,
            source: "the pages' own clock",
            within: 0.02,
        },
    ]);
    let journal = Cause {
        rule: "S01",
        names: vec![format!("{pool:?}"), disk.dir.display().to_string()],
    };
    // Each pool's trouble is its own.
    for (rule, others) in [("W01", &pool), ("S01", &slow.pool)] {
        if let Some(finding) = said.report.anywhere(rule) {
            let named = finding.to_string().contains(others.as_str());
            ensure!(!named, "{rule} speaks of pool {others}: {finding}");
        }
    }
    Ok(Outcome {
        said,
        expected: both([slow.cause(), journal]),
        truths,
    })
}

/// What the report says of the time that a pool's processes spent in fsync, ns.
fn syncs_ns(said: &Said, pool: &str) -> Option<f64> {
    let journals = said.report.0["journal"]["journals"].as_array()?;
    let syncs = journals
        .iter()
        .flat_map(|j| j["syncs"].as_array())
        .flatten();
    let own = syncs.filter(|s| s["who"]["name"] == pool && s["who"]["php_fpm"] == true);
    own.map(|s| s["total_ns"].as_f64()).sum()
}

/// A program that opens connections to a server here and closes them first, at a steady rate.
struct Program {
    client: Child,
    _server: Child,
}

impl Program {
    /// Its ports in TIME_WAIT are taken over after a second, as everything is on loopback: it can go on for ever.
    fn start(lab: &mut Lab) -> anyhow::Result<Self> {
        let (name, server) = (lab.name("program"), lab.name("its server"));
        let per_s = lab.number("its connections a second", 500..=900) as u32;
        let to = Addr::Inet((Ipv4Addr::LOCALHOST, web::free_port()?).into());
        let server = tcp::server(&server, std::slice::from_ref(&to), Manner::CloseLast)?;
        let plan = Plan {
            to: vec![to],
            times: u64::MAX,
            every: Duration::from_secs(1) / per_s,
            non_blocking: false,
            then: Then::CloseFirst,
        };
        Ok(Self {
            client: tcp::client(&name, &plan)?,
            _server: server,
        })
    }

    fn go(&mut self) -> anyhow::Result<()> {
        self.client.go()
    }

    /// Ends it.
    fn account(&mut self) -> anyhow::Result<Account> {
        self.client.go()?;
        Account::of(&self.client.recv()?)
    }
}

fn loud_neighbour(lab: &mut Lab) -> anyhow::Result<Outcome> {
    let slow = Slow::start(lab)?;
    let mut program = Program::start(lab)?;
    let pool = lab.name("loud pool");
    let workers = lab.number("workers of the loud pool", 2..=5) as usize;
    let loud = Stack::start(Settings {
        pool: &pool,
        workers,
        fastcgi: FastCgi::Unix,
        keep_conn: false,
    })?;
    let url = format!("http://{}/fast.php", loud.addr);
    let connections = workers as u32 * lab.number("connections for each of them", 2..=4) as u32;
    let kept = lab.one_of("connections are kept", &[true, false]);
    let whole = Duration::from_secs(lab.number("load, s", 9..=13));
    let watch = lab.watch(&["--pool", &slow.pool, "--pool", &pool])?;
    let before = loud.access_log()?.len();
    program.go()?;
    let over = AtomicBool::new(false);
    let (per_s, served) = std::thread::scope(|scope| -> anyhow::Result<_> {
        let wrk = scope.spawn(|| {
            let per_s = if kept {
                web::wrk(&url, connections, whole).and_then(|text| web::requests_per_s(&text))
            } else {
                web::wrk_short(&url, connections, whole)
            };
            over.store(true, Ordering::Relaxed);
            per_s
        });
        let served = slow.serve(|| !over.load(Ordering::Relaxed));
        let per_s = wrk.join().ok().context("wrk's thread panicked")?;
        Ok((per_s?, served?))
    })?;
    let account = program.account()?;
    std::thread::sleep(AFTERWARDS);
    let said = watch.end()?;
    let connects_per_s = account.made as f64 / whole.as_secs_f64();
    ensure!(
        per_s > 200.0 && connects_per_s > 200.0 && account.all_failed() == 0,
        "the scenario is wrong: {per_s} requests and {connects_per_s} connections a second: {account:?}"
    );
    // Of the requests that wrk cut off at its end, some reached a worker and some did not.
    let log = &loud.access_log()?[before..];
    let answered = log.iter().filter(|line| line.status == 200).count();
    let requests = said.report.group(&pool).and_then(|g| g.number("requests"));
    let mut truths = slow.truths(&said, &served);
    truths.push(Truth {
        what: "requests of the loud pool",
        told: requests.ok().map(|n| n as f64),
        truth: answered as f64,
        source: "nginx's access log",
        within: connections as f64 / answered.max(1) as f64,
    });
    let expected = Expected::Causes {
        causes: vec![slow.cause()],
        in_order: true,
        besides: Vec::new(),
    };
    Ok(Outcome {
        said,
        expected,
        truths,
    })
}
