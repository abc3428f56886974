//! Nothing that was in a window is in what is written of it; and what is the same stays the same.
//!
//! What is looked at is the window's debug output: it holds every field, whether or not the code that redacts knows it.

mod marked;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use marked::{MARKS, window};
use proptest::prelude::*;

use super::*;
use crate::{
    diagnose::{self, Diagnosis, Finding, rules::CATALOGUE},
    present::{self, Style},
};

/// Words of ours and of the kernel's that a redacted window may hold.
const OURS: &str = "tcp udp ext4 tmpfs overlay rw,relatime rw rw,commit=30 rw,errors=remount-ro host 6.1.0-50 openat writev \
    established fin_wait_2 time_wait syn_sent accepted transitions census exchange connect poll / other_processes \
    php-fpm8.2 nginx kworker jbd2/sdb1-8 /dev/sdb1 /dev/loop0 tcp_:443 tcp_:80 \
    vfs_fsync_range __x64_sys_fsync do_syscall_64 entry_SYSCALL_64_after_hwframe jbd2_log_wait_commit_[jbd2] \
    ext4_fsync_journal_[ext4] ext4_sync_file_[ext4]";

fn redacted(mut window: Window) -> Window {
    all(&mut window);
    window
}

/// Everything that could be a name in a debug output, in order: strings, addresses, and lists of numbers that read as text.
fn names(debug: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = debug;
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            let end = 1 + rest[1..].find('"').expect("a closing quote");
            names.push(rest[1..end].to_owned());
            rest = &rest[end + 1..];
            continue;
        }
        if first == '['
            && let Some((list, behind)) = rest[1..].split_once(']')
            && let Ok(bytes) = list
                .split(", ")
                .map(str::parse)
                .collect::<Result<Vec<u8>, _>>()
        {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if bytes.iter().all(|b| (b' '..=b'~').contains(b)) && text.contains(char::is_alphabetic)
            {
                names.push(text);
            }
            rest = behind;
            continue;
        }
        let word =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '_')));
        let word = &rest[..word.unwrap_or(rest.len()).max(1)];
        let is_address =
            word.parse::<std::net::IpAddr>().is_ok() || word.parse::<SocketAddr>().is_ok();
        if is_address {
            names.push(word.to_owned());
        }
        rest = &rest[word.len()..];
    }
    names
}

fn outputs(window: &Window, diagnosis: &Diagnosis) -> Vec<(&'static str, String)> {
    let style = Style {
        width: 200,
        ..Style::default()
    };
    vec![
        ("text", present::text::report(window, diagnosis, style)),
        ("json", present::json::report(window, diagnosis)),
        ("html", present::html::report(window, diagnosis)),
        ("markdown", present::markdown::report(window, diagnosis)),
        ("workers", present::workers::table(window, 100, style)),
        ("workers --json", present::workers::json(window)),
        ("tcp", present::tcp::page(window, None, style)),
        ("tcp --json", present::tcp::json(window)),
        ("udp", present::udp::page(window, None, style)),
        ("udp --json", present::udp::json(window)),
        ("dns", present::dns::page(window, None, style)),
        ("dns --json", present::dns::json(window)),
        ("fs", present::fs::page(window, None, style)),
        ("fs --json", present::fs::json(window)),
    ]
}

/// Marks that stand in a text.
fn marks(text: &str) -> Vec<&'static str> {
    let text = text.to_lowercase();
    MARKS
        .into_iter()
        .filter(|mark| text.contains(mark))
        .collect()
}

#[test]
fn no_name_of_the_node_is_in_any_output_of_a_redacted_window() {
    let before = window();
    for (output, text) in outputs(&before, &diagnose::run(&before)) {
        // Without `--redact` they are there, so that this test can fail.
        assert!(marks(&text).len() >= 2, "{output}: {text}");
    }
    let after = redacted(before);
    for (output, text) in outputs(&after, &diagnose::run(&after)) {
        assert_eq!(marks(&text), <[&str; 0]>::default(), "{output}: {text}");
    }
}

#[test]
fn a_redacted_report_says_that_it_is_one() {
    let before = window();
    let after = redacted(before.clone());
    let text =
        |window: &Window| present::text::report(window, &diagnose::run(window), Style::default());
    assert!(text(&after).contains("\nRedacted       names, paths and addresses are made up"));
    assert!(!text(&before).contains("Redacted"));
}

#[test]
fn what_keeps_its_name_is_known_word_for_word() {
    let before = names(&format!("{:?}", window()));
    let after = names(&format!("{:?}", redacted(window())));
    assert_eq!(before.len(), after.len());
    let ours: BTreeSet<&str> = OURS.split_ascii_whitespace().collect();
    let stays = before.iter().zip(&after).filter(|(b, a)| b == a);
    for (name, _) in stays {
        let word = name.replace(' ', "_");
        let is_loopback = name.starts_with("127.") || name == "::1" || name.starts_with("0.0.0.0");
        let is_of_a_probe = window()
            .probes
            .iter()
            .any(|p| p.id == name || p.summary == name);
        assert!(
            name.is_empty() || is_loopback || is_of_a_probe || ours.contains(&*word),
            "{name:?} is not redacted"
        );
    }
}

#[test]
fn the_same_becomes_the_same_and_nothing_else_does() {
    let before = names(&format!("{:?}", window()));
    let after = names(&format!("{:?}", redacted(window())));
    let mut forth = HashMap::new();
    let mut back = HashMap::new();
    for (b, a) in before.into_iter().zip(after) {
        assert_eq!(
            forth.entry(b.clone()).or_insert_with(|| a.clone()),
            &a,
            "{b}"
        );
        assert_eq!(
            back.entry(a.clone()).or_insert_with(|| b.clone()),
            &b,
            "{a}"
        );
    }
    assert!(forth.len() > 60, "{}", forth.len());
}

#[test]
fn windows_redacted_with_the_same_names_can_be_compared() {
    let mut names = Names::default();
    let (mut first, mut second) = (window(), window());
    second.groups[0].peers.reverse();
    second.dns.as_mut().unwrap().names.clear();
    names.redact(&mut first);
    names.redact(&mut second);
    second.groups[0].peers.reverse();
    second.dns.as_mut().unwrap().names = first.dns.as_ref().unwrap().names.clone();
    assert_eq!(format!("{first:?}"), format!("{second:?}"));
}

/// What a finding says beside names: rule, severity, and every number.
fn numbers(finding: &Finding) -> String {
    let pieces = finding
        .summary
        .iter()
        .map(|s| s.0.len())
        .collect::<Vec<_>>();
    let evidence: Vec<_> = finding
        .evidence
        .iter()
        .map(|e| (e.about, e.value))
        .collect();
    let below: Vec<String> = finding.symptoms.iter().map(numbers).collect();
    format!(
        "{} {:?} {:?} {} {:?} {:?} {evidence:?} {pieces:?} {} {below:?}",
        finding.rule,
        finding.severity,
        finding.confidence.level,
        finding.explains,
        finding.culprit.pid,
        finding.measured,
        finding.remedies.len(),
    )
}

fn rules<'a>(findings: &'a [Finding], into: &mut BTreeMap<&'a str, usize>) {
    for finding in findings {
        *into.entry(finding.rule.id).or_default() += 1;
        rules(&finding.symptoms, into);
    }
}

#[test]
fn every_rule_judges_a_redacted_window_as_it_judges_the_true_one() {
    let (before, after) = (window(), redacted(window()));
    let (before, after) = (diagnose::run(&before), diagnose::run(&after));
    let list = |d: &Diagnosis| d.findings.iter().map(numbers).collect::<Vec<_>>();
    assert_eq!(list(&before), list(&after));
    assert_eq!(before.not_judged.len(), after.not_judged.len());
    let mut fired = BTreeMap::new();
    rules(&before.findings, &mut fired);
    let silent: Vec<&str> = CATALOGUE
        .iter()
        .map(|r| r.id)
        .filter(|id| !fired.contains_key(id))
        .collect();
    assert_eq!(silent, <[&str; 0]>::default(), "{fired:?}");
}

#[test]
fn a_view_that_runs_for_days_keeps_a_bounded_number_of_names() {
    let mut names = Names::default();
    let mut seen = std::collections::HashSet::new();
    for n in 0..=MAX_KEPT {
        let mut app = format!("acme{n}").into_bytes();
        names.app(&mut app);
        assert!(seen.insert(app));
    }
    names.redact(&mut Window::default());
    assert!(names.made.is_empty());
    let mut again = b"acme0".to_vec();
    names.app(&mut again);
    assert!(seen.insert(again));
}

#[test]
fn a_path_and_what_is_below_it_stay_related() {
    let mut names = Names::default();
    let mut redacted = |path: &str| {
        let mut path = path.as_bytes().to_vec();
        names.dir(&mut path);
        String::from_utf8(path).unwrap()
    };
    assert_eq!(redacted("/srv/acme/shop"), "/srv/dir1/dir2");
    assert_eq!(redacted("/srv/acme"), "/srv/dir1");
    assert_eq!(redacted("/mnt/shop/acme/"), "/mnt/dir2/dir1/");
    assert_eq!(redacted("/proc/4711/4711"), "/proc/4711/dir3");
    assert_eq!(redacted("/srv/dir1"), "/srv/dir4");
    assert_eq!(redacted("/srv/acme-mysql/\u{202e}"), "/srv/mysql-dir1/dir5");
    assert_eq!(redacted("/srv/acme/catalog.php"), "/srv/dir1/dir6.php");
    assert_eq!(redacted(""), "");
}

#[test]
fn no_made_up_name_is_one_that_stays() {
    let stems =
        "app dir file socket page device query name fs-type function target mysql-dir redis-socket";
    for stem in stems.split_ascii_whitespace() {
        for name in [format!("{stem}1"), format!("{stem}1.php")] {
            assert!(!known::stays(name.as_bytes()), "{name}");
        }
    }
}

/// Bytes that are mostly those which structure a name.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        Just(b'/'),
        Just(b'.'),
        Just(b'?'),
        Just(b'@'),
        Just(b' '),
        Just(b':'),
        Just(b'['),
        b'0'..=b'3',
        b'a'..=b'c',
        any::<u8>(),
    ];
    prop::collection::vec(byte, 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever a name holds: nothing panics, and two names become two.
    #[test]
    fn two_names_never_become_one(list in prop::collection::vec(hostile(), 1..12)) {
        let ways: [fn(&mut Names, &mut Vec<u8>); 6] =
            [Names::app, Names::dir, Names::file, Names::socket, Names::uri, Names::domain];
        for way in ways {
            let mut names = Names::default();
            let mut back: HashMap<Vec<u8>, &[u8]> = HashMap::new();
            for before in &list {
                let mut after = before.clone();
                way(&mut names, &mut after);
                let first = back.entry(after.clone()).or_insert(before);
                prop_assert_eq!(*first, before.as_slice(), "{:?}", after);
            }
        }
    }

    #[test]
    fn words_of_any_kind_do_no_harm(bytes in hostile()) {
        let mut names = Names::default();
        for way in [Names::our_side, Names::source, Names::file_system, Names::options] {
            way(&mut names, &mut bytes.clone());
        }
        for way in [Names::target, Names::prose, Names::function] {
            way(&mut names, &mut String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}
