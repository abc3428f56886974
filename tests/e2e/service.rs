//! What a service may do: the capabilities of its unit are enough, each that is called needed is needed, and what only attaching takes
//! is gone afterwards, from every thread.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use probe_tests::{tool::Tool, web};

/// As another user, with the capabilities in $1 and no others, and with tracefs, which systemd mounts. It comes and goes with a
/// mount namespace of its own.
const AS_A_SERVICE: &str = r#"
caps=$1; shift
mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
exec setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs --bounding-set="-all,$caps" --inh-caps="-all,$caps" \
    --ambient-caps="-all,$caps" "$@"
"#;

/// Numbers of capabilities (linux/capability.h).
const DAC_READ_SEARCH: u64 = 1 << 2;
const SYS_PTRACE: u64 = 1 << 19;
const SYS_ADMIN: u64 = 1 << 21;
const SYSLOG: u64 = 1 << 34;
const PERFMON: u64 = 1 << 38;
const BPF: u64 = 1 << 39;

/// The binary where another user can run it, and the capabilities of the unit.
struct Service {
    _folder: tempfile::TempDir,
    binary: PathBuf,
    capabilities: Vec<String>,
}

impl Service {
    fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let binary = folder.path().join("stallscope");
        fs::copy(probe_tests::tool::path()?, &binary)?;
        let unit = include_str!("../../packaging/stallscope.service");
        let line = unit
            .lines()
            .find_map(|l| l.strip_prefix("AmbientCapabilities="));
        let capabilities = line.context("the unit has no AmbientCapabilities=")?;
        let bounding = format!("CapabilityBoundingSet={capabilities}");
        ensure!(
            unit.lines().any(|l| l == bounding),
            "the unit bounds others"
        );
        let capabilities = capabilities.split(' ').map(str::to_owned).collect();
        Ok(Self {
            _folder: folder,
            binary,
            capabilities,
        })
    }

    /// Starts it with the unit's capabilities but `without`.
    fn start(&self, without: &str, args: &[&str]) -> anyhow::Result<Tool> {
        let given = self.capabilities.iter().filter(|c| *c != without);
        let names: Vec<_> = given
            .map(|c| format!("+{}", c.trim_start_matches("CAP_").to_lowercase()))
            .collect();
        let names = names.join(",");
        let binary = self.binary.to_str().context("a path that is no text")?;
        let mut all = vec!["--mount", "--propagation=private", "sh", "-c", AS_A_SERVICE];
        all.extend(["sh", &names, binary]);
        all.extend(args);
        Tool::start_as(Path::new("unshare"), &all)
    }
}

/// The unit's capabilities are enough to serve, and only what watching takes is left of them.
pub fn the_units_capabilities_are_enough_and_some_are_given_up() -> anyhow::Result<()> {
    let service = Service::new()?;
    let address: SocketAddr = ([127, 0, 0, 1], web::free_port()?).into();
    let listen = address.to_string();
    let tool = service.start("", &["serve", "--listen", &listen, "--interval", "1s"])?;
    let page = serves(address)?;
    ensure!(page.contains("stallscope"), "no metrics: {page}");
    let threads = threads(tool.pid())?;
    ensure!(threads.len() > 1, "the network has no thread of its own");
    for thread in threads {
        let left = thread.effective;
        // Older kernels ask for CAP_BPF at each look into a map.
        ensure!(
            left & !BPF == DAC_READ_SEARCH | SYS_PTRACE | SYSLOG,
            "{} has {left:x}",
            thread.name
        );
        ensure!(thread.permitted == left && thread.inherited == 0 && thread.no_new_privs);
    }
    let output = tool.interrupt()?;
    ensure!(
        output.code == Some(0),
        "{:?}: {}",
        output.code,
        output.stderr
    );
    Ok(())
}

/// Root, too, gives up what watching does not need, and programs that it starts cannot have it back.
pub fn root_keeps_no_more_than_watching_needs() -> anyhow::Result<()> {
    let address: SocketAddr = ([127, 0, 0, 1], web::free_port()?).into();
    let listen = address.to_string();
    let tool = Tool::start_attached(&["serve", "--listen", &listen, "--interval", "1s"])?;
    serves(address)?;
    for thread in threads(tool.pid())? {
        let most = DAC_READ_SEARCH | SYS_PTRACE | SYSLOG | SYS_ADMIN | BPF;
        let all = thread.effective | thread.permitted | thread.bounding | thread.inherited;
        ensure!(all & !most == 0, "{} has {all:x}", thread.name);
        ensure!(all & PERFMON == 0 && thread.no_new_privs);
    }
    let output = tool.interrupt()?;
    ensure!(
        output.code == Some(0),
        "{:?}: {}",
        output.code,
        output.stderr
    );
    Ok(())
}

/// Each capability is missed by its name: by an error where nothing works without it, else in what `doctor` says of a probe.
pub fn each_missing_capability_is_named() -> anyhow::Result<()> {
    let service = Service::new()?;
    for required in ["CAP_BPF", "CAP_PERFMON", "CAP_DAC_READ_SEARCH"] {
        let listen = format!("127.0.0.1:{}", web::free_port()?);
        let output = service
            .start(required, &["serve", "--listen", &listen])?
            .finish()?;
        ensure!(output.code == Some(2), "{required}: {:?}", output.code);
        let said = output.stderr.trim();
        ensure!(
            said.lines().count() == 1
                && said.contains(required)
                && said.matches("CAP_").count() <= 2,
            "{required}: {said}"
        );
    }
    let doctor = |without: &str| service.start(without, &["doctor", "--json"])?.finish();
    let less = doctor("CAP_SYS_PTRACE")?;
    ensure!(less.code == Some(0), "{:?}: {}", less.code, less.stderr);
    ensure!(
        less.stdout.contains("CAP_SYS_PTRACE is missing"),
        "{}",
        less.stdout
    );
    let all = doctor("")?;
    ensure!(
        all.code == Some(0) && !all.stdout.contains("is missing"),
        "{}",
        all.stdout
    );
    Ok(())
}

/// Waits for the metrics, which are there after the first look.
fn serves(address: SocketAddr) -> anyhow::Result<String> {
    let begun = Instant::now();
    loop {
        let answer = web::get(address, "/metrics");
        if let Ok(answer) = &answer
            && answer.status == 200
        {
            return Ok(answer.body.clone());
        }
        ensure!(
            begun.elapsed() < Duration::from_secs(30),
            "no metrics in 30 s"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What a thread may do.
struct Thread {
    name: String,
    effective: u64,
    permitted: u64,
    bounding: u64,
    /// Inheritable and ambient.
    inherited: u64,
    no_new_privs: bool,
}

fn threads(pid: u32) -> anyhow::Result<Vec<Thread>> {
    let mut threads = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::trim).with_context(|| format!("no {name}"))
        };
        let set = |name| anyhow::Ok(u64::from_str_radix(field(name)?, 16)?);
        threads.push(Thread {
            name: field("Name:")?.to_owned(),
            effective: set("CapEff:")?,
            permitted: set("CapPrm:")?,
            bounding: set("CapBnd:")?,
            inherited: set("CapInh:")? | set("CapAmb:")?,
            no_new_privs: field("NoNewPrivs:")? == "1",
        });
    }
    Ok(threads)
}
