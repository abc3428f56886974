//! What this process may do: checked before anything is tried, so that the message names what is missing.

use std::fs;

use crate::error::Error;

/// Capability numbers (linux/capability.h).
const CAP_DAC_READ_SEARCH: u32 = 2;
const CAP_DAC_OVERRIDE: u32 = 1;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Fails, naming the capabilities that are missing.
pub fn check() -> Result<(), Error> {
    let status = fs::read_to_string("/proc/self/status").map_err(|source| Error::Io {
        what: "/proc/self/status".to_owned(),
        source,
    })?;
    match missing(&status) {
        None => Ok(()),
        Some(missing) => Err(Error::Privilege(format!(
            "not permitted: {missing} missing; run it as root (sudo stallscope ...)"
        ))),
    }
}

/// The capabilities that the text of /proc/self/status lacks, in words.
fn missing(status: &str) -> Option<String> {
    let held = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    let has = |cap: u32| held >> cap & 1 == 1;
    let mut missing = Vec::new();
    if !has(CAP_SYS_ADMIN) {
        if !has(CAP_BPF) {
            missing.push("CAP_BPF");
        }
        if !has(CAP_PERFMON) {
            missing.push("CAP_PERFMON");
        }
    }
    // tracefs is for root's eyes only.
    if !has(CAP_DAC_READ_SEARCH) && !has(CAP_DAC_OVERRIDE) {
        missing.push("CAP_DAC_READ_SEARCH");
    }
    match missing.as_slice() {
        [] => None,
        [one] => Some(format!("capability {one} is")),
        many => Some(format!("capabilities {} are", many.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_missing() {
        assert_eq!(missing("CapEff:\t000001ffffffffff\n"), None);
        assert_eq!(
            missing("CapEff:\t0000000000000000\n").unwrap(),
            "capabilities CAP_BPF, CAP_PERFMON, CAP_DAC_READ_SEARCH are"
        );
        let all_but_bpf = !(1u64 << CAP_BPF | 1 << CAP_SYS_ADMIN);
        assert_eq!(
            missing(&format!("CapEff: {all_but_bpf:x}")).unwrap(),
            "capability CAP_BPF is"
        );
    }
}
