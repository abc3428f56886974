//! What is wrong: each cause with its first sentence, and below it what follows from it. When nothing is, that, and what
//! is closest to a limit.

use ratatui::text::Line;

use crate::{
    diagnose::{Finding, Severity},
    present::{
        layout::wrap,
        sentences,
        tui::{
            Column, Data, Row, Section, Theme, Tone, Width, findings, no_head,
            screens::cells::{figures, number, room, row, text, words},
        },
        units::percent,
    },
};

/// The table.
pub const SECTION: Section = Section {
    title: "causes",
    columns: COLUMNS,
    head: no_head,
    rows,
    detail,
    empty,
};

const COLUMNS: &[Column] = &[
    words("how bad", Width::Cells(7), 2),
    words("rule", Width::Cells(4), 1),
    words("what", Width::Fill(20), 0),
    figures("explains", 8, 3),
];
/// Lines of a cause's first sentence; all of it stands where it is opened.
const SENTENCE: usize = 3;

fn rows(data: &Data, width: u16, theme: &Theme) -> Vec<Row> {
    let mut out = Vec::new();
    let room = room(COLUMNS, 2, width).max(10);
    for (depth, found) in findings::each(&data.diagnosis) {
        if depth == 0 {
            cause(&mut out, found, room, theme);
        } else {
            out.push(symptom(found, depth, theme));
        }
    }
    if data.recent.duration_ns > 0 && data.diagnosis.worst() < Some(Severity::Warning) {
        nothing_wrong(&mut out, data, room, theme);
    }
    out
}

/// Further lines of the row of this key.
fn further(
    key: &str,
    lines: impl IntoIterator<Item = String>,
    tone: Tone,
    theme: &Theme,
) -> Vec<Row> {
    let lines = lines.into_iter().map(|line| {
        let line = text(line).tone(theme, tone);
        let cells = [text(""), text(""), line, text("")];
        row(key.to_owned(), cells)
    });
    lines.collect()
}

fn cause(out: &mut Vec<Row>, found: &Finding, room: usize, theme: &Theme) {
    let (severity, tone) = findings::severity(found.severity);
    let key = findings::key(found);
    let mut title = wrap(&findings::title(found), room).into_iter();
    let first = title.next().unwrap_or_default();
    out.push(row(
        key.clone(),
        [
            number(severity, found.severity as u8 as f64).tone(theme, tone),
            text(found.rule.id),
            text(first).tone(theme, Tone::Strong),
            number(percent(found.explains), found.explains),
        ],
    ));
    out.extend(further(&key, title, Tone::Strong, theme));
    let mut sentence = wrap(&findings::headline(found), room);
    if sentence.len() > SENTENCE {
        sentence.truncate(SENTENCE);
        if let Some(last) = sentence.last_mut() {
            last.push_str(" …");
        }
    }
    out.extend(further(&key, sentence, Tone::Plain, theme));
}

fn symptom(found: &Finding, depth: usize, theme: &Theme) -> Row {
    let (_, tone) = findings::severity(found.severity);
    let indent = "  ".repeat(depth - 1);
    let text_ = format!(
        "{indent}└ {}: {}",
        findings::title(found),
        findings::headline(found)
    );
    row(
        findings::key(found),
        [
            number("", found.severity as u8 as f64).tone(theme, tone),
            text(found.rule.id),
            text(text_),
            number(percent(found.explains), found.explains),
        ],
    )
}

fn nothing_wrong(out: &mut Vec<Row>, data: &Data, room: usize, theme: &Theme) {
    let judged = sentences::judged(&data.diagnosis);
    let (word, tone) = if judged {
        ("OK", Tone::Good)
    } else {
        ("?", Tone::Warning)
    };
    let mut lines = wrap(
        &sentences::nothing_wrong(&data.recent, &data.diagnosis),
        room,
    )
    .into_iter();
    let first = lines.next().unwrap_or_default();
    let key = "nothing wrong";
    let cells = [
        number(word, -1.0).tone(theme, tone),
        text(""),
        text(first).tone(theme, tone),
        text(""),
    ];
    out.push(row(key.to_owned(), cells));
    out.extend(further(key, lines, tone, theme));
    let closest = sentences::closest(&data.recent).unwrap_or_default();
    let closest = wrap(&closest, room)
        .into_iter()
        .filter(|line| !line.is_empty());
    out.extend(further(key, closest, Tone::Plain, theme));
}

fn detail(data: &Data, key: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let all = findings::each(&data.diagnosis);
    let found = all
        .into_iter()
        .find(|(_, found)| findings::key(found) == key);
    found.map_or_else(Vec::new, |(_, found)| findings::detail(found, width, theme))
}

fn empty(_: &Data) -> String {
    "The first numbers come in a moment.".to_owned()
}
