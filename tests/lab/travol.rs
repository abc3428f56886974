//! Incident C: a page that writes style sheets until no inode is left, and one that calls an API until no local port is.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use probe_tests::{
    ext4::Ext4,
    lab::{Expected, Kind, Lab, Outcome, Scenario, Truth},
    netns,
    report::evidence,
    tcp,
    upstream::{Behaviour, Upstream},
    web::{self, Answer, FastCgi, Settings, Stack},
};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "travol-inodes",
        about: "a page writes a few style sheets per visit until the inodes end",
        kind: Kind::Incident,
        play: inodes,
    },
    Scenario {
        name: "travol-ports",
        about: "a page calls an API on new connections until the local ports end",
        kind: Kind::Incident,
        play: ports,
    },
];

fn inodes(lab: &mut Lab) -> anyhow::Result<Outcome> {
    let pool = lab.name("pool");
    let workers = lab.number("workers", 2..=6) as usize;
    let files = lab.number("files of a visit", 1..=4);
    let visits_per_s = lab.number("visits per second", 60..=150);
    let lasts_s = lab.number("until the inodes end, s", 9..=13);
    let refused = lab.number("visits after that", 10..=40);
    let folder = lab.name("folder");
    let wanted = files * visits_per_s * lasts_s;
    let disk = Ext4::with_inodes(u32::try_from(wanted)?)?;
    web::open_to_all(disk.place())?;
    let dir = disk.dir.join(folder);
    web::writable_to_all(&dir)?;
    let stack = stack(&pool, workers)?;

    let page = format!("/css.php?dir={}&n={files}&cached=0", dir.display());
    let watch = lab.watch(&["--pool", &pool])?;
    let failed = AtomicU64::new(0);
    let enough = |answer: &Answer| {
        answer.status != 200 && failed.fetch_add(1, Ordering::Relaxed) + 1 >= refused
    };
    let answers = web::get_paced(stack.addr, &page, visits_per_s as u32, workers, enough)?;
    // The worker has a few more calls to make after its answer.
    std::thread::sleep(Duration::from_millis(300));
    let said = watch.end()?;

    let refused = sum(&answers, "refused")?;
    let at = disk.dir.display().to_string();
    let storm = said.report.about("S02", &at);
    let full = said.report.about("S03", &at);
    let storm = |about, text| evidence(storm?, about, text);
    let full = |about, text| evidence(full?, about, text);
    let in_use = full("inodes", "in all").zip(full("inodes", "free"));
    let truths = vec![
        Truth::exact(
            "files created",
            storm("files", "created"),
            sum(&answers, "made")?,
            "the page's own count",
        ),
        Truth::exact(
            "files created, still there",
            storm("files", "created"),
            std::fs::read_dir(&dir)?.count() as f64,
            "the directory",
        ),
        Truth::exact(
            "bytes in them",
            storm("sizes", "in all"),
            sum(&answers, "bytes")?,
            "the page's own count",
        ),
        Truth::exact(
            "inodes in use",
            in_use.map(|(all, free)| all - free),
            inodes_in_use(&disk.dir)?,
            "df",
        ),
        Truth::exact(
            "calls refused",
            full("ENOSPC", "openat"),
            refused,
            "the page's own count",
        ),
    ];
    // What creates them is the cause; that they end is what follows.
    let expected = Expected::first("S02", &[&pool, &dir.display().to_string()], &["S03"]);
    Ok(Outcome {
        said,
        expected,
        truths,
    })
}

/// What `df -i` says.
fn inodes_in_use(of: &Path) -> anyhow::Result<f64> {
    let output = Command::new(web::program("df", "coreutils")?)
        .arg("--output=iused")
        .arg(of)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let number = text
        .lines()
        .nth(1)
        .and_then(|line| line.trim().parse().ok());
    number.with_context(|| format!("df: {output:?}"))
}

fn ports(lab: &mut Lab) -> anyhow::Result<Outcome> {
    let pool = lab.name("pool");
    let workers = lab.number("workers", 2..=6) as usize;
    let calls = lab.number("calls of a visit", 2..=6);
    let usable = lab.number("local ports", 400..=1_500);
    let first = lab.number("first of them", 10_000..=20_000);
    let lasts_s = lab.number("until they end, s", 7..=12);
    let failing = lab.number("failed calls after that", 20..=80);
    let delay = Duration::from_millis(lab.number("the API's delay, ms", 0..=2));
    // Towards 127.0.0.0/8 the kernel takes over ports in TIME_WAIT, unless it is told not to; towards any other address it
    // does not, unless it is told to.
    let elsewhere = lab.one_of("the API is not on 127.0.0.0/8", &[false, true]);
    let ip = if elsewhere {
        let ip = Ipv4Addr::new(198, 51, 100, lab.number("its last byte", 1..=254) as u8);
        netns::add_address(ip.into())?;
        IpAddr::V4(ip)
    } else {
        netns::set("net/ipv4/tcp_tw_reuse", "0")?;
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    };
    // The page closes first: this side keeps a port in TIME_WAIT for each call.
    let api = Upstream::tcp_on(ip, Behaviour::http(delay, true))?;
    let stack = stack(&pool, workers)?;
    // Now that all servers have their ports, which are none of these.
    let first = u16::try_from(first)?;
    netns::set_ports(first, first + u16::try_from(usable)? - 1)?;

    let page = format!("/outbound.php?n={calls}&url=http://{}/", api.host_port());
    let visits_per_s = (usable / (calls * lasts_s)).max(1);
    let watch = lab.watch(&["--pool", &pool])?;
    let failed = AtomicU64::new(0);
    let enough = |answer: &Answer| {
        let more = count(answer, "no_port").unwrap_or(0);
        failed.fetch_add(more, Ordering::Relaxed) + more >= failing
    };
    let answers = web::get_paced(stack.addr, &page, visits_per_s as u32, workers, enough)?;
    // A count of all sockets is taken once a second.
    std::thread::sleep(Duration::from_millis(1_500));
    let to = api.host_port();
    let waiting = tcp::ss(&["-tan", "state", "time-wait", "dst", &to])?.len();
    let said = watch.end()?;

    let (made, no_port) = (sum(&answers, "made")?, sum(&answers, "no_port")?);
    ensure!(
        sum(&answers, "failed")? == 0.0 && no_port > 0.0,
        "the test is wrong: {:?}",
        answers.last()
    );
    let found = said.report.about("T01", &to);
    let told = |about, text| evidence(found?, about, text);
    let culprit = found.and_then(|f| f["culprit"]["process.pid"].as_u64());
    let its_own = culprit.is_some_and(|pid| stack.workers().contains(&(pid as u32)));
    let connects = said.report.group(&pool).ok();
    let truths = vec![
        Truth::exact(
            "connects that found no port",
            told("failed", "EADDRNOTAVAIL"),
            no_port,
            "the pages' errno",
        ),
        Truth::exact(
            "calls of connect()",
            connects.and_then(|of| of.with_peer(&to, "connects")),
            made + no_port,
            "the pages' own count",
        ),
        Truth::exact(
            "sockets in TIME_WAIT towards the API",
            told("sockets", "TIME_WAIT"),
            waiting as f64,
            "ss",
        ),
        Truth::exact(
            "local ports that can be used",
            told("ports", "usable"),
            usable as f64,
            "what was set",
        ),
        Truth::exact(
            "processes to look at that are workers of the pool",
            Some(f64::from(u8::from(its_own))),
            1.0,
            "PHP-FPM's children",
        ),
    ];
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", stack.master))?;
    let expected = Expected::first("T01", &[comm.trim_end(), &to], &[]);
    Ok(Outcome {
        said,
        expected,
        truths,
    })
}

fn stack(pool: &str, workers: usize) -> anyhow::Result<Stack> {
    Stack::start(Settings {
        pool,
        workers,
        fastcgi: FastCgi::Unix,
        keep_conn: false,
    })
}

/// A number that a page prints.
fn count(answer: &Answer, field: &str) -> anyhow::Result<u64> {
    let json: serde_json::Value =
        serde_json::from_str(&answer.body).with_context(|| format!("{answer:?}"))?;
    json[field]
        .as_u64()
        .with_context(|| format!("no {field}: {answer:?}"))
}

/// The same of all pages together.
fn sum(answers: &[Answer], field: &str) -> anyhow::Result<f64> {
    let numbers = answers.iter().map(|answer| count(answer, field));
    let numbers = numbers.collect::<anyhow::Result<Vec<u64>>>()?;
    Ok(numbers.iter().sum::<u64>() as f64)
}
