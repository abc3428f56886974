//! `serve` scraped by a real Prometheus, through a healthy phase and an incident: the alerts fire for the incident only, and
//! every panel of the dashboards has something to show.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, bail, ensure};
use probe_tests::{
    child::Child,
    ext4::Ext4,
    netns::{self, Netns},
    prometheus::{self, Alert, Prometheus},
    sys::Addr,
    tcp::{self, Account, Manner, Plan, Then},
    tool::{self, Tool},
    udp,
    upstream::{Behaviour, Upstream},
    web::{self, FastCgi, ResolvConf, Settings, Stack, Unbound},
};

use crate::prometheus_panels as panels;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const WORKERS: usize = 4;
/// What the workers' slow peer takes for an answer.
const DELAY: Duration = Duration::from_millis(60);
/// Files that a visit of the storage phase makes.
const FILES: u64 = 20;

/// The alert rules as they are in the repository, but that the one for a tool that is gone waits a second: the others of the
/// tool itself wait longer than a test runs.
fn alerts() -> anyhow::Result<String> {
    let text = fs::read_to_string(panels::folder().join("prometheus/alerts.yml"))?;
    let (before, rest) = text
        .split_once("- alert: StallscopeDown")
        .context("no StallscopeDown")?;
    let (expr, rest) = rest
        .split_once("for: ")
        .context("StallscopeDown does not wait")?;
    let (_, rest) = rest.split_once('\n').context("cut off")?;
    Ok(format!(
        "{before}- alert: StallscopeDown{expr}for: 1s\n{rest}"
    ))
}

pub fn promtool_has_nothing_to_say_about_the_rules() -> anyhow::Result<()> {
    let folder = panels::folder().join("prometheus");
    prometheus::rules("check", &folder.join("alerts.yml"))?;
    prometheus::rules("test", &folder.join("alerts.test.yml"))?;
    Ok(())
}

/// `serve` in a network namespace of its own, with a Prometheus that scrapes it.
struct Watched {
    prometheus: Prometheus,
    tool: Tool,
    metrics: SocketAddr,
    since: SystemTime,
}

impl Watched {
    fn start(start: fn(&[&str]) -> anyhow::Result<Tool>, targets: &[&str]) -> anyhow::Result<Self> {
        let metrics = SocketAddr::new(LOOPBACK, web::free_port()?);
        let listen = metrics.to_string();
        let mut args = vec![
            "serve",
            "--listen",
            &listen,
            "--interval",
            "1s",
            "--span",
            "10s",
        ];
        args.extend(targets);
        // Prometheus comes first: who waits for it to listen is refused, and that would be a finding.
        let watched = Self {
            prometheus: Prometheus::start(metrics, &alerts()?)?,
            tool: start(&args)?,
            metrics,
            since: SystemTime::now(),
        };
        watched.until("a scrape", Duration::from_secs(20), || {
            Ok(watched.prometheus.target()?.0)
        })?;
        Ok(watched)
    }

    /// Waits until something holds.
    fn until(
        &self,
        what: &str,
        patience: Duration,
        holds: impl Fn() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !holds()? {
            if begun.elapsed() > patience {
                bail!(
                    "{} s without {what}; alerts: {:?}, target: {:?}",
                    patience.as_secs(),
                    self.prometheus.firing()?,
                    self.prometheus.target()?
                );
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// Alerts that fire, but those about files and disks of somebody else: these are not in a namespace of ours.
    fn firing(&self, pool: &str) -> anyhow::Result<Vec<Alert>> {
        let mut firing = self.prometheus.firing()?;
        firing.retain(|alert| {
            let of_node = alert.name.starts_with("StallscopeS0");
            !of_node || alert.labels.values().any(|value| value.contains(pool))
        });
        Ok(firing)
    }

    fn scrape(&self) -> anyhow::Result<String> {
        Ok(web::get(self.metrics, "/metrics")?.body)
    }
}

/// Visits a page over and over, so many at once, while `meanwhile` runs.
fn visiting<T>(
    server: SocketAddr,
    page: &str,
    at_once: usize,
    meanwhile: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    if web::get(server, page).is_err() {
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

pub fn alerts_fire_for_the_incident_only_and_every_panel_has_data() -> anyhow::Result<()> {
    let _netns = Netns::enter()?;
    let _resolv = ResolvConf::with(&format!(
        "nameserver {LOOPBACK}\noptions timeout:1 attempts:1 ndots:1\n"
    ))?;
    let mut unbound = Unbound::start(LOOPBACK, 64 << 10)?;
    let disk = Ext4::fast()?;
    web::open_to_all(disk.place())?;
    fs::set_permissions(&disk.dir, fs::Permissions::from_mode(0o777))?;
    let peer = Upstream::tcp(Behaviour::http(DELAY, false))?;
    let pool = format!("shop{}", std::process::id());
    let stack = Stack::start(Settings {
        pool: &pool,
        workers: WORKERS,
        fastcgi: FastCgi::Unix,
        keep_conn: false,
    })?;
    let watched = Watched::start(Tool::start_attached, &["--pool", &pool])?;

    // Well: a page that waits for nobody, at full load.
    let cached = format!("http://{}/fast.php", stack.addr);
    let fired: BTreeSet<String> = std::thread::scope(|scope| {
        let load = scope.spawn(|| web::wrk(&cached, 2, Duration::from_secs(15)));
        let mut fired = BTreeSet::new();
        while !load.is_finished() {
            fired.extend(watched.firing(&pool)?.into_iter().map(|alert| alert.name));
            std::thread::sleep(Duration::from_millis(500));
        }
        load.join().map_err(|_| anyhow::anyhow!("wrk"))??;
        anyhow::Ok(fired)
    })?;
    ensure!(fired.is_empty(), "fired without an incident: {fired:?}");

    // Incident A: the same pool waits for a slow peer.
    let page = format!(
        "/calls.php?n=6&url=http://{}/&reuse=0&parallel=0",
        peer.host_port()
    );
    let of_incident = |alert: &Alert| {
        ["StallscopeW01", "StallscopeW02", "StallscopeT03"]
            .iter()
            .any(|of| alert.name.starts_with(of))
    };
    let begun = Instant::now();
    visiting(stack.addr, &page, 2 * WORKERS, || {
        watched.until("an alert of W01", Duration::from_secs(30), || {
            Ok(watched
                .firing(&pool)?
                .iter()
                .any(|alert| alert.name == "StallscopeW01BlockingUpstream"))
        })?;
        println!(
            "W01 fires {:.1} s after the begin",
            begun.elapsed().as_secs_f64()
        );
        std::thread::sleep(Duration::from_secs(5));
        let firing = watched.firing(&pool)?;
        let of_w01 = firing
            .iter()
            .find(|alert| alert.name == "StallscopeW01BlockingUpstream");
        let labels = &of_w01.context("W01 ended under the incident")?.labels;
        ensure!(
            labels.get("stallscope_group") == Some(&format!("pool {pool}"))
                && labels
                    .get("stallscope_peer")
                    .is_some_and(|p| p.contains(&peer.host_port()))
                && labels
                    .get("severity")
                    .is_some_and(|s| s == "warning" || s == "critical")
                && labels.get("role").is_some_and(|role| role == "cause"),
            "{labels:?}"
        );
        ensure!(
            firing.iter().all(of_incident),
            "fires, but is not of the incident: {firing:?}"
        );
        Ok(())
    })?;
    let ended = Instant::now();
    // Windows reach back for up to two spans, and it stays open for another.
    visiting(stack.addr, "/fast.php", 1, || {
        watched.until("an end of the alerts", Duration::from_secs(60), || {
            let firing = watched.firing(&pool)?;
            ensure!(
                firing.iter().all(of_incident),
                "fires after the incident: {firing:?}"
            );
            Ok(firing.is_empty())
        })
    })?;
    println!(
        "resolved {:.1} s after its end",
        ended.elapsed().as_secs_f64()
    );

    // A little of every other signal.
    signals(&stack, &mut unbound, &disk)?;
    let text = watched.scrape()?;
    prometheus::check_metrics(&text)?;
    let queries = panels::queries()?;
    let silent = panels::silent(&watched.prometheus, &queries, watched.since)?;
    println!(
        "{} queries; nothing to show, as they may: {silent:?}",
        queries.len()
    );

    // And when the tool is gone, that is an alert.
    let Watched {
        prometheus,
        tool,
        metrics,
        since,
    } = watched;
    let output = tool.interrupt()?;
    ensure!(
        output.code == Some(0),
        "exit code {:?}: {}",
        output.code,
        output.stderr
    );
    let begun = Instant::now();
    while !prometheus
        .firing()?
        .iter()
        .any(|alert| alert.name == "StallscopeDown")
    {
        ensure!(
            begun.elapsed() < Duration::from_secs(20),
            "no StallscopeDown, {metrics} {since:?}"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// Lookups that are answered and one that is not, datagrams dropped, connections refused and half-closed, files made,
/// synced and unlinked, and bits of each that a panel shows.
fn signals(stack: &Stack, unbound: &mut Unbound, disk: &Ext4) -> anyhow::Result<()> {
    let (mut reader, to) =
        udp::slow_reader("reads-slowly", LOOPBACK, 8 << 10, Duration::from_millis(5))?;
    let half_closed = half_closed()?;
    let nobody = SocketAddr::new(LOOPBACK, web::free_port()?);
    let write = format!("/write.php?n={FILES}&dir={}", disk.dir.display());
    let refused = format!("/calls.php?n=1&url=http://{nobody}/&reuse=0&parallel=0");
    let begun = Instant::now();
    let mut silenced = false;
    while begun.elapsed() < Duration::from_secs(15) {
        for page in [
            "/lookup.php?name=db.test",
            "/lookup.php?name=no.invalid",
            &write,
            &refused,
        ] {
            web::get(stack.addr, page)?;
        }
        udp::send_bursts(to, 60, Duration::from_millis(5), 5)?;
        let _ = TcpStream::connect(nobody);
        let passing = disk.dir.join("passing");
        fs::write(&passing, "x")?;
        fs::remove_file(&passing)?;
        if !silenced && begun.elapsed() > Duration::from_secs(5) {
            silenced = true;
            unbound.spawned.signal(libc::SIGSTOP);
            let answer = web::get(stack.addr, "/lookup.php?name=late.test");
            unbound.spawned.signal(libc::SIGCONT);
            answer?;
        }
        std::thread::sleep(Duration::from_millis(150));
    }
    reader.go()?;
    reader.recv()?;
    drop(half_closed);
    Ok(())
}

/// Connections that one side has closed, and the other not yet: until both are dropped.
fn half_closed() -> anyhow::Result<[Child; 2]> {
    let to = Addr::Inet(([127, 0, 0, 2], 8080).into());
    let server = tcp::server("never-closes", std::slice::from_ref(&to), Manner::Keep)?;
    let plan = Plan {
        to: vec![to],
        times: 30,
        every: Duration::ZERO,
        non_blocking: false,
        then: Then::HalfClose,
    };
    let mut client = tcp::client("half-closes", &plan)?;
    tcp::run_client(&mut client)?;
    Ok([server, client])
}

/// What a machine that is well has not to show: ports and inodes that run out, what is refused then, and a probe that is off
/// because a capability is missing.
pub fn what_runs_out_is_on_its_panel() -> anyhow::Result<()> {
    const PORTS: u16 = 600;
    const PER_S: u32 = 50;
    let _netns = Netns::enter()?;
    let disk = Ext4::with_inodes(3_000)?;
    web::open_to_all(disk.place())?;
    let dir = disk.dir.join("css");
    fs::create_dir(&dir)?;
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777))?;
    let stack = Stack::start(Settings {
        pool: "css",
        workers: 2,
        fastcgi: FastCgi::Unix,
        keep_conn: false,
    })?;
    let watched = Watched::start(without_syslog, &[])?;

    netns::set_ports(40_000, 40_000 + PORTS - 1)?;
    netns::set("net/ipv4/tcp_tw_reuse", "0")?;
    let to = Addr::Inet(([127, 0, 0, 2], 6379).into());
    let _server = tcp::server("redis-like", std::slice::from_ref(&to), Manner::CloseLast)?;
    let plan = Plan {
        to: vec![to],
        times: u64::from(PORTS) + 100,
        every: Duration::from_secs(1) / PER_S,
        non_blocking: false,
        then: Then::CloseFirst,
    };
    let mut client = tcp::client("closes-first", &plan)?;
    client.go()?;
    let page = format!("/css.php?dir={}&n=60&cached=0", dir.display());
    let begun = Instant::now();
    let mut refused = 0;
    // Until some have been refused at several looks, which show growth.
    while begun.elapsed() < Duration::from_secs(16) || refused < 15 {
        refused += u32::from(web::get(stack.addr, &page)?.status == 500);
        ensure!(
            begun.elapsed() < Duration::from_secs(60),
            "{refused} refused"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    let account = Account::of(&client.recv()?)?;
    ensure!(
        account.failed_with(libc::EADDRNOTAVAIL) > 0,
        "the test is wrong: {refused} refused, {account:?}"
    );
    watched.until("an alert of T01", Duration::from_secs(20), || {
        let firing = watched.prometheus.firing()?;
        Ok(firing
            .iter()
            .any(|alert| alert.name.starts_with("StallscopeT01")))
    })?;
    let mut queries = panels::queries()?;
    queries.retain(|query| query.may_be_empty);
    ensure!(!queries.is_empty(), "no panel may be empty");
    for query in &mut queries {
        query.may_be_empty = false;
    }
    panels::silent(&watched.prometheus, &queries, watched.since)?;
    Ok(())
}

/// Without CAP_SYSLOG, that is without the kernel's symbols.
fn without_syslog(args: &[&str]) -> anyhow::Result<Tool> {
    let tool = tool::path()?;
    let tool = tool.to_str().context("the binary's path")?;
    let mut all = vec!["--bounding-set=-syslog", "--inh-caps=-syslog", tool];
    all.extend(args);
    Tool::start_attached_as(&web::program("setpriv", "util-linux")?, &all)
}
