//! Recordings that nobody but a forger would write, through everything that a replay does with them.

use std::fmt::Write as _;

use super::*;
use crate::{
    aggregate::Rolling,
    collect::recording::make::Maker,
    diagnose,
    present::{self, Color, Style},
};

const STYLE: Style = Style {
    color: Color::Always,
    width: 80,
};

/// What a forged recording is about.
fn header(maker: &mut Maker) -> Header {
    Header {
        tool_version: "0.1.0".to_owned(),
        ..maker.make()
    }
}

/// Frames of absurd readings; their times run backwards as often as forwards.
fn forged(maker: &mut Maker) -> Vec<Frame> {
    let n = maker.below(5) + 2;
    let frame = |i| match i == 0 || i == n - 1 || maker.below(3) == 0 {
        true => Frame::Full(maker.make()),
        false => Frame::Events(maker.make()),
    };
    (0..n).map(frame).collect()
}

/// Everything that can be written of a window.
fn outputs(mut window: Window) -> String {
    let mut text = String::new();
    for redacted in [false, true] {
        if redacted {
            present::redact::all(&mut window);
        }
        let diagnosis = diagnose::run(&window);
        text += &present::text::report(&window, &diagnosis, STYLE);
        text += &present::json::report(&window, &diagnosis);
        text += &present::html::report(&window, &diagnosis);
        text += &present::markdown::report(&window, &diagnosis);
    }
    type Page = fn(&Window, Option<usize>, Style) -> String;
    type Json = fn(&Window) -> String;
    let pages: [(Page, Json); 4] = [
        (present::tcp::page, present::tcp::json),
        (present::udp::page, present::udp::json),
        (present::dns::page, present::dns::json),
        (present::fs::page, present::fs::json),
    ];
    for (page, json) in pages {
        text += &page(&window, Some(24), STYLE);
        text += &json(&window);
    }
    let _ = write!(text, "{}", present::workers::table(&window, 24, STYLE));
    text
}

#[test]
fn absurd_values_end_in_a_report_and_never_in_a_panic() {
    let mut failed = Vec::new();
    for seed in 1..=60 {
        let done = std::panic::catch_unwind(|| {
            let mut maker = Maker::new(Some(seed));
            let header = header(&mut maker);
            let mut fold = Fold::new(header, seed % 2 == 0);
            forged(&mut maker).into_iter().for_each(|f| fold.push(f));
            let text = outputs(fold.finish());
            assert!(!text.is_empty());
        });
        if done.is_err() {
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn absurd_values_pass_through_the_windows_of_the_live_view() {
    for seed in 1000..1040 {
        let mut maker = Maker::new(Some(seed));
        let header = header(&mut maker);
        let mut rolling = None;
        for frame in forged(&mut maker) {
            match (frame, &mut rolling) {
                (Frame::Full(base), None) => {
                    let about = about(&header, &base);
                    let span = maker.make();
                    rolling = Some(Rolling::new(&about, &base.reading, base.cost, span));
                }
                (Frame::Full(full), Some(rolling)) => {
                    let look = rolling.look(&full.reading, &full.probes, full.cost, full.unix_ns);
                    diagnose::run(&look.last);
                    diagnose::run(&look.recent);
                }
                (Frame::Events(reading), Some(rolling)) => rolling.push(&reading),
                (Frame::Events(_), None) => {}
            }
        }
    }
}
