//! What the pages about one signal (`tcp`, `udp`, `dns`, ...) share: sections and rows, how they are cut to a
//! screen, the head and the foot, and the frame of the JSON document.

use serde::Serialize;

use super::{
    Style, escape,
    json::{CostJson, Host, LossJson, ProbeJson, SCHEMA_VERSION, Tool, WindowJson, line, losses},
    layout::{KEEP, hang},
    style::Tone,
    text::{cost, coverage},
    units::count,
};
use crate::{aggregate::Window, attach::State};

/// Items listed in a section where there is room.
const ROOM: usize = 10;
/// Columns of the labels at the foot.
const LABEL: usize = 15;

/// How much a page holds, and how it looks.
#[derive(Clone, Copy)]
pub(super) struct Sheet {
    /// Items to list in each section.
    pub shown: usize,
    /// Every line counts: no empty ones.
    pub tight: bool,
    /// How text looks.
    pub style: Style,
}

impl Sheet {
    /// The heading of a section.
    pub fn heading(&self, out: &mut String, text: &str) {
        if !self.tight {
            out.push('\n');
        }
        out.push_str(&self.style.paint(Tone::Strong, text.trim_end()));
        out.push('\n');
    }

    /// A row: what stands at the left in its own columns, the rest wrapped behind it.
    pub fn row(&self, out: &mut String, left: &str, rest: &str) {
        hang(out, left, left.chars().count(), rest, self.style.columns());
    }

    /// That a list is longer than what is shown of it.
    pub fn more(&self, out: &mut String, all: usize, what: &str) {
        if all > self.shown && !self.tight {
            let line = format!("  and {} more {what}", count((all - self.shown) as u64));
            out.push_str(&self.style.paint(Tone::Faint, &line));
            out.push('\n');
        }
    }
}

/// A page; ends with a newline. Where it has a screen of so many `rows`, the lists that `body` writes are cut short
/// until it fits, and at last the page itself, except for its foot: what was lost and what it cost.
pub(super) fn fit(
    foot: &str,
    rows: Option<usize>,
    style: Style,
    body: impl Fn(Sheet) -> String,
) -> String {
    let sheet = |shown, tight| Sheet {
        shown,
        tight,
        style,
    };
    let Some(rows) = rows else {
        return body(sheet(ROOM, false)) + "\n" + foot;
    };
    let room = rows.saturating_sub(foot.lines().count());
    for shown in (1..=ROOM).rev() {
        let text = body(sheet(shown, false)) + "\n";
        if text.lines().count() <= room {
            return text + foot;
        }
    }
    let text = body(sheet(1, true));
    let kept: String = text.split_inclusive('\n').take(room).collect();
    kept + foot
}

/// The first line: who, where, how long, and `what` in a few words.
pub(super) fn header(out: &mut String, window: &Window, what: &str, style: Style) {
    let line = format!(
        "stallscope {} {KEEP} {} {KEEP} {} {KEEP} {:.1} s {KEEP} {what}",
        env!("CARGO_PKG_VERSION"),
        escape::bounded(window.host.as_bytes(), 30),
        escape::bounded(window.target.as_bytes(), 40),
        window.duration_ns as f64 / 1e9,
    );
    hang(out, "", 0, &line, style.columns());
}

/// What could not be seen, what was lost, and what it cost.
pub(super) fn foot(window: &Window, unseen: &[String], style: Style) -> String {
    let mut out = String::new();
    for text in unseen {
        labelled(&mut out, "Not seen", text, style);
    }
    coverage(&mut out, window, style);
    cost(&mut out, window, style);
    out
}

/// A label at the left, as in the closing lines of every report.
pub(super) fn labelled(out: &mut String, label: &str, text: &str, style: Style) {
    let first = style.paint(Tone::Warning, label) + &" ".repeat(LABEL.saturating_sub(label.len()));
    hang(out, &first, LABEL, text, style.columns());
}

/// What is not seen as a probe is off, with the reason; (probe, what) each.
pub(super) fn without(window: &Window, parts: &[(&str, &str)]) -> Vec<String> {
    let off = |id: &str| {
        let probe = window.probes.iter().find(|p| p.id == id)?;
        match &probe.state {
            State::Off(why) => Some(escape::name(why.as_bytes())),
            State::Active => None,
        }
    };
    let missing = parts
        .iter()
        .filter_map(|(id, what)| off(id).map(|why| format!("{what} ({id}: {why})")));
    missing.collect()
}

/// The JSON document of a page.
#[derive(Serialize)]
struct Document<T> {
    schema_version: &'static str,
    tool: Tool,
    host: Host,
    window: WindowJson,
    #[serde(flatten)]
    signal: T,
    losses: Vec<LossJson>,
    cost: CostJson,
    probes: Vec<ProbeJson>,
}

/// A page as one JSON document on one line; the fields of `signal` stand among the others.
pub(super) fn document(window: &Window, signal: impl Serialize) -> String {
    line(&Document {
        schema_version: SCHEMA_VERSION,
        tool: Tool::this(),
        host: Host::of(&window.host, &window.kernel),
        window: WindowJson::of(window),
        signal,
        losses: losses(&window.losses),
        cost: CostJson::of(&window.cost, window.duration_ns),
        probes: window.probes.iter().map(ProbeJson::of).collect(),
    })
}
