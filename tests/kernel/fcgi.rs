//! Script and URI come out of the FastCGI parameters, however they are encoded and cut.

use anyhow::ensure;
use probe_common::request::{NAME_LEN, Request, flag};
use probe_tests::{
    ensure_time,
    fastcgi::{self, Wire},
    prefork::{self, Plan},
    sys::{self, Addr},
    watch::Watch,
};

use crate::requests::serve;

const SCRIPT: &str = "/srv/www/shop/catalog.php";
const URI: &str = "/catalog.php?cat=excavators&page=2";

const PLAN: Plan = Plan {
    fastcgi: true,
    ..Plan::NOTHING
};

fn text(bytes: &[u8], len: u16) -> String {
    String::from_utf8_lossy(&bytes[..(len as usize).min(bytes.len())]).into_owned()
}

fn names(r: &Request) -> (String, String) {
    (text(&r.script, r.script_len), text(&r.uri, r.uri_len))
}

/// A client that sends the request in pieces and reads the answer.
fn client(addr: &Addr, request: &[u8], piece: usize) -> anyhow::Result<()> {
    prefork::ask(addr, request, piece)
}

pub fn script_and_uri_are_read_however_they_are_cut() -> anyhow::Result<()> {
    let wires = [
        ("plain", Wire::PLAIN),
        (
            "four-byte lengths",
            Wire {
                long_lengths: true,
                ..Wire::PLAIN
            },
        ),
        (
            "padding",
            Wire {
                padding: 7,
                ..Wire::PLAIN
            },
        ),
        (
            "many records",
            Wire {
                params_per_record: 61,
                padding: 3,
                ..Wire::PLAIN
            },
        ),
        (
            "a record for every 5 bytes",
            Wire {
                params_per_record: 5,
                ..Wire::PLAIN
            },
        ),
        (
            "behind 900 bytes of headers",
            Wire {
                bulk_before: 900,
                ..Wire::PLAIN
            },
        ),
        (
            "behind 6,000 bytes of headers",
            Wire {
                bulk_before: 6000,
                ..Wire::PLAIN
            },
        ),
        (
            "all of it",
            Wire {
                long_lengths: true,
                padding: 1,
                params_per_record: 100,
                bulk_before: 500,
                ..Wire::PLAIN
            },
        ),
    ];
    // Pieces of the client's writes; 0 stands for all at once.
    let cases: Vec<_> = wires
        .iter()
        .flat_map(|(what, wire)| [usize::MAX, 700, 97].map(|piece| (*what, *wire, piece)))
        .collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let mut served = serve(&PLAN, cases.len(), |addr| {
        let i = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (_, wire, piece) = cases[i];
        client(
            addr,
            &fastcgi::request(wire, SCRIPT, &format!("{URI}&case={i}")),
            piece,
        )
    })?;
    let (pid, n) = (served.worker.pid, cases.len());
    let seen = served
        .watch
        .read_until(|seen| seen.requests_of(pid).len() >= n)?;
    let requests = seen.requests_of(pid);
    ensure!(
        requests.len() == n,
        "{} requests of {n}{}",
        requests.len(),
        seen.dump(pid)
    );
    let mut wrong = Vec::new();
    for (i, (request, (what, _, piece))) in requests.iter().zip(&cases).enumerate() {
        let got = names(request);
        let expected = (SCRIPT.to_owned(), format!("{URI}&case={i}"));
        if request.flags & flag::FASTCGI == 0 || got != expected {
            wrong.push(format!(
                "{what}, in pieces of {piece}: flags {:#x}, {got:?}",
                request.flags
            ));
        }
    }
    ensure!(
        wrong.is_empty(),
        "{} of {n} requests have wrong names (expected {SCRIPT:?}, {URI:?}&case=...):\n    {}",
        wrong.len(),
        wrong.join("\n    ")
    );
    Ok(())
}

pub fn long_names_are_cut_not_lost() -> anyhow::Result<()> {
    let uri = format!("/long.php?q={}", "x".repeat(700));
    let script = format!("/srv/{}/long.php", "d".repeat(300));
    let mut served = serve(&PLAN, 1, |addr| {
        client(
            addr,
            &fastcgi::request(Wire::PLAIN, &script, &uri),
            usize::MAX,
        )
    })?;
    let pid = served.worker.pid;
    let seen = served
        .watch
        .read_until(|seen| !seen.requests_of(pid).is_empty())?;
    let requests = seen.requests_of(pid);
    ensure!(requests.len() == 1, "one request{}", seen.dump(pid));
    let got = names(requests[0]);
    let expected = (script[..NAME_LEN].to_owned(), uri[..NAME_LEN].to_owned());
    ensure!(got == expected, "{got:?}");
    Ok(())
}

pub fn a_kept_connection_carries_three_requests() -> anyhow::Result<()> {
    let plan = Plan {
        per_connection: 3,
        ..PLAN
    };
    let wire = Wire {
        keep_conn: true,
        ..Wire::PLAIN
    };
    let uris = ["/one.php?a=1", "/two.php", "/three.php?c=3"];
    let mut served = serve(&plan, 1, |addr| {
        let fd = sys::connected(addr).map_err(prefork::errno("connecting"))?;
        for uri in uris {
            let bytes = fastcgi::request(wire, SCRIPT, uri);
            sys::sendto(fd, &bytes, None).map_err(prefork::errno("sending"))?;
            let answered = fastcgi::read_response(fd);
            ensure!(answered.is_some(), "no answer to {uri}");
            // Idle on the connection, as nginx's keepalive leaves it.
            std::thread::sleep(std::time::Duration::from_millis(40));
        }
        let _ = sys::close(fd);
        Ok(())
    })?;
    let pid = served.worker.pid;
    let seen = served
        .watch
        .read_until(|seen| seen.requests_of(pid).len() >= 3)?;
    let requests = seen.requests_of(pid);
    ensure!(
        requests.len() == 3,
        "{} requests of 3{}",
        requests.len(),
        seen.dump(pid)
    );
    for (request, uri) in requests.iter().zip(uris) {
        let line = seen.request_text(request);
        ensure!(
            names(request) == (SCRIPT.to_owned(), uri.to_owned()),
            "{uri}: {:?} {line}",
            names(request)
        );
        let wall = request.end_ns - request.start_ns;
        ensure!(request.parts.iter().sum::<u64>() == wall, "{line}");
        ensure_time!(
            wall < 35_000_000,
            "the pause after the answer is not the request's: {line}"
        );
    }
    Ok(())
}

pub fn names_are_not_read_when_told_so() -> anyhow::Result<()> {
    use std::os::fd::AsRawFd as _;
    let (listener, addr) = prefork::listener(16)?;
    let fd = listener.as_raw_fd();
    let mut worker = probe_tests::child::fork(|link| {
        link.wait();
        prefork::serve(link, fd, &PLAN);
    })?;
    let mut options = probe_tests::watch::only_followed();
    options.fastcgi = false;
    let mut watch = Watch::start(&options)?;
    watch.follow(&[worker.pid])?;
    worker.go()?;
    client(
        &addr,
        &fastcgi::request(Wire::PLAIN, SCRIPT, URI),
        usize::MAX,
    )?;
    watch.recv(&mut worker)?;
    let pid = worker.pid;
    let seen = watch.read_until(|seen| !seen.requests_of(pid).is_empty())?;
    let requests = seen.requests_of(pid);
    ensure!(requests.len() == 1, "one request{}", seen.dump(pid));
    ensure!(
        names(requests[0]) == (String::new(), String::new()),
        "{:?}",
        names(requests[0])
    );
    Ok(())
}
