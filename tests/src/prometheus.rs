//! A real Prometheus on loopback that scrapes one target and evaluates rules, and promtool beside it.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::{
    child::Spawned,
    web::{self, free_port, program, wait_for},
};

/// The Debian package of both programs.
const PACKAGE: &str = "prometheus";
/// Name of the job that it scrapes.
pub const JOB: &str = "stallscope";

/// A running Prometheus. Dropping it ends it and removes what it stored.
pub struct Prometheus {
    addr: SocketAddr,
    _server: Spawned,
    _dir: tempfile::TempDir,
}

/// An alert that fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: std::collections::BTreeMap<String, String>,
}

impl Prometheus {
    /// Starts it: it scrapes `target` and evaluates `rules` once a second.
    pub fn start(target: SocketAddr, rules: &str) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("prometheus-").tempdir()?;
        let at = dir.path();
        fs::write(at.join("rules.yml"), rules)?;
        fs::write(
            at.join("prometheus.yml"),
            format!(
                "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  evaluation_interval: 1s\n\
                 rule_files: [rules.yml]\nscrape_configs:\n  - job_name: {JOB}\n    static_configs:\n      - targets: ['{target}']\n"
            ),
        )?;
        let addr = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let log = at.join("log");
        let server = Spawned::start(
            Command::new(program("prometheus", PACKAGE)?)
                .arg(format!(
                    "--config.file={}",
                    at.join("prometheus.yml").display()
                ))
                .arg(format!("--storage.tsdb.path={}", at.join("data").display()))
                .arg(format!("--web.listen-address={addr}"))
                .arg("--log.level=warn")
                .env("GOMAXPROCS", "1")
                .current_dir(at)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(fs::File::create(&log)?),
        )?;
        wait_for("Prometheus", &log, || {
            web::get(addr, "/-/ready").is_ok_and(|answer| answer.status == 200)
        })?;
        Ok(Self {
            addr,
            _server: server,
            _dir: dir,
        })
    }

    /// Every series that a query has had between two times, each with its labels and numbers.
    pub fn range(
        &self,
        expr: &str,
        from: SystemTime,
        to: SystemTime,
        step: Duration,
    ) -> anyhow::Result<Vec<Series>> {
        let path = format!(
            "/api/v1/query_range?query={}&start={:.3}&end={:.3}&step={}",
            encode(expr),
            unix_s(from),
            unix_s(to),
            step.as_secs_f64()
        );
        let data = self.ask(&path).with_context(|| expr.to_owned())?;
        Ok(array(&data["result"]).map(Series::of).collect())
    }

    /// The same as it is now.
    pub fn now(&self, expr: &str) -> anyhow::Result<Vec<Series>> {
        let path = format!("/api/v1/query?query={}", encode(expr));
        let data = self.ask(&path).with_context(|| expr.to_owned())?;
        Ok(array(&data["result"]).map(Series::of).collect())
    }

    /// The alerts that fire.
    pub fn firing(&self) -> anyhow::Result<Vec<Alert>> {
        let data = self.ask("/api/v1/alerts")?;
        let firing = array(&data["alerts"]).filter(|alert| alert["state"] == "firing");
        Ok(firing
            .map(|alert| {
                let mut labels = labels(&alert["labels"]);
                Alert {
                    name: labels.remove("alertname").unwrap_or_default(),
                    labels,
                }
            })
            .collect())
    }

    /// Whether the last scrape of the target succeeded, and why not.
    pub fn target(&self) -> anyhow::Result<(bool, String)> {
        let data = self.ask("/api/v1/targets")?;
        let target = &data["activeTargets"][0];
        let error = target["lastError"].as_str().unwrap_or_default();
        Ok((target["health"] == "up", error.to_owned()))
    }

    fn ask(&self, path: &str) -> anyhow::Result<Value> {
        let answer = web::get(self.addr, path)?;
        let mut json: Value = serde_json::from_str(&answer.body)
            .with_context(|| format!("status {}: {}", answer.status, answer.body))?;
        ensure!(json["status"] == "success", "{json}");
        Ok(json["data"].take())
    }
}

/// What a query gave for one set of labels.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its labels.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Times (Unix, s) and numbers, NaN left out.
    pub points: Vec<(f64, f64)>,
}

impl Series {
    fn of(json: &Value) -> Self {
        let one =
            array(&json["values"]).chain((!json["value"].is_null()).then_some(&json["value"]));
        let point = |pair: &Value| {
            let number = pair[1].as_str()?.parse::<f64>().ok()?;
            (!number.is_nan()).then_some((pair[0].as_f64()?, number))
        };
        Self {
            labels: labels(&json["metric"]),
            points: one.filter_map(point).collect(),
        }
    }
}

/// Has `promtool` look at metrics as they are served; what it says when something is wrong.
///
/// # Errors
/// Something is wrong with them.
pub fn check_metrics(text: &str) -> anyhow::Result<()> {
    let mut promtool = Command::new(program("promtool", PACKAGE)?)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = promtool.stdin.take().context("no stdin")?;
    stdin.write_all(text.as_bytes())?;
    drop(stdin);
    let output = promtool.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(
        output.status.success() && said.trim().is_empty(),
        "promtool check metrics: {said}"
    );
    Ok(())
}

/// Has `promtool` look at a file of rules, or run a file of their tests (`check`, `test`).
///
/// # Errors
/// Something is wrong with them.
pub fn rules(verb: &str, file: &Path) -> anyhow::Result<String> {
    let output = Command::new(program("promtool", PACKAGE)?)
        .args([verb, "rules"])
        .arg(file)
        .output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "promtool {verb} rules: {said}");
    Ok(said)
}

fn array(json: &Value) -> impl Iterator<Item = &Value> {
    json.as_array().into_iter().flatten()
}

fn labels(json: &Value) -> std::collections::BTreeMap<String, String> {
    let all = json.as_object().into_iter().flatten();
    all.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn unix_s(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// Percent-encoded, for a query string.
fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
