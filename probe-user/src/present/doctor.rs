//! The list of `stallscope doctor`: what works on this machine, what does not, and why.

use serde::Serialize;

use super::{
    Style, escape,
    json::{self, Host, ProbeJson, SCHEMA_VERSION, Tool},
    layout::{KEEP, hang},
    style::Tone,
    units::{count, duration},
};
use crate::{
    attach::{ProbeStatus, State},
    diagnose::rules::CATALOGUE,
};

/// What the doctor found.
#[derive(Clone, Debug, Default)]
pub struct Checkup {
    /// Host name.
    pub host: String,
    /// Kernel release.
    pub kernel: String,
    /// Facts about the kernel as name and value: `BTF` `yes`, `lockdown` `integrity`, ...
    pub facts: Vec<(String, String)>,
    /// How long the probes were watched, ns.
    pub watched_ns: u64,
    /// What became of each probe.
    pub probes: Vec<ProbeStatus>,
    /// Set when nothing could be attached at all: why.
    pub failed: Option<String>,
}

impl Checkup {
    /// Rules that cannot be judged here: reference and the probes they miss.
    fn blind_rules(&self) -> Vec<(String, Vec<&'static str>)> {
        CATALOGUE
            .iter()
            .map(|rule| {
                let active = |id: &str| {
                    self.probes
                        .iter()
                        .any(|p| p.id == id && p.state == State::Active)
                };
                let missing = rule
                    .needs
                    .iter()
                    .copied()
                    .filter(|id| !active(id))
                    .collect();
                (rule.reference().to_string(), missing)
            })
            .filter(|(_, missing): &(_, Vec<_>)| !missing.is_empty())
            .collect()
    }
}

/// The list as text; ends with a newline.
pub fn text(checkup: &Checkup, style: Style) -> String {
    let width = style.columns();
    let mut out = String::new();
    let mut facts = vec![format!(
        "kernel {}",
        escape::name(checkup.kernel.as_bytes())
    )];
    facts.extend(checkup.facts.iter().map(|(name, value)| {
        format!(
            "{} {}",
            escape::name(name.as_bytes()),
            escape::name(value.as_bytes())
        )
    }));
    hang(&mut out, "", 0, &facts.join(&format!(" {KEEP} ")), width);
    if let Some(why) = &checkup.failed {
        let first = style.paint(Tone::Critical, "failed") + " ";
        hang(&mut out, &first, 7, &escape::name(why.as_bytes()), width);
    }
    let ids = checkup.probes.iter().map(|p| p.id.len()).max().unwrap_or(0);
    let indent = 7 + ids + 2;
    for probe in &checkup.probes {
        let (word, tone, outcome) = match (&probe.state, probe.seen) {
            (State::Off(why), _) => ("off", Tone::Warning, escape::name(why.as_bytes())),
            (State::Active, Some(0)) => ("quiet", Tone::Faint, "attached, 0 seen".to_owned()),
            (State::Active, Some(n)) => {
                let time = duration(checkup.watched_ns);
                ("ok", Tone::Good, format!("seen {} in {time}", count(n)))
            }
            (State::Active, None) => ("ok", Tone::Good, "attached".to_owned()),
        };
        let first = format!(
            "{}{}{:<ids$}  ",
            style.paint(tone, word),
            " ".repeat(7 - word.len()),
            probe.id
        );
        let mut line = format!("{}: {outcome}", probe.summary);
        if !probe.source.is_empty() {
            line.push_str(&format!(" ({})", escape::name(probe.source.as_bytes())));
        }
        hang(&mut out, &first, indent, &line, width);
    }
    let blind = checkup.blind_rules();
    let verdict = if blind.is_empty() {
        format!(
            "Everything needed for all {} is here.",
            rules(CATALOGUE.len())
        )
    } else {
        let listed: Vec<String> = blind
            .iter()
            .map(|(rule, missing)| format!("{rule} (needs {})", missing.join(", ")))
            .collect();
        format!(
            "Everything needed for {} of {} is here. Not judged on this machine: {}.",
            CATALOGUE.len() - blind.len(),
            rules(CATALOGUE.len()),
            listed.join("; ")
        )
    };
    hang(&mut out, "", 0, &verdict, width);
    out
}

fn rules(n: usize) -> String {
    super::units::plural(n as u64, "rule", "rules")
}

#[derive(Serialize)]
struct Document {
    schema_version: &'static str,
    tool: Tool,
    host: Host,
    facts: Vec<FactJson>,
    watched_ns: u64,
    failed: Option<String>,
    probes: Vec<ProbeJson>,
    not_judged: Vec<BlindJson>,
}

#[derive(Serialize)]
struct FactJson {
    name: String,
    value: String,
}

#[derive(Serialize)]
struct BlindJson {
    rule: String,
    missing_probes: Vec<&'static str>,
}

/// One JSON document; ends with a newline.
pub fn json(checkup: &Checkup) -> String {
    json::line(&Document {
        schema_version: SCHEMA_VERSION,
        tool: Tool::this(),
        host: Host::of(&checkup.host, &checkup.kernel),
        facts: checkup
            .facts
            .iter()
            .map(|(name, value)| FactJson {
                name: escape::name(name.as_bytes()),
                value: escape::name(value.as_bytes()),
            })
            .collect(),
        watched_ns: checkup.watched_ns,
        failed: checkup
            .failed
            .as_ref()
            .map(|why| escape::name(why.as_bytes())),
        probes: checkup.probes.iter().map(ProbeJson::of).collect(),
        not_judged: checkup
            .blind_rules()
            .into_iter()
            .map(|(rule, missing_probes)| BlindJson {
                rule,
                missing_probes,
            })
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkup() -> Checkup {
        let probe = |id, summary, source: &str, state, seen| ProbeStatus {
            id,
            summary,
            source: source.to_owned(),
            state,
            seen,
        };
        Checkup {
            host: "web-07".to_owned(),
            kernel: "6.18.44".to_owned(),
            facts: vec![("BTF".to_owned(), "yes".to_owned())],
            watched_ns: 1_000_000_000,
            probes: vec![
                probe(
                    "calls",
                    "connect, poll, ...",
                    "syscalls:sys_enter_*",
                    State::Active,
                    Some(1214),
                ),
                probe(
                    "scheduler",
                    "on CPU or not",
                    "sched:sched_switch",
                    State::Active,
                    None,
                ),
                probe(
                    "peers",
                    "who is behind a descriptor",
                    "BTF",
                    State::Active,
                    Some(0),
                ),
                probe(
                    "epoll",
                    "epoll sets",
                    "",
                    State::Off("no BTF\x1b[m".to_owned()),
                    None,
                ),
            ],
            failed: None,
        }
    }

    #[test]
    fn each_probe_says_what_became_of_it() {
        let list = "\
kernel 6.18.44   BTF yes
ok     calls      connect, poll, ...: seen 1,214 in 1.00 s (syscalls:sys_enter_*)
ok     scheduler  on CPU or not: attached (sched:sched_switch)
quiet  peers      who is behind a descriptor: attached, 0 seen (BTF)
off    epoll      epoll sets: no BTF\\x1b[m
";
        let said = text(&checkup(), Style::default());
        let rules = said.strip_prefix(list).expect("the list of probes");
        let (one_line, all) = (rules.replace('\n', " "), CATALOGUE.len());
        assert!(
            one_line.starts_with(&format!(
                "Everything needed for 1 of {all} rules is here. Not judged on this machine: \
                 W02 pool-saturated (needs tcp_census, socket_owners); T01 port-exhaustion (needs tcp_census);"
            )),
            "{rules}"
        );
    }

    #[test]
    fn a_rule_that_is_blind_here_is_named_with_what_it_misses() {
        let mut off = checkup();
        off.probes[2].state = State::Off("no BTF".to_owned());
        let said = text(&off, Style::default());
        let none = format!("needed for 0 of {} rules is here.", CATALOGUE.len());
        assert!(said.contains(&none), "{said}");
        assert!(
            said.replace('\n', " ")
                .contains("W01 blocking-upstream (needs peers)"),
            "{said}"
        );
        let v: serde_json::Value = serde_json::from_str(&json(&off)).expect("it is JSON");
        assert_eq!(v["not_judged"][0]["missing_probes"][0], "peers");
        assert_eq!(v["probes"][2]["state"], "off");
        assert_eq!(v["probes"][3]["reason"], "no BTF\\x1b[m");
    }

    #[test]
    fn a_machine_where_nothing_attaches_says_why() {
        let failed = Checkup {
            failed: Some("not root".to_owned()),
            ..Checkup::default()
        };
        assert!(text(&failed, Style::default()).contains("failed not root\n"));
    }
}
