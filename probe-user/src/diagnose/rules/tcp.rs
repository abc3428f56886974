//! What the rules about TCP share: addresses as filters of `ss`, sysctl settings as remedies, and how sure
//! they are.

use std::net::IpAddr;

use probe_common::loss::slot;

use crate::{
    aggregate::{
        Peer, Window,
        tcp::{Process, Tcp},
    },
    diagnose::{
        Confidence, Evidence, Finding, Level, Piece, Quantity, Remedy, Sentence, Severity,
        engine::off,
        loss::{self},
    },
};

/// Findings of one rule; when more addresses are in trouble, these are the worst, and the last says how many
/// more there are. A screen holds no more, and they mostly have one cause.
pub(super) const MAX_FINDINGS: usize = 5;
/// How long Linux keeps a socket in TIME_WAIT, s (TCP_TIMEWAIT_LEN, include/net/tcp.h): no setting changes it.
pub(super) const TIME_WAIT_S: f64 = 60.0;
/// What is said of a rule when TCP was not watched.
pub(super) const NOT_WATCHED: &str = "TCP was not watched";

/// The TCP of a window.
pub(super) fn watched(window: &Window) -> Result<&Tcp, String> {
    window.tcp.as_deref().ok_or_else(|| NOT_WATCHED.to_owned())
}

/// What cannot be judged without a probe, when it is off.
pub(super) fn without(window: &Window, probe: &str, what: &str) -> Option<String> {
    off(window, probe).map(|why| format!("{what}: {why}"))
}

/// A port that is connected to or listened on.
pub(super) fn port(peer: &Peer) -> Option<u16> {
    match peer {
        Peer::Inet { port, .. } => Some(*port),
        // In our own words: `tcp :80`, `tcp 127.0.0.1:80`.
        Peer::Listener { on } | Peer::Inbound { on, .. } if on.starts_with(b"tcp ") => {
            let (_, port) = std::str::from_utf8(on).ok()?.rsplit_once(':')?;
            port.parse().ok()
        }
        _ => None,
    }
}

/// An address in a sentence; a listener's without the word "listening", a client's own.
pub(super) fn address(peer: &Peer) -> Piece {
    match peer {
        Peer::Listener { on } => Piece::Name(on.clone()),
        Peer::Inbound {
            address: Some(address),
            ..
        } => match port(peer) {
            Some(port) => format!("{address} (client of port {port})").into(),
            None => address.to_string().into(),
        },
        _ => Piece::from(peer),
    }
}

/// True for addresses of this machine's own loopback interface.
pub(super) fn is_loopback(peer: &Peer) -> bool {
    match peer {
        Peer::Inet { address, .. }
        | Peer::Inbound {
            address: Some(address),
            ..
        } => address.is_loopback(),
        _ => false,
    }
}

/// What `ss` filters the sockets of a peer by; `None` for one without an address.
pub(super) fn filter(peer: &Peer) -> Option<String> {
    match peer {
        Peer::Inet { address, port, .. } => Some(match address {
            IpAddr::V4(v4) => format!("dst {v4}:{port}"),
            IpAddr::V6(v6) => format!("dst '[{v6}]:{port}'"),
        }),
        Peer::Inbound {
            address: Some(address),
            ..
        } => {
            let from = match address {
                IpAddr::V4(v4) => format!("dst {v4}"),
                IpAddr::V6(v6) => format!("dst [{v6}]"),
            };
            Some(match port(peer) {
                Some(port) => format!("'{from} and sport = :{port}'"),
                None => format!("'{from}'"),
            })
        }
        _ => None,
    }
}

/// A process in a sentence: its name, and its id.
pub(super) fn process(process: &Process) -> [Piece; 2] {
    if process.comm.is_empty() {
        ["process ".into(), process.pid.to_string().into()]
    } else {
        [
            Piece::Name(process.comm.clone()),
            format!(" (pid {})", process.pid).into(),
        ]
    }
}

/// Several processes in a sentence, the first three by name, with how many more there are.
pub(super) fn processes<'a>(list: impl IntoIterator<Item = &'a Process>) -> Vec<Piece> {
    const NAMED: usize = 3;
    let list: Vec<_> = list.into_iter().collect();
    let mut pieces = Vec::new();
    for (n, one) in list.iter().take(NAMED).enumerate() {
        if n > 0 {
            pieces.push(", ".into());
        }
        pieces.extend(process(one));
    }
    if list.len() > NAMED {
        pieces.push(format!(" and {} more", list.len() - NAMED).into());
    }
    pieces
}

/// True when a process has this name, or one that begins with it: only for the wording of advice.
pub(super) fn is_called(process: &Process, name: &str) -> bool {
    process.comm.starts_with(name.as_bytes())
}

/// `1 connect`, `2 connects`, as pieces with the number apart.
pub(super) fn number_of(n: u64, one: &str, many: &str) -> [Piece; 2] {
    let word = if n == 1 { one } else { many };
    [Quantity::count(n as f64).into(), format!(" {word}").into()]
}

/// A sentence from parts.
pub(super) fn join<const N: usize>(parts: [Vec<Piece>; N]) -> Sentence {
    Sentence(parts.into_iter().flatten().collect())
}

/// One line of evidence.
pub(super) fn item(
    about: &'static str,
    text: &'static str,
    value: Quantity,
    command: Option<String>,
) -> Evidence {
    Evidence {
        about,
        text: text.into(),
        value,
        command,
    }
}

/// A sysctl key, its value now, and the proposed one.
pub(super) type Setting = (&'static str, String, String);

/// Fills the commands of a remedy that sets sysctl keys of TCP.
pub(super) fn sysctl(remedy: Remedy, keys: &[Setting]) -> Remedy {
    sysctl_in("90-tcp.conf", remedy, keys)
}

/// Fills the commands of a remedy that sets sysctl keys, kept in a file of this name.
pub(super) fn sysctl_in(file: &str, remedy: Remedy, keys: &[Setting]) -> Remedy {
    let all = |one: fn(&Setting) -> String, between| {
        keys.iter().map(one).collect::<Vec<_>>().join(between)
    };
    let set = all(
        |(key, _, to)| {
            if to.contains(' ') {
                format!("{key}='{to}'")
            } else {
                format!("{key}={to}")
            }
        },
        " ",
    );
    let lines = all(|(key, _, to)| format!("'{key} = {to}'"), " ");
    Remedy {
        change: Some((
            all(|(key, now, _)| format!("{key} = {now}"), ", "),
            all(|(key, _, to)| format!("{key} = {to}"), ", "),
        )),
        command: Some(format!("sysctl -w {set}")),
        persistent: Some(format!("printf '%s\\n' {lines} >> /etc/sysctl.d/{file}")),
        ..remedy
    }
}

/// A setting for a [`sysctl`] remedy whose value now is unknown or known.
pub(super) fn now(value: Option<u32>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |v| v.to_string())
}

/// Losses that bear on what is counted call by call: connects, listens, accepts.
pub(super) const CALLS: &[u32] = &[slot::RING_FULL, slot::PROGRAM_SKIPPED, slot::READ_FAILED];
/// Losses that bear on what the transitions tell: rates and who closes first.
pub(super) const TRANSITIONS: &[u32] = &[slot::TRANSITIONS_FULL, slot::PROGRAM_SKIPPED];

/// How sure a finding is: what the losses in `slots` leave, and each of `doubts` (how far it lowers, why).
pub(super) fn confidence(
    window: &Window,
    slots: &[u32],
    doubts: impl IntoIterator<Item = (Level, String)>,
    sure: &str,
) -> Confidence {
    let (mut level, mut reasons) = loss::lowered_by(window, slots);
    for (to, why) in doubts {
        level = level.min(to);
        reasons.push(why);
    }
    if level == Level::High {
        reasons.push(sure.to_owned());
    }
    Confidence { level, reasons }
}

/// Workers wait for something (a slow peer, a journal, a name server), or have too much to do; so what they should accept
/// waits too. An info is no cause.
pub(super) fn same_workers(cause: &Finding, found: &Finding) -> bool {
    cause.severity >= Severity::Warning
        && cause.culprit.group.is_some()
        && cause.culprit.group == found.culprit.group
        && cause.culprit.php_fpm == found.culprit.php_fpm
}

/// Seconds of the window; never 0, to divide by.
pub(super) fn seconds(window: &Window) -> f64 {
    window.duration_ns.max(1) as f64 / 1e9
}

/// `part` of `whole`, at most 1.
pub(super) fn share(part: u64, whole: u64) -> f64 {
    (part as f64 / whole.max(1) as f64).min(1.0)
}

/// All connects that failed in the window; at least `these`, which are some of them.
pub(super) fn all_failed(tcp: &Tcp, these: u64) -> u64 {
    tcp.failed.iter().map(|f| f.count).sum::<u64>().max(these)
}

#[cfg(test)]
pub(super) mod test {
    //! Helpers for the rules' tests.

    use crate::diagnose::{Finding, Piece, Quantity, Sentence, Unit, rules::Verdict};

    fn number(q: Quantity) -> String {
        match q.unit {
            Unit::Ns => format!("{} ms", (q.value / 1e6).round()),
            Unit::Ratio => format!("{:.0} %", q.value * 100.0),
            Unit::PerSecond => format!("{}/s", (q.value * 10.0).round() / 10.0),
            Unit::Count | Unit::Bytes => format!("{}", (q.value * 10.0).round() / 10.0),
        }
    }

    /// What a sentence says.
    pub fn plain(sentence: &Sentence) -> String {
        let words = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Value(q) => number(*q),
            Piece::Peer(peer) => format!("{peer:?}"),
            Piece::Name(name) => String::from_utf8_lossy(name).into_owned(),
        };
        sentence.0.iter().map(words).collect()
    }

    /// All sentences of the summary, a line each.
    pub fn summary(finding: &Finding) -> String {
        let lines: Vec<_> = finding.summary.iter().map(plain).collect();
        lines.join("\n")
    }

    /// The remedies' texts, a line each, with what they set.
    pub fn remedies(finding: &Finding) -> String {
        let lines: Vec<_> = finding
            .remedies
            .iter()
            .map(|r| {
                let change = r.change.as_ref().map(|(a, b)| format!(" [{a} -> {b}]"));
                let why = r.arithmetic.as_ref().map(plain).unwrap_or_default();
                format!("{}{} {why}", plain(&r.text), change.unwrap_or_default())
            })
            .collect();
        lines.join("\n")
    }

    /// The only finding.
    pub fn only(mut verdict: Verdict) -> Finding {
        assert_eq!(verdict.findings.len(), 1, "{verdict:#?}");
        verdict.findings.remove(0)
    }

    /// Nothing found, and nothing left unjudged.
    pub fn quiet(verdict: &Verdict) {
        assert!(verdict.findings.is_empty(), "{:#?}", verdict.findings);
        assert!(verdict.not_judged.is_empty(), "{:?}", verdict.not_judged);
    }
}
