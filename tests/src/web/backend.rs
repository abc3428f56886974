//! nginx that answers by itself, as the server behind a proxy.

use std::{
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::Context as _;

use super::{free_port, get, open_to_all, program, wait_for_listener};
use crate::child::Spawned;

/// What it answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// `ok`.
    Short,
    /// A text of so many bytes, which it packs anew for each request: milliseconds of its one worker's CPU time.
    Packed(usize),
}

/// The running server, with one worker process; dropping it ends it and removes its directory.
pub struct Backend {
    /// Where it listens.
    pub addr: SocketAddr,
    status: SocketAddr,
    /// Connections of ours to the address where it tells its counters.
    own: AtomicU64,
    _nginx: Spawned,
    _dir: tempfile::TempDir,
}

impl Backend {
    /// Starts it with a `backlog` for those who wait to be accepted, and waits until it listens; nobody has connected to
    /// `addr` then.
    pub fn start(addr: SocketAddr, backlog: u64, page: Page) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("backend-").tempdir()?;
        open_to_all(dir.path())?;
        let at = dir.path().display();
        let status = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let answer = match page {
            Page::Short => "return 200 'ok';".to_owned(),
            Page::Packed(bytes) => {
                fs::write(dir.path().join("page.txt"), words(bytes))?;
                format!(
                    "root {at}; rewrite ^ /page.txt break; gzip on; gzip_comp_level 9; gzip_types text/plain;"
                )
            }
        };
        let conf = dir.path().join("nginx.conf");
        let log = dir.path().join("nginx.log");
        fs::write(
            &conf,
            format!(
                "user www-data;\nworker_processes 1;\ndaemon off;\npid {at}/nginx.pid;\nerror_log {at}/nginx.log warn;\n\
                 events {{ worker_connections 4096; }}\n\
                 http {{\n  access_log off;\n  types {{ text/plain txt; }}\n  default_type text/plain;\n\
                 client_body_temp_path {at}/t1; proxy_temp_path {at}/t2; fastcgi_temp_path {at}/t3; uwsgi_temp_path {at}/t4; scgi_temp_path {at}/t5;\n\
                 server {{ listen {addr} backlog={backlog}; location / {{ {answer} }} }}\n\
                 server {{ listen {status}; location / {{ stub_status; }} }}\n}}\n"
            ),
        )?;
        let nginx = Spawned::start(
            Command::new(program("nginx", "nginx-light")?)
                .arg("-c")
                .arg(&conf)
                .arg("-e")
                .arg(&log)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )?;
        // nginx listens everywhere, or nowhere.
        wait_for_listener(status, &log)?;
        Ok(Self {
            addr,
            status,
            own: AtomicU64::new(1),
            _nginx: nginx,
            _dir: dir,
        })
    }

    /// Connections to its address that it has accepted, by its own count.
    pub fn accepted(&self) -> anyhow::Result<u64> {
        let answer = get(self.status, "/")?;
        let own = self.own.fetch_add(1, Ordering::Relaxed) + 1;
        // "server accepts handled requests", and the three numbers in the next line.
        let numbers = answer.body.lines().nth(2);
        let accepted = numbers.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        let accepted = accepted.with_context(|| format!("nginx's status: {}", answer.body))?;
        accepted
            .checked_sub(own)
            .with_context(|| format!("nginx's status: {}", answer.body))
    }
}

/// A text that packs as prose does: words of a small vocabulary in no order.
fn words(bytes: usize) -> String {
    let mut random = fastrand::Rng::with_seed(bytes as u64);
    let vocabulary: Vec<String> = (0..2000)
        .map(|_| {
            let letters = 2 + random.usize(..8);
            (0..letters).map(|_| random.lowercase()).collect()
        })
        .collect();
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        text.push_str(&vocabulary[random.usize(..vocabulary.len())]);
        text.push(' ');
    }
    text
}
