//! `stallscope count`: how often each process makes a system call, and with which errors.

use std::str::FromStr;

use syscalls::Sysno;

use super::{
    CLEAR, Setup,
    live::Live,
    output::{self, Progress},
    signals::Signals,
};
use crate::{
    attach::{
        Mode, Options,
        tracefs::{self, Tracefs},
    },
    cli::Count,
    error::Error,
    present::{self, count::Counted},
    target::{Target, nearest},
};

/// Runs it.
pub async fn run(
    args: &Count,
    target: Target,
    tracefs: &Tracefs,
    setup: Setup,
) -> Result<u8, Error> {
    let asked = known(&args.syscalls, &tracefs::syscalls(&tracefs.path)?)?;
    let options = Options {
        mode: Mode::Count {
            syscalls: asked.iter().map(|call| call.tracepoint.clone()).collect(),
            wait: args.wait,
            follow_all: target.is_all(),
        },
        log: args.kernel.verbose,
        ..Options::default()
    };
    let mut live = Live::start(&options, target, setup.started)?;
    let mut signals = Signals::new()?;
    let mut progress = Progress::new();
    let end = live
        .watch(live.began + args.duration, &mut signals, None, |live| {
            progress.show(&format!(
                "counting: {} of {} s (Ctrl-C: result now)",
                live.watched().as_secs(),
                args.duration.as_secs_f64()
            ));
        })
        .await?;
    let duration_ns = live.watched().as_nanos() as u64;
    let counts = live.collector.counts()?;
    let waits = if args.wait {
        live.collector.waits()?
    } else {
        Vec::new()
    };
    progress.clear();
    let about = live.about();
    let counted = Counted {
        host: about.host,
        kernel: about.kernel,
        target: about.target,
        start_unix_ns: about.start_unix_ns,
        duration_ns,
        syscalls: asked
            .into_iter()
            .filter_map(|call| Some((call.number?, call.name)))
            .collect(),
        counts,
        waits,
        losses: live.collector.losses()?.to_vec(),
    };
    let _detaching = live.detach();
    if let Some(note) = end.note() {
        output::complain(&format!(
            "{note} after {}",
            present::units::duration(duration_ns)
        ));
    }
    output::print(&if args.json {
        present::count::json(&counted)
    } else {
        present::count::text(&counted, setup.style)
    })?;
    Ok(CLEAR)
}

/// The names of a few tracepoints are those of the kernel's functions, not of the calls.
const RENAMED: [(&str, &str); 6] = [
    ("stat", "newstat"),
    ("lstat", "newlstat"),
    ("fstat", "newfstat"),
    ("uname", "newuname"),
    ("sendfile", "sendfile64"),
    ("umount2", "umount"),
];

/// A system call to count.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    /// As the user spells it.
    name: String,
    /// As its tracepoints spell it.
    tracepoint: String,
    /// Its number on this architecture, where it is known.
    number: Option<u32>,
}

impl Call {
    fn new(name: &str) -> Self {
        let renamed = RENAMED
            .iter()
            .find(|(call, own)| *call == name || *own == name);
        let (call, tracepoint) = renamed.copied().unwrap_or((name, name));
        Self {
            name: name.to_owned(),
            tracepoint: tracepoint.to_owned(),
            number: Sysno::from_str(call).ok().map(|call| call.id() as u32),
        }
    }
}

/// The system calls asked for, each once. One that is not among the `traceable` is answered with the nearest.
fn known(asked: &[String], traceable: &[String]) -> Result<Vec<Call>, Error> {
    let mut calls: Vec<Call> = Vec::new();
    for name in asked {
        let call = Call::new(name);
        if traceable.binary_search(&call.tracepoint).is_err() {
            return Err(unknown(name, traceable));
        }
        if !calls
            .iter()
            .any(|other| other.tracepoint == call.tracepoint)
        {
            calls.push(call);
        }
    }
    Ok(calls)
}

fn unknown(name: &str, known: &[String]) -> Error {
    let near = nearest(name, known.iter().map(String::as_str), 3);
    let hint = if near.is_empty() {
        "`ls /sys/kernel/tracing/events/syscalls` lists the names".into()
    } else {
        format!("did you mean {}?", near.join(", "))
    };
    Error::Usage(format!("no system call {}: {hint}", output::plain(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(asked: &[&str]) -> Result<Vec<String>, String> {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let traceable = owned(&["connect", "newstat", "poll", "ppoll", "sendfile64"]);
        known(&owned(asked), &traceable)
            .map(|calls| calls.into_iter().map(|call| call.tracepoint).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn each_call_is_counted_once() {
        assert_eq!(
            check(&["poll", "connect", "poll"]).unwrap(),
            ["poll", "connect"]
        );
    }

    #[test]
    fn calls_whose_tracepoints_have_another_name_go_by_both() {
        assert_eq!(
            check(&["stat", "sendfile64"]).unwrap(),
            ["newstat", "sendfile64"]
        );
        assert_eq!(check(&["sendfile", "sendfile64"]).unwrap(), ["sendfile64"]);
        let number = libc::SYS_sendfile as u32;
        assert_eq!(Call::new("sendfile").number, Some(number));
        assert_eq!(Call::new("sendfile64").number, Some(number));
    }

    #[test]
    fn an_unknown_call_is_answered_with_the_nearest() {
        for (asked, answer) in [
            ("conect", "no system call conect: did you mean connect?"),
            ("ppol", "no system call ppol: did you mean ppoll?"),
            (
                "frobnicate",
                "no system call frobnicate: `ls /sys/kernel/tracing/events/syscalls` lists the names",
            ),
        ] {
            assert_eq!(check(&["poll", asked]).unwrap_err(), answer);
        }
        let error = check(&["../../\u{1b}[2J"]).unwrap_err();
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }
}
