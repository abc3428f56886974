//! `serve` as Prometheus and others meet it: what it counts is what the servers counted themselves, and nobody who is slow, curious or
//! rude keeps it from the others.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::{
        fd::AsRawFd as _,
        unix::{fs::PermissionsExt as _, net::UnixStream},
    },
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use probe_tests::{
    tool::{self, Tool},
    upstream::{Behaviour, Upstream},
    web::{self, FastCgi, Settings, Stack},
};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
};

/// What stands in a request beside its first line.
const OPENMETRICS: &str = "Accept: application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1\r\n";

/// A running `serve`.
struct Serve {
    tool: Tool,
    address: SocketAddr,
}

impl Serve {
    fn start(more: &[&str]) -> anyhow::Result<Self> {
        let address: SocketAddr = ([127, 0, 0, 1], web::free_port()?).into();
        let listen = address.to_string();
        let mut args = vec!["serve", "--listen", &listen, "--interval", "1s"];
        args.extend(more);
        let tool = Tool::start_attached(&args)?;
        Ok(Self { tool, address })
    }

    fn ask(&self, request: &str) -> anyhow::Result<web::Answer> {
        ask(TcpStream::connect(self.address)?, request)
    }

    fn get(&self, path: &str, headers: &str) -> anyhow::Result<web::Answer> {
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n{headers}\r\n"
        ))
    }

    /// The metrics, when `enough` says so.
    fn metrics(&self, what: &str, enough: impl Fn(&Metrics) -> bool) -> anyhow::Result<Metrics> {
        let begun = Instant::now();
        loop {
            let answer = self.get("/metrics", "")?;
            let metrics = Metrics(answer.body);
            if answer.status == 200 && enough(&metrics) {
                return Ok(metrics);
            }
            if begun.elapsed() > Duration::from_secs(20) {
                bail!("no {what} in 20 s:\n{}", metrics.0);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn end(self) -> anyhow::Result<tool::Output> {
        let output = self.tool.interrupt()?;
        ensure!(
            output.code == Some(0),
            "{:?}: {}",
            output.code,
            output.stderr
        );
        Ok(output)
    }
}

/// This process: where it matters little who is watched.
fn me() -> String {
    std::process::id().to_string()
}

/// Sends a request, and reads the answer to its end.
fn ask(
    mut stream: impl std::io::Read + std::io::Write,
    request: &str,
) -> anyhow::Result<web::Answer> {
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    // A TLS server that closes the connection need not say so in TLS.
    match stream.read_to_end(&mut bytes) {
        Err(error) if bytes.is_empty() => return Err(error.into()),
        _ => {}
    }
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").context("no head")?;
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
    Ok(web::Answer {
        status: status.context("no status")?,
        body: body.to_owned(),
    })
}

/// The metrics as text.
struct Metrics(String);

impl Metrics {
    /// The sum of a metric's samples whose labels hold all of these.
    fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let samples = self.0.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        });
        let values = samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
    }
}

fn promtool(metrics: &str) -> anyhow::Result<()> {
    let program = web::program("promtool", "prometheus")?;
    let mut child = Command::new(program)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child
        .stdin
        .take()
        .context("no stdin")?
        .write_all(metrics.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(
        output.status.success() && said.is_empty(),
        "promtool check metrics: {}",
        String::from_utf8_lossy(&said)
    );
    Ok(())
}

/// A pool of four workers behind nginx, by its name, and `serve` that watches it.
fn beside_a_pool(keep_conn: bool) -> anyhow::Result<(String, Stack, Serve)> {
    let pool = format!("serve{}", std::process::id());
    let stack = Stack::start(Settings {
        pool: &pool,
        workers: 4,
        fastcgi: FastCgi::Unix,
        keep_conn,
    })?;
    let serve = Serve::start(&["--pool", &pool])?;
    Ok((pool, stack, serve))
}

/// Over many slices, and with connections that are kept: each request is in one of them, and in no other.
pub fn what_it_counts_equals_the_access_log_and_the_peer() -> anyhow::Result<()> {
    const BURSTS: usize = 8;
    const EACH: usize = 30;
    const CALLS: usize = 3;
    for keep_conn in [false, true] {
        let peer = Upstream::tcp(Behaviour::http(Duration::from_millis(2), false))?;
        let (pool, stack, serve) = beside_a_pool(keep_conn)?;
        let before = stack.access_log()?.len();
        let page = format!("/calls.php?n={CALLS}&url=http://{}/", peer.host_port());
        for _ in 0..BURSTS {
            web::get_many(stack.addr, &page, EACH, 2)?;
            // Bursts begin at any time of a slice.
            std::thread::sleep(Duration::from_millis(370));
        }
        web::wait_for("the access log", Path::new(""), || {
            stack
                .access_log()
                .is_ok_and(|log| log.len() >= before + BURSTS * EACH)
        })?;
        let lines = stack.access_log()?.len() - before;
        let group = format!("stallscope_group=\"pool {pool}\"");
        let port = format!(
            "network_peer_port=\"{}\"",
            peer.host_port().rsplit(':').next().unwrap_or_default()
        );
        let count = "stallscope_request_duration_seconds_count";
        let all = |m: &Metrics| m.sum(count, &[&group]) as usize >= lines;
        let _ = serve.metrics("all requests", all)?;
        // What came too often would come now.
        std::thread::sleep(Duration::from_millis(2500));
        let metrics = serve.metrics("all requests", all)?;
        let truth = (lines, lines * CALLS, lines * CALLS, lines * CALLS);
        let counted = (
            metrics.sum(count, &[&group]) as usize,
            metrics.sum("stallscope_peer_connects_total", &[&group, &port]) as usize,
            metrics.sum("stallscope_request_connects_total", &[&group]) as usize,
            peer.exchanges().len(),
        );
        ensure!(
            counted == truth,
            "keep_conn {keep_conn}: counted {counted:?}, the truth is {truth:?}"
        );
        let wall = metrics.sum("stallscope_request_duration_seconds_sum", &[&group]);
        let parts = metrics.sum("stallscope_request_time_seconds_total", &[&group]);
        ensure!(
            (wall - parts).abs() < 1e-6 * wall,
            "{wall} s, and {parts} s by part"
        );
        promtool(&metrics.0)?;
        serve.end()?;
    }
    Ok(())
}

/// At full load, where requests end while a look is taken: those are in one slice, too.
pub fn each_request_counts_once_at_full_load() -> anyhow::Result<()> {
    const LOAD: Duration = Duration::from_secs(8);
    for keep_conn in [false, true] {
        let (pool, stack, serve) = beside_a_pool(keep_conn)?;
        let before = stack.access_log()?.len();
        web::wrk(&format!("http://{}/fast.php", stack.addr), 16, LOAD)?;
        // What wrk cut off ends, and is looked at.
        std::thread::sleep(Duration::from_millis(2500));
        let log = &stack.access_log()?[before..];
        let answered = log.iter().filter(|line| line.status == 200).count();
        ensure!(
            answered > 1000,
            "only {answered} requests: this is no full load"
        );
        let group = format!("stallscope_group=\"pool {pool}\"");
        let sums = |m: &Metrics| {
            let counted = m.sum("stallscope_request_duration_seconds_count", &[&group]);
            let lost = m.sum("stallscope_losses_total", &["ring_full"]);
            (counted as usize, lost as usize)
        };
        let metrics = serve.metrics(&format!("{answered} requests"), |m| {
            let (counted, lost) = sums(m);
            counted + lost >= answered
        })?;
        let (counted, _) = sums(&metrics);
        ensure!(
            counted <= log.len(),
            "keep_conn {keep_conn}: counted {counted}, the access log has {}",
            log.len()
        );
        serve.end()?;
    }
    Ok(())
}

/// A client whose receive buffer is small, so that what it does not read stays with the server.
fn slow(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    let bytes: libc::c_int = 1024;
    // SAFETY: the descriptor is open, and the value is an int of the length given.
    let done = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUF,
            (&raw const bytes).cast(),
            size_of_val(&bytes) as libc::socklen_t,
        )
    };
    ensure!(done == 0, "SO_RCVBUF");
    Ok(stream)
}

/// The slow ones come first, and stay as long as they are let.
pub fn a_hundred_scrapes_at_once_are_served_beside_slow_and_rude_clients() -> anyhow::Result<()> {
    let serve = Serve::start(&["--pid", &me()])?;
    serve.metrics("metrics", |_| true)?;
    let mut readers = Vec::new();
    for _ in 0..20 {
        let mut stream = slow(serve.address)?;
        // Several MB of answers: the kernel's buffer for what is to be sent takes 4 MB (tcp_wmem).
        for _ in 0..300 {
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: t\r\n\r\n")?;
        }
        let begun = Instant::now();
        readers.push(std::thread::spawn(move || {
            let mut byte = [0];
            // A byte a second; a reset or an end is the server's.
            while begun.elapsed() < Duration::from_secs(30) {
                if !matches!(stream.read(&mut byte), Ok(1)) {
                    break;
                }
                std::thread::sleep(Duration::from_secs(1));
                // What is in our own buffer is no sign of the server: writing tells.
                if stream.write_all(b"G").is_err() {
                    break;
                }
            }
            begun.elapsed()
        }));
    }
    // These say nothing, or never come to an end.
    let silent: Vec<TcpStream> = (0..20)
        .map(|_| TcpStream::connect(serve.address))
        .collect::<Result<_, _>>()?;
    let mut half = TcpStream::connect(serve.address)?;
    half.write_all(b"GET /metrics HTTP/1.1\r\nX: ")?;
    let scrapes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..100)
            .map(|_| {
                scope.spawn(|| {
                    let begun = Instant::now();
                    let answer = serve.get("/metrics", OPENMETRICS);
                    answer.map(|answer| (answer, begun.elapsed()))
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join()).collect()
    });
    for scrape in scrapes {
        let Ok(scrape) = scrape else {
            bail!("a thread panicked")
        };
        let (answer, took) = scrape?;
        ensure!(
            answer.status == 200 && answer.body.ends_with("# EOF\n"),
            "{}",
            answer.status
        );
        ensure!(took < Duration::from_secs(5), "a scrape took {took:?}");
    }
    for reader in readers {
        let took = reader.join().unwrap_or_default();
        ensure!(
            took < Duration::from_secs(25),
            "a slow reader was kept for {took:?}"
        );
    }
    drop((silent, half));
    // Those whose answer fell into the rush were told that it is the last one: they ended without a refusal.
    let metrics = serve.metrics("refusals", |m| {
        m.sum("stallscope_scrapes_refused_total", &[]) >= 1.0
    })?;
    ensure!(metrics.sum("stallscope_scrapes_total", &[]) >= 100.0);
    serve.end()?;
    Ok(())
}

pub fn only_what_is_asked_rightly_is_answered() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let passwords = dir.path().join("passwords");
    fs::write(&passwords, "# scrapers\nprometheus:s3cret\n")?;
    let passwords = passwords.display().to_string();
    let serve = Serve::start(&["--pid", &me(), "--basic-auth", &passwords])?;
    // prometheus:s3cret, and prometheus:wrong.
    let right = "Authorization: Basic cHJvbWV0aGV1czpzM2NyZXQ=\r\n";
    let wrong = "Authorization: Basic cHJvbWV0aGV1czp3cm9uZw==\r\n";
    let begun = Instant::now();
    let text = loop {
        let answer = serve.get("/metrics", right)?;
        match answer.status {
            200 => break answer.body,
            503 if begun.elapsed() < Duration::from_secs(10) => {}
            _ => bail!("{answer:?}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    promtool(&text)?;
    let long = format!("X: {}\r\n", "x".repeat(100_000));
    let many = "X: y\r\n".repeat(200);
    for (path, headers, status) in [
        ("/metrics", "", 401),
        ("/metrics", wrong, 401),
        ("/metrics", "Authorization: Bearer s3cret\r\n", 401),
        ("/healthz", "", 200),
        ("/", "", 200),
        ("/metricsx", right, 404),
        ("/metrics?name=x", right, 200),
        ("/metrics", &long, 431),
        ("/metrics", &many, 431),
    ] {
        let answer = serve.get(path, headers)?;
        ensure!(answer.status == status, "{path} {headers:.40}: {answer:?}");
    }
    for (request, status) in [
        (
            format!("POST /metrics HTTP/1.1\r\nHost: t\r\nConnection: close\r\n{right}\r\n"),
            405,
        ),
        (
            format!("HEAD /metrics HTTP/1.1\r\nHost: t\r\nConnection: close\r\n{right}\r\n"),
            200,
        ),
        ("\x16\x03\x01 what is this\r\n\r\n".to_owned(), 400),
    ] {
        let answer = serve.ask(&request)?;
        ensure!(answer.status == status, "{request:.40}: {answer:?}");
        ensure!(!request.starts_with("HEAD") || answer.body.is_empty());
    }
    let openmetrics = serve.get("/metrics", &format!("{right}{OPENMETRICS}"))?;
    ensure!(openmetrics.body.ends_with("# EOF\n") && openmetrics.body.contains("# UNIT "));
    let output = serve.end()?;
    ensure!(!output.stderr.contains("s3cret"), "{}", output.stderr);
    Ok(())
}

/// A certificate for 127.0.0.1 and its key, in files; the certificate.
fn certificate(dir: &Path) -> anyhow::Result<CertificateDer<'static>> {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
    fs::write(dir.join("cert.pem"), made.cert.pem())?;
    fs::write(dir.join("key.pem"), made.signing_key.serialize_pem())?;
    Ok(made.cert.der().clone())
}

/// The status of a scrape by who trusts this certificate and no other.
fn tls(address: SocketAddr, trusted: &CertificateDer<'static>) -> anyhow::Result<u16> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone())?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::from(address.ip());
    let stream = StreamOwned::new(
        ClientConnection::new(Arc::new(config), name)?,
        TcpStream::connect(address)?,
    );
    Ok(ask(
        stream,
        "GET /healthz HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
    )?
    .status)
}

/// Asks again and again until it is as it should be, for up to 5 s.
fn soon(what: &str, is: impl Fn() -> bool) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !is() {
        ensure!(
            begun.elapsed() < Duration::from_secs(5),
            "{what}: not within 5 s"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

pub fn sighup_takes_over_a_new_certificate_and_keeps_the_old_one_beside_a_bad_one()
-> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let first = certificate(dir.path())?;
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let mut serve = Serve::start(&["--pid", &me(), "--tls-cert", &cert, "--tls-key", &key])?;
    let address = serve.address;
    soon("the first look", || {
        tls(address, &first).is_ok_and(|status| status == 200)
    })?;
    ensure!(
        web::get(address, "/healthz").is_err(),
        "without TLS there is no answer"
    );
    let second = certificate(dir.path())?;
    ensure!(
        tls(address, &second).is_err(),
        "it is not read before SIGHUP"
    );
    serve.tool.signal(libc::SIGHUP);
    soon("the new certificate", || tls(address, &second).is_ok())?;
    ensure!(tls(address, &first).is_err(), "the old one is gone");
    fs::write(dir.path().join("key.pem"), "no key\n")?;
    serve.tool.signal(libc::SIGHUP);
    std::thread::sleep(Duration::from_secs(1));
    tls(address, &second).context("a bad file changes nothing")?;
    let output = serve.end()?;
    let said = output.stderr.lines().find(|l| l.contains("key.pem"));
    ensure!(
        said.is_some_and(|l| l.contains("no private key in it")),
        "{}",
        output.stderr
    );
    Ok(())
}

pub fn what_cannot_be_served_is_one_line_before_anything_is_attached() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    certificate(dir.path())?;
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (cert, key, bad, none) = (path("cert.pem"), path("key.pem"), path("bad"), path("none"));
    fs::write(&bad, "nothing of use\n")?;
    let other = tempfile::tempdir()?;
    certificate(other.path())?;
    let foreign = other.path().join("key.pem").display().to_string();
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let taken = taken.local_addr()?.to_string();
    let port = taken.rsplit(':').next().unwrap_or_default();
    for (args, needle) in [
        (vec!["--listen", &taken], format!("port {port} is taken")),
        (
            vec!["--tls-cert", &bad, "--tls-key", &key],
            "no certificate in it".to_owned(),
        ),
        (
            vec!["--tls-cert", &cert, "--tls-key", &bad],
            "no private key in it".to_owned(),
        ),
        (
            vec!["--tls-cert", &cert, "--tls-key", &none],
            "No such file".to_owned(),
        ),
        (
            vec!["--tls-cert", &cert, "--tls-key", &foreign],
            "KeyMismatch".to_owned(),
        ),
        (
            vec!["--basic-auth", &bad],
            "line 1: name:password is expected".to_owned(),
        ),
        (vec!["--basic-auth", &none], "No such file".to_owned()),
        (vec!["--socket", &bad], "which is no socket".to_owned()),
    ] {
        let mut all = vec!["serve"];
        let free = format!("127.0.0.1:{}", web::free_port()?);
        if args[0] != "--listen" {
            all.extend(["--listen", &free]);
        }
        all.extend(&args);
        let output = tool::run(&all)?;
        ensure!(
            output.code == Some(2)
                && output.stderr.contains(&needle)
                && output.stderr.trim_end().lines().count() == 1,
            "{args:?}: {:?} {:?}",
            output.code,
            output.stderr
        );
    }
    ensure!(fs::read(&bad)? == b"nothing of use\n");
    Ok(())
}

pub fn a_unix_socket_is_for_its_group_and_goes_with_its_process() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("metrics.sock");
    let path = socket.display().to_string();
    let me = me();
    let args = [
        "serve",
        "--pid",
        &me,
        "--listen",
        "none",
        "--socket",
        &path,
        "--interval",
        "1s",
    ];
    let health = || -> anyhow::Result<u16> {
        let request = "GET /healthz HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
        Ok(ask(UnixStream::connect(&socket)?, request)?.status)
    };
    let mut first = Tool::start_attached(&args)?;
    soon("the first look", || {
        health().is_ok_and(|status| status == 200)
    })?;
    ensure!(fs::metadata(&socket)?.permissions().mode() & 0o777 == 0o660);
    let second = tool::run(&args)?;
    ensure!(
        second.code == Some(2) && second.stderr.contains("somebody else serves there"),
        "{:?} {}",
        second.code,
        second.stderr
    );
    ensure!(health()? == 200, "the first one serves on");
    first.signal(libc::SIGKILL);
    let _ = first.finish()?;
    ensure!(socket.exists(), "nobody could remove it");
    let third = Tool::start_attached(&args)?;
    soon("the socket that was left is replaced", || {
        health().is_ok_and(|status| status == 200)
    })?;
    let output = third.interrupt()?;
    ensure!(output.code == Some(0), "{}", output.stderr);
    ensure!(fs::read_dir(dir.path())?.count() == 0, "something is left");
    Ok(())
}
