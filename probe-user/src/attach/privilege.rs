//! What this process may do: checked before anything is tried, so that the message names what is missing.

use std::env;

use rustix::{process::geteuid, thread::CapabilitySet};

use super::capabilities::{self, NEEDS, Need};
use crate::error::Error;

/// Who started us, and so where rights are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Started {
    ByHand,
    BySystemd,
    InKubernetes,
}

impl Started {
    fn here() -> Self {
        if env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
            Self::InKubernetes
        } else if env::var_os("INVOCATION_ID").is_some()
            && !rustix::termios::isatty(std::io::stderr())
        {
            Self::BySystemd
        } else {
            Self::ByHand
        }
    }

    /// What is to be done so that these are there.
    fn remedy(self, names: &[&str]) -> String {
        match self {
            Self::ByHand => "run it as root (sudo stallscope ...)".to_owned(),
            Self::BySystemd => {
                let names = names.join(" ");
                format!(
                    "its unit needs AmbientCapabilities={names} and the same in CapabilityBoundingSet= \
                     (systemctl edit)"
                )
            }
            Self::InKubernetes => {
                let names: Vec<_> = names.iter().map(|n| n.trim_start_matches("CAP_")).collect();
                format!(
                    "its container needs securityContext.capabilities.add: [{}]",
                    names.join(", ")
                )
            }
        }
    }
}

/// Fails, naming the capabilities that are missing.
pub fn check() -> Result<(), Error> {
    let missing = missing(capabilities::held(), geteuid().is_root());
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Error::Privilege(words(&missing, Started::here()))),
    }
}

/// The error for a capability that is asked for here and nowhere else.
pub fn lacks(what: &str, name: &str) -> Error {
    let remedy = Started::here().remedy(&[name]);
    Error::Privilege(format!(
        "not allowed to {what}: {name} is missing; {remedy}"
    ))
}

/// What is seen less of by a probe that is active, as something optional is missing.
pub fn lessens(probe: &str) -> Option<&'static str> {
    lessened(probe, capabilities::held())
}

fn lessened(probe: &str, held: CapabilitySet) -> Option<&'static str> {
    if held.contains(CapabilitySet::SYS_PTRACE) {
        return None;
    }
    match probe {
        "peers" => Some("not for descriptors that were open before: CAP_SYS_PTRACE is missing"),
        "files" => Some("without file systems of containers: CAP_SYS_PTRACE is missing"),
        _ => None,
    }
}

/// What nothing works without.
fn missing(held: CapabilitySet, root: bool) -> Vec<&'static Need> {
    let has = |need: &Need| {
        let instead = match need.set {
            CapabilitySet::BPF | CapabilitySet::PERFMON => CapabilitySet::SYS_ADMIN,
            CapabilitySet::DAC_READ_SEARCH => CapabilitySet::DAC_OVERRIDE,
            _ => CapabilitySet::empty(),
        };
        // tracefs is root's own.
        let own = root && need.set == CapabilitySet::DAC_READ_SEARCH;
        own || held.intersects(need.set | instead)
    };
    NEEDS
        .iter()
        .filter(|need| need.required && !has(need))
        .collect()
}

/// They are missing, one by one, and what to do.
fn words(missing: &[&Need], started: Started) -> String {
    let each: Vec<_> = missing
        .iter()
        .map(|need| format!("{} ({})", need.name, need.what))
        .collect();
    let (noun, verb) = match each.len() {
        1 => ("capability", "is"),
        _ => ("capabilities", "are"),
    };
    let names: Vec<_> = missing.iter().map(|need| need.name).collect();
    format!(
        "not permitted: {noun} {} {verb} missing; {}",
        each.join(", "),
        started.remedy(&names)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_missing_and_what_it_is_for() {
        let none = CapabilitySet::empty();
        assert!(missing(CapabilitySet::all(), false).is_empty());
        assert_eq!(
            words(&missing(none, false), Started::ByHand),
            "not permitted: capabilities CAP_BPF (loading BPF programs and maps), CAP_PERFMON (attaching to \
             tracepoints and reading kernel structures), CAP_DAC_READ_SEARCH (reading tracefs, which is root's, \
             and directories of other users) are missing; run it as root (sudo stallscope ...)"
        );
        // What has the same effect counts, and root reads what is root's.
        let others = CapabilitySet::SYS_ADMIN | CapabilitySet::DAC_OVERRIDE;
        assert!(missing(others, false).is_empty());
        assert!(missing(CapabilitySet::SYS_ADMIN, true).is_empty());
    }

    #[test]
    fn a_service_is_told_the_line_of_its_unit_and_a_container_that_of_its_manifest() {
        let missing = missing(
            CapabilitySet::all() - CapabilitySet::BPF - CapabilitySet::SYS_ADMIN,
            false,
        );
        let said = words(&missing, Started::BySystemd);
        assert!(said.contains("capability CAP_BPF (loading"), "{said}");
        assert!(said.contains("AmbientCapabilities=CAP_BPF and"), "{said}");
        let said = words(&missing, Started::InKubernetes);
        assert!(said.ends_with("capabilities.add: [BPF]"), "{said}");
    }

    #[test]
    fn what_is_optional_lessens_a_probe_and_switches_none_off() {
        let held = CapabilitySet::all() - CapabilitySet::SYS_PTRACE;
        assert!(missing(held, false).is_empty());
        assert!(lessened("peers", held).unwrap().contains("CAP_SYS_PTRACE"));
        assert_eq!(lessened("calls", held), None);
        assert_eq!(lessened("peers", CapabilitySet::all()), None);
    }
}
