//! The screen of requests, through the widget.

use insta::assert_snapshot;
use probe_common::part;

use super::{
    fixture::{incident, request},
    one,
};
use crate::{
    aggregate::RequestSummary,
    present::tui::{
        Data, Theme, screens,
        shot::{SIZES, shot},
    },
};

#[test]
fn the_slowest_since_the_view_began_are_on_top() {
    for size in SIZES {
        assert_snapshot!(format!("slowest_{}", size.0), shot(&incident(), "3", size));
    }
}

#[test]
fn twenty_four_calls_in_a_row_are_seen_at_one_glance() {
    for size in SIZES {
        // The second row: the first has more calls than are kept.
        let text = shot(&incident(), "3j\n", size);
        assert_snapshot!(format!("request_{}", size.0), text);
    }
}

#[test]
fn requests_by_group_and_by_peer() {
    for size in SIZES {
        assert_snapshot!(format!("groups_{}", size.0), shot(&incident(), "3>", size));
        assert_snapshot!(format!("group_{}", size.0), shot(&incident(), "3>\n", size));
        assert_snapshot!(format!("peers_{}", size.0), shot(&incident(), "3>>", size));
        assert_snapshot!(format!("peer_{}", size.0), shot(&incident(), "3>>\n", size));
    }
}

#[test]
fn without_data_every_table_says_so() {
    for size in SIZES {
        for keys in ["3", "3>", "3>>"] {
            let text = shot(&Data::default(), keys, size);
            assert!(text.contains("Nothing has been read yet."), "{text}");
        }
    }
}

#[test]
fn every_row_has_a_cell_for_each_column() {
    let data = incident();
    for section in screens::requests::SCREEN.sections {
        for width in [36, 78, 198] {
            for row in (section.rows)(&data, width, &Theme::default()) {
                assert_eq!(row.cells.len(), section.columns.len());
                assert_eq!(row.order.len(), section.columns.len());
                let detail = (section.detail)(&data, &row.key, width, &Theme::default());
                assert!(!detail.is_empty(), "{}", row.key);
                let widest = detail.iter().map(|line| line.width()).max();
                assert!(widest <= Some(usize::from(width)), "{detail:?}");
            }
        }
    }
}

fn text(request: &RequestSummary) -> String {
    let lines = one::lines(request, b"www", None, 80, &Theme::default());
    let lines: Vec<String> = lines.iter().map(|line| line.to_string()).collect();
    lines.join("\n")
}

#[test]
fn waits_that_found_no_place_are_told() {
    let text = text(&request(40));
    assert!(text.contains("8 later waits found no place"), "{text}");
    assert!(text.contains("Not in the list: network 2.97 s"), "{text}");
}

#[test]
fn a_request_that_began_before_watching_says_so() {
    let partial = RequestSummary {
        partial: true,
        ..request(1)
    };
    assert!(text(&partial).contains("It was under way when watching began"));
}

#[test]
fn what_dominates_is_the_peer_or_the_kind_of_time() {
    let most = |request: &RequestSummary| one::mostly(request, 30);
    let (what, share) = most(&request(24)).unwrap();
    assert_eq!(what, "203.0.113.5:443");
    assert!((0.97..1.0).contains(&share), "{share}");
    assert_eq!(most(&request(0)).unwrap().0, "on CPU");
    let mut disk = request(1);
    disk.parts[part::DISK] = disk.parts[part::NETWORK] + 1;
    assert_eq!(most(&disk).unwrap().0, "disk");
    let nothing = RequestSummary {
        parts: Default::default(),
        ..request(0)
    };
    assert_eq!(most(&nothing), None);
}
