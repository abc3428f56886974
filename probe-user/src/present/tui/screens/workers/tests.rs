//! The screen of workers, through the widget.

use insta::assert_snapshot;
use probe_common::part;

use crate::{
    aggregate::{
        Parts, Peer, ProcessTime, RequestPeer, RequestSpan, RequestSummary, WaitsFor, Window,
        fixture::{MS, S, api_peer, worker},
    },
    present::tui::{
        Data, Theme,
        screens::requests::fixture::{incident, request},
        shot::{SIZES, shot},
    },
};

fn process(pid: u32, times: &[(usize, u64)]) -> ProcessTime {
    let mut parts = Parts::default();
    times.iter().for_each(|&(part, ms)| parts[part] = ms * MS);
    ProcessTime {
        process: worker(pid),
        group: b"www".to_vec(),
        parts,
        threads: 1,
        event_driven: false,
        requests: 0,
        current: None,
        waits_for: None,
    }
}

fn in_request(process: ProcessTime, request: RequestSummary, waits: WaitsFor) -> ProcessTime {
    ProcessTime {
        current: Some(Box::new(RequestSummary {
            pid: process.process.pid,
            unfinished: true,
            ..request
        })),
        waits_for: Some(waits),
        ..process
    }
}

fn api(for_ns: u64) -> WaitsFor {
    WaitsFor {
        part: part::NETWORK,
        peer: Some(api_peer(5)),
        for_ns,
    }
}

/// Two busy workers, an event loop, an idle one, one that came, one that ended.
fn sample() -> Data {
    let mut data = incident();
    let second = [(part::NETWORK, 964), (part::ON_CPU, 36)];
    let mut ended = process(14500, &[(part::IDLE, 3000)]);
    ended.process.ended = true;
    ended.requests = 500;
    data.last.duration_ns = S;
    data.last.processes = vec![
        process(14501, &[(part::IDLE, 1000)]),
        in_request(process(14502, &second), request(24), api(218 * MS)),
        in_request(
            process(14503, &[(part::DISK, 500), (part::RUN_QUEUE, 500)]),
            RequestSummary {
                uri: Vec::new(),
                ..request(2)
            },
            WaitsFor {
                part: part::DISK,
                peer: None,
                for_ns: 41 * MS,
            },
        ),
        ProcessTime {
            event_driven: true,
            ..process(14504, &[(part::ON_CPU, 100), (part::IDLE, 900)])
        },
        process(14505, &[(part::IDLE, 100)]),
    ];
    data.recent.processes = vec![
        ended,
        process(14501, &[(part::IDLE, 10_000)]),
        ProcessTime {
            requests: 3,
            ..process(14502, &[(part::NETWORK, 9640), (part::ON_CPU, 360)])
        },
        process(14503, &[(part::NETWORK, 5000), (part::RUN_QUEUE, 5000)]),
        process(14504, &[(part::ON_CPU, 1000), (part::IDLE, 9000)]),
        process(14505, &[(part::IDLE, 100)]),
    ];
    data
}

#[test]
fn the_oldest_request_is_on_top_and_those_that_ended_are_below() {
    for size in SIZES {
        assert_snapshot!(format!("workers_{}", size.0), shot(&sample(), "2", size));
    }
}

#[test]
fn a_worker_that_is_opened_tells_all() {
    for size in SIZES {
        assert_snapshot!(format!("worker_{}", size.0), shot(&sample(), "2\n", size));
    }
}

#[test]
fn without_data_it_says_so() {
    for size in SIZES {
        let text = shot(&Data::default(), "2", size);
        assert!(text.contains("Nothing has been read yet."), "{text}");
    }
}

#[test]
fn the_order_of_idle_workers_does_not_change_with_what_they_did() {
    let order = |busy: u32| {
        let processes = (1..20).map(|pid| {
            let ran = if pid == busy { 700 } else { 1 };
            process(pid, &[(part::ON_CPU, ran), (part::IDLE, 1000 - ran)])
        });
        let data = Data {
            last: Window {
                duration_ns: S,
                processes: processes.collect(),
                ..Window::default()
            },
            ..Data::default()
        };
        let rows = super::rows(&data, 80, &Theme::default());
        rows.into_iter().map(|row| row.key).collect::<Vec<_>>()
    };
    assert_eq!(order(3), order(17));
}

#[test]
fn every_row_has_its_cells_and_bars_are_as_wide_as_their_column() {
    let data = sample();
    for width in [36, 78, 120, 198] {
        let widths = crate::present::tui::widths(super::COLUMNS, width);
        let room = usize::from(widths[super::BAR].unwrap_or(0));
        for row in super::rows(&data, width, &Theme::default()) {
            assert_eq!(row.cells.len(), super::COLUMNS.len());
            assert_eq!(row.order.len(), super::COLUMNS.len());
            assert_eq!(row.cells[super::BAR].width(), room);
        }
    }
}

#[test]
fn hostile_names_do_not_act_and_stay_in_their_cells() {
    let evil = b"/\x1b[2J\xff\r\n".repeat(40);
    let mut data = sample();
    let path = Peer::Unix { path: evil.clone() };
    for process in &mut data.last.processes {
        process.group.clone_from(&evil);
        process.process.comm.clone_from(&evil);
        if let Some(waits) = &mut process.waits_for {
            waits.peer = Some(path.clone());
        }
        if let Some(current) = &mut process.current {
            current.uri.clone_from(&evil);
            current.script.clone_from(&evil);
            current.spans = vec![RequestSpan {
                start_ns: 0,
                length_ns: S,
                part: part::LOCAL,
                peer: Some(path.clone()),
            }];
            current.peers = vec![RequestPeer {
                peer: path.clone(),
                wait_ns: S,
                connects: 1,
                exchanges: 1,
            }];
        }
    }
    for size in SIZES {
        for keys in ["2", "2\n", "3", "3\n"] {
            let text = shot(&data, keys, size);
            let control = |c: char| c.is_control() && c != '\n';
            assert!(!text.contains(control), "{text}");
            let lines = || text.lines().map(|l| l.chars().count());
            assert!(lines().all(|l| l <= usize::from(size.0)), "{text}");
        }
    }
}
