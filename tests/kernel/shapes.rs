//! Servers and requests that are not the plain case: event loops, requests under way at attach or at the
//! end, workers that die, connections that carry several requests.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    time::Duration,
};

use anyhow::ensure;
use probe_common::{
    op, part,
    request::flag as request_flag,
    task::{flag, state},
};
use probe_tests::{
    child::{self, Child, Link},
    ensure_time,
    prefork::{self, Plan},
    sys::{self, Addr, EpollCall},
    upstream::{Behaviour, Upstream},
    watch::{Lent, Watch, slack_ns},
};

use crate::steps::{LONG, ask, connect, hear, report_and_stay};

fn inet(addr: &Addr) -> anyhow::Result<SocketAddr> {
    match addr {
        Addr::Inet(addr) => Ok(*addr),
        other => anyhow::bail!("{other:?} is no IP address"),
    }
}

/// An event loop: one epoll for the listener and all connections; answers each with what it got.
fn event_loop(link: &mut Link, listener: i32, connections: usize) {
    let epoll = sys::epoll_create().expect("epoll_create1");
    sys::epoll_add(epoll, listener, libc::EPOLLIN, listener as u64).expect("epoll_ctl");
    let mut closed = 0;
    while closed < connections {
        for fd in sys::epoll_wait(EpollCall::Wait, epoll, LONG).expect("epoll_wait") {
            let fd = fd as i32;
            if fd == listener {
                let new = sys::accept4(listener, libc::SOCK_NONBLOCK).expect("accept4");
                sys::epoll_add(epoll, new, libc::EPOLLIN, new as u64).expect("epoll_ctl");
                continue;
            }
            match sys::read(fd, &mut [0; 64]) {
                Ok(n) if n > 0 => {
                    sys::write(fd, b"answer").expect("write");
                }
                _ => {
                    sys::close(fd).expect("close");
                    closed += 1;
                }
            }
        }
    }
    report_and_stay(link, &[]);
}

pub fn an_event_driven_server_has_no_requests_and_is_marked() -> anyhow::Result<()> {
    const CLIENTS: usize = 6;
    let (listener, addr) = prefork::listener(16)?;
    let fd = listener.as_raw_fd();
    let mut server = child::fork(|link| {
        link.wait();
        event_loop(link, fd, CLIENTS);
    })?;
    let mut watch = Watch::of(&[&server])?;
    server.go()?;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = TcpStream::connect(inet(&addr)?)?;
        client.write_all(b"hello")?;
        client.read_exact(&mut [0; 6])?;
        clients.push(client);
    }
    drop(clients);
    watch.recv(&mut server)?;
    let seen = watch.read()?;
    ensure!(
        seen.requests_of(server.pid).is_empty(),
        "requests of an event loop{}",
        seen.dump(server.pid)
    );
    let task = seen.tasks.iter().find(|t| t.tid == server.pid);
    ensure!(
        task.is_some_and(|t| t.flags & flag::EVENT_DRIVEN != 0),
        "not marked as event-driven{}",
        seen.dump(server.pid)
    );
    Ok(())
}

pub fn a_request_begun_before_attach_is_never_taken_for_whole() -> anyhow::Result<()> {
    let up = Upstream::tcp(Behaviour::bytes(20))?;
    let peer = up.addr.clone();
    let (listener, addr) = prefork::listener(16)?;
    let fd = listener.as_raw_fd();
    let mut worker = child::fork(move |link| {
        // In the middle of a request when the tool comes.
        let client = sys::accept(fd).expect("accept");
        sys::read(client, &mut [0; 64]).expect("read");
        link.send(&[]);
        link.wait();
        let to = connect(&peer);
        ask(to);
        hear(to);
        sys::close(to).expect("close");
        sys::write(client, b"done").expect("write");
        sys::close(client).expect("close");
        for _ in 0..2 {
            prefork::serve_one(fd, &Plan::NOTHING);
        }
        report_and_stay(link, &[]);
    })?;
    let target = inet(&addr)?;
    let client = std::thread::spawn(move || prefork::ask(&target.into(), b"early", usize::MAX));
    worker.recv()?;
    let mut watch = Watch::fresh(&[&worker])?;
    let attached_ns = sys::now_ns();
    worker.go()?;
    client
        .join()
        .map_err(|_| anyhow::anyhow!("the client panicked"))??;
    for _ in 0..2 {
        prefork::ask(&addr, b"hello", usize::MAX)?;
    }
    watch.recv(&mut worker)?;
    let pid = worker.pid;
    let seen = watch.read_until(|seen| seen.requests_of(pid).len() >= 2)?;
    let requests = seen.requests_of(pid);
    let whole = requests
        .iter()
        .filter(|r| r.flags & request_flag::PARTIAL == 0);
    let whole: Vec<_> = whole.collect();
    ensure!(
        whole.len() == 2,
        "{} whole requests, made 2{}",
        whole.len(),
        seen.dump(pid)
    );
    ensure!(
        whole
            .iter()
            .all(|r| r.start_ns >= attached_ns && r.npeers == 0),
        "a whole request contains the one before{}",
        seen.dump(pid)
    );
    ensure!(
        requests.len() <= 3,
        "{} requests, made 3{}",
        requests.len(),
        seen.dump(pid)
    );
    // Its wait for the peer is seen all the same.
    let wait = seen.call(pid, "recvfrom", &up.text());
    ensure!(
        wait.count == 1 && wait.blocked_ns > 0,
        "{wait:?}{}",
        seen.dump(pid)
    );
    Ok(())
}

/// A worker inside a request whose peer never answers, the client that waits for it, and the peer.
struct Stuck {
    watch: Lent,
    worker: Child,
    accepted_ns: u64,
    peer: SocketAddr,
    _client: TcpStream,
    _peer: TcpListener,
}

fn stuck() -> anyhow::Result<Stuck> {
    let dead = TcpListener::bind("127.0.0.1:0")?;
    let peer = dead.local_addr()?;
    let (listener, addr) = prefork::listener(16)?;
    let fd = listener.as_raw_fd();
    let mut worker = child::fork(move |link| {
        link.wait();
        let client = sys::accept(fd).expect("accept");
        let accepted_ns = sys::now_ns();
        sys::read(client, &mut [0; 64]).expect("read");
        let to = connect(&peer.into());
        ask(to);
        link.send(&[accepted_ns]);
        hear(to);
    })?;
    let mut watch = Watch::of(&[&worker])?;
    worker.go()?;
    let mut client = TcpStream::connect(inet(&addr)?)?;
    client.write_all(b"hello")?;
    let accepted_ns = watch.recv(&mut worker)?[0];
    std::thread::sleep(Duration::from_millis(60));
    Ok(Stuck {
        watch,
        worker,
        accepted_ns,
        peer,
        _client: client,
        _peer: dead,
    })
}

pub fn an_unfinished_request_is_visible() -> anyhow::Result<()> {
    let mut stuck = stuck()?;
    let pid = stuck.worker.pid;
    let seen = stuck.watch.read()?;
    let task = seen.tasks.iter().find(|t| t.tid == pid);
    let task = task.ok_or_else(|| anyhow::anyhow!("no row{}", seen.dump(pid)))?;
    ensure!(
        task.flags & flag::IN_REQUEST != 0,
        "not in a request{}",
        seen.dump(pid)
    );
    ensure_time!(
        task.request.start_ns.abs_diff(stuck.accepted_ns) <= slack_ns(0),
        "begun at {}, accepted at {}",
        task.request.start_ns,
        stuck.accepted_ns
    );
    ensure!(
        task.request.connects == 1,
        "{} connects",
        task.request.connects
    );
    ensure!(
        task.state == state::BLOCKED && op::name(task.op) == "recvfrom",
        "state {} in {}",
        task.state,
        op::name(task.op)
    );
    ensure!(
        seen.requests_of(pid)
            .iter()
            .all(|r| r.flags & request_flag::UNFINISHED != 0),
        "reported as finished{}",
        seen.dump(pid)
    );
    let peer = format!("tcp {}", stuck.peer);
    let used = &task.request.peers[..task.request.npeers as usize];
    ensure!(
        used.iter().any(|p| seen.peer(p.peer) == peer),
        "{peer} is not in the row"
    );
    Ok(())
}

pub fn a_worker_that_dies_in_a_request_is_reported() -> anyhow::Result<()> {
    let mut stuck = stuck()?;
    let pid = stuck.worker.pid;
    stuck.worker.signal(libc::SIGKILL);
    stuck.worker.wait()?;
    let killed_ns = sys::now_ns();
    let seen = stuck
        .watch
        .read_until(|seen| seen.exits.iter().any(|e| e.tid == pid))?;
    ensure!(
        seen.exits.iter().any(|e| e.tid == pid),
        "no end reported{}",
        seen.dump(pid)
    );
    let requests = seen.requests_of(pid);
    ensure!(
        requests.len() == 1 && requests[0].flags & request_flag::EXITED != 0,
        "one request, cut short{}",
        seen.dump(pid)
    );
    let request = requests[0];
    let text = seen.request_text(request);
    ensure!(
        request.end_ns <= killed_ns && request.end_ns > request.start_ns,
        "it ends at {}, the worker was killed by {killed_ns}: {text}",
        request.end_ns
    );
    ensure!(
        request.parts.iter().sum::<u64>() == request.end_ns - request.start_ns,
        "the parts do not sum to the wall time: {text}"
    );
    Ok(())
}

pub fn connections_kept_open_are_several_requests() -> anyhow::Result<()> {
    const PAUSE: Duration = Duration::from_millis(50);
    let up = Upstream::tcp(Behaviour::bytes(5))?;
    let plan = Plan {
        peer: Some(up.addr.clone()),
        calls: 2,
        per_connection: 3,
        ..Plan::NOTHING
    };
    let mut served = crate::requests::serve(&plan, 1, |addr| {
        let mut stream = TcpStream::connect(inet(addr)?)?;
        for _ in 0..3 {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
            stream.read_exact(&mut [0; 4])?;
            std::thread::sleep(PAUSE);
        }
        Ok(())
    })?;
    let pid = served.worker.pid;
    let seen = served
        .watch
        .read_until(|seen| seen.requests_of(pid).len() >= 3)?;
    let requests = seen.requests_of(pid);
    ensure!(
        requests.len() == 3,
        "3 requests on one connection{}",
        seen.dump(pid)
    );
    for (i, request) in requests.iter().enumerate() {
        let text = seen.request_text(request);
        let wall = request.end_ns - request.start_ns;
        ensure!(request.parts.iter().sum::<u64>() == wall, "{text}");
        ensure!(request.connects == 2, "{text}");
        // The last one ends with the close, which the worker makes at once after its answer.
        if i < 2 {
            ensure_time!(
                request.parts[part::CLIENT] < PAUSE.as_nanos() as u64 / 2,
                "the pause after the answer is not the request's: {text}"
            );
        }
    }
    Ok(())
}
