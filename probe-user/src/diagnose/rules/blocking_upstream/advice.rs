//! What W01 proposes, safest first, with the arithmetic of what each brings.

use super::{Case, shape::Order};
use crate::{
    aggregate::Peer,
    diagnose::{Quantity, Remedy, Sentence, sentence},
};

/// What a request may spend on calls to others altogether, where nothing better is known: past a second,
/// users lose their train of thought.
const BUDGET_NS: u64 = super::CRITICAL_WAIT_NS;
/// A time-out of so many times the usual answer leaves room for ordinary jitter.
const TIMEOUT_FACTOR: u64 = 2;
/// The slowest answers take so many times the usual one: a time-out cuts the tail without touching the rest.
const TAIL: u64 = 4;

/// Less than this share of the wait is not worth changing code for.
const WORTHWHILE: f64 = 0.02;

/// What kind of service a peer is, by its port or path: only for the wording of the advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Http,
    Database,
    Cache,
    Other,
}

fn service(peer: &Peer) -> Service {
    match peer {
        Peer::Inet { port, .. } => match port {
            80 | 443 | 3000 | 5000 | 8000..=8099 | 8443 | 8888 => Service::Http,
            1433 | 1521 | 3306 | 5432 | 9042 | 27017 | 33060 => Service::Database,
            6379..=6390 | 11211 => Service::Cache,
            _ => Service::Other,
        },
        Peer::Unix { path } => {
            let path = path.to_ascii_lowercase();
            let has = |word: &[u8]| path.windows(word.len()).any(|w| w == word);
            if has(b"mysql") || has(b"maria") || has(b"pgsql") || has(b"postgres") {
                Service::Database
            } else if has(b"redis") || has(b"valkey") || has(b"memcache") {
                Service::Cache
            } else {
                Service::Other
            }
        }
        _ => Service::Other,
    }
}

/// What to try for a case.
pub(super) fn remedies(case: &Case<'_>) -> Vec<Remedy> {
    let service = service(&case.peer.peer);
    let mut list = vec![out_of_the_request(case, service)];
    match case.shape.order {
        Order::One => {}
        Order::InARow => {
            list.push(all_at_once(case, service));
            list.extend(keep_the_connection(case));
        }
        Order::AtOnce => list.push(Remedy {
            text: "ask for everything in one call instead of several".into(),
            arithmetic: None,
            risk: "the peer must offer such a call".to_owned(),
            ..Remedy::default()
        }),
    }
    list.extend(time_out(case, service));
    if matches!(case.shape.order, Order::One | Order::AtOnce) {
        list.push(ask_the_peer(service));
    }
    list
}

fn saves(ns: u64) -> Sentence {
    sentence!["saves about ", Quantity::ns(ns), " a request"]
}

fn out_of_the_request(case: &Case<'_>, service: Service) -> Remedy {
    let text = match service {
        Service::Database | Service::Cache => {
            "take it out of the request: compute the answer in the background, keep it, serve the last one"
        }
        Service::Http | Service::Other => {
            "take it out of the request: fetch in the background, serve the last value"
        }
    };
    Remedy {
        text: text.into(),
        arithmetic: Some(saves(case.shape.wait_ns)),
        risk: "what is served is as old as the last fetch".to_owned(),
        ..Remedy::default()
    }
}

fn all_at_once(case: &Case<'_>, service: Service) -> Remedy {
    let shape = &case.shape;
    let n = Quantity::count(shape.calls);
    let stays = shape.longest_call_ns();
    let text = match service {
        Service::Http | Service::Other => {
            sentence!["ask for all ", n, " at once (PHP: curl_multi)"]
        }
        Service::Database => sentence![
            "fetch what the ",
            n,
            " rounds bring with one query (IN, JOIN)"
        ],
        Service::Cache => sentence!["send the ", n, " commands in one pipeline (or MGET)"],
    };
    let arithmetic = sentence![
        Quantity::ns(shape.wait_ns),
        " less the longest of them, ",
        Quantity::ns(stays),
        ": ",
        "saves about ",
        Quantity::ns(shape.wait_ns.saturating_sub(stays)),
        " a request",
    ];
    Remedy {
        text,
        arithmetic: Some(arithmetic),
        risk: "the peer gets as many questions at the same moment; if it is slow, it still hurts"
            .to_owned(),
        ..Remedy::default()
    }
}

/// Saves the set-up of every connection but the first.
fn keep_the_connection(case: &Case<'_>) -> Option<Remedy> {
    if !case.shape.connects_each {
        return None;
    }
    let (mut count, mut total_ns) = (0, 0);
    for calls in &case.window.calls {
        if calls.op == "established" && calls.peer == case.peer.peer {
            count += calls.count;
            total_ns += calls.total_ns;
        }
    }
    let each_ns = total_ns / count.max(1);
    let fewer = case.shape.connects - 1.0;
    let saved = (fewer * each_ns as f64) as u64;
    if count > 0 && (saved as f64) < WORTHWHILE * case.shape.wait_ns as f64 {
        return None;
    }
    let arithmetic = (each_ns > 0).then(|| {
        sentence![
            Quantity::count(fewer),
            " set-ups of ",
            Quantity::ns(each_ns),
            ": saves about ",
            Quantity::ns(saved),
            " a request, and more with TLS",
        ]
    });
    Some(Remedy {
        text: "keep one connection for all calls (PHP: reuse the curl handle)".into(),
        arithmetic,
        risk: "idle connections occupy the peer; one that it has closed must be opened again"
            .to_owned(),
        ..Remedy::default()
    })
}

/// A bound on the whole: from the tail of the answers where there is one, else the budget.
fn time_out(case: &Case<'_>, service: Service) -> Option<Remedy> {
    let (usual, slow) = (
        case.peer.exchange.quantile(0.5),
        case.peer.exchange.quantile(0.99),
    );
    let tailed = case.shape.order == Order::One && usual > 0 && slow > TAIL * usual;
    let limit = if tailed {
        TIMEOUT_FACTOR * usual
    } else {
        BUDGET_NS
    };
    let saved = case.shape.wait_ns.checked_sub(limit).filter(|ns| *ns > 0)?;
    let setting = match service {
        Service::Http => " (PHP: CURLOPT_TIMEOUT_MS)",
        Service::Database => " (MySQL: max_execution_time; PHP: the driver's read time-out)",
        Service::Cache => " (the client's read time-out)",
        Service::Other => "",
    };
    let text = sentence![
        "allow all calls of a request together ",
        Quantity::ns(limit),
        setting
    ];
    let arithmetic = sentence![
        Quantity::ns(case.shape.wait_ns),
        " less ",
        Quantity::ns(limit),
        ": saves about ",
        Quantity::ns(saved),
        " a request",
    ];
    Some(Remedy {
        text,
        arithmetic: Some(arithmetic),
        risk: "past it the page must do without the answer, and must be written so".to_owned(),
        ..Remedy::default()
    })
}

fn ask_the_peer(service: Service) -> Remedy {
    let text = match service {
        Service::Database => {
            "find the slow statement (slow query log, EXPLAIN) and give it an index"
        }
        Service::Cache => "find the slow command (SLOWLOG GET), or what the server waits for",
        Service::Http | Service::Other => "ask whoever runs the peer what it does for so long",
    };
    Remedy {
        text: text.into(),
        risk: "none here; the change is made at the peer".to_owned(),
        ..Remedy::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_known_by_port_or_path() {
        let at = |port| Peer::Inet {
            transport: "tcp".to_owned(),
            address: [10, 0, 0, 8].into(),
            port,
        };
        assert_eq!(service(&at(443)), Service::Http);
        assert_eq!(service(&at(3306)), Service::Database);
        assert_eq!(service(&at(6379)), Service::Cache);
        assert_eq!(service(&at(9)), Service::Other);
        let unix = |path: &[u8]| Peer::Unix {
            path: path.to_vec(),
        };
        assert_eq!(service(&unix(b"/run/MySQLd/x.sock")), Service::Database);
        assert_eq!(service(&unix(b"")), Service::Other);
    }
}
