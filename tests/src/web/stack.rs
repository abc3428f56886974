//! nginx in front of a PHP-FPM pool, both of the test's own making.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};

use super::{PLAIN, free_port, open_to_all, program, wait_for, wait_for_listener};
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
}

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

/// The pages, by name. `calls.php?n=N&url=URL&reuse=0|1&parallel=0|1` calls its peer and prints what it
/// measured: seconds in curl, and seconds since the request began. `lookup.php?name=NAME` looks a name up.
///
/// `css.php?dir=DIR&n=N&cached=0|1` makes N small style sheets: with new names at each visit, or under names that
/// stay, which the next visit finds. It prints how many it made and how many bytes.
///
/// `catalog.php?n=N&url=URL&cached=0|1` calls its peer N times on connections of their own, or says what it said before.
const PAGES: [(&str, &str); 6] = [
    (
        "calls.php",
        r#"<?php
$begin = hrtime(true);
$n = (int)$_GET['n'];
$curl = 0;
function handle() {
    $h = curl_init($_GET['url']);
    curl_setopt($h, CURLOPT_RETURNTRANSFER, true);
    return $h;
}
function check($body) {
    if ($body !== 'ok') { http_response_code(500); echo 'the peer did not answer'; exit; }
}
if (!empty($_GET['parallel'])) {
    $t = hrtime(true);
    $multi = curl_multi_init();
    $all = [];
    for ($i = 0; $i < $n; $i++) { $all[$i] = handle(); curl_multi_add_handle($multi, $all[$i]); }
    do {
        curl_multi_exec($multi, $running);
        if ($running) { curl_multi_select($multi, 1.0); }
    } while ($running);
    foreach ($all as $h) { check(curl_multi_getcontent($h)); }
    $curl = hrtime(true) - $t;
} else {
    $h = handle();
    for ($i = 0; $i < $n; $i++) {
        if (empty($_GET['reuse'])) { $h = handle(); }
        $t = hrtime(true);
        $body = curl_exec($h);
        $curl += hrtime(true) - $t;
        check($body);
    }
}
echo json_encode(['curl_ns' => $curl, 'page_ns' => hrtime(true) - $begin]);
"#,
    ),
    (
        // Looks a name up for IPv4 and IPv6, as every client library does, and sends nothing to what it finds.
        "lookup.php",
        r#"<?php
$name = $_GET['name'];
$begin = hrtime(true);
$to = @fsockopen("udp://$name", 9);
echo json_encode(['took_ns' => hrtime(true) - $begin, 'began_ns' => $begin, 'found' => $to !== false]);
"#,
    ),
    (
        // Writes so many small files and syncs the last of them.
        "write.php",
        r#"<?php
$begin = hrtime(true);
$name = $_GET['dir'] . '/' . getmypid() . '-' . $begin;
for ($i = 0; $i < (int)$_GET['n']; $i++) {
    $file = fopen("$name-$i", 'w');
    fwrite($file, str_repeat('x', 1000));
    fflush($file);
    $t = hrtime(true);
    if ($i == (int)$_GET['n'] - 1) { fsync($file); }
    $fsync = hrtime(true) - $t;
    fclose($file);
}
echo json_encode(['fsync_ns' => $fsync, 'page_ns' => hrtime(true) - $begin]);
"#,
    ),
    (
        "css.php",
        r#"<?php
$visit = empty($_GET['cached']) ? uniqid('', true) . getmypid() : 'cached';
$made = $bytes = 0;
for ($i = 0; $i < (int)$_GET['n']; $i++) {
    $file = "{$_GET['dir']}/style-$i-" . sha1("$visit $i") . '.css';
    if (is_file($file)) { file_get_contents($file); continue; }
    $text = str_repeat(".c$i { color: #" . dechex($i) . "; }\n", 8 + $i % 50);
    if (@file_put_contents($file, $text) !== strlen($text)) { http_response_code(500); exit; }
    $made++;
    $bytes += strlen($text);
}
echo json_encode(['made' => $made, 'bytes' => $bytes]);
"#,
    ),
    (
        // What is cached still takes a while to be made a page of.
        "catalog.php",
        r#"<?php
for ($i = 0; empty($_GET['cached']) && $i < (int)$_GET['n']; $i++) {
    $h = curl_init($_GET['url']);
    curl_setopt($h, CURLOPT_RETURNTRANSFER, true);
    if (curl_exec($h) !== 'ok') { http_response_code(500); exit; }
}
usleep(30000);
echo 'a catalogue';
"#,
    ),
    (
        "fast.php",
        "<?php $x = 0; for ($i = 0; $i < 2000; $i++) { $x += $i; } echo $x;\n",
    ),
];

impl Stack {
    /// Starts both and waits until a page answers.
    pub fn start(settings: Settings) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("stack-").tempdir()?;
        open_to_all(dir.path())?;
        for (name, text) in PAGES {
            fs::write(dir.path().join(name), text)?;
        }
        let listen = match settings.fastcgi {
            FastCgi::Unix => dir.path().join("fpm.sock").display().to_string(),
            FastCgi::Tcp => format!("127.0.0.1:{}", free_port()?),
        };
        let fpm = start_fpm(dir.path(), &listen, settings)?;
        let addr = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let nginx = start_nginx(dir.path(), &listen, addr, settings)?;
        let mut stack = Self {
            addr,
            master: fpm.process.id(),
            nginx,
            _fpm: fpm,
            dir,
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

    /// What both servers complained about.
    pub fn logs(&self) -> String {
        ["fpm.log", "nginx.log"]
            .map(|name| fs::read_to_string(self.dir.path().join(name)).unwrap_or_default())
            .concat()
    }
}

fn start_fpm(dir: &Path, listen: &str, settings: Settings) -> anyhow::Result<Spawned> {
    let at = dir.display();
    let (pool, workers) = (settings.pool, settings.workers);
    let conf = dir.join("fpm.conf");
    fs::write(
        &conf,
        format!(
            "[global]\nerror_log = {at}/fpm.log\ndaemonize = no\n\
             [{pool}]\nuser = www-data\ngroup = www-data\nlisten = {listen}\nlisten.mode = 0666\n\
             pm = static\npm.max_children = {workers}\nchdir = {at}\n"
        ),
    )?;
    let spawned = Spawned::start(
        Command::new(program("php-fpm8.2", "php8.2-fpm")?)
            .args([
                "-n",
                "-d",
                "extension=curl",
                "-d",
                "zend_extension=opcache",
                "-y",
            ])
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
             server {{\n  listen {addr} backlog=4096;\n  root {at};\n  location = {PLAIN} {{ return 200 'ok'; }}\n  location / {{\n    fastcgi_pass fpm;\n    fastcgi_keep_conn {keep_conn};\n\
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
