//! What `watch` and `serve` are to do: arguments first, then the file that `--config` names, then what is usual.

pub(in crate::session) mod address;
pub(in crate::session) mod file;

use std::{path::PathBuf, time::Duration};

use self::file::File;
use super::push;
use crate::{
    cli::{self, Protocol},
    diagnose::Severity,
    error::Error,
};

/// The shortest interval: a look costs milliseconds.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest span: rules need some requests to judge.
const LEAST_SPAN: Duration = Duration::from_secs(10);
/// The least that the directory may hold: a ring, and an incident.
const LEAST_BYTES: u64 = 16 << 20;

/// All of it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it comes from, to read it again.
    args: Args,
    /// How often everything is looked at.
    pub interval: Duration,
    /// The rules judge the last one to two of these.
    pub span: Duration,
    /// When it ends by itself.
    pub duration: Option<Duration>,
    /// What to watch.
    pub watch: cli::Watch,
    /// Which processes.
    pub targets: cli::Targets,
    /// What is done with findings.
    pub keep: Keep,
    /// Where metrics are fetched; `None` for `watch`.
    pub listen: Option<Listen>,
    /// Where metrics and findings are sent.
    pub push: Option<Push>,
}

#[derive(Clone, Debug)]
enum Args {
    Watch(Box<cli::Recorder>),
    Serve(Box<cli::Serve>),
}

/// What is done with findings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Where they are saved; `None`: not.
    pub dir: Option<PathBuf>,
    /// Only those at least this bad.
    pub severity: Severity,
    /// What is kept of the time before, at least.
    pub before: Duration,
    /// How long it is recorded on before it is saved.
    pub after: Duration,
    /// The same finding is saved at most once in this long.
    pub pause: Duration,
    /// The directory holds at most so many bytes.
    pub max_bytes: u64,
    /// The program to run, and its arguments; empty: none.
    pub on_finding: Vec<String>,
}

/// Where metrics are fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listen {
    /// `ADDRESS:PORT`; `None`: no TCP.
    pub address: Option<std::net::SocketAddr>,
    /// Unix socket.
    pub socket: Option<PathBuf>,
    /// Certificate chain and private key, PEM.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// File with `name:password`.
    pub basic_auth: Option<PathBuf>,
}

/// Where metrics and findings are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// The collector.
    pub url: String,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Headers, values as given (`@FILE` is still to be read).
    pub headers: Vec<(String, String)>,
    /// Certificate authority, PEM.
    pub ca: Option<PathBuf>,
    /// How often metrics are sent.
    pub interval: Duration,
}

impl Settings {
    /// For `watch`.
    ///
    /// # Errors
    /// The file cannot be read, or something in it is wrong.
    pub fn of_watch(args: &cli::Recorder) -> Result<Self, Error> {
        let file = read(&args.lasting)?;
        let mut keep = keep(&args.keep, &file)?;
        keep.dir.get_or_insert_with(|| "/var/lib/stallscope".into());
        Self::new(
            &args.lasting,
            file,
            keep,
            Args::Watch(Box::new(args.clone())),
        )
    }

    /// For `serve`.
    ///
    /// # Errors
    /// Likewise.
    pub fn of_serve(args: &cli::Serve) -> Result<Self, Error> {
        let file = read(&args.lasting)?;
        let keep = keep(&args.keep, &file)?;
        let listen = listen(&args.listen, &file)?;
        let push = push(&args.push, &file)?;
        if listen.address.is_none() && listen.socket.is_none() && push.is_none() {
            return Err(wrong(
                "there is nobody to give metrics to: --listen is none, and neither --socket nor --otlp is given",
            ));
        }
        let new = Self::new(
            &args.lasting,
            file,
            keep,
            Args::Serve(Box::new(args.clone())),
        )?;
        Ok(Self {
            listen: Some(listen),
            push,
            ..new
        })
    }

    fn new(lasting: &cli::Lasting, file: File, keep: Keep, args: Args) -> Result<Self, Error> {
        let interval = lasting.interval.or(file.interval.map(|t| t.0));
        let span = lasting.span.or(file.span.map(|t| t.0));
        let new = Self {
            args,
            interval: interval.unwrap_or(Duration::from_secs(5)),
            span: span.unwrap_or(Duration::from_secs(30)),
            duration: lasting.duration.or(file.duration.map(|t| t.0)),
            watch: cli::Watch {
                no_fastcgi: lasting.watch.no_fastcgi || file.no_fastcgi.unwrap_or(false),
                netns: lasting
                    .watch
                    .netns
                    .or(file.netns.map(std::num::NonZero::get)),
                kernel: cli::Kernel {
                    verbose: lasting.watch.kernel.verbose || file.verbose.unwrap_or(false),
                },
            },
            targets: targets(&lasting.targets, file),
            keep,
            listen: None,
            push: None,
        };
        new.check()?;
        Ok(new)
    }

    fn check(&self) -> Result<(), Error> {
        if self.interval < LEAST_INTERVAL {
            return Err(wrong(&format!(
                "--interval is {}, and must be at least 1s",
                as_typed(self.interval)
            )));
        }
        if self.span < LEAST_SPAN {
            return Err(wrong(&format!(
                "--span is {}, and must be at least 10s: rules need some time to judge",
                as_typed(self.span)
            )));
        }
        if self.span < self.interval {
            return Err(wrong(&format!(
                "--span ({}) is shorter than --interval ({}): nothing would be in it",
                as_typed(self.span),
                as_typed(self.interval)
            )));
        }
        if self.keep.max_bytes < LEAST_BYTES {
            return Err(wrong(
                "--max-size must be at least 16M: the ring is part of it",
            ));
        }
        Ok(())
    }

    /// The same, with the file read again. What cannot change while it runs (targets, what is attached) must be as it was.
    ///
    /// # Errors
    /// The file cannot be read, something in it is wrong, or changed that cannot change.
    pub fn again(&self) -> Result<Self, Error> {
        let new = match &self.args {
            Args::Watch(args) => Self::of_watch(args),
            Args::Serve(args) => Self::of_serve(args),
        }?;
        let place = |s: &Self| s.listen.clone().map(|l| (l.address, l.socket));
        let changed = [
            ("interval", self.interval != new.interval),
            ("span", self.span != new.span),
            ("duration", self.duration != new.duration),
            ("no_fastcgi, netns or verbose", self.watch != new.watch),
            ("what is watched", self.targets != new.targets),
            ("listen or socket", place(self) != place(&new)),
            // Without an end to send to there is no thread that sends.
            ("otlp", self.push.is_some() != new.push.is_some()),
        ];
        match changed.iter().find(|(_, changed)| *changed) {
            None => Ok(new),
            Some((what, _)) => Err(wrong(&format!(
                "{what} cannot change while it runs: restart it"
            ))),
        }
    }

    /// True when only processes are watched that were named by their ids: these end once, and for good.
    pub fn is_pids_only(&self) -> bool {
        let cli::Targets {
            pids,
            comms,
            pools,
            cgroups,
        } = &self.targets;
        !pids.is_empty() && comms.is_empty() && pools.is_empty() && cgroups.is_empty()
    }

    /// What it does, in a line; escape before showing.
    pub fn words(&self) -> String {
        let mut all = Vec::new();
        if let Some(listen) = &self.listen {
            if let Some(address) = listen.address {
                let scheme = if listen.tls.is_some() {
                    "https"
                } else {
                    "http"
                };
                all.push(format!("metrics at {scheme}://{address}/metrics"));
            }
            if let Some(socket) = &listen.socket {
                all.push(format!("metrics at {}", socket.display()));
            }
        }
        if let Some(push) = &self.push {
            all.push(format!(
                "metrics and findings sent to {} every {}",
                push.url,
                as_typed(push.interval)
            ));
        }
        let from = match self.keep.severity {
            Severity::Info => "findings",
            Severity::Warning => "findings from warning on",
            Severity::Critical => "critical findings",
        };
        if let Some(dir) = &self.keep.dir {
            all.push(format!(
                "{from} saved to {} with {} before and {} after",
                dir.display(),
                as_typed(self.keep.before),
                as_typed(self.keep.after)
            ));
        }
        if let Some(program) = self.keep.on_finding.first() {
            all.push(format!("{from} given to {program}"));
        }
        all.join("; ")
    }
}

/// A time as people type it: `2m`, `90s`, `1500ms`.
fn as_typed(time: Duration) -> String {
    match time.as_millis() {
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

fn wrong(what: &str) -> Error {
    Error::Usage(what.to_owned())
}

fn read(lasting: &cli::Lasting) -> Result<File, Error> {
    lasting
        .config
        .as_deref()
        .map_or_else(|| Ok(File::default()), File::read)
}

/// What arguments name goes before what the file names; both together would be more than either says.
fn targets(args: &cli::Targets, file: File) -> cli::Targets {
    if *args != cli::Targets::default() {
        return args.clone();
    }
    let names = |list: Option<file::Words>| list.unwrap_or_default().0;
    cli::Targets {
        pids: file.pid.unwrap_or_default().0,
        comms: names(file.comm).into_iter().map(Into::into).collect(),
        pools: names(file.pool).into_iter().map(Into::into).collect(),
        cgroups: names(file.cgroup).into_iter().map(Into::into).collect(),
    }
}

fn keep(args: &cli::Keep, file: &File) -> Result<Keep, Error> {
    let time = |arg: Option<Duration>, file: Option<file::Time>, usual: u64| {
        arg.or(file.map(|t| t.0))
            .unwrap_or(Duration::from_secs(usual))
    };
    let on_finding = match &args.on_finding {
        Some(words) => words.split_whitespace().map(str::to_owned).collect(),
        None => file.on_finding.clone().unwrap_or_default().0,
    };
    if on_finding.is_empty() && (args.on_finding.is_some() || file.on_finding.is_some()) {
        return Err(wrong("--on-finding names no program"));
    }
    Ok(Keep {
        dir: args.dir.clone().or_else(|| file.dir.clone()),
        severity: args
            .severity
            .map(Severity::from)
            .or(file.severity.map(|least| least.0))
            .unwrap_or(Severity::Warning),
        before: time(args.before, file.before, 120),
        after: time(args.after, file.after, 10),
        pause: time(args.pause, file.pause, 900),
        max_bytes: args
            .max_size
            .or(file.max_size.map(|size| size.0))
            .unwrap_or(1 << 30),
        on_finding,
    })
}

fn listen(args: &cli::Listen, file: &File) -> Result<Listen, Error> {
    let cert = args.tls_cert.clone().or_else(|| file.tls_cert.clone());
    let key = args.tls_key.clone().or_else(|| file.tls_key.clone());
    let tls = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) => {
            return Err(wrong(
                "--tls-cert needs --tls-key: the certificate's private key",
            ));
        }
        (None, Some(_)) => {
            return Err(wrong(
                "--tls-key needs --tls-cert: the certificate of this key",
            ));
        }
    };
    let address = args.listen.as_ref().or(file.listen.as_ref());
    Ok(Listen {
        address: address::parse(address.map(String::as_str))?,
        socket: args.socket.clone().or_else(|| file.socket.clone()),
        tls,
        basic_auth: args.basic_auth.clone().or_else(|| file.basic_auth.clone()),
    })
}

fn push(args: &cli::Push, file: &File) -> Result<Option<Push>, Error> {
    let headers = match args.otlp_headers.is_empty() {
        true => file.otlp_header.clone().unwrap_or_default().0,
        false => args.otlp_headers.clone(),
    };
    let ca = args.otlp_ca.clone().or_else(|| file.otlp_ca.clone());
    let protocol = args.otlp_protocol.or(file.otlp_protocol.map(|p| p.0));
    let interval = args.otlp_interval.or(file.otlp_interval.map(|t| t.0));
    let Some(url) = args.otlp.clone().or_else(|| file.otlp.clone()) else {
        let lone = [
            ("--otlp-header", !headers.is_empty()),
            ("--otlp-ca", ca.is_some()),
            ("--otlp-protocol", protocol.is_some()),
            ("--otlp-interval", interval.is_some()),
        ];
        return match lone.iter().find(|(_, given)| *given) {
            None => Ok(None),
            Some((what, _)) => Err(wrong(&format!("{what} needs --otlp: where to send"))),
        };
    };
    let header = |text: String| match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.to_owned()))
        }
        // The text may hold a password.
        _ => Err(wrong(
            "--otlp-header: write it as NAME=VALUE, or NAME=@FILE",
        )),
    };
    Ok(Some(Push {
        protocol: protocol.unwrap_or_else(|| push::usual_protocol(&url)),
        headers: headers.into_iter().map(header).collect::<Result<_, _>>()?,
        ca,
        interval: interval.unwrap_or(Duration::from_secs(15)),
        url,
    }))
}

#[cfg(test)]
mod tests;
