//! What the tables of questions share: columns, cells, and the lines above.

use ratatui::text::Line;

use crate::{
    aggregate::{
        Window,
        dns::{Dns, Row as Asked, Sums, rcode_name},
    },
    present::{
        dns::question,
        names,
        spark::growth,
        tui::{
            Column, Data, Row, Theme, Tone, Width,
            screens::cells::{
                Cell, Lines, figures, head, number, per_second, row, some, text, why_empty, words,
            },
        },
        units::{count, duration, mean, percent},
    },
};

/// What questions rest on.
const PROBES: &[(&str, &str)] = &[("dns", "questions and answers")];
/// Columns of a sparkline above a table.
const SPARK: usize = 20;
/// Lines of a list in the details.
const LISTED: usize = 12;

/// The columns, where the first one has this heading.
pub const fn columns(title: &'static str) -> [Column; 10] {
    [
        words(title, Width::Fill(16), 0),
        figures("asked", 8, 0),
        figures("rate", 8, 5),
        figures("same", 5, 4),
        figures("retried", 7, 2),
        figures("no answer", 9, 0),
        figures("p50", 7, 3),
        figures("p99", 7, 2),
        figures("lost", 8, 1),
        words("", Width::Fill(20), 6),
    ]
}

/// DNS, where it is watched.
pub fn dns(data: &Data) -> Option<&Dns> {
    data.recent.dns.as_deref()
}

/// Why there is no row.
pub fn empty(data: &Data, nothing: &str) -> String {
    why_empty(data, dns(data).is_some(), "DNS is", PROBES, nothing)
}

/// How much is asked, over time; what goes lost; and whose buffer it is.
pub fn facts(data: &Data, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let mut facts = Vec::new();
    if let Some(dns) = dns(data)
        && dns.total.asked > 0
    {
        let window = &data.recent;
        let per_s = dns.total.asked as f64 * 1e9 / window.duration_ns.max(1) as f64;
        let points = dns.timeline.iter().map(|p| (p.at_ns, p.since_start[0]));
        let drawn = growth(points, window.duration_ns, SPARK);
        facts.push(format!("asked {}/s {drawn}", mean(per_s)));
        facts.push(format!("at worst {}/s", mean(dns.peak_per_s)));
        if dns.total.timed_out.total_ns > 0 {
            let lost = duration(dns.total.timed_out.total_ns);
            facts.push(format!("threads lost {lost}"));
        }
        facts.extend(dropped(window));
    }
    head(&facts, &data.recent, PROBES, width, theme)
}

/// What sockets of name servers here dropped.
fn dropped(window: &Window) -> Option<String> {
    let sockets = window.udp.iter().flat_map(|udp| &udp.sockets);
    let servers = sockets.filter(|s| s.local.port() == 53 && s.remote.is_none());
    let drops: u64 = servers.map(|s| s.drops).sum();
    (drops > 0).then(|| format!("a server here dropped {}: see drops", count(drops)))
}

/// A row of sums; `more` is what else there is to say.
pub fn line(
    key: String,
    first: Cell,
    s: &Sums,
    more: String,
    window: &Window,
    theme: &Theme,
) -> Row {
    let at = |q| match s.latency.count {
        0 => number("", -1.0),
        _ => {
            let ns = s.latency.durations.quantile(q);
            number(duration(ns), ns as f64)
        }
    };
    let share = s.duplicates as f64 / s.asked.max(1) as f64;
    let same = match s.duplicates {
        0 => String::new(),
        _ => percent(share),
    };
    let lost = match s.timed_out.total_ns {
        0 => String::new(),
        ns => duration(ns),
    };
    row(
        key,
        [
            first,
            number(count(s.asked), s.asked as f64),
            per_second(s.asked, window),
            number(same, share),
            some(s.retried).tone(theme, Tone::Warning),
            some(s.unanswered).tone(theme, Tone::Critical),
            at(0.5),
            at(0.99),
            number(lost, s.timed_out.total_ns as f64).tone(theme, Tone::Critical),
            text(more),
        ],
    )
}

/// Questions and what became of them, in full.
pub fn about(s: &Sums, lines: &mut Lines) {
    let text = |list: &[(u64, &str)]| {
        let there = list.iter().filter(|(n, _)| *n > 0);
        let pieces: Vec<String> = there
            .map(|(n, what)| format!("{} {what}", count(*n)))
            .collect();
        pieces.join(", ")
    };
    let asked = [
        (s.asked, "questions"),
        (s.retried, "asked again for want of an answer"),
        (s.duplicates, "asked by anyone a second before"),
    ];
    lines.labelled("Asked", &text(&asked));
    let answers = [
        (s.answered, "answers"),
        (s.empty, "without a record"),
        (s.truncated, "cut off"),
        (s.refused, "questions to nobody who listens"),
        (s.waiting, "questions waiting now"),
        (s.unanswered, "questions without an answer"),
    ];
    lines.labelled("Answered", &text(&answers));
    let codes: Vec<String> = s
        .rcodes
        .iter()
        .enumerate()
        .filter(|(_, n)| **n > 0)
        .map(|(code, n)| {
            let name = rcode_name(code).map_or_else(|| format!("RCODE {code}"), str::to_owned);
            format!("{name} {}", count(*n))
        })
        .collect();
    lines.labelled("Codes", &codes.join(", "));
    if s.latency.count > 0 {
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|q| duration(s.latency.durations.quantile(q)));
        lines.labelled("After", &format!("p50 {p50}, p95 {p95}, p99 {p99}"));
    }
    if s.timed_out.count > 0 {
        let (n, all) = (count(s.timed_out.count), duration(s.timed_out.total_ns));
        let each = duration(s.timed_out.total_ns / s.timed_out.count);
        lines.labelled("Lost", &format!("{all} in {n} waits of {each} on average"));
    }
}

/// The questions of `rows` that are `of` this, most first.
pub fn asked(dns: &Dns, heading: &str, of: impl Fn(&Asked) -> bool, lines: &mut Lines) {
    let list: Vec<&Asked> = dns.rows.iter().filter(|r| of(r)).collect();
    if list.is_empty() {
        return;
    }
    lines.heading(heading);
    let rows: Vec<Vec<String>> = list
        .iter()
        .take(LISTED)
        .map(|r| {
            let p99 = match r.sums.latency.count {
                0 => String::new(),
                _ => duration(r.sums.latency.durations.quantile(0.99)),
            };
            let lost = match r.sums.unanswered {
                0 => String::new(),
                n => count(n),
            };
            vec![
                question(r.name.as_ref(), r.qtype, 60),
                count(r.sums.asked),
                lost,
                p99,
                crate::present::dns::group(&r.group),
                names::peer(&r.server, 60),
            ]
        })
        .collect();
    lines.table(&["name", "asked", "no answer", "p99", "by", "of"], &rows);
    if list.len() > LISTED {
        lines.faint(&format!("and {} more", count((list.len() - LISTED) as u64)));
    }
}
