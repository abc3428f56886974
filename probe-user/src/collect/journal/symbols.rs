//! Names of kernel functions, from /proc/kallsyms.
//!
//! The file has 5 MB. It is read through once when an address turns up that is not known yet, and only the names
//! that were asked for are kept.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{BufRead, BufReader, Read as _},
};

const KALLSYMS: &str = "/proc/kallsyms";

/// A function is not longer than this: what lies further behind a symbol is not known by it.
const LONGEST: u64 = 1 << 17;

/// A line is not longer than this (KSYM_NAME_LEN is 512, a module's name 56).
const LINE: u64 = 1024;

/// Names by address.
#[derive(Default)]
pub struct Symbols {
    /// Those looked up so far, with what the file said, if anything.
    known: HashMap<u64, Option<String>>,
    /// Why there are no names.
    missing: Option<String>,
}

impl Symbols {
    /// Looks these return addresses up, unless they are known.
    pub fn learn(&mut self, addresses: impl Iterator<Item = u64>) {
        let mut wanted: Vec<u64> = addresses
            .filter(|address| !self.known.contains_key(address))
            .collect();
        if wanted.is_empty() || self.missing.is_some() {
            return;
        }
        wanted.sort_unstable();
        wanted.dedup();
        match File::open(KALLSYMS).map(|file| look_up(BufReader::new(file), &wanted)) {
            Ok(Some(names)) => self.known.extend(wanted.into_iter().zip(names)),
            Ok(None) => self.missing = Some(hidden()),
            Err(error) => self.missing = Some(format!("{KALLSYMS}: {error}")),
        }
    }

    /// The function that an address lies in, with its module: `jbd2_log_wait_commit [jbd2]`.
    pub fn name(&self, address: u64) -> Option<&str> {
        self.known.get(&address)?.as_deref()
    }

    /// Why there are no names, when there are none.
    pub fn missing(&self) -> Option<&str> {
        self.missing.as_deref()
    }
}

/// Why the file has no addresses.
fn hidden() -> String {
    let setting = fs::read_to_string("/proc/sys/kernel/kptr_restrict").unwrap_or_default();
    match setting.trim() {
        "2" => "the kernel hides where its functions are: kernel.kptr_restrict is 2".to_owned(),
        _ => format!("the kernel hides where its functions are: {KALLSYMS} needs CAP_SYSLOG"),
    }
}

/// The functions that these return addresses lie in; they must be sorted. `None` when all addresses are hidden.
fn look_up(mut file: impl BufRead, wanted: &[u64]) -> Option<Vec<Option<String>>> {
    // For each address the nearest symbol before it of those that are not nearer to a smaller address.
    let mut nearest: Vec<(u64, String)> = vec![(0, String::new()); wanted.len()];
    let mut visible = false;
    let mut line = Vec::new();
    loop {
        line.clear();
        match file.by_ref().take(LINE).read_until(b'\n', &mut line) {
            Ok(n) if n > 0 => {}
            _ => break,
        }
        // `ffffffff81000000 T _stext`, and a tab with `[module]` behind that of a module.
        let text = String::from_utf8_lossy(&line);
        let mut words = text.split_ascii_whitespace();
        let Some(address) = words.next().and_then(|w| u64::from_str_radix(w, 16).ok()) else {
            continue;
        };
        visible |= address != 0;
        // A call may be the last instruction of its function: what it returns to is the next one's.
        let first = wanted.partition_point(|w| *w <= address);
        let Some(nearest) = nearest.get_mut(first) else {
            continue;
        };
        let (Some(_), Some(name)) = (words.next(), words.next()) else {
            continue;
        };
        if nearest.0 < address {
            nearest.0 = address;
            nearest.1.clear();
            nearest.1.push_str(name);
            if let Some(module) = words.next() {
                nearest.1.push(' ');
                nearest.1.push_str(module);
            }
        }
    }
    if !visible {
        return None;
    }
    let mut before: (u64, String) = (0, String::new());
    let names = nearest.into_iter().zip(wanted).map(|(found, address)| {
        if found.0 > before.0 {
            before = found;
        }
        (before.0 != 0 && address - before.0 <= LONGEST).then(|| before.1.clone())
    });
    Some(names.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81000100 t first
ffffffff81000200 T second
ffffffff81000200 T second_alias
ffffffffc0000000 t module_one\t[jbd2]
ffffffffc0000080 t module_two\t[jbd2]
ffffffffa0000000 t bpf_prog_1\t[bpf]
";

    fn names(wanted: &[u64]) -> Vec<Option<String>> {
        look_up(FILE.as_bytes(), wanted).unwrap()
    }

    #[test]
    fn an_address_lies_in_the_function_before_it() {
        let wanted = [
            0xffff_ffff_8100_0101,
            0xffff_ffff_8100_01ff,
            0xffff_ffff_8100_0200,
            0xffff_ffff_8100_0210,
            0xffff_ffff_c000_0040,
            0xffff_ffff_c000_0090,
        ];
        let found = names(&wanted);
        let found: Vec<_> = found.iter().map(|n| n.as_deref().unwrap_or("-")).collect();
        assert_eq!(
            found,
            [
                "first",
                "first",
                "first",
                "second",
                "module_one [jbd2]",
                "module_two [jbd2]"
            ]
        );
    }

    #[test]
    fn far_from_every_function_there_is_no_name() {
        assert_eq!(names(&[0x10, 0xffff_ffff_9000_0000]), [None, None]);
    }

    #[test]
    fn hidden_addresses_are_told_from_unknown_ones() {
        let zeros = "0000000000000000 T _stext\n0000000000000000 t first\n";
        assert_eq!(look_up(zeros.as_bytes(), &[5]), None);
        assert_eq!(look_up("garbage\n\n".as_bytes(), &[5]), None);
    }

    #[test]
    fn the_running_kernels_functions_are_found() {
        let text = fs::read_to_string(KALLSYMS).unwrap_or_default();
        let schedule = text.lines().find_map(|l| l.strip_suffix(" T schedule"));
        let Some(address) = schedule.and_then(|a| u64::from_str_radix(a, 16).ok()) else {
            return;
        };
        if address != 0 {
            let mut symbols = Symbols::default();
            symbols.learn([address + 5].into_iter());
            assert_eq!(symbols.name(address + 5), Some("schedule"));
        }
    }
}
