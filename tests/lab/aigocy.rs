//! Incident D: an API behind HAProxy under load. Each visit leaves a local port in TIME_WAIT until none is left towards the
//! server, and the server's accept queue is too short for what comes.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use probe_tests::{
    lab::{Cause, Expected, Kind, Lab, Outcome, Said, Scenario, Truth, Watch},
    netns,
    report::evidence,
    tcp,
    web::{self, Backend, Haproxy, Page, Pass, Site, Visits},
};
use serde_json::Value;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "aigocy",
        about: "HAProxy closes first, and runs out of local ports to the server",
        kind: Kind::Incident,
        play: ports,
    },
    Scenario {
        name: "aigocy-backlog",
        about: "the server's accept queue is too short for what HAProxy passes on",
        kind: Kind::Incident,
        play: backlog,
    },
    Scenario {
        name: "aigocy-both",
        about: "both, at the same HAProxy",
        kind: Kind::Mixture,
        play: both,
    },
];

/// An address of the machine's own that is not on 127.0.0.0/8, where the kernel gives ports in TIME_WAIT away again
/// (tcp_tw_reuse is 2 by default): to it they stay, as to any other machine.
fn server_ip(lab: &mut Lab) -> anyhow::Result<IpAddr> {
    let byte = |lab: &mut Lab, what| lab.number(what, 1..=250) as u8;
    let ip = IpAddr::from([
        10,
        byte(lab, "second byte of the server's address"),
        byte(lab, "third"),
        byte(lab, "fourth"),
    ]);
    netns::add_address(ip)?;
    Ok(ip)
}

fn here() -> anyhow::Result<SocketAddr> {
    Ok((Ipv4Addr::LOCALHOST, web::free_port()?).into())
}

/// Sockets in TIME_WAIT.
#[derive(Clone, Copy, Debug)]
pub struct TimeWait {
    to_server: usize,
    all: usize,
}

/// A server whose visitors take the local ports towards it.
pub struct Few {
    /// Its name in HAProxy.
    pub name: String,
    /// Where the visitors go.
    pub front: SocketAddr,
    /// The server.
    pub backend: Backend,
    range: (u16, u16),
    visits: u64,
    per_s: u64,
}

impl Few {
    /// Draws the numbers and starts the server.
    pub fn start(lab: &mut Lab) -> anyhow::Result<Self> {
        let name = lab.name("site");
        let addr = SocketAddr::new(server_ip(lab)?, web::free_port()?);
        let per_s = lab.number("visits a second", 200..=450);
        let ports = per_s * lab.number("seconds until the ports are gone", 7..=13);
        // Nothing that was in TIME_WAIT comes back within the minute that this takes at most.
        let visits = ports + ports * lab.number("visits beyond, %", 15..=40) / 100;
        let first = lab.number("first local port", 10_000..=55_000);
        Ok(Self {
            name,
            front: here()?,
            backend: Backend::start(addr, 4096, Page::Short)?,
            range: (first as u16, (first + ports - 1) as u16),
            visits,
            per_s,
        })
    }

    /// What HAProxy is to do for it.
    pub fn site(&self) -> Site<'_> {
        Site {
            name: &self.name,
            pass: Pass::Bytes,
            on: self.front,
            server: self.backend.addr,
        }
    }

    /// Narrows the range of local ports: for when everything has started.
    pub fn narrow(&self) -> anyhow::Result<()> {
        netns::set_ports(self.range.0, self.range.1)
    }

    /// Lets the visitors come, until the ports are gone and some more have come in vain.
    pub fn visit(&self) -> anyhow::Result<Visits> {
        let visits = web::visit(self.front, self.visits, self.per_s)?;
        ensure!(
            visits.turned_away > 0,
            "the scenario is wrong: no visitor was turned away: {visits:?}"
        );
        Ok(visits)
    }

    /// Ends the watch, with what `ss` lists then.
    pub fn end(&self, watch: Watch) -> anyhow::Result<(Said, TimeWait)> {
        // What the census shows once a second is to show the end.
        std::thread::sleep(Duration::from_millis(1200));
        let count = |filter: &[&str]| -> anyhow::Result<usize> {
            let args = [&["-tan", "state", "time-wait"][..], filter].concat();
            Ok(tcp::ss(&args)?.len())
        };
        let to_server = count(&["dst", &self.backend.addr.to_string()])?;
        let end = TimeWait {
            to_server,
            all: count(&[])?,
        };
        Ok((watch.end()?, end))
    }

    /// What has to be found.
    pub fn cause(&self, haproxy: &Haproxy) -> Cause {
        Cause {
            rule: "T01",
            names: vec![
                "\"haproxy\"".to_owned(),
                format!("\"process.pid\":{}", haproxy.pid),
                self.backend.addr.to_string(),
            ],
        }
    }

    /// The tool's numbers beside those of the visitors, HAProxy, nginx and `ss`.
    pub fn truths(
        &self,
        said: &Said,
        visits: Visits,
        haproxy: &Haproxy,
        end: TimeWait,
    ) -> anyhow::Result<Vec<Truth>> {
        let finding = said.report.anywhere("T01");
        let told = |about, text| finding.and_then(|f| evidence(f, about, text));
        let addr = self.backend.addr.to_string();
        let rows = said.report.0["tcp"]["ports"].as_array();
        let row = rows.and_then(|all| all.iter().find(|row| row["peer"]["name"] == addr));
        let window_s = said.report.0["window"]["duration_ns"].as_f64();
        let opened = row.and_then(|row| row["opened_per_s"].as_f64());
        let all = said.report.0["tcp"]["census"]["time_wait"].as_f64();
        Ok(vec![
            Truth {
                what: "connects without a port",
                told: told("failed", "EADDRNOTAVAIL"),
                truth: haproxy.counter(&self.name, "econ")? as f64,
                source: "HAProxy's econ",
                within: 0.0,
            },
            Truth {
                what: "visitors turned away",
                told: told("failed", "EADDRNOTAVAIL"),
                truth: visits.turned_away as f64,
                source: "the visitors",
                within: 0.0,
            },
            // Each visitor who had a page took a port, and nobody gave one back.
            Truth {
                what: "usable ports",
                told: told("ports", "usable"),
                truth: visits.answered as f64,
                source: "the visitors",
                within: 0.0,
            },
            Truth {
                what: "connections to the server",
                told: opened.zip(window_s).map(|(rate, ns)| rate * ns / 1e9),
                truth: self.backend.accepted()? as f64,
                source: "nginx's own count",
                within: 0.01,
            },
            Truth {
                what: "TIME_WAIT towards the server",
                told: told("sockets", "TIME_WAIT"),
                truth: end.to_server as f64,
                source: "ss",
                within: 0.0,
            },
            Truth {
                what: "TIME_WAIT in all",
                told: all,
                truth: end.all as f64,
                source: "ss",
                within: 0.0,
            },
        ])
    }
}

/// What was counted under load.
struct Load {
    /// Connections that the server accepted.
    accepted: u64,
    /// The most that waited for it at a look.
    most: u64,
    /// How long they waited, on average.
    wait: Duration,
}

/// A server with a short queue, and far more who wait for it at any time than the queue takes.
struct Short {
    name: String,
    front: SocketAddr,
    backend: Backend,
    connections: u32,
    time: Duration,
}

impl Short {
    fn start(lab: &mut Lab) -> anyhow::Result<Self> {
        let name = lab.name("busy site");
        let addr = SocketAddr::new(server_ip(lab)?, web::free_port()?);
        let backlog = lab.number("backlog", 8..=64);
        let size = lab.number("page, kB", 60..=160) as usize * 1000;
        // The worker takes one connection at a time out of the queue, and packs a page before it takes the next. So all but a
        // few of these wait, and the queue takes `backlog` + 1 of them.
        let connections = 2 * backlog + lab.number("connections beyond two backlogs", 80..=200);
        Ok(Self {
            name,
            front: here()?,
            backend: Backend::start(addr, backlog, Page::Packed(size))?,
            connections: connections as u32,
            time: Duration::from_secs(lab.number("load, s", 9..=14)),
        })
    }

    fn site(&self) -> Site<'_> {
        Site {
            name: &self.name,
            pass: Pass::Requests,
            on: self.front,
            server: self.backend.addr,
        }
    }

    /// Full load, and what comes after it.
    fn load(&self) -> anyhow::Result<Load> {
        let before = self.backend.accepted()?;
        let url = format!("http://{}/", self.front);
        let over = AtomicBool::new(false);
        let (queue, accepted) = std::thread::scope(|scope| -> anyhow::Result<_> {
            let looks = scope.spawn(|| self.looks(|| over.load(Ordering::Relaxed)));
            let report = web::wrk(&url, self.connections, self.time);
            let accepted = self.backend.accepted();
            over.store(true, Ordering::Relaxed);
            let looks = looks.join().ok().context("who looks panicked")?;
            web::requests_per_s(&report?)?;
            Ok((looks?, accepted? - before))
        })?;
        let all: u64 = queue.iter().sum();
        Ok(Load {
            most: queue.iter().copied().max().unwrap_or(0),
            // Little's law.
            wait: self
                .time
                .mul_f64(all as f64 / queue.len() as f64 / accepted as f64),
            accepted: self.settled()? - before,
        })
    }

    /// How many wait to be accepted, at one look after the other, as /proc has it.
    fn looks(&self, over: impl Fn() -> bool) -> anyhow::Result<Vec<u64>> {
        let mut looks = Vec::new();
        while !over() {
            looks.push(netns::waiting(self.backend.addr)?);
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(looks)
    }

    /// Waits until nobody is accepted or turned away any more: who was dropped comes again after a second, and later.
    fn settled(&self) -> anyhow::Result<u64> {
        const QUIET: Duration = Duration::from_millis(2500);
        let mut last = (overflows()?, self.backend.accepted()?);
        for _ in 0..8 {
            std::thread::sleep(QUIET);
            let now = (overflows()?, self.backend.accepted()?);
            if now == last {
                return Ok(now.1);
            }
            last = now;
        }
        bail!("after 20 s there are still connections to {}", self.front)
    }

    fn cause(&self) -> Cause {
        Cause {
            rule: "T03",
            names: vec!["\"nginx\"".to_owned(), self.backend.addr.to_string()],
        }
    }

    /// `dropped`: ListenOverflows of the run.
    fn truths(&self, said: &Said, dropped: u64, load: &Load) -> Vec<Truth> {
        let on = format!("listening on tcp {}", self.backend.addr);
        let rows = said.report.0["tcp"]["listeners"].as_array();
        let row = rows.and_then(|all| all.iter().find(|row| row["address"]["name"] == on));
        let finding = said.report.anywhere("T03");
        let told = |about, text| finding.and_then(|f| evidence(f, about, text));
        vec![
            Truth {
                what: "handshakes dropped",
                told: told("turned away", "overflows"),
                truth: dropped as f64,
                source: "ListenOverflows",
                within: 0.0,
            },
            Truth {
                what: "connections accepted",
                told: told("accepted", "connections"),
                truth: load.accepted as f64,
                source: "nginx's own count",
                within: 0.0,
            },
            // The kernel lets one more wait than the backlog says; two CPUs may each let one more in at the same moment.
            Truth {
                what: "the queue's limit, and one",
                told: told("queue", "limit").map(|n| n + 1.0),
                truth: load.most as f64,
                source: "the most that /proc showed",
                within: 1.0 / load.most.max(1) as f64,
            },
            Truth {
                what: "mean wait for accept(), ms",
                told: row
                    .and_then(|row| mean_ns(&row["accept_wait"]))
                    .map(|ns| ns / 1e6),
                truth: load.wait.as_secs_f64() * 1e3,
                source: "the queue's mean length in /proc by nginx's rate",
                within: 0.05,
            },
        ]
    }
}

/// Mean of the times in a histogram of the report: each bucket is an eighth of the power of two that it lies in.
fn mean_ns(buckets: &Value) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0.0);
    for bucket in buckets.as_array()? {
        let (most, n) = (bucket["le_ns"].as_u64()?, bucket["count"].as_f64()?);
        let width = (1 << most.max(1).ilog2()) as f64 / 8.0;
        sum += n * (most as f64 - width / 2.0);
        count += n;
    }
    (count > 0.0).then_some(sum / count)
}

fn overflows() -> anyhow::Result<u64> {
    netns::counter("TcpExt", "ListenOverflows")
}

fn ports(lab: &mut Lab) -> anyhow::Result<Outcome> {
    let few = Few::start(lab)?;
    let haproxy = Haproxy::start(&[few.site()])?;
    few.narrow()?;
    let watch = lab.watch(&["--comm", "haproxy"])?;
    let visits = few.visit()?;
    let (said, end) = few.end(watch)?;
    Ok(Outcome {
        truths: few.truths(&said, visits, &haproxy, end)?,
        said,
        expected: of([few.cause(&haproxy)]),
    })
}

fn backlog(lab: &mut Lab) -> anyhow::Result<Outcome> {
    let short = Short::start(lab)?;
    let _haproxy = Haproxy::start(&[short.site()])?;
    let watch = lab.watch(&["--comm", "nginx", "--comm", "haproxy"])?;
    let before = overflows()?;
    let load = short.load()?;
    let dropped = overflows()? - before;
    let said = watch.end()?;
    ensure!(
        dropped > 0,
        "the scenario is wrong: no handshake was dropped"
    );
    Ok(Outcome {
        truths: short.truths(&said, dropped, &load),
        said,
        expected: of([short.cause()]),
    })
}

/// Two sites of one HAProxy. Neither incident follows from the other, so there is no order in which they have to come.
fn both(lab: &mut Lab) -> anyhow::Result<Outcome> {
    let (few, short) = (Few::start(lab)?, Short::start(lab)?);
    let haproxy = Haproxy::start(&[few.site(), short.site()])?;
    few.narrow()?;
    let watch = lab.watch(&["--comm", "nginx", "--comm", "haproxy"])?;
    let before = overflows()?;
    let (visits, load) = std::thread::scope(|scope| -> anyhow::Result<_> {
        let visitors = scope.spawn(|| few.visit());
        let load = short.load();
        let visits = visitors.join().ok().context("the visitors panicked")?;
        Ok((visits?, load?))
    })?;
    let dropped = overflows()? - before;
    let (said, end) = few.end(watch)?;
    ensure!(
        dropped > 0,
        "the scenario is wrong: no handshake was dropped"
    );
    let mut truths = few.truths(&said, visits, &haproxy, end)?;
    truths.extend(short.truths(&said, dropped, &load));
    Ok(Outcome {
        said,
        expected: of([few.cause(&haproxy), short.cause()]),
        truths,
    })
}

/// These causes, in any order, and nothing else.
fn of<const N: usize>(causes: [Cause; N]) -> Expected {
    Expected::Causes {
        causes: causes.into(),
        in_order: false,
        besides: Vec::new(),
    }
}
