//! QEMU: found or fetched, and run with a time limit.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::apt::Apt;
use super::console::Report;
use super::disks::Disk;
use super::kernel::remove;
use crate::sh;

/// A guest that says nothing for so long hangs. The tests end by themselves when one of them takes 180 s.
const QUIET: Duration = Duration::from_secs(200);

/// How long the output of an ended QEMU is waited for.
const LAST: Duration = Duration::from_secs(2);

/// The program, and where its parts are when it is not installed in the system.
#[derive(Debug)]
pub struct Qemu {
    program: PathBuf,
    /// A tree of unpacked packages.
    root: Option<PathBuf>,
}

/// What one guest needs.
pub struct Guest<'a> {
    /// The bzImage.
    pub vmlinuz: &'a Path,
    /// The cpio archive.
    pub initramfs: &'a Path,
    /// /dev/vda and so on.
    pub disks: &'a [Disk],
    /// Gets every line of the console.
    pub log: &'a Path,
    /// The guest is ended after this long.
    pub limit: Duration,
    /// Gets every line that a job prints, while it runs.
    pub show: &'a dyn Fn(&str),
}

/// How a guest came out.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What it said.
    pub report: Report,
    /// From the start of QEMU to a guest that is ready.
    pub boot: Option<Duration>,
    /// From the start of QEMU to its end.
    pub total: Duration,
    /// It did not end by itself.
    pub timed_out: bool,
}

impl Qemu {
    /// QEMU of the system, or of the cache, or fetched into the cache.
    ///
    /// It is unpacked and not installed: its dependencies can conflict with what a machine has, and root is not needed.
    ///
    /// # Errors
    /// When it is nowhere and cannot be fetched.
    pub fn find(cache: &Path) -> Result<Self> {
        let name = "qemu-system-x86_64";
        if let Some(program) = sh::find(name) {
            return Ok(Self {
                program,
                root: None,
            });
        }
        let root = cache.join("qemu");
        let program = root.join("usr/bin").join(name);
        if !program.is_file() {
            eprintln!(
                "vm: fetching qemu-system-x86 for the guests: it is neither installed nor in {} yet",
                root.display()
            );
            fetch(cache, "qemu-system-x86", &root, true)?;
            ensure!(
                program.is_file(),
                "qemu-system-x86 has no usr/bin/{name}: install QEMU by hand"
            );
        }
        Ok(Self {
            program,
            root: Some(root),
        })
    }

    fn command(&self) -> Command {
        // The guest's clock runs on while its QEMU waits for a CPU of the host, and its tests compare times: it
        // goes before ordinary programs, where that is allowed. (Niceness is of no use between sessions.)
        let ahead = ["--rr", "1"];
        let mut command = match sh::find("chrt") {
            Some(chrt) if sh::quiet(Command::new(&chrt).args(ahead).arg("true")).is_some() => {
                let mut command = Command::new(chrt);
                command.args(ahead).arg(&self.program);
                command
            }
            _ => Command::new(&self.program),
        };
        sh::clean_library_path(&mut command);
        if let Some(root) = &self.root {
            let lib = root.join("usr/lib/x86_64-linux-gnu");
            let path = [lib.as_path(), &root.join("lib/x86_64-linux-gnu")]
                .map(|p| p.display().to_string())
                .join(":");
            command
                .env("LD_LIBRARY_PATH", path)
                .env("QEMU_MODULE_DIR", lib.join("qemu"));
            for data in ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"] {
                command.arg("-L").arg(root.join(data));
            }
        }
        command
    }

    /// Boots a guest and reads its console to the end.
    ///
    /// # Errors
    /// When QEMU cannot be started or the log cannot be written. A guest that fails is not an error here.
    pub fn run(&self, guest: &Guest<'_>) -> Result<Outcome> {
        let mut log = File::create(guest.log)
            .with_context(|| format!("cannot write {}", guest.log.display()))?;
        let start = Instant::now();
        let mut child = self
            .command()
            // Emulation only: nested virtualisation is missing or broken on most machines that this runs on.
            // One host thread for both CPUs: with one each, a CPU can run code that the other one is patching
            // (static keys, tracepoints) half old and half new, and the guest dies of a double fault.
            // No cmpxchg16b: QEMU 7.2 leaves garbage in the flags behind it when an interrupt follows, and
            // 6.12 dies of that in kmalloc.
            .args([
                "-accel",
                "tcg,thread=single",
                "-cpu",
                "max,-cx16",
                "-smp",
                "2",
                "-m",
                "1G",
            ])
            .args([
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-serial",
                "stdio",
                "-no-reboot",
            ])
            // no_timer_check: whether timer interrupts arrive is tried by counting them for a moment, which
            // fails when QEMU stands still just then.
            .args([
                "-append",
                "console=ttyS0 quiet loglevel=1 panic=-1 mitigations=off no_timer_check rdinit=/init",
            ])
            .arg("-kernel")
            .arg(guest.vmlinuz)
            .arg("-initrd")
            .arg(guest.initramfs)
            .args(guest.disks.iter().enumerate().flat_map(drive))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let lines = read_lines(&mut child);
        let mut child = Running(child);
        let mut outcome = Outcome::default();
        loop {
            // What QEMU had said before it was ended still comes, even an unfinished line.
            let left = guest.limit.saturating_sub(start.elapsed()).min(QUIET);
            let wait = if outcome.timed_out { LAST } else { left };
            match lines.recv_timeout(wait) {
                Ok(line) => {
                    writeln!(log, "{line}")?;
                    for shown in outcome.report.line(&line) {
                        (guest.show)(&shown);
                    }
                    if outcome.boot.is_none() && outcome.report.up.is_some() {
                        outcome.boot = Some(start.elapsed());
                    }
                }
                Err(RecvTimeoutError::Timeout) if !outcome.timed_out => {
                    outcome.timed_out = true;
                    child.0.kill().context("cannot end QEMU")?;
                }
                Err(_) => break,
            }
        }
        child.0.wait().context("cannot wait for QEMU")?;
        outcome.total = start.elapsed();
        Ok(outcome)
    }
}

/// The arguments for a disk.
fn drive((number, disk): (usize, &Disk)) -> [String; 4] {
    // QEMU's cache answers at once; what it writes to the image is not what the guest waits for.
    let mut drive = format!(
        "if=none,id=disk{number},format=raw,cache=unsafe,file={}",
        disk.file.display().to_string().replace(',', ",,")
    );
    if let Some(writes) = disk.writes_per_s {
        drive += &format!(",throttling.iops-write={writes}");
    }
    [
        "-drive".to_owned(),
        drive,
        "-device".to_owned(),
        format!("virtio-blk-pci,drive=disk{number}"),
    ]
}

/// Ends QEMU when an error ends the run.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already in the regular case, and there is nothing else to do about it in the other.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Both outputs of QEMU, line by line, ready for a terminal; the channel closes when both have ended.
fn read_lines(child: &mut Child) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    let outputs: [Option<Box<dyn std::io::Read + Send>>; 2] = [
        child.stdout.take().map(|s| Box::new(s) as _),
        child.stderr.take().map(|s| Box::new(s) as _),
    ];
    for output in outputs.into_iter().flatten() {
        let sender = sender.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(output);
            let mut bytes = Vec::new();
            while reader.read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0) {
                // The firmware sends escape sequences; a guest may send anything.
                let text = String::from_utf8_lossy(&bytes);
                let plain: String = text
                    .chars()
                    .filter(|c| *c == '\t' || !c.is_control())
                    .collect();
                if sender.send(plain).is_err() {
                    return;
                }
                bytes.clear();
            }
        });
    }
    receiver
}

/// Fetches a package into `into`, `whole`: with what it needs that this machine does not have.
///
/// # Errors
/// When apt cannot, or when it would need a newer C library than the machine's.
pub fn fetch(cache: &Path, package: &str, into: &Path, whole: bool) -> Result<()> {
    let work = cache.join(format!("work-{package}"));
    remove(&work)?;
    let apt = Apt::machine(&work.join("apt")).with_context(|| format!("cannot fetch {package}"))?;
    let needed = if whole {
        apt.missing(package)?
    } else {
        vec![package.to_owned()]
    };
    // A library newer than the loader that the machine starts programs with would not work.
    ensure!(
        !needed.iter().any(|n| n.starts_with("libc6=")),
        "{package} wants another libc6: install it with apt-get and try again"
    );
    ensure!(
        !needed.is_empty(),
        "{package} is installed but its program is not in PATH"
    );
    let tree = work.join("tree");
    apt.unpack(&needed, &tree)?;
    apt.close()?;
    remove(into)?;
    fs::rename(&tree, into)
        .with_context(|| format!("cannot move {package} to {}", into.display()))?;
    remove(&work)
}
