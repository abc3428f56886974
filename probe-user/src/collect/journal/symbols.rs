//! Names of kernel functions, from /proc/kallsyms.
//!
//! The kernel takes some 60 ms to write that file out, so it is read once, when the first address is asked for, and again
//! when a module has come or gone. What is kept of it are addresses, and names in compressed blocks: some 2 MB for
//! 120,000 functions. A BPF program that is loaded later has no name, or that of the module right before it.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read as _},
};

const KALLSYMS: &str = "/proc/kallsyms";
const MODULES: &str = "/proc/modules";

/// A function is not longer than this: what lies further behind a symbol is not known by it.
const LONGEST: u32 = 1 << 17;

/// A line is not longer than this (KSYM_NAME_LEN is 512, a module's name 56).
const LINE: u64 = 1024;

/// Names in a block: one is unpacked for each address that is new.
const BLOCK: usize = 512;

/// Names of a block in bytes, at most.
const BLOCK_BYTES: usize = BLOCK * LINE as usize;

/// Fast; higher levels save little more.
const LEVEL: i32 = 1;

/// Names by address.
#[derive(Default)]
pub struct Symbols {
    /// Those looked up so far, with what the file said, if anything.
    known: HashMap<u64, Option<String>>,
    table: Option<Table>,
    /// The modules when the table was made.
    modules: Vec<String>,
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
        let modules = modules();
        if self.table.is_none() || self.modules != modules {
            match File::open(KALLSYMS).and_then(|file| Table::read(BufReader::new(file))) {
                Ok(Some(table)) => self.table = Some(table),
                Ok(None) => self.missing = Some(hidden()),
                Err(error) => self.missing = Some(format!("{KALLSYMS}: {error}")),
            }
            self.modules = modules;
        }
        if let Some(table) = &self.table {
            let names = table.names(&wanted);
            self.known.extend(wanted.into_iter().zip(names));
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

/// Names and places of the modules that are loaded; empty on a kernel without modules.
fn modules() -> Vec<String> {
    let text = fs::read_to_string(MODULES).unwrap_or_default();
    // `jbd2 139264 1 ext4, Live 0xffffffffc0123000`: the users change with every mount.
    let lines = text.lines().map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let word = |at: usize| words.get(at).copied().unwrap_or_default();
        format!("{} {}", word(0), word(5))
    });
    lines.collect()
}

/// Why the file has no addresses.
fn hidden() -> String {
    let setting = fs::read_to_string("/proc/sys/kernel/kptr_restrict").unwrap_or_default();
    match setting.trim() {
        "2" => "the kernel hides where its functions are: kernel.kptr_restrict is 2".to_owned(),
        _ => format!("the kernel hides where its functions are: {KALLSYMS} needs CAP_SYSLOG"),
    }
}

/// All functions.
pub struct Table {
    /// The upper half of all addresses: a kernel's code lies within 2 GiB.
    upper: u64,
    /// Where functions begin, in order, and the numbers of their names.
    functions: Vec<(u32, u32)>,
    /// Their names in the order of the file, [`BLOCK`] of them each, a line each, compressed.
    blocks: Vec<Vec<u8>>,
}

impl Table {
    /// Reads the file. `None` when all addresses are hidden.
    ///
    /// # Errors
    /// Names cannot be packed.
    pub fn read(mut file: impl BufRead) -> io::Result<Option<Self>> {
        let mut table: Option<Self> = None;
        let (mut line, mut names) = (Vec::new(), Vec::new());
        loop {
            line.clear();
            match file.by_ref().take(LINE).read_until(b'\n', &mut line) {
                Ok(n) if n > 0 => {}
                _ => break,
            }
            let Some((address, name, module)) = function(&line) else {
                continue;
            };
            let table = table.get_or_insert_with(|| Self {
                upper: address >> 32,
                functions: Vec::new(),
                blocks: Vec::new(),
            });
            if address >> 32 != table.upper {
                continue;
            }
            let number = table.functions.len();
            table.functions.push((address as u32, number as u32));
            names.extend_from_slice(name);
            if let Some(module) = module {
                names.push(b' ');
                names.extend_from_slice(module);
            }
            names.push(b'\n');
            if (number + 1).is_multiple_of(BLOCK) {
                table.blocks.push(zstd::bulk::compress(&names, LEVEL)?);
                names.clear();
            }
        }
        if let Some(table) = &mut table {
            table.blocks.push(zstd::bulk::compress(&names, LEVEL)?);
            // Of several names of one function, the first in the file.
            table.functions.sort_unstable();
            table.functions.dedup_by_key(|(start, _)| *start);
            table.functions.shrink_to_fit();
        }
        Ok(table)
    }

    /// The functions that these return addresses lie in.
    pub fn names(&self, addresses: &[u64]) -> Vec<Option<String>> {
        let mut unpacked = (usize::MAX, Vec::new());
        let names = addresses.iter().map(|address| {
            if address >> 32 != self.upper {
                return None;
            }
            // A call may be the last instruction of its function: what it returns to is the next one's.
            let low = *address as u32;
            let after = self.functions.partition_point(|(start, _)| *start < low);
            let &(start, number) = self.functions.get(after.checked_sub(1)?)?;
            if low - start > LONGEST {
                return None;
            }
            let (block, line) = (number as usize / BLOCK, number as usize % BLOCK);
            if unpacked.0 != block {
                let names = zstd::bulk::decompress(self.blocks.get(block)?, BLOCK_BYTES);
                unpacked = (block, names.ok()?);
            }
            let name = unpacked.1.split(|byte| *byte == b'\n').nth(line)?;
            Some(String::from_utf8_lossy(name).into_owned())
        });
        names.collect()
    }
}

/// Address, name, and module with its brackets, where it is one's.
type Function<'a> = (u64, &'a [u8], Option<&'a [u8]>);

/// A line of the file: `ffffffff81000000 T _stext`, and a tab with `[module]` behind that of a module. `None` where it is not
/// about a function, or its address is hidden.
fn function(line: &[u8]) -> Option<Function<'_>> {
    let mut words = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let address = std::str::from_utf8(words.next()?).ok()?;
    let address = u64::from_str_radix(address, 16).ok()?;
    let kind = words.next()?;
    let name = words.next()?;
    let is_code = matches!(kind, b"T" | b"t" | b"W" | b"w");
    (address != 0 && is_code).then(|| (address, name, words.next()))
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

    fn table(file: &str) -> Option<Table> {
        Table::read(file.as_bytes()).unwrap()
    }

    fn names(wanted: &[u64]) -> Vec<Option<String>> {
        table(FILE).unwrap().names(wanted)
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
        assert!(table(zeros).is_none());
        assert!(table("garbage\n\n").is_none());
        assert_eq!(table(FILE).unwrap().names(&[5]), [None]);
    }

    #[test]
    fn every_function_of_many_blocks_is_found() {
        let address = |n: u64| 0xffff_ffff_8000_0000 + n * 64;
        let count = 3 * BLOCK as u64 + 7;
        // Modules' functions come behind the kernel's, in the order of loading.
        let lines = (0..count).rev().map(|n| {
            let address = address(n);
            format!("{address:x} t function_{n}\n")
        });
        let table = table(&lines.collect::<String>()).unwrap();
        let wanted: Vec<u64> = (0..count).map(|n| address(n) + 9).collect();
        for (n, name) in table.names(&wanted).into_iter().enumerate() {
            assert_eq!(name, Some(format!("function_{n}")));
        }
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
