//! Incident E: pages that write hundreds of small files on a slow disk, and peers that never send their FIN.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use probe_tests::{
    bpftrace::{Commits, median_beside},
    child::{self, Child},
    ext4::Ext4,
    lab::{Expected, Kind, Lab, Outcome, Scenario, Truth},
    report::{Report, evidence},
    sys::{self, Addr},
    tcp,
    web::{self, FastCgi, Settings, Stack},
};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "busico-journal",
        about: "each page writes hundreds of small files behind the journal of a slow disk",
        kind: Kind::Incident,
        play: journal,
    },
    Scenario {
        name: "busico-fin",
        about: "clients never send their FIN: nginx has closed, or half-closed, what they keep",
        kind: Kind::Incident,
        play: fin,
    },
];

/// How long pages are asked for, at least, ms.
const LASTS_MS: u64 = 10_000;

fn journal(lab: &mut Lab) -> anyhow::Result<Outcome> {
    let pool = lab.name("pool");
    let workers = lab.number("workers", 2..=6);
    let files = lab.number("files of a page", 100..=300);
    // What the workers write at the same time belongs to one commit, which takes so long.
    let round_ms = lab.number(
        "time that the disk takes for a page of each, ms",
        700..=1_600,
    );
    let waiting = lab.number("visitors beyond the workers", 0..=workers);
    let folder = lab.name("folder");
    let writes_per_s = u32::try_from(workers * files * 1_000 / round_ms)?;
    let pages = workers * LASTS_MS.div_ceil(round_ms);
    // With nodelalloc the commit writes the files' data, and meets the limit of the disk: see tests/e2e/journal_stall.rs.
    let disk = Ext4::with(Some(writes_per_s), "nodelalloc")?;
    web::open_to_all(disk.place())?;
    let dir = disk.dir.join(folder);
    web::writable_to_all(&dir)?;
    let stack = Stack::start(Settings {
        pool: &pool,
        workers: workers as usize,
        fastcgi: FastCgi::Unix,
        keep_conn: false,
    })?;

    // What a page has compiled is thrown away: the disk of the lab is small, and its inodes would end.
    let page = format!("/write.php?n={files}&dir={}&remove=1", dir.display());
    let beside = Commits::start(disk.number)?;
    let watch = lab.watch(&["--pool", &pool])?;
    let visitors = (workers + waiting) as usize;
    let answers = web::get_many(stack.addr, &page, pages as usize, visitors)?;
    // The worker has a few more calls to make after its answer.
    std::thread::sleep(Duration::from_millis(200));
    let said = watch.end()?;
    let commits = beside.end()?;

    let mut fsync_ms = 0.0;
    for answer in &answers {
        let json: serde_json::Value = serde_json::from_str(&answer.body)
            .with_context(|| format!("{}\n{}", answer.body, stack.logs()))?;
        fsync_ms += json["fsync_ns"].as_f64().context("no fsync_ns")? / 1e6;
    }
    ensure!(commits.len() >= 5, "the test is wrong: {commits:?}");
    let at = disk.dir.display().to_string();
    let storm = said.report.about("S02", &at);
    let stall = said.report.about("S01", &at);
    let stalled = |about, text| evidence(stall?, about, text);
    let told_p50 = stalled("commit", "p50");
    let p50 = median_beside(&commits, stalled("commit", "ended"), told_p50);
    let truths = vec![
        Truth::exact(
            "commits",
            stalled("commit", "ended"),
            commits.len() as f64,
            "bpftrace",
        )
        // One may end between the two ends of the watches.
        .within(1.0 / commits.len() as f64),
        Truth::exact(
            "a commit, p50, ms",
            told_p50.map(|ns| ns / 1e6),
            p50 / 1e6,
            "bpftrace",
        )
        .within(0.01),
        Truth::exact(
            "calls of fsync",
            stalled("fsync", "calls"),
            pages as f64,
            "the pages' own count",
        ),
        Truth::exact(
            "time in fsync, ms",
            in_fsync_ms(&said.report, disk.number, &pool),
            fsync_ms,
            "the pages' own clock",
        )
        .within(0.01),
        Truth::exact(
            "files created",
            storm.and_then(|found| evidence(found, "files", "created")),
            (pages * files) as f64,
            "the pages' own count",
        ),
        Truth::exact(
            "the pool is the first that waits for the journal",
            Some(f64::from(u8::from(
                stall.is_some_and(|f| f["culprit"]["group"] == pool),
            ))),
            1.0,
            "who asked for the pages",
        ),
    ];
    // Those who wait are those who write: the files are why the journal has so much to do, so they come first. While all
    // workers sleep behind it, further visitors wait for one.
    let names = [pool.as_str(), &dir.display().to_string()];
    let expected = Expected::first("S02", &names, &["S01", "W02"]);
    Ok(Outcome {
        said,
        expected,
        truths,
    })
}

/// What the report says of the time that a pool spent in fsync on a file system.
fn in_fsync_ms(report: &Report, (major, minor): (u32, u32), pool: &str) -> Option<f64> {
    let device = format!("{major}:{minor}");
    let mut journals = report.0["journal"]["journals"].as_array()?.iter();
    let journal = journals.find(|j| j["device"] == device)?;
    let mut syncs = journal["syncs"].as_array()?.iter();
    let own = syncs.find(|s| s["who"]["name"] == pool && s["who"]["php_fpm"] == true)?;
    Some(own["total_ns"].as_f64()? / 1e6)
}

/// How long the clients take to come.
const COME: Duration = Duration::from_secs(5);
/// Until nginx has closed the last connection that is kept (1 s), all are old enough to be no accident (3 s), and a count of all
/// sockets is taken (once a second).
const STAY: Duration = Duration::from_millis(5_500);

fn fin(lab: &mut Lab) -> anyhow::Result<Outcome> {
    let pool = lab.name("pool");
    // Either is enough on its own.
    let orphaned = lab.number("connections that nginx closes", 110..=400);
    let held = lab.number("connections that it closes half", 110..=400);
    let others = lab.number("visits of others", 50..=300);
    let mut byte = |what: &'static str| lab.number(what, 1..=254) as u8;
    let from = Ipv4Addr::new(
        127,
        byte("address, 1"),
        byte("address, 2"),
        byte("address, 3"),
    );
    let stack = Stack::start(Settings {
        pool: &pool,
        workers: 2,
        fastcgi: FastCgi::Unix,
        keep_conn: false,
    })?;
    let nginx = *stack.nginx_workers().first().context("no nginx")?;
    let mut clients = never_close(from, stack.addr, orphaned, held)?;

    let watch = lab.watch(&["--pool", &pool, "--pid", &nginx.to_string()])?;
    clients.go()?;
    web::get_many(stack.addr, web::PLAIN, others as usize, 2)?;
    ensure!(clients.recv()? == [orphaned + held], "the test is wrong");
    std::thread::sleep(STAY);
    let peer = from.to_string();
    let half_closed = tcp::ss(&["-tanp", "state", "fin-wait-2", "dst", &peer])?;
    let not_closed = tcp::ss(&["-tan", "state", "close-wait", "src", &peer])?.len();
    let said = watch.end()?;

    // Those of a process have its name behind them.
    let (of_a_process, of_nobody): (Vec<String>, Vec<String>) = half_closed
        .into_iter()
        .partition(|line| line.contains("users:"));
    let of_nginx = format!("pid={nginx},");
    ensure!(
        of_a_process.iter().all(|line| line.contains(&of_nginx)),
        "the test is wrong: {of_a_process:?}"
    );
    let found = said.report.about("T02", &peer);
    let told = |text| evidence(found?, "sockets", text);
    let truths = vec![
        Truth::exact("orphans", told("orphaned"), of_nobody.len() as f64, "ss"),
        Truth::exact("held", told("held"), of_a_process.len() as f64, "ss"),
        Truth::exact(
            "connections that were left so",
            told("orphaned").zip(told("held")).map(|(a, b)| a + b),
            (orphaned + held) as f64,
            "the clients' own count",
        ),
        Truth::exact(
            "sockets in CLOSE_WAIT",
            said.report.0["tcp"]["census"]["close_wait"].as_f64(),
            not_closed as f64,
            "ss",
        ),
    ];
    let holder = format!("\"process.pid\":{nginx}");
    let expected = Expected::first("T02", &[&peer, "nginx", &holder], &[]);
    Ok(Outcome {
        said,
        expected,
        truths,
    })
}

/// A process that, told to go, asks nginx for a page over so many connections from an address of its own, spread over
/// [`COME`], and closes none of them, whatever nginx does. It then answers how many it has.
fn never_close(from: Ipv4Addr, to: SocketAddr, orphaned: u64, held: u64) -> anyhow::Result<Child> {
    let request = |path| format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    let (short, lingers) = (request(web::SHORT), request(web::LINGERS));
    let all = orphaned + held;
    child::fork(move |link| {
        sys::set_comm(b"never-closes");
        tcp::many_descriptors();
        link.wait();
        let begun = sys::now_ns();
        let mut kept = Vec::new();
        for turn in 0..all {
            let due_ns = begun + COME.as_nanos() as u64 * turn / all;
            let early = Duration::from_nanos(due_ns.saturating_sub(sys::now_ns()));
            sys::nanosleep(early).expect("nanosleep");
            // Mixed evenly.
            let is_short = (turn + 1) * orphaned / all > turn * orphaned / all;
            let request = if is_short { &short } else { &lingers };
            let fd = sys::socket(libc::AF_INET, libc::SOCK_STREAM).expect("socket");
            sys::bind(fd, &Addr::Inet(SocketAddr::from((from, 0)))).expect("bind");
            sys::connect(fd, &Addr::Inet(to)).expect("connect");
            sys::write(fd, request.as_bytes()).expect("write");
            let answer = sys::read(fd, &mut [0; 512]).expect("read");
            assert!(answer > 0, "nginx does not answer");
            kept.push(fd);
        }
        link.send(&[kept.len() as u64]);
        link.wait();
    })
}
