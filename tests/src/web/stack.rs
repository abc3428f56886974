//! nginx in front of a PHP-FPM pool, both of the test's own making.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, ensure};

use super::{
    LINGERS, PLAIN, SHORT, free_port, open_to_all, pages::PAGES, program, wait_for,
    wait_for_listener,
};
use crate::child::Spawned;

/// How nginx reaches PHP-FPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FastCgi {
    /// Over a Unix socket.
    Unix,
    /// Over TCP.
    Tcp,
}

/// What can be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// Name of the pool.
    pub pool: &'a str,
    /// `pm.max_children` of a static pool.
    pub workers: usize,
    /// How nginx reaches it.
    pub fastcgi: FastCgi,
    /// `fastcgi_keep_conn on`, with as many idle connections kept as there are workers. A worker with such a
    /// connection serves no other, so no more requests may come at once than half of the workers can take:
    /// else one may wait behind an idle connection until nginx gives up.
    pub keep_conn: bool,
}

/// The running servers; dropping it ends them and removes their directory.
pub struct Stack {
    /// Where nginx listens.
    pub addr: SocketAddr,
    /// Process id of the PHP-FPM master.
    pub master: u32,
    // Ended in this order.
    nginx: Spawned,
    _fpm: Spawned,
    dir: tempfile::TempDir,
    /// How often [`Stack::accepted`] has asked.
    asked: AtomicU64,
}

/// PHP-FPM's own status page.
const STATUS: &str = "/fpm-status";

/// One line of nginx's access log.
#[derive(Clone, Debug)]
pub struct AccessLine {
    /// Status code.
    pub status: u16,
    /// `$request_time`, ms.
    pub request_ms: f64,
    /// Request line's target.
    pub uri: String,
}

impl Stack {
    /// Starts both and waits until a page answers.
    pub fn start(settings: Settings) -> anyhow::Result<Self> {
        Self::start_with(settings, &[])
    }

    /// The same with extensions of PHP beside curl, in the order in which they are to be loaded.
    pub fn start_with(settings: Settings, extensions: &[&str]) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("stack-").tempdir()?;
        open_to_all(dir.path())?;
        for (name, text) in PAGES {
            fs::write(dir.path().join(name), text)?;
        }
        let listen = match settings.fastcgi {
            FastCgi::Unix => dir.path().join("fpm.sock").display().to_string(),
            FastCgi::Tcp => format!("127.0.0.1:{}", free_port()?),
        };
        let fpm = start_fpm(dir.path(), &listen, settings, extensions)?;
        let addr = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let nginx = start_nginx(dir.path(), &listen, addr, settings)?;
        let mut stack = Self {
            addr,
            master: fpm.process.id(),
            nginx,
            _fpm: fpm,
            dir,
            asked: AtomicU64::new(0),
        };
        let answer = super::get(addr, "/fast.php")?;
        ensure!(
            answer.status == 200,
            "the page does not work: {answer:?}\n{}",
            stack.logs()
        );
        stack.close_kept_connections()?;
        Ok(stack)
    }

    /// Lets nginx start a new worker, so that no connection to PHP-FPM is left from before.
    fn close_kept_connections(&mut self) -> anyhow::Result<()> {
        let nginx = self.nginx.process.id();
        let old = children(nginx);
        self.nginx.signal(libc::SIGHUP);
        let log = self.dir.path().join("nginx.log");
        wait_for("a new nginx worker", &log, || {
            let now = children(nginx);
            !now.is_empty() && now.iter().all(|pid| !old.contains(pid))
        })
    }

    /// Lines of the access log so far. nginx writes a line after the answer has been sent.
    pub fn access_log(&self) -> anyhow::Result<Vec<AccessLine>> {
        let text = fs::read_to_string(self.dir.path().join("access.log"))?;
        text.lines()
            .map(|line| {
                let mut words = line.split(' ');
                let mut word = || words.next().with_context(|| format!("log line {line:?}"));
                Ok(AccessLine {
                    status: word()?.parse()?,
                    request_ms: word()?.parse::<f64>()? * 1e3,
                    uri: word()?.to_owned(),
                })
            })
            .collect()
    }

    /// Requests that the workers have taken, by PHP-FPM's own count, but for those that ask this. It needs a free worker.
    pub fn accepted(&self) -> anyhow::Result<u64> {
        let answer = super::get(self.addr, &format!("{STATUS}?json"))?;
        let json: serde_json::Value = serde_json::from_str(&answer.body)
            .with_context(|| format!("PHP-FPM's status: {answer:?}"))?;
        let all = json["accepted conn"].as_u64();
        let own = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(all.with_context(|| format!("PHP-FPM's status: {json}"))? - own)
    }

    /// Process ids of the pool's workers.
    pub fn workers(&self) -> Vec<u32> {
        children(self.master)
    }

    /// Process ids of nginx's workers.
    pub fn nginx_workers(&self) -> Vec<u32> {
        children(self.nginx.process.id())
    }

    /// What both servers complained about.
    pub fn logs(&self) -> String {
        ["fpm.log", "nginx.log"]
            .map(|name| fs::read_to_string(self.dir.path().join(name)).unwrap_or_default())
            .concat()
    }
}

fn start_fpm(
    dir: &Path,
    listen: &str,
    settings: Settings,
    extensions: &[&str],
) -> anyhow::Result<Spawned> {
    let at = dir.display();
    let (pool, workers) = (settings.pool, settings.workers);
    let conf = dir.join("fpm.conf");
    fs::write(
        &conf,
        format!(
            "[global]\nerror_log = {at}/fpm.log\ndaemonize = no\n\
             [{pool}]\nuser = www-data\ngroup = www-data\nlisten = {listen}\nlisten.mode = 0666\n\
             pm = static\npm.max_children = {workers}\nchdir = {at}\npm.status_path = {STATUS}\n"
        ),
    )?;
    let spawned = Spawned::start(
        Command::new(program("php-fpm8.2", "php8.2-fpm")?)
            .args(["-n", "-d", "extension=curl", "-d", "zend_extension=opcache"])
            .args(extensions.iter().map(|name| format!("-dextension={name}")))
            .arg("-y")
            .arg(&conf)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )?;
    let log = dir.join("fpm.log");
    let master = spawned.process.id();
    wait_for("the PHP-FPM workers", &log, || {
        children(master).len() == workers
    })?;
    if settings.fastcgi == FastCgi::Unix {
        let socket = PathBuf::from(listen);
        wait_for("the PHP-FPM socket", &log, || socket.exists())?;
    }
    Ok(spawned)
}

/// Processes whose parent is `pid`.
fn children(pid: u32) -> Vec<u32> {
    fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .unwrap_or_default()
        .split_ascii_whitespace()
        .filter_map(|p| p.parse().ok())
        .collect()
}

fn start_nginx(
    dir: &Path,
    fastcgi: &str,
    addr: SocketAddr,
    settings: Settings,
) -> anyhow::Result<Spawned> {
    let at = dir.display();
    let server = match settings.fastcgi {
        FastCgi::Unix => format!("unix:{fastcgi}"),
        FastCgi::Tcp => fastcgi.to_owned(),
    };
    let (keepalive, keep_conn) = if settings.keep_conn {
        (format!("keepalive {};", settings.workers), "on")
    } else {
        (String::new(), "off")
    };
    let conf = dir.join("nginx.conf");
    fs::write(
        &conf,
        format!(
            "user www-data;\nworker_processes 1;\ndaemon off;\npid {at}/nginx.pid;\nerror_log {at}/nginx.log warn;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n  log_format short '$status $request_time $request_uri';\n  access_log {at}/access.log short;\n\
             client_body_temp_path {at}/t1; proxy_temp_path {at}/t2; fastcgi_temp_path {at}/t3; uwsgi_temp_path {at}/t4; scgi_temp_path {at}/t5;\n\
             upstream fpm {{ server {server}; {keepalive} }}\n\
             server {{\n  listen {addr} backlog=4096;\n  root {at};\n  location = {PLAIN} {{ return 200 'ok'; }}\n  \
             location = {SHORT} {{ keepalive_timeout 1s; return 200 'ok'; }}\n  \
             location = {LINGERS} {{ keepalive_timeout 0; lingering_close always; lingering_time 120s; lingering_timeout 120s; return 200 'ok'; }}\n  \
             location / {{\n    fastcgi_pass fpm;\n    fastcgi_keep_conn {keep_conn};\n\
             include /etc/nginx/fastcgi_params;\n    fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;\n  }} }}\n}}\n"
        ),
    )?;
    let log = dir.join("nginx.log");
    let spawned = Spawned::start(
        Command::new(program("nginx", "nginx-light")?)
            .arg("-c")
            .arg(&conf)
            .args(["-e"])
            .arg(&log)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )?;
    wait_for_listener(addr, &log)?;
    Ok(spawned)
}
