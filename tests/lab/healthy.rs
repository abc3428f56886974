//! Healthy twins: real servers that are as busy as they can be, and well tuned. Nothing is to be said of them.

mod build;

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use anyhow::ensure;
use probe_tests::{
    ext4::Ext4,
    lab::{Expected, Kind, Lab, Outcome, Said, Scenario, Truth},
    netns,
    report::Report,
    soak,
    tool::Tool,
    web::{self, FastCgi, Mariadb, Redis, ResolvConf, Settings, Stack, Unbound},
};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "healthy-pages",
        about: "nginx and PHP-FPM give well-cached pages out at full load",
        kind: Kind::Healthy,
        play: pages,
    },
    Scenario {
        name: "healthy-redis",
        about: "pages ask Redis many quick things on connections that they keep",
        kind: Kind::Healthy,
        play: |lab| redis(lab, &["kept"]),
    },
    Scenario {
        name: "healthy-redis-new",
        about: "the same on new connections",
        kind: Kind::Healthy,
        play: |lab| redis(lab, &["page", "call"]),
    },
    Scenario {
        name: "healthy-resolver",
        about: "many workers look names up, and a resolver answers at once",
        kind: Kind::Healthy,
        play: resolver,
    },
    Scenario {
        name: "healthy-build",
        about: "a build: thousands of small files are written, compiled, packed, unpacked and read",
        kind: Kind::Healthy,
        play: build::play,
    },
    Scenario {
        name: "healthy-database",
        about: "pages insert rows and commit, and MariaDB syncs them on a fast disk",
        kind: Kind::Healthy,
        play: database,
    },
    Scenario {
        name: "healthy-idle",
        about: "servers that nobody asks anything",
        kind: Kind::Healthy,
        play: idle,
    },
];

/// What came of a page at full load.
struct Served {
    said: Said,
    /// Requests that PHP-FPM's workers took.
    accepted: u64,
    /// Answers with status 200, by nginx's access log.
    answered: u64,
    connections: u32,
}

/// Fewer are no load, on any machine.
const LEAST_PER_S: u64 = 20;

/// Has `wrk` ask for a page on so many connections, and as fast as the answers come, while the tool watches.
fn full_load(
    lab: &Lab,
    stack: &Stack,
    page: &str,
    connections: u64,
    who: &[&str],
) -> anyhow::Result<Served> {
    full_load_beside(lab, stack, page, connections, who, || Ok(()))
}

/// The same. `look` is called right before and after the tool begins to watch, and right before and after it ends.
fn full_load_beside(
    lab: &Lab,
    stack: &Stack,
    page: &str,
    connections: u64,
    who: &[&str],
    mut look: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Served> {
    let connections = u32::try_from(connections)?;
    let before = stack.accepted()?;
    let lines = stack.access_log()?.len();
    look()?;
    let watch = lab.watch(who)?;
    look()?;
    let url = format!("http://{}{page}", stack.addr);
    web::wrk(&url, connections, lab.healthy_for())?;
    // The workers finish what wrk leaves in the middle.
    std::thread::sleep(Duration::from_millis(500));
    look()?;
    let said = watch.end()?;
    look()?;
    let log = stack.access_log()?;
    let own = log[lines..].iter().filter(|line| line.uri == page);
    let answered = own.clone().filter(|line| line.status == 200).count() as u64;
    let failed = own.filter(|line| line.status >= 500).count();
    ensure!(
        failed == 0 && answered >= LEAST_PER_S * lab.healthy_for().as_secs(),
        "the test is wrong: {answered} answers, {failed} failed\n{}",
        stack.logs()
    );
    Ok(Served {
        said,
        accepted: stack.accepted()? - before,
        answered,
        connections,
    })
}

impl Served {
    /// Requests of the pool, beside what nginx and PHP-FPM say.
    fn requests(&self, pool: &str) -> Vec<Truth> {
        let group = self.said.report.group(pool);
        let told = group.and_then(|of| of.number("requests")).ok();
        let told = told.map(|n| n as f64);
        vec![
            Truth::exact(
                "requests",
                told,
                self.accepted as f64,
                "PHP-FPM's own count",
            ),
            // At its end wrk cuts off one on each of its connections: these are served and have no status 200.
            Truth::exact("answers", told, self.answered as f64, "nginx's access log")
                .within(f64::from(self.connections) / self.answered as f64),
        ]
    }
}

fn silent(said: Said, truths: Vec<Truth>) -> anyhow::Result<Outcome> {
    Ok(Outcome {
        said,
        expected: Expected::Silence,
        truths,
    })
}

fn pages(lab: &mut Lab) -> anyhow::Result<Outcome> {
    let pool = lab.name("pool");
    let workers = lab.number("workers", 4..=16);
    let fastcgi = lab.one_of("PHP-FPM over", &[FastCgi::Unix, FastCgi::Tcp]);
    // More than there are workers, so that these never wait for a request; few enough for the queue.
    let connections = lab.number("connections", workers..=2 * workers);
    let page = lab.one_of("page", &["/fast.php", "/catalog.php?cached=1"]);
    let stack = Stack::start(Settings {
        pool: &pool,
        workers: workers as usize,
        fastcgi,
        keep_conn: false,
    })?;
    let served = full_load(lab, &stack, page, connections, &["--pool", &pool])?;
    let truths = served.requests(&pool);
    silent(served.said, truths)
}

fn redis(lab: &mut Lab, on: &[&'static str]) -> anyhow::Result<Outcome> {
    let pool = lab.name("pool");
    let workers = lab.number("workers", 4..=12);
    let connections = lab.number("connections", workers..=2 * workers);
    let calls = lab.number("commands of a page", 5..=40);
    let on = lab.one_of("a connection is", on);
    let mut redis = Redis::start()?;
    let stack = Stack::start(Settings {
        pool: &pool,
        workers: workers as usize,
        fastcgi: FastCgi::Unix,
        keep_conn: false,
    })?;
    // As on any server that opens many connections.
    netns::set_ports(10_000, 65_535)?;
    let page = format!("/redis.php?n={calls}&port={}&on={on}", redis.addr.port());
    // Connections that are kept are there before the tool is.
    let workers = workers as usize;
    web::get_many(stack.addr, &page, 20 * workers, workers)?;
    let before = redis.counts()?;
    let pid = redis.pid.to_string();
    let who = ["--pool", &pool, "--pid", &pid];
    let served = full_load(lab, &stack, &page, connections, &who)?;
    let after = redis.counts()?;
    let mut truths = served.requests(&pool);
    let peer = redis.addr.to_string();
    let of = served.said.report.group(&pool).ok();
    let told = |field| of.as_ref()?.with_peer(&peer, field);
    truths.extend([
        Truth::exact(
            "commands",
            told("exchanges"),
            (after.commands - before.commands) as f64,
            "Redis's own count",
        ),
        Truth::exact(
            "connects",
            told("connects"),
            (after.connections - before.connections) as f64,
            "Redis's own count",
        ),
    ]);
    silent(served.said, truths)
}

fn resolver(lab: &mut Lab) -> anyhow::Result<Outcome> {
    const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let pool = lab.name("pool");
    let workers = lab.number("workers", 4..=16);
    let connections = lab.number("connections", workers..=2 * workers);
    let lookups = lab.number("lookups of a page", 1..=4);
    let names = lab.number("names", 1..=200);
    // From what a socket has by default to what a tuned resolver asks for, bytes.
    let buffer = lab.number("the resolver's buffer, KiB", 208..=4_096) << 10;
    let _resolv = ResolvConf::with(&format!("nameserver {SERVER}\n"))?;
    let unbound = Unbound::start(SERVER, u32::try_from(buffer)?)?;
    let stack = Stack::start(Settings {
        pool: &pool,
        workers: workers as usize,
        fastcgi: FastCgi::Unix,
        keep_conn: false,
    })?;
    let page = format!("/lookups.php?n={lookups}&names={names}&zone=test");
    let before = unbound.questions()?;
    let pid = unbound.spawned.process.id().to_string();
    let who = ["--pool", &pool, "--pid", &pid];
    let served = full_load(lab, &stack, &page, connections, &who)?;
    let questions = (unbound.questions()? - before) as f64;
    let mut truths = served.requests(&pool);
    let total = &served.said.report.0["dns"]["total"];
    // One that is added in the microsecond in which its row is taken out is lost (`collect::table`).
    let few = 3.0 / questions;
    truths.extend([
        Truth::exact(
            "questions",
            total["asked"].as_f64(),
            questions,
            "unbound's own count",
        )
        .within(few),
        Truth::exact(
            "answers to them",
            total["answered"].as_f64(),
            questions,
            "unbound's own count",
        )
        .within(few),
    ]);
    silent(served.said, truths)
}

fn database(lab: &mut Lab) -> anyhow::Result<Outcome> {
    let pool = lab.name("pool");
    let workers = lab.number("workers", 4..=12);
    let connections = lab.number("connections", workers..=2 * workers);
    let rows = lab.number("rows of a page", 1..=10);
    let disk = Ext4::fast()?;
    let mariadb = Mariadb::start(&disk.dir)?;
    let stack = Stack::start_with(
        Settings {
            pool: &pool,
            workers: workers as usize,
            fastcgi: FastCgi::Unix,
            keep_conn: false,
        },
        &["mysqlnd", "mysqli"],
    )?;
    let page = format!("/insert.php?n={rows}&port={}", mariadb.port);
    // Connections that are kept are there before the tool is.
    let workers = workers as usize;
    web::get_many(stack.addr, &page, 20 * workers, workers)?;
    let commits = mariadb.counter("Com_commit")?;
    let pid = mariadb.pid.to_string();
    let who = ["--pool", &pool, "--pid", &pid];
    let mut fsyncs = Vec::new();
    let served = full_load_beside(lab, &stack, &page, connections, &who, || {
        fsyncs.push(mariadb.counter("Innodb_data_fsyncs")?);
        Ok(())
    })?;
    let commits = (mariadb.counter("Com_commit")? - commits) as f64;
    let [before, begun, ending, after] = fsyncs[..] else {
        anyhow::bail!("{} looks", fsyncs.len());
    };
    let (outer, inner) = ((after - before) as f64, (ending - begun) as f64);
    let mut truths = served.requests(&pool);
    truths.extend([
        Truth::exact(
            "pages that committed",
            truths[0].told,
            commits,
            "MariaDB's own count",
        ),
        Truth::exact(
            "calls of fsync",
            syncs(&served.said.report, disk.number, "mariadbd"),
            outer,
            "MariaDB's own count",
        )
        // It syncs now and then what was written before, also while the tool begins and ends.
        .within((outer - inner) / outer),
    ]);
    silent(served.said, truths)
}

/// How often the report says that processes of a name called fsync on a file system.
fn syncs(report: &Report, (major, minor): (u32, u32), name: &str) -> Option<f64> {
    let device = format!("{major}:{minor}");
    let mut journals = report.0["journal"]["journals"].as_array()?.iter();
    let journal = journals.find(|j| j["device"] == device)?;
    let mut syncs = journal["syncs"].as_array()?.iter();
    syncs.find(|s| s["who"]["name"] == name)?["count"].as_f64()
}

fn idle(lab: &mut Lab) -> anyhow::Result<Outcome> {
    /// Of a core.
    const LITTLE: f64 = 0.01;
    let pool = lab.name("pool");
    let workers = lab.number("workers", 2..=32);
    let stack = Stack::start(Settings {
        pool: &pool,
        workers: workers as usize,
        fastcgi: lab.one_of("PHP-FPM over", &[FastCgi::Unix, FastCgi::Tcp]),
        keep_conn: false,
    })?;
    let redis = Redis::start()?;
    let unbound = Unbound::start(IpAddr::V4(Ipv4Addr::LOCALHOST), 1 << 20)?;
    let pids = [redis.pid, unbound.spawned.process.id()].map(|pid| pid.to_string());
    let lines = stack.access_log()?.len();
    let mut args = vec!["diagnose", "--json", "--duration", "150s", "--pool", &pool];
    args.extend(pids.iter().flat_map(|pid| ["--pid", pid]));
    // Without a recording, which takes a look at everything now and then.
    let tool = Tool::start_attached(&args)?;
    let pid = tool.pid();
    let (begun, before) = (Instant::now(), soak::cpu(pid)?);
    std::thread::sleep(lab.healthy_for());
    let (watched, after) = (begun.elapsed(), soak::cpu(pid)?);
    let ended = soak::cpu_of_ended()?;
    let output = tool.interrupt()?;
    let whole = soak::cpu_of_ended()? - ended;
    let report = Report::of(&output)?;
    let said = Said {
        text: report.brief(),
        report,
        code: output.code,
    };
    let share = (after - before).as_secs_f64() / watched.as_secs_f64();
    let report = &said.report;
    let requests = report.group(&pool).and_then(|of| of.number("requests"));
    let own_ms = report.0["cost"]["own_cpu_ns"].as_f64().map(|ns| ns / 1e6);
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let truths =
        vec![
        Truth::exact(
            "requests",
            requests.ok().map(|n| n as f64),
            (stack.access_log()?.len() - lines) as f64,
            "nginx's access log",
        ),
        // What the report says was so at a moment between the last look from outside and the end.
        Truth::exact(
            "CPU time of the tool, ms",
            own_ms,
            own_ms.unwrap_or(0.0).clamp(millis(after), millis(whole.max(after))),
            "/proc/PID/stat",
        )
        .within(0.02),
        Truth::exact(
            "share of a core that the tool takes while nothing happens, %, of which 1 is let pass",
            Some(share.min(LITTLE) * 100.0),
            share * 100.0,
            "/proc/PID/stat",
        )
        .within(0.01),
    ];
    silent(said, truths)
}
