//! The arguments of what runs for weeks: `watch` and `serve`. Each may stand in a file as well (`--config`); what is given here
//! goes before it. So nothing has a default here: `session::daemon::settings` knows them.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::{Targets, Watch, duration, size};
use crate::diagnose::Severity;

/// `watch`.
#[derive(Args, Clone, Debug, Default)]
pub struct Recorder {
    /// What it does with findings.
    #[command(flatten)]
    pub keep: Keep,
    /// Common to what runs for weeks.
    #[command(flatten)]
    pub lasting: Lasting,
}

/// `serve`.
#[derive(Args, Clone, Debug, Default)]
pub struct Serve {
    /// Where metrics are fetched.
    #[command(flatten)]
    pub listen: Listen,
    /// Where metrics are sent.
    #[command(flatten)]
    pub push: Push,
    /// What it does with findings, when a directory is named.
    #[command(flatten)]
    pub keep: Keep,
    /// Common to what runs for weeks.
    #[command(flatten)]
    pub lasting: Lasting,
}

/// What `watch` and `serve` share.
#[derive(Args, Clone, Debug, Default)]
pub struct Lasting {
    /// Take what is not said here from this file (TOML); SIGHUP reads it again
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How often everything is looked at and judged, 1s to 1h [default: 5s]
    #[arg(short = 'i', long, value_name = "TIME", value_parser = duration::interval, allow_hyphen_values = true)]
    pub interval: Option<Duration>,
    /// The rules judge the last one to two of these, 10s to 1h [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = duration::interval, allow_hyphen_values = true)]
    pub span: Option<Duration>,
    /// Stop after this long, up to 24h [default: never]
    #[arg(short = 'd', long, value_name = "TIME", value_parser = duration::watch, allow_hyphen_values = true)]
    pub duration: Option<Duration>,
    /// What to watch.
    #[command(flatten)]
    pub watch: Watch,
    /// Targets.
    #[command(flatten)]
    pub targets: Targets,
}

/// What is done with findings.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Findings")]
pub struct Keep {
    /// Save report and recording of each finding here [default of watch: /var/lib/stallscope]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Only findings at least this bad: info, warning or critical [default: warning]
    #[arg(long, value_name = "SEVERITY", hide_possible_values = true)]
    pub severity: Option<Least>,
    /// How much of the time before a finding is in its recording, at least [default: 2m]
    #[arg(long, value_name = "TIME", value_parser = duration::interval, allow_hyphen_values = true)]
    pub before: Option<Duration>,
    /// How long it is recorded on before it is saved [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = duration::interval, allow_hyphen_values = true)]
    pub after: Option<Duration>,
    /// The same finding is saved, and told, at most once in this long [default: 15m]
    #[arg(long, value_name = "TIME", value_parser = duration::interval, allow_hyphen_values = true)]
    pub pause: Option<Duration>,
    /// The directory holds at most so much; the oldest is removed [default: 1G]
    #[arg(long, value_name = "SIZE", value_parser = size::bytes)]
    pub max_size: Option<u64>,
    /// Run this program on each finding, with the report as JSON on stdin; no shell, words are split at spaces
    #[arg(long, value_name = "COMMAND")]
    pub on_finding: Option<String>,
}

/// How bad a finding must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Least {
    /// All.
    Info,
    /// Users notice it, or soon will.
    Warning,
    /// Requests fail, or users wait for seconds.
    Critical,
}

impl From<Least> for Severity {
    fn from(least: Least) -> Self {
        match least {
            Least::Info => Self::Info,
            Least::Warning => Self::Warning,
            Least::Critical => Self::Critical,
        }
    }
}

/// Where metrics are fetched.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Metrics, to be fetched")]
pub struct Listen {
    /// Serve metrics at this address and port, or none [default: 127.0.0.1:9777]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Serve metrics at this Unix socket, too
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Certificate chain (PEM): serve with TLS
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Ask for a name and a password that stand in this file, as name:password
    #[arg(long, value_name = "FILE")]
    pub basic_auth: Option<PathBuf>,
}

/// Where metrics are sent.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Metrics and findings, to be sent (OTLP)")]
pub struct Push {
    /// Send to this collector: http://HOST:4317 (gRPC) or http://HOST:4318 (HTTP)
    #[arg(long, value_name = "URL")]
    pub otlp: Option<String>,
    /// grpc or http [default: http on port 4318, else grpc]
    #[arg(long, value_name = "PROTOCOL", hide_possible_values = true)]
    pub otlp_protocol: Option<Protocol>,
    /// A header to send, as NAME=VALUE (repeatable); @FILE reads the value from a file
    #[arg(long = "otlp-header", value_name = "HEADER")]
    pub otlp_headers: Vec<String>,
    /// Trust this certificate authority (PEM) instead of the system's
    #[arg(long, value_name = "FILE")]
    pub otlp_ca: Option<PathBuf>,
    /// How often metrics are sent, 1s to 1h [default: 15s]
    #[arg(long, value_name = "TIME", value_parser = duration::interval, allow_hyphen_values = true)]
    pub otlp_interval: Option<Duration>,
}

/// How OTLP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// Over HTTP/2.
    Grpc,
    /// Protobuf in a POST.
    Http,
}
