//! gunicorn with sync workers: a prefork server that is not PHP.

use std::{
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
};

use super::{free_port, open_to_all, program, wait_for, wait_for_listener};
use crate::child::Spawned;

/// The running server; dropping it ends it and removes its directory.
pub struct Gunicorn {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Process id of the master.
    pub master: u32,
    _server: Spawned,
    _dir: tempfile::TempDir,
}

/// `/?n=N&port=PORT` makes N calls to 127.0.0.1:PORT, each on a connection of its own, and prints the
/// time they took, ns.
const APP: &str = r#"
import http.client, time, urllib.parse
def app(environ, start_response):
    q = urllib.parse.parse_qs(environ['QUERY_STRING'])
    begin = time.monotonic_ns()
    for _ in range(int(q.get('n', ['0'])[0])):
        c = http.client.HTTPConnection('127.0.0.1', int(q['port'][0]))
        c.request('GET', '/')
        assert c.getresponse().read() == b'ok'
        c.close()
    body = str(time.monotonic_ns() - begin).encode()
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
"#;

impl Gunicorn {
    /// Starts `workers` sync workers and waits until they answer.
    pub fn start(workers: usize) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("gunicorn-").tempdir()?;
        open_to_all(dir.path())?;
        fs::write(dir.path().join("testapp.py"), APP)?;
        let addr = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let log = dir.path().join("gunicorn.log");
        let out = fs::File::create(&log)?;
        let server = Spawned::start(
            Command::new(program("gunicorn", "gunicorn")?)
                .args(["--workers", &workers.to_string(), "--worker-class", "sync"])
                .args(["--bind", &addr.to_string(), "testapp:app"])
                .current_dir(dir.path())
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .stdin(Stdio::null())
                .stdout(out.try_clone()?)
                .stderr(out),
        )?;
        wait_for_listener(addr, &log)?;
        wait_for("an answer of gunicorn", &log, || {
            super::get(addr, "/?n=0").is_ok_and(|a| a.status == 200)
        })?;
        Ok(Self {
            addr,
            master: server.process.id(),
            _server: server,
            _dir: dir,
        })
    }
}
