//! `stallscope doctor`: attach everything for a second and say what works, what does not, and why.

use std::{
    fs,
    time::{Duration, Instant},
};

use super::{
    CLEAR, FAILED, Setup,
    live::Live,
    output::{self, Progress},
    own,
    signals::Signals,
};
use crate::{
    attach::{Options, ProbeStatus, Signals as Watched, State, tracefs::Tracefs},
    cli::{Doctor, Targets},
    diagnose::rules::CATALOGUE,
    error::Error,
    present::{self, doctor::Checkup},
    target::{Proc, Target},
};

/// How long the probes are watched.
const LENGTH: Duration = Duration::from_secs(1);

/// Runs it. That nothing can be attached is what it reports, not a failure of its own.
pub async fn run(
    args: &Doctor,
    tracefs: Result<Tracefs, Error>,
    setup: Setup,
) -> Result<u8, Error> {
    let mut checkup = Checkup {
        host: own::host(),
        kernel: own::kernel(),
        facts: facts(tracefs.as_ref().ok()),
        ..Checkup::default()
    };
    let options = Options {
        log: args.kernel.verbose,
        signals: Watched::ALL,
        ..Options::default()
    };
    match tracefs {
        Err(error) => checkup.failed = Some(error.to_string()),
        Ok(_) => match watch(&options, setup.started).await {
            Ok((probes, watched)) => {
                checkup.probes = probes;
                checkup.watched_ns = watched.as_nanos() as u64;
            }
            Err(error) => checkup.failed = Some(error.to_string()),
        },
    }
    output::print(&if args.json {
        present::doctor::json(&checkup)
    } else {
        present::doctor::text(&checkup, setup.style)
    })?;
    Ok(if checkup.failed.is_none() && essential(&checkup.probes) {
        CLEAR
    } else {
        FAILED
    })
}

async fn watch(options: &Options, started: Instant) -> Result<(Vec<ProbeStatus>, Duration), Error> {
    let target = Target::resolve(Proc::default(), &Targets::default())?;
    let mut live = Live::start(options, target, started)?;
    let mut signals = Signals::new()?;
    let mut progress = Progress::new();
    progress.show("watching for 1 s");
    // The first call switches the kernel's measuring on; it stays so until the next one.
    live.collector.kernel_cost();
    tokio::select! {
        _ = signals.end() => {}
        () = tokio::time::sleep(LENGTH) => {}
    }
    live.collector.read()?;
    if let Some(cost) = live.collector.kernel_cost() {
        live.collector.measure_runs(&cost.runs);
    }
    progress.clear();
    let found = (live.probes(), live.watched());
    let _detaching = live.detach();
    Ok(found)
}

/// Every probe that a rule needs is there.
fn essential(probes: &[ProbeStatus]) -> bool {
    CATALOGUE.iter().flat_map(|rule| rule.needs).all(|need| {
        probes
            .iter()
            .any(|probe| probe.id == *need && probe.state == State::Active)
    })
}

/// Facts about the kernel that decide what works.
fn facts(tracefs: Option<&Tracefs>) -> Vec<(String, String)> {
    let btf = fs::metadata("/sys/kernel/btf/vmlinux").is_ok();
    let tracefs = match tracefs {
        Some(tracefs) if tracefs.private => "not mounted (used privately)",
        Some(_) => "mounted",
        None => "not usable",
    };
    let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").ok();
    let mut facts = vec![
        ("BTF", if btf { "yes" } else { "no" }),
        ("tracefs", tracefs),
    ];
    if let Some(mode) = lockdown.as_deref().and_then(lockdown_mode) {
        facts.insert(1, ("lockdown", mode));
    }
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    facts.into_iter().map(owned).collect()
}

/// The mode in force in the text of the lockdown file: the one in brackets.
pub fn lockdown_mode(text: &str) -> Option<&str> {
    text.split_once('[')?
        .1
        .split_once(']')
        .map(|(mode, _)| mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(id: &'static str, state: State) -> ProbeStatus {
        ProbeStatus {
            id,
            summary: "",
            source: String::new(),
            state,
            seen: None,
        }
    }

    #[test]
    fn essential_is_what_the_rules_need() {
        let ids: std::collections::BTreeSet<&'static str> = CATALOGUE
            .iter()
            .flat_map(|rule| rule.needs)
            .copied()
            .collect();
        let mut probes: Vec<ProbeStatus> = ids.iter().map(|id| probe(id, State::Active)).collect();
        assert!(essential(&probes));
        probes.push(probe("optional", State::Off("why".into())));
        assert!(essential(&probes));
        probes[0].state = State::Off("why".into());
        assert!(!essential(&probes));
        assert!(!essential(&[]));
    }

    #[test]
    fn the_lockdown_mode_is_the_one_in_brackets() {
        assert_eq!(
            lockdown_mode("none [integrity] confidentiality\n"),
            Some("integrity")
        );
        assert_eq!(lockdown_mode("nonsense"), None);
    }
}
