//! `serve` sends to a collector: metrics equal the servers' own numbers, an incident is told with its culprit, and a collector
//! that was away has all of it in the end.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, ensure};
use opentelemetry_proto::tonic::{common::v1::any_value::Value, logs::v1::LogRecord};
use probe_tests::{
    otlp::{Got, Receiver, Speaks, words},
    tool::{self, Tool},
    upstream::{Behaviour, Upstream},
    web::{self, FastCgi, Settings, Stack},
};

const WORKERS: usize = 4;
/// Calls of a page, one after the other, as in incident A.
const CALLS: usize = 12;
/// How long the peer takes for each.
const DELAY: Duration = Duration::from_millis(30);
/// A finding is told within this time of the incident's beginning.
const FOUND: Duration = Duration::from_secs(60);
/// What was sent arrives within this time.
const ARRIVES: Duration = Duration::from_secs(30);

/// A pool with a page that waits for a slow peer.
struct Shop {
    pool: String,
    stack: Stack,
    peer: Upstream,
}

impl Shop {
    fn open() -> anyhow::Result<Self> {
        let pool = format!("shop{}", std::process::id());
        Ok(Self {
            stack: Stack::start(Settings {
                pool: &pool,
                workers: WORKERS,
                fastcgi: FastCgi::Unix,
                keep_conn: false,
            })?,
            peer: Upstream::tcp(Behaviour::http(DELAY, false))?,
            pool,
        })
    }

    fn watched(&self, collector: SocketAddr, speaks: Speaks) -> anyhow::Result<Tool> {
        let url = format!("http://{collector}");
        let protocol = match speaks {
            Speaks::Grpc => "grpc",
            Speaks::Http => "http",
        };
        Tool::start_attached(&[
            "serve",
            "--pool",
            &self.pool,
            "--listen",
            "none",
            "--otlp",
            &url,
            "--otlp-protocol",
            protocol,
            "--otlp-interval",
            "1s",
            "--interval",
            "1s",
            "--span",
            "10s",
        ])
    }

    /// Visits the page with all workers while `meanwhile` runs.
    fn visited<T>(&self, meanwhile: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let page = format!(
            "/calls.php?n={CALLS}&url=http://{}/&reuse=0&parallel=0",
            self.peer.host_port()
        );
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        if web::get(self.stack.addr, &page).is_err() {
                            std::thread::sleep(Duration::from_millis(20));
                        }
                    }
                });
            }
            let done = meanwhile();
            stop.store(true, Ordering::Relaxed);
            done
        })
    }

    /// What a collector got of the pool's counter.
    fn counted(&self, got: &Got, metric: &str) -> f64 {
        let group = format!("stallscope.group=pool {}", self.pool);
        let points = got.numbers(metric);
        let of_pool = points.iter().filter(|(labels, _)| labels.contains(&group));
        of_pool.map(|(_, value)| value).sum()
    }

    /// The connects that the workers made, as the peer and the access log count them, have arrived.
    fn all_arrive(&self, receiver: &Receiver) -> anyhow::Result<()> {
        // The stack itself visits another page when it starts.
        let log = self.stack.access_log()?;
        let of_page = |line: &&web::AccessLine| line.uri.starts_with("/calls.php");
        let requests = log.iter().filter(of_page).count();
        let connects = (requests * CALLS) as f64;
        receiver
            .wait("every connect", ARRIVES, |got| {
                self.counted(got, "stallscope.request.connects") >= connects
            })
            .with_context(|| {
                let got = receiver.got(|got| self.counted(got, "stallscope.request.connects"));
                format!("{got} of {connects} connects in {requests} requests")
            })?;
        let got = receiver.got(|got| self.counted(got, "stallscope.request.connects"));
        ensure!(got == connects, "{got} connects, there were {connects}");
        Ok(())
    }

    /// The record that tells of the peer.
    fn told(&self, got: &Got) -> Option<LogRecord> {
        let peer = format!("stallscope.peer={}", self.peer.host_port());
        let opened = |record: &LogRecord| {
            let words = words(&record.attributes);
            record.event_name == "stallscope.finding.opened"
                && words.iter().any(|word| word == "stallscope.rule.id=W01")
                && words.contains(&peer)
        };
        got.records().into_iter().find(opened)
    }
}

fn metrics_and_an_incident_arrive(speaks: Speaks) -> anyhow::Result<()> {
    let shop = Shop::open()?;
    let receiver = Receiver::start(speaks)?;
    let tool = shop.watched(receiver.addr(), speaks)?;
    shop.visited(|| receiver.wait("the finding", FOUND, |got| shop.told(got).is_some()))?;
    shop.all_arrive(&receiver)?;

    let record = receiver
        .got(|got| shop.told(got))
        .context("it was there just now")?;
    let said = words(&record.attributes);
    let (address, port) = shop
        .peer
        .host_port()
        .rsplit_once(':')
        .map(|(address, port)| (address.to_owned(), port.to_owned()))
        .context("a peer without a port")?;
    for expected in [
        format!("network.peer.address={address}"),
        format!("network.peer.port={port}"),
        "network.transport=tcp".to_owned(),
        format!("stallscope.group=pool {}", shop.pool),
        "stallscope.finding.role=cause".to_owned(),
    ] {
        ensure!(said.contains(&expected), "{expected} is not in {said:?}");
    }
    let body = record.body.and_then(|body| body.value);
    ensure!(
        matches!(&body, Some(Value::StringValue(text)) if text.contains(&shop.peer.host_port())),
        "the headline: {body:?}"
    );

    // Its end is told, too: the pool has nothing to wait for any more.
    receiver.wait("the end of it", FOUND, |got| {
        let closed = |r: &LogRecord| r.event_name == "stallscope.finding.closed";
        got.records().iter().any(closed)
    })?;
    let output = tool.interrupt()?;
    ensure!(
        output.code == Some(0),
        "{:?}: {}",
        output.code,
        output.stderr
    );
    ensure!(!output.stderr.contains("OTLP"), "{}", output.stderr);
    Ok(())
}

pub fn metrics_and_an_incident_arrive_by_grpc() -> anyhow::Result<()> {
    metrics_and_an_incident_arrive(Speaks::Grpc)
}

pub fn metrics_and_an_incident_arrive_by_http() -> anyhow::Result<()> {
    metrics_and_an_incident_arrive(Speaks::Http)
}

pub fn a_collector_that_was_away_has_everything_in_the_end() -> anyhow::Result<()> {
    const AWAY: Duration = Duration::from_secs(25);
    let shop = Shop::open()?;
    // A port that nobody listens at.
    let addr = Receiver::start(Speaks::Grpc)?.addr();
    let tool = shop.watched(addr, Speaks::Grpc)?;
    shop.visited(|| {
        std::thread::sleep(AWAY);
        Ok(())
    })?;
    let back = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
    let receiver = Receiver::start_at(addr, Speaks::Grpc, None)?;
    // The longest pause by then is 32 s.
    receiver.wait("the finding", FOUND, |got| shop.told(got).is_some())?;
    shop.all_arrive(&receiver)?;
    let record = receiver
        .got(|got| shop.told(got))
        .context("it was there just now")?;
    ensure!(
        record.time_unix_nano < back,
        "the finding is of the time after the collector came back"
    );
    let uid = |record: &LogRecord| {
        let mut words = words(&record.attributes).into_iter();
        words.find(|word| word.starts_with("log.record.uid="))
    };
    let mut ids: Vec<_> = receiver.got(Got::records).iter().filter_map(uid).collect();
    let all = ids.len();
    ids.sort();
    ids.dedup();
    ensure!(
        ids.len() == all,
        "{} of {all} are told twice",
        all - ids.len()
    );
    let outcome = |got: &Got, word: &str| {
        let points = got.numbers("stallscope.otlp.messages");
        let of = points
            .into_iter()
            .find(|(labels, _)| labels.iter().any(|label| label.ends_with(word)));
        of.map_or(0.0, |(_, value)| value)
    };
    receiver.wait("counts", ARRIVES, |got| outcome(got, "=retried") > 0.0)?;
    let dropped = receiver.got(|got| outcome(got, "=dropped"));
    ensure!(dropped == 0.0, "{dropped} were dropped");

    // It went and came back: a line each, however often it was tried.
    let output = tool.interrupt()?;
    let lines = output.stderr.lines().filter(|line| line.contains("OTLP"));
    let lines: Vec<_> = lines.collect();
    ensure!(lines.len() == 2, "{lines:#?}");
    Ok(())
}

pub fn what_is_wrong_with_the_collectors_address_is_said_at_once() -> anyhow::Result<()> {
    for (args, expected) in [
        (["--otlp", "ftp://c", "", ""], "only http and https"),
        (
            ["--otlp", "http://c", "--otlp-header", "x=@/none"],
            "cannot read /none",
        ),
        (
            ["--otlp", "https://c", "--otlp-ca", "/none"],
            "--otlp-ca /none",
        ),
    ] {
        let args: Vec<_> = args.into_iter().filter(|arg| !arg.is_empty()).collect();
        let output = tool::run(&[&["serve", "--listen", "none"], &args[..]].concat())?;
        ensure!(output.code == Some(2), "{args:?}: {:?}", output.code);
        ensure!(
            output.stderr.lines().count() == 1 && output.stderr.contains(expected),
            "{args:?}: {}",
            output.stderr
        );
    }
    Ok(())
}
