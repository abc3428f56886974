//! The signals side by side: TCP, UDP and DNS, files and journals, in a few lines each.

use ratatui::text::{Line, Span};

use super::rule;
use crate::{
    aggregate::{
        Grown, Window,
        dns::Dns,
        files::Files,
        journal::Journal,
        tcp::{States, Tcp},
        udp::Udp,
    },
    present::{
        escape,
        layout::{cell, right},
        spark::spark,
        tui::{Data, Theme, Tone},
        udp,
        units::{count, duration, percent},
    },
};

/// Columns of the labels, of the numbers, and of a sparkline at most.
const LABEL: usize = 11;
const NUMBER: usize = 8;
const SPARK: usize = 20;

/// A line of a signal.
struct Fact {
    label: &'static str,
    number: String,
    /// It over time: (ns after the window's start, value).
    course: Vec<(u64, u64)>,
    /// Where there is none, a few words.
    words: String,
    tone: Tone,
}

impl Fact {
    fn new(label: &'static str, number: String) -> Self {
        Self {
            label,
            number,
            course: Vec::new(),
            words: String::new(),
            tone: Tone::Plain,
        }
    }

    fn course(self, course: Vec<(u64, u64)>) -> Self {
        Self { course, ..self }
    }

    fn words(self, words: String) -> Self {
        Self { words, ..self }
    }

    /// Marked when it is not 0.
    fn marked(self, n: u64) -> Self {
        let tone = if n > 0 { Tone::Warning } else { Tone::Plain };
        Self { tone, ..self }
    }

    fn spans(&self, width: usize, length_ns: u64, theme: &Theme) -> Vec<Span<'static>> {
        let text = format!(
            " {} {} ",
            cell(self.label, LABEL),
            right(&self.number, NUMBER)
        );
        let left = width.saturating_sub(LABEL + NUMBER + 4);
        let top = self.course.iter().map(|(_, value)| *value).max();
        let more = match top {
            Some(top) => spark(self.course.iter().copied(), top, length_ns, left.min(SPARK)),
            // Words that would be cut say nothing.
            None if self.words.chars().count() > left => String::new(),
            None => self.words.clone(),
        };
        vec![
            Span::styled(cell(&text, LABEL + NUMBER + 3), theme.style(self.tone)),
            Span::styled(cell(&more, left + 1), theme.style(Tone::Faint)),
        ]
    }
}

/// The three beside each other; where that is too narrow, TCP alone.
pub fn lines(data: &Data, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let window = &data.recent;
    let mut columns = Vec::new();
    columns.extend(
        window
            .tcp
            .as_ref()
            .map(|tcp| ("tcp", tcp_facts(tcp, window))),
    );
    let udp = window.udp.iter().flat_map(|udp| udp_facts(udp, window));
    let dns = window.dns.iter().flat_map(|dns| dns_facts(dns, window));
    let names: Vec<Fact> = udp.chain(dns).collect();
    columns.push(("udp/dns", names));
    let files = window
        .files
        .iter()
        .flat_map(|files| file_facts(files, window));
    let journal = window.journal.iter().flat_map(|j| journal_facts(j, window));
    columns.push(("files/journal", files.chain(journal).collect()));
    columns.retain(|(_, facts)| !facts.is_empty());
    let least = LABEL + NUMBER + 4;
    columns.truncate((usize::from(width) / least).max(1));
    let Some(each) = usize::from(width).checked_div(columns.len()) else {
        return Vec::new();
    };
    let titles: Vec<(usize, &str)> = columns
        .iter()
        .enumerate()
        .map(|(n, (title, _))| (n * each, *title))
        .collect();
    let note = format!("the last {}", duration(window.duration_ns));
    let mut lines = vec![rule(&titles, &note, width, theme)];
    let height = columns.iter().map(|(_, facts)| facts.len()).max();
    for at in 0..height.unwrap_or(0) {
        let mut spans = Vec::new();
        for (_, facts) in &columns {
            match facts.get(at) {
                Some(fact) => spans.extend(fact.spans(each, window.duration_ns, theme)),
                None => spans.push(Span::raw(" ".repeat(each))),
            }
        }
        lines.push(Line::from(spans));
    }
    lines
}

fn per_s(n: u64, window: &Window) -> String {
    match n {
        0 => "0/s".to_owned(),
        n => udp::per_s(n, window.duration_ns),
    }
}

/// How much a sum grew from one moment to the next.
fn steps<const N: usize>(points: &[Grown<N>], which: usize) -> Vec<(u64, u64)> {
    let mut before = 0;
    let steps = points.iter().map(|point| {
        let now = point.since_start[which];
        (
            point.at_ns,
            now.saturating_sub(std::mem::replace(&mut before, now)),
        )
    });
    steps.collect()
}

fn tcp_facts(tcp: &Tcp, window: &Window) -> Vec<Fact> {
    let now = tcp.timeline.last().map(|p| p.states).unwrap_or_default();
    let state = |label, of: fn(&States) -> u64| {
        let course = tcp.timeline.iter().map(|p| (p.at_ns, of(&p.states)));
        Fact::new(label, count(of(&now))).course(course.collect())
    };
    let failed: u64 = tcp.failed.iter().map(|f| f.count).sum();
    let dropped: u64 = tcp.listeners.iter().map(|l| l.overflows).sum();
    vec![
        state("established", |s| s.established),
        state("time_wait", |s| s.time_wait),
        state("fin_wait_2", |s| s.fin_wait_2),
        Fact::new("refused", per_s(failed, window))
            .words("connects".to_owned())
            .marked(failed),
        Fact::new("queue full", per_s(dropped, window))
            .words("dropped".to_owned())
            .marked(dropped),
    ]
}

fn udp_facts(udp: &Udp, window: &Window) -> Vec<Fact> {
    let drops = udp.sockets.iter().map(|s| s.drops).sum::<u64>() + udp.other_drops;
    let course = udp
        .sockets
        .first()
        .map_or_else(Vec::new, |s| steps(&s.timeline, 0));
    vec![
        Fact::new("udp drops", per_s(drops, window))
            .course(course)
            .marked(drops),
    ]
}

fn dns_facts(dns: &Dns, window: &Window) -> Vec<Fact> {
    let total = &dns.total;
    let mut facts =
        vec![Fact::new("questions", per_s(total.asked, window)).course(steps(&dns.timeline, 0))];
    if total.latency.count > 0 {
        let p99 = duration(total.latency.durations.quantile(0.99));
        facts.push(Fact::new("answer p99", p99));
    }
    let vain = total.timed_out.count;
    facts.push(Fact::new("no answer", per_s(vain, window)).marked(vain));
    facts
}

fn file_facts(files: &Files, window: &Window) -> Vec<Fact> {
    let created = Fact::new("created", per_s(files.created, window));
    let mut facts = vec![created.course(steps(&files.timeline, 0))];
    let own = files.file_systems.iter().filter(|f| f.space_of.is_none());
    let used = |f: &&crate::aggregate::files::FileSystem| {
        f.bytes_used().max(f.inodes_used().unwrap_or(0.0))
    };
    if let Some(fullest) = own.max_by(|a, b| used(a).total_cmp(&used(b))) {
        let at = escape::bounded(&fullest.mount.mount_point, 40);
        facts.push(Fact::new("fullest", percent(used(&fullest))).words(at));
    }
    facts
}

fn journal_facts(journal: &Journal, window: &Window) -> Vec<Fact> {
    let mut facts = Vec::new();
    if let Some(disk) = journal.disks.first() {
        let p99 = disk.commits.quantiles_ns[2];
        let course = disk.commits.timeline.iter().map(|c| (c.at_ns, c.took_ns));
        facts.push(Fact::new("commit p99", duration(p99)).course(course.collect()));
        let syncs = disk.all_syncs();
        let words = match syncs.count {
            0 => String::new(),
            _ => format!("p99 {}", duration(syncs.durations.quantile(0.99))),
        };
        facts.push(Fact::new("fsync", per_s(syncs.count, window)).words(words));
    }
    let asleep = journal.asleep.len() as u64;
    facts.push(Fact::new("in D state", count(asleep)));
    facts
}
