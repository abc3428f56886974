//! Readings that nobody but a forger would write, made of what the fuzzer says ([`Maker`]), through everything that a replay,
//! the live view and `serve` make of them.

use stallscope::{
    aggregate::{Rolling, Window},
    collect::{
        fuzzing::recording::Maker,
        recording::{Frame, Header},
    },
    diagnose,
    present::{
        self, Style,
        metrics::{Own, Seen, Store, openmetrics},
    },
    session::fuzzing::{Fold, about},
};

use crate::outputs;

/// Frames of one run.
const MOST: usize = 8;

/// Makes frames until the input is used up, and shows them.
pub fn run(bytes: &[u8]) {
    let Some((&how, bytes)) = bytes.split_first() else {
        return;
    };
    let mut maker = Maker::of_bytes(bytes);
    let header: Header = maker.make();
    let mut frames = vec![Frame::Full(maker.make())];
    while !maker.is_done() && frames.len() < MOST {
        frames.push(match maker.below(3) {
            0 => Frame::Full(maker.make()),
            _ => Frame::Events(maker.make()),
        });
    }
    match how % 3 {
        0 => replayed(header, frames, how & 4 != 0),
        1 => viewed(&header, frames),
        _ => served(&header, frames),
    }
}

/// As `replay` does.
fn replayed(header: Header, frames: Vec<Frame>, whole: bool) {
    let mut fold = Fold::new(header, whole);
    frames.into_iter().for_each(|frame| fold.push(frame));
    let mut window = fold.finish();
    outputs::reports(&window);
    pages(&window);
    present::redact::all(&mut window);
    outputs::reports(&window);
}

/// As pages of signals do.
fn pages(window: &Window) {
    let style = Style::default();
    outputs::harmless(&present::tcp::page(window, Some(24), style));
    outputs::harmless(&present::tcp::json(window));
    outputs::harmless(&present::udp::page(window, Some(24), style));
    outputs::harmless(&present::udp::json(window));
    outputs::harmless(&present::dns::page(window, Some(24), style));
    outputs::harmless(&present::dns::json(window));
    outputs::harmless(&present::fs::page(window, Some(24), style));
    outputs::harmless(&present::fs::json(window));
    outputs::harmless(&present::workers::table(window, 24, style));
}

/// As the live view does: windows that roll.
fn viewed(header: &Header, frames: Vec<Frame>) {
    let mut rolling: Option<Rolling> = None;
    for frame in frames {
        match (frame, &mut rolling) {
            (Frame::Full(base), None) => {
                let about = about(header, &base);
                let span = base.unix_ns;
                rolling = Some(Rolling::new(&about, &base.reading, base.cost, span));
            }
            (Frame::Full(full), Some(rolling)) => {
                let look = rolling.look(&full.reading, &full.probes, full.cost, full.unix_ns);
                outputs::reports(&look.recent);
                diagnose::run(&look.last);
                diagnose::run(&rolling.total(&full.probes, full.cost));
            }
            (Frame::Events(reading), Some(rolling)) => rolling.push(&reading),
            (Frame::Events(_), None) => {}
        }
    }
}

/// As `serve` does: slices that are added up, and told as metrics.
fn served(header: &Header, frames: Vec<Frame>) {
    let mut rolling: Option<Rolling> = None;
    let mut store = Store::default();
    for frame in frames {
        match (frame, &mut rolling) {
            (Frame::Full(base), None) => {
                let about = about(header, &base);
                rolling = Some(Rolling::lasting(&about, &base.reading, base.cost, 1 << 34));
            }
            (Frame::Full(full), Some(rolling)) => {
                let look = rolling.look(&full.reading, &full.probes, full.cost, full.unix_ns);
                let seen = Seen {
                    slice: &look.last,
                    recent: &look.recent,
                    open: &[],
                    changes: &[],
                    not_judged: &diagnose::run(&look.recent).not_judged,
                    own: &Own::default(),
                };
                store.push(&seen, full.unix_ns);
                metrics(&store);
            }
            (Frame::Events(reading), Some(rolling)) => rolling.push(&reading),
            (Frame::Events(_), None) => {}
        }
    }
}

/// The text of the metrics is one: a scraper that finds a line it does not know throws all away.
fn metrics(store: &Store) {
    let snapshot = store.snapshot();
    let text = openmetrics::text(&snapshot);
    outputs::harmless(&text);
    assert!(text.ends_with("# EOF\n"));
    for line in text.lines().filter(|line| !line.starts_with("# ")) {
        let name = line
            .bytes()
            .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_')
            .count();
        let rest = match line[name..].strip_prefix('{') {
            Some(labels) => labels
                .strip_prefix('}')
                .or_else(|| behind_labels(labels))
                .unwrap_or_else(|| panic!("{line:?}")),
            None => &line[name..],
        };
        let value = rest.trim_start().split(' ').next().unwrap_or_default();
        assert!(
            name > 0 && value.parse::<f64>().is_ok_and(f64::is_finite),
            "{line:?}"
        );
    }
    outputs::harmless(&openmetrics::classic(&snapshot, &text));
}

/// What follows the closing brace, when labels stand before it.
fn behind_labels(mut labels: &str) -> Option<&str> {
    loop {
        let (name, rest) = labels.split_once("=\"")?;
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let mut escaped = false;
        let end = rest.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        })?;
        labels = &rest[end + 1..];
        match labels.split_at_checked(1)? {
            _ if !plain || name.is_empty() => return None,
            (",", more) => labels = more,
            ("}", behind) => return Some(behind),
            _ => return None,
        }
    }
}
