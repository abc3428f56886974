//! /proc/kallsyms: a table of addresses with compressed names, beside a plain list.

use std::collections::BTreeMap;

use stallscope::collect::fuzzing::KernelSymbols;

use crate::memory;

/// A function is taken for no longer than this.
const LONGEST: u64 = 1 << 17;
/// Lines that are longer are cut, which the plain list does not do.
const LINE: usize = 1000;
/// Names of a block, unpacked, beside what zstd gives out first.
const BLOCK: usize = 2 << 20;

/// Reads the file, and looks addresses up at, before and behind each function.
pub fn run(bytes: &[u8]) {
    let most = memory::ALWAYS + BLOCK + 16 * bytes.len();
    let table = memory::within(most, || KernelSymbols::read(bytes)).expect("names can be packed");
    let lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
    if lines.iter().any(|line| line.len() > LINE) {
        return;
    }
    let all: Vec<(u64, String)> = lines.iter().filter_map(|line| function(line)).collect();
    let Some((first, _)) = all.first() else {
        return assert!(table.is_none());
    };
    let table = table.expect("there are functions");
    let upper = first >> 32;
    let mut plain = BTreeMap::new();
    for (address, name) in &all {
        if address >> 32 == upper {
            plain.entry(*address).or_insert_with(|| name.clone());
        }
    }
    // A block is unpacked for each address, and twenty are enough.
    let wanted: Vec<u64> = all
        .iter()
        .take(5)
        .chain(all.iter().rev().take(5))
        .flat_map(|(address, _)| [0, 1, LONGEST, LONGEST + 1].map(|n| address.wrapping_add(n)))
        .collect();
    let names = memory::within(most, || table.names(&wanted));
    for (address, name) in wanted.iter().zip(names) {
        // What a call returns to may be the next function's first byte.
        let before = plain.range(..address).next_back();
        let expected = before.filter(|(start, _)| {
            address >> 32 == upper
                && (*address as u32).wrapping_sub(**start as u32) <= LONGEST as u32
        });
        assert_eq!(name.as_ref(), expected.map(|(_, name)| name), "{address:x}");
    }
}

/// Address and name of a line that is about a function.
fn function(line: &[u8]) -> Option<(u64, String)> {
    let words: Vec<&[u8]> = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .collect();
    let [address, kind, name, rest @ ..] = &words[..] else {
        return None;
    };
    let address = u64::from_str_radix(std::str::from_utf8(address).ok()?, 16).ok()?;
    if address == 0 || !matches!(kind, [b'T' | b't' | b'W' | b'w']) {
        return None;
    }
    let mut name = name.to_vec();
    if let Some(module) = rest.first() {
        name.push(b' ');
        name.extend(*module);
    }
    Some((address, String::from_utf8_lossy(&name).into_owned()))
}
