//! Servers that are not PHP-FPM, and peers that were connected to before the tool came.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use probe_tests::{
    child, prefork,
    report::{Report, culprit},
    sys,
    tool::Tool,
    upstream::{Behaviour, Upstream},
    web::{self, Gunicorn},
};

pub fn gunicorn_is_known_by_behaviour() -> anyhow::Result<()> {
    const REQUESTS: usize = 12;
    const CALLS: u64 = 5;
    let peer = Upstream::tcp(Behaviour::http(Duration::from_millis(40), false))?;
    let server = Gunicorn::start(2)?;
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", server.master))?;
    let comm = comm.trim_end();
    let tool = Tool::start_attached(&["diagnose", "--comm", comm, "--duration", "60s", "--json"])?;
    let port = peer.host_port();
    let port = port
        .rsplit_once(':')
        .context("an address without a port")?
        .1;
    let page = format!("/?n={CALLS}&port={port}");
    web::get_many(server.addr, &page, REQUESTS, 2)?;
    // The worker closes a moment after its answer.
    std::thread::sleep(Duration::from_millis(100));
    let output = tool.interrupt()?;
    let report = Report::of(&output)?;
    ensure!(
        output.code == Some(1) && report.rules().first().is_some_and(|r| r.starts_with("W01")),
        "exit code {:?}, findings {:?}\n{}",
        output.code,
        report.rules(),
        report.brief()
    );
    let culprit = culprit(&report.findings()[0]);
    ensure!(culprit == peer.host_port(), "the culprit is {culprit}");
    let group = report.group(comm)?;
    let requests = group.number("requests")?;
    ensure!(
        requests == REQUESTS as u64,
        "{requests} requests, made {REQUESTS}\n{}",
        report.brief()
    );
    let (_, numbers) = group.top_peer()?;
    let connects = numbers["connects"].as_u64();
    ensure!(connects == Some(CALLS * REQUESTS as u64), "{numbers}");
    let (wall, parts) = group.wall_and_parts()?;
    ensure!(
        parts.abs_diff(wall) * 100 <= wall,
        "the parts sum to {parts} ns of {wall} ns"
    );
    Ok(())
}

pub fn a_redis_like_peer_opened_before_attach_is_named() -> anyhow::Result<()> {
    use std::os::fd::AsRawFd as _;
    const REQUESTS: usize = 5;
    let peer = Upstream::tcp(Behaviour::bytes(50))?;
    let addr = peer.addr.clone();
    let (listener, server) = prefork::listener(16)?;
    let fd = listener.as_raw_fd();
    let mut worker = child::fork(move |link| {
        // A persistent connection, as a pool keeps it to its cache.
        let cache = sys::connected(&addr).expect("connect");
        link.send(&[]);
        loop {
            let client = sys::accept(fd).expect("accept");
            sys::read(client, &mut [0; 64]).expect("read");
            for _ in 0..4 {
                sys::sendto(cache, b"GET", None).expect("send");
                sys::recvfrom(cache, &mut [0; 64], 0).expect("receive");
            }
            sys::write(client, b"done").expect("write");
            sys::close(client).expect("close");
        }
    })?;
    worker.recv()?;
    let pid = worker.pid.to_string();
    let tool = Tool::start_attached(&["diagnose", "--pid", &pid, "--duration", "60s", "--json"])?;
    for _ in 0..REQUESTS {
        prefork::ask(&server, b"hello", usize::MAX)?;
    }
    std::thread::sleep(Duration::from_millis(50));
    let output = tool.interrupt()?;
    let report = Report::of(&output)?;
    ensure!(
        report.rules().first().is_some_and(|r| r.starts_with("W01")),
        "findings {:?}\n{}",
        report.rules(),
        report.brief()
    );
    let culprit = culprit(&report.findings()[0]);
    ensure!(culprit == peer.host_port(), "the culprit is {culprit}");
    let comm = std::fs::read_to_string(Path::new("/proc").join(&pid).join("comm"))?;
    let group = report.group(comm.trim_end())?;
    let (_, numbers) = group.top_peer()?;
    ensure!(
        numbers["connects"] == 0 && numbers["exchanges"] == 4 * REQUESTS as u64,
        "{numbers}"
    );
    Ok(())
}
