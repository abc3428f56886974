//! Requests for the tests of the screens.

use probe_common::part;

use crate::{
    aggregate::{
        Parts, RequestPeer, RequestSpan, RequestSummary,
        fixture::{INCIDENT_A, MS, S, api_peer, window_of},
    },
    present::tui::{Data, Slow},
};

/// A request of so many calls in a row, of 371 ms each, behind 20 ms of work.
pub fn request(calls: u32) -> RequestSummary {
    let wait_ns = u64::from(calls) * 371 * MS;
    let mut parts = Parts::default();
    parts[part::NETWORK] = wait_ns;
    parts[part::ON_CPU] = 160 * MS;
    parts[part::RUN_QUEUE] = 20 * MS;
    RequestSummary {
        pid: 14502,
        start_ns: 0,
        wall_ns: wait_ns + 180 * MS,
        unfinished: false,
        partial: false,
        parts,
        script: b"/srv/www/shop/public/index.php".to_vec(),
        uri: b"/catalog.php?cat=excavators".to_vec(),
        connects: calls,
        peers: vec![RequestPeer {
            peer: api_peer(5),
            wait_ns,
            connects: calls,
            exchanges: calls,
        }],
        spans: (0..u64::from(calls.min(32)))
            .map(|n| RequestSpan {
                start_ns: 20 * MS + n * 376 * MS,
                length_ns: 371 * MS,
                part: part::NETWORK,
                peer: Some(api_peer(5)),
            })
            .collect(),
        spans_lost: calls.saturating_sub(32),
    }
}

/// Ten seconds of incident A, and some requests that were slow.
pub fn incident() -> Data {
    let recent = window_of(50, INCIDENT_A);
    let unix_ns = recent.start_unix_ns + recent.duration_ns;
    let slow = |calls: u32, ago_s: u64| Slow {
        group: b"www".to_vec(),
        unix_ns: unix_ns - ago_s * S,
        request: RequestSummary {
            pid: 14500 + calls,
            ..request(calls)
        },
    };
    let mut last = recent.clone();
    last.duration_ns = S;
    last.processes.clear();
    Data {
        last,
        recent,
        slowest: vec![slow(40, 95), slow(24, 3), slow(2, 21), slow(0, 1)],
        elapsed_ns: 120 * S,
        unix_ns,
        ..Data::default()
    }
}
