//! The command line: what can be asked for, in one definition that help, completions and man page share.

mod daemon;
pub mod duration;
mod generate;
mod help;
pub mod size;
mod usage;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};

pub use daemon::{Keep, Lasting, Listen, Protocol, Push, Recorder, Serve};
pub use generate::{completions, man};
pub use usage::{Stop, parse};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "stallscope",
    version,
    about = "Finds what the processes of a sick Linux node wait for",
    long_about = help::ABOUT,
    after_help = help::EXAMPLES,
    max_term_width = 90,
    disable_help_subcommand = true,
    subcommand_negates_reqs = true
)]
pub struct Cli {
    /// What to do; the live view when nothing is named.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Colour: auto (on a terminal, unless NO_COLOR is set), always or never
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub color: Color,

    /// The live view's own arguments.
    #[command(flatten)]
    pub view: View,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb.
    Auto,
    /// Always, even into a pipe.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch for a while, then say what requests wait for and what to do
    #[command(after_help = help::DIAGNOSE)]
    Diagnose(Diagnose),

    /// Write what is seen to a file, to be looked at later or elsewhere
    #[command(after_help = help::RECORD)]
    Record(Record),

    /// Report on a recording, or show it in the live view; needs no rights
    #[command(after_help = help::REPLAY)]
    Replay(Replay),

    /// Show what stallscope finds, from a recording that it carries
    #[command(after_help = help::DEMO)]
    Demo(Demo),

    /// Compare two reports or recordings: what got better or worse
    #[command(after_help = help::DIFF)]
    Diff(Diff),

    /// Run for weeks, and save report and recording of what goes wrong
    #[command(after_help = help::WATCH)]
    Watch(Recorder),

    /// Run for weeks, and give metrics out: OpenMetrics to be fetched, OTLP to a collector
    #[command(after_help = help::SERVE)]
    Serve(Box<Serve>),

    /// Count system calls by process, with their errors
    #[command(after_help = help::COUNT)]
    Count(Count),

    /// Show what each worker does right now and where its time went, refreshed
    #[command(after_help = help::WORKERS)]
    Workers(Workers),

    /// Show TCP sockets by state, peer and process, ports, queues and failed connects
    #[command(after_help = help::TCP)]
    Tcp(Tcp),

    /// Show UDP sockets that drop datagrams, their queues and readers
    #[command(after_help = help::UDP)]
    Udp(Udp),

    /// Show who asks DNS for what, answers, time-outs, and the time they cost
    #[command(after_help = help::DNS)]
    Dns(Dns),

    /// Show file systems and how long they last, who creates files, journals, fsync, D sleeps
    #[command(after_help = help::FS)]
    Fs(Fs),

    /// Show what works on this machine, what does not, and why
    #[command(after_help = help::DOCTOR)]
    Doctor(Doctor),

    /// Explain a rule: what it sees, how to confirm it, what to try
    #[command(after_help = help::EXPLAIN)]
    Explain {
        /// The rule's id (W01) or name (blocking-upstream)
        rule: String,
    },

    /// List the rules
    #[command(after_help = help::RULES)]
    Rules {
        /// One JSON document instead of text
        #[arg(long)]
        json: bool,
    },

    /// Print a completion script for a shell
    #[command(after_help = help::COMPLETIONS)]
    Completions {
        /// bash, zsh, fish, elvish or powershell
        #[arg(hide_possible_values = true)]
        shell: clap_complete::Shell,
    },

    /// Print the manual page (roff)
    #[command(after_help = help::MAN)]
    Man,
}

/// Which processes to watch. Several selectors add up; none means all.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Targets (several add up; none = all processes)")]
pub struct Targets {
    /// Watch this process and what it forks (repeatable)
    #[arg(long = "pid", value_name = "PID", value_parser = value_parser!(u32).range(1..=4_194_304), allow_negative_numbers = true)]
    pub pids: Vec<u32>,

    /// Watch the processes of exactly this name, as in /proc/PID/comm (repeatable)
    #[arg(long = "comm", value_name = "NAME", value_parser = usage::not_empty())]
    pub comms: Vec<OsString>,

    /// Watch this PHP-FPM pool: its workers, and those forked later (repeatable)
    #[arg(long = "pool", value_name = "NAME", value_parser = usage::not_empty())]
    pub pools: Vec<OsString>,

    /// Watch the processes in this cgroup and below it (repeatable)
    #[arg(long = "cgroup", value_name = "PATH")]
    pub cgroups: Vec<PathBuf>,
}

/// What concerns the kernel side, for every command that attaches.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Show the kernel side's own log on stderr
    #[arg(short = 'v', long)]
    pub verbose: bool,
}

/// `diagnose`.
#[derive(Args, Debug)]
pub struct Diagnose {
    /// How long to watch, up to 24h: 500ms, 10s, 2m, 1h
    #[arg(short = 'd', long, value_name = "TIME", default_value = "30s", value_parser = duration::watch, allow_hyphen_values = true)]
    pub duration: Duration,
    /// Also write a recording to this file, for `replay`
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// How the report is written.
    #[command(flatten)]
    pub output: Output,
    /// What to watch.
    #[command(flatten)]
    pub watch: Watch,
    /// Targets.
    #[command(flatten)]
    pub targets: Targets,
}

/// What to watch, for the commands that watch everything.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Do not read script names and URIs out of FastCGI requests
    #[arg(long)]
    pub no_fastcgi: bool,
    /// Watch TCP in the network namespace of this process [default: ours]
    #[arg(long, value_name = "PID", value_parser = value_parser!(u32).range(1..=4_194_304), allow_negative_numbers = true)]
    pub netns: Option<u32>,
    /// Kernel side.
    #[command(flatten)]
    pub kernel: Kernel,
}

/// How a report is written.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Output {
    /// One JSON document on stdout instead of text
    #[arg(long, group = "format")]
    pub json: bool,
    /// One HTML file that needs nothing else, with charts
    #[arg(long, group = "format")]
    pub html: bool,
    /// Markdown, to be pasted into a ticket
    #[arg(long, group = "format")]
    pub markdown: bool,
    /// Replace addresses, paths, names and URIs by made-up ones
    #[arg(long)]
    pub redact: bool,
}

/// The live view: what runs when no command is named.
#[derive(Args, Clone, Debug, Default)]
pub struct View {
    /// How often the numbers change, 100ms to 1h
    #[arg(short = 'i', long, value_name = "TIME", default_value = "1s", value_parser = duration::interval, allow_hyphen_values = true)]
    pub interval: Duration,
    /// What to watch.
    #[command(flatten)]
    pub watch: Watch,
    /// Targets.
    #[command(flatten)]
    pub targets: Targets,
}

/// `record`.
#[derive(Args, Debug)]
pub struct Record {
    /// The file to write; it must not exist yet
    pub file: PathBuf,
    /// Stop after this long, up to 24h [default: until Ctrl-C]
    #[arg(short = 'd', long, value_name = "TIME", value_parser = duration::watch, allow_hyphen_values = true)]
    pub duration: Option<Duration>,
    /// Keep only the newest that fits into so many bytes: 500k, 50M, 2G
    #[arg(long, value_name = "SIZE", default_value = "100M", value_parser = size::bytes)]
    pub max_size: u64,
    /// What to watch.
    #[command(flatten)]
    pub watch: Watch,
    /// Targets.
    #[command(flatten)]
    pub targets: Targets,
}

/// `replay`.
#[derive(Args, Debug)]
pub struct Replay {
    /// A recording
    pub file: PathBuf,
    /// How it is shown.
    #[command(flatten)]
    pub shown: Shown,
}

/// `demo`.
#[derive(Args, Debug)]
pub struct Demo {
    /// How it is shown.
    #[command(flatten)]
    pub shown: Shown,
}

/// How a recording is shown.
#[derive(Args, Clone, Copy, Debug)]
pub struct Shown {
    /// In the live view, at the pace at which it was recorded
    #[arg(long, conflicts_with = "format")]
    pub view: bool,
    /// As a report.
    #[command(flatten)]
    pub output: Output,
}

/// `diff`.
#[derive(Args, Debug)]
pub struct Diff {
    /// A report (JSON) or a recording
    pub before: PathBuf,
    /// A later one
    pub after: PathBuf,
    /// One JSON document on stdout instead of text
    #[arg(long)]
    pub json: bool,
}

/// `count`.
#[derive(Args, Debug)]
pub struct Count {
    /// System calls by name, such as connect poll
    #[arg(value_name = "SYSCALL", required = true, num_args = 1..)]
    pub syscalls: Vec<String>,
    /// How long to count, up to 24h: 500ms, 10s, 2m, 1h
    #[arg(short = 'd', long, value_name = "TIME", default_value = "5s", value_parser = duration::watch, allow_hyphen_values = true)]
    pub duration: Duration,
    /// Also time each call: median and p99 (costs about twice as much)
    #[arg(short = 'w', long)]
    pub wait: bool,
    /// One JSON document on stdout instead of text
    #[arg(long)]
    pub json: bool,
    /// Kernel side.
    #[command(flatten)]
    pub kernel: Kernel,
    /// Targets.
    #[command(flatten)]
    pub targets: Targets,
}

/// `workers`.
#[derive(Args, Debug)]
pub struct Workers {
    /// How often to refresh, 100ms to 1h
    #[arg(short = 'i', long, value_name = "TIME", default_value = "1s", value_parser = duration::interval, allow_hyphen_values = true)]
    pub interval: Duration,
    /// Stop after this long, up to 24h [default: until Ctrl-C]
    #[arg(short = 'd', long, value_name = "TIME", value_parser = duration::watch, allow_hyphen_values = true)]
    pub duration: Option<Duration>,
    /// Stop after this many refreshes
    #[arg(short = 'n', long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// One JSON object a line for each refresh instead of text
    #[arg(long)]
    pub json: bool,
    /// Do not read script names and URIs out of FastCGI requests
    #[arg(long)]
    pub no_fastcgi: bool,
    /// Kernel side.
    #[command(flatten)]
    pub kernel: Kernel,
    /// Targets.
    #[command(flatten)]
    pub targets: Targets,
}

/// How the pages about one signal are shown.
#[derive(Args, Clone, Debug, Default)]
pub struct Pages {
    /// Watch for this long, up to 24h, then print once [default: see below]
    #[arg(short = 'd', long, value_name = "TIME", value_parser = duration::watch, allow_hyphen_values = true)]
    pub duration: Option<Duration>,
    /// Live: how often to refresh, 100ms to 1h [default: 1s]
    #[arg(short = 'i', long, value_name = "TIME", value_parser = duration::interval, allow_hyphen_values = true, conflicts_with = "duration")]
    pub interval: Option<Duration>,
    /// Live: stop after this many refreshes
    #[arg(short = 'n', long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// One JSON document instead of text; live: one object a line
    #[arg(long)]
    pub json: bool,
}

/// `tcp`.
#[derive(Args, Debug)]
pub struct Tcp {
    /// Pages.
    #[command(flatten)]
    pub pages: Pages,
    /// Look at the network namespace of this process [default: ours]
    #[arg(long, value_name = "PID", value_parser = value_parser!(u32).range(1..=4_194_304), allow_negative_numbers = true)]
    pub netns: Option<u32>,
    /// A line for each change of state, as it comes; with -n: so many
    #[arg(long, conflicts_with = "interval")]
    pub events: bool,
    /// Which events.
    #[command(flatten)]
    pub filter: Filter,
    /// Kernel side.
    #[command(flatten)]
    pub kernel: Kernel,
}

/// Which events to show.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Which events (several narrow down)")]
pub struct Filter {
    /// Only these ports on this side, such as 80,443
    #[arg(
        short = 'L',
        long = "local-port",
        value_name = "PORTS",
        value_delimiter = ',',
        requires = "events"
    )]
    pub local_ports: Vec<u16>,
    /// Only these ports on the other side
    #[arg(
        short = 'D',
        long = "remote-port",
        value_name = "PORTS",
        value_delimiter = ',',
        requires = "events"
    )]
    pub remote_ports: Vec<u16>,
    /// Only IPv4
    #[arg(short = '4', long, requires = "events", conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// Only IPv6
    #[arg(short = '6', long, requires = "events")]
    pub ipv6: bool,
}

/// `udp`.
#[derive(Args, Debug)]
pub struct Udp {
    /// Pages.
    #[command(flatten)]
    pub pages: Pages,
    /// Look at the network namespace of this process [default: ours]
    #[arg(long, value_name = "PID", value_parser = value_parser!(u32).range(1..=4_194_304), allow_negative_numbers = true)]
    pub netns: Option<u32>,
    /// Kernel side.
    #[command(flatten)]
    pub kernel: Kernel,
}

/// `dns`.
#[derive(Args, Debug)]
pub struct Dns {
    /// Pages.
    #[command(flatten)]
    pub pages: Pages,
    /// Look for full buffers in the network namespace of this process [default: ours]
    #[arg(long, value_name = "PID", value_parser = value_parser!(u32).range(1..=4_194_304), allow_negative_numbers = true)]
    pub netns: Option<u32>,
    /// Kernel side.
    #[command(flatten)]
    pub kernel: Kernel,
    /// Targets.
    #[command(flatten)]
    pub targets: Targets,
}

/// `fs`.
#[derive(Args, Debug)]
pub struct Fs {
    /// Pages.
    #[command(flatten)]
    pub pages: Pages,
    /// Kernel side.
    #[command(flatten)]
    pub kernel: Kernel,
}

/// `doctor`.
#[derive(Args, Debug)]
pub struct Doctor {
    /// One JSON document on stdout instead of text
    #[arg(long)]
    pub json: bool,
    /// Kernel side.
    #[command(flatten)]
    pub kernel: Kernel,
}
