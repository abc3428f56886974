//! The table of `stallscope workers`: what each does now, and where the window went.

use probe_common::part;
use serde::Serialize;

use super::{
    Style, bar, escape,
    json::{self, Host, LossJson, ProcessJson, SCHEMA_VERSION, Tool, WindowJson},
    layout::{KEEP, cell, hang, right},
    names,
    style::Tone,
    text::words,
    units::{count, duration},
};
use crate::{
    aggregate::{Parts, ProcessTime, Window},
    diagnose,
};

/// Columns of the bar.
const BAR: usize = 28;

/// The table for one short window (a second): header, at most `rows` workers (those in a request first,
/// the oldest on top), how many are left out, and the legend. Ends with a newline.
pub fn table(window: &Window, rows: usize, style: Style) -> String {
    let width = style.columns();
    let listed = sorted(window);
    let mut out = String::new();
    let busy = listed.iter().filter(|p| p.current.is_some()).count();
    let lost: u64 = diagnose::losses(&window.losses)
        .iter()
        .map(|l| l.count)
        .sum();
    let head = format!(
        "stallscope {KEEP}{} {KEEP}{} {KEEP}{}/{} busy {KEEP}lost {}",
        escape::bounded(window.host.as_bytes(), 30),
        escape::bounded(window.target.as_bytes(), 40),
        count(busy as u64),
        count(listed.len() as u64 + window.processes_left_out),
        count(lost),
    );
    hang(&mut out, "", 0, &head, width);
    // What the fixed columns leave is shared by group, request and peer.
    let rest = width - (8 + 7 + BAR + 4);
    let (group, waits) = (rest * 2 / 10, rest * 4 / 10);
    let request = rest - group - waits;
    let titles = format!(
        "{} {} {} {} {} {}",
        right("pid", 7),
        cell("group", group),
        right("age", 7),
        cell("request", request),
        cell("where the time went", BAR),
        cell("waits for", waits),
    );
    out.push_str(&style.paint(Tone::Faint, titles.trim_end()));
    out.push('\n');
    for process in listed.iter().take(rows) {
        let current = process.current.as_ref();
        let age = current.map_or(String::new(), |c| duration(c.wall_ns));
        let name = current.map_or(String::new(), |c| {
            escape::name(if c.uri.is_empty() { &c.script } else { &c.uri })
        });
        let line = format!(
            "{} {} {} {} {} {}",
            right(&process.process.pid.to_string(), 7),
            cell(&escape::name(&process.group), group),
            right(&age, 7),
            cell(&name, request),
            bar(&process.parts),
            cell(&waits_for(process, waits), waits),
        );
        out.push_str(line.trim_end());
        out.push('\n');
    }
    let hidden = (listed.len() as u64 + window.processes_left_out).saturating_sub(rows as u64);
    if hidden > 0 {
        out.push_str(&format!("{} more\n", count(hidden)));
    }
    let legend: Vec<String> = bar::LEGEND
        .iter()
        .map(|(_, c, name)| format!("{c} {name}").replace(' ', &KEEP.to_string()))
        .collect();
    hang(&mut out, "", 0, &legend.join(&format!(" {KEEP}")), width);
    out
}

/// Those in a request first, the oldest on top; then the busiest.
fn sorted(window: &Window) -> Vec<&ProcessTime> {
    let mut list: Vec<&ProcessTime> = window
        .processes
        .iter()
        .filter(|p| !p.process.ended)
        .collect();
    let busy_ns = |p: &ProcessTime| p.parts.iter().sum::<u64>() - p.parts[part::IDLE];
    list.sort_by_key(|p| {
        let age = p.current.as_ref().map(|c| c.wall_ns);
        (std::cmp::Reverse((age, busy_ns(p))), p.process.pid)
    });
    list
}

/// Parts as a bar of exactly [`BAR`] characters.
fn bar(parts: &Parts) -> String {
    let cells = bar::cells(parts, BAR);
    let signs = cells
        .iter()
        .flat_map(|&(part, n)| std::iter::repeat_n(bar::sign(part), n));
    cell(&signs.collect::<String>(), BAR)
}

fn waits_for(process: &ProcessTime, width: usize) -> String {
    match &process.waits_for {
        Some(waits) => match &waits.peer {
            Some(peer) => names::peer(peer, width),
            None if waits.part == part::IDLE => String::new(),
            None => words(waits.part).to_owned(),
        },
        None => String::new(),
    }
}

#[derive(Serialize)]
struct Document {
    schema_version: &'static str,
    tool: Tool,
    host: Host,
    window: WindowJson,
    processes: Vec<ProcessJson>,
    processes_left_out: u64,
    losses: Vec<LossJson>,
}

/// The same as one line of JSON (all workers); ends with a newline.
pub fn json(window: &Window) -> String {
    json::line(&Document {
        schema_version: SCHEMA_VERSION,
        tool: Tool::this(),
        host: Host::of(&window.host, &window.kernel),
        window: WindowJson::new(window.start_unix_ns, window.duration_ns, &window.target),
        processes: sorted(window).into_iter().map(ProcessJson::of).collect(),
        processes_left_out: window.processes_left_out,
        losses: json::losses(&window.losses),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::{RequestSummary, WaitsFor, fixture::*};

    fn row(pid: u32, parts: &[(usize, u64)]) -> ProcessTime {
        let mut time = Parts::default();
        parts.iter().for_each(|&(part, ms)| time[part] = ms * MS);
        ProcessTime {
            process: worker(pid),
            group: b"www".to_vec(),
            parts: time,
            threads: 1,
            event_driven: false,
            requests: 0,
            current: None,
            waits_for: None,
        }
    }

    fn busy(row: ProcessTime, age: u64, uri: &[u8]) -> ProcessTime {
        let current = RequestSummary {
            pid: row.process.pid,
            start_ns: 0,
            wall_ns: age,
            unfinished: true,
            partial: false,
            parts: Parts::default(),
            script: b"/srv/index.php".to_vec(),
            uri: uri.to_vec(),
            connects: 0,
            peers: Vec::new(),
            spans: Vec::new(),
            spans_lost: 0,
        };
        let waits_for = Some(WaitsFor {
            part: part::NETWORK,
            peer: Some(api_peer(5)),
            for_ns: MS,
        });
        ProcessTime {
            current: Some(Box::new(current)),
            waits_for,
            ..row
        }
    }

    fn sample() -> Window {
        Window {
            host: "web-07".to_owned(),
            target: "pool www".to_owned(),
            duration_ns: S,
            processes: vec![
                row(14501, &[(part::IDLE, 1000)]),
                busy(
                    row(14502, &[(part::NETWORK, 964), (part::ON_CPU, 36)]),
                    9 * S,
                    b"/a.php?x=1",
                ),
                busy(
                    row(14503, &[(part::NETWORK, 500), (part::RUN_QUEUE, 500)]),
                    2 * S,
                    b"",
                ),
                row(14504, &[(part::ON_CPU, 1), (part::IDLE, 999)]),
            ],
            ..Window::default()
        }
    }

    #[test]
    fn the_oldest_request_is_on_top() {
        let text = table(&sample(), 3, Style::default());
        assert_eq!(
            text,
            "\
stallscope  web-07  pool www  2/4 busy  lost 0
    pid group         age request            where the time went          waits for
  14502 www        9.00 s /a.php?x=1         ░░░░░░░░░░░░░░░░░░░░░░░░░░░▓ 203.0.113.5:443
  14503 www        2.00 s /srv/index.php     ░░░░░░░░░░░░░░██████████████ 203.0.113.5:443
  14504 www                                  ····························
1 more
░ network  ▓ on CPU  █ waiting for CPU  ▒ disk  ▪ lock  ~ client  - pipe or child  z sleep
? unknown  · idle
"
        );
    }

    #[test]
    fn a_bar_is_always_as_long_as_it_should_be() {
        for parts in [
            [1; part::COUNT],
            [u64::MAX / 16; part::COUNT],
            [0; part::COUNT],
        ] {
            assert_eq!(bar(&parts).chars().count(), BAR);
        }
    }

    #[test]
    fn names_are_escaped_and_lines_fit() {
        let mut window = sample();
        let evil = b"/\x1b[2J\xff".repeat(20);
        window.processes[1] = busy(window.processes[1].clone(), S, &evil);
        window.processes[1].group.clone_from(&evil);
        for width in [60, 80, 120] {
            let text = table(
                &window,
                10,
                Style {
                    width,
                    ..Style::default()
                },
            );
            assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
            assert!(text.lines().all(|l| l.chars().count() <= width), "{text}");
        }
    }

    #[test]
    fn the_document_is_one_line() {
        let text = json(&sample());
        let v: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(v["processes"][0]["process.pid"], 14502);
        assert_eq!(v["processes"][0]["waits_for"]["peer"], "203.0.113.5:443");
        assert_eq!(text.lines().count(), 1);
    }
}
