//! Arguments, the file, and what they come to together.

use super::*;
use crate::cli::{Cli, Command};

/// The settings of a command line; `FILE` in it is a file of this text.
fn of(line: &str, text: &str) -> Result<Settings, String> {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("a.toml");
    std::fs::write(&file, text).unwrap();
    let line = format!("stallscope {line}").replace("FILE", &file.display().to_string());
    let cli: Cli = clap::Parser::try_parse_from(line.split(' ')).map_err(|e| e.to_string())?;
    let settings = match cli.command {
        Some(Command::Watch(args)) => Settings::of_watch(&args),
        Some(Command::Serve(args)) => Settings::of_serve(&args),
        other => panic!("{other:?}"),
    };
    let name = file.display().to_string();
    settings.map_err(|why| why.to_string().replace(&name, "FILE"))
}

const EXAMPLE: &str = include_str!("../../../../../packaging/stallscope.toml");

/// The example with every key said.
fn spelled_out() -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(said) if said.starts_with(|c: char| c.is_ascii_lowercase()) => said.to_owned(),
        _ => line.to_owned(),
    };
    let lines: Vec<String> = EXAMPLE.lines().map(line).collect();
    lines.join("\n")
}

#[test]
fn what_is_usual() {
    let watch = of("watch", "").unwrap();
    assert_eq!(watch.interval, Duration::from_secs(5));
    assert_eq!(watch.span, Duration::from_secs(30));
    assert_eq!(watch.keep.dir, Some("/var/lib/stallscope".into()));
    assert_eq!(watch.keep.severity, Severity::Warning);
    assert_eq!((watch.listen.clone(), watch.push.clone()), (None, None));
    let serve = of("serve", "").unwrap();
    assert_eq!(serve.keep.dir, None);
    let address = serve.listen.as_ref().unwrap().address.unwrap();
    assert_eq!(address.to_string(), "127.0.0.1:9777");
    assert_eq!(serve.words(), "metrics at http://127.0.0.1:9777/metrics");
    assert_eq!(
        watch.words(),
        "findings from warning on saved to /var/lib/stallscope with 2m before and 10s after"
    );
}

#[test]
fn arguments_go_before_the_file_and_the_file_before_what_is_usual() {
    let text = "interval = '2s'\nspan = '20s'\npool = ['a', 'b']\nseverity = 'critical'\nmax_size = '32M'\n";
    let watch = of("watch --config FILE --span 60s", text).unwrap();
    assert_eq!(watch.interval, Duration::from_secs(2));
    assert_eq!(watch.span, Duration::from_secs(60));
    assert_eq!(watch.keep.severity, Severity::Critical);
    assert_eq!(watch.keep.max_bytes, 32 << 20);
    assert_eq!(watch.targets.pools, ["a", "b"]);
    let other = of("watch --config FILE --comm nginx", text).unwrap();
    assert!(other.targets.pools.is_empty());
    assert_eq!(other.targets.comms, ["nginx"]);
}

#[test]
fn a_program_and_its_arguments_come_as_a_text_or_a_list() {
    let command = |line: &str, text: &str| of(line, text).unwrap().keep.on_finding;
    assert_eq!(
        command("watch --config FILE", "on_finding = 'true  -x y'"),
        ["true", "-x", "y"]
    );
    assert_eq!(
        command("watch --config FILE", "on_finding = ['true', 'a b']"),
        ["true", "a b"]
    );
    assert_eq!(command("watch --on-finding true", ""), ["true"]);
    let why = of("watch --config FILE", "on_finding = ' '").unwrap_err();
    assert!(why.contains("names no program"), "{why}");
}

#[test]
fn the_example_has_every_key_and_is_understood() {
    // As it is installed, nothing is said in it.
    let bare = of("serve --config FILE", EXAMPLE).unwrap();
    assert_eq!(bare.words(), of("serve", "").unwrap().words());
    let all = File::parse(&spelled_out()).unwrap();
    let debug = format!("{all:?}");
    assert!(!debug.contains("None"), "a key is missing: {debug}");
    // It says what is usual where there is something usual.
    let file = |key: &str| {
        let lines: Vec<String> = spelled_out().lines().map(str::to_owned).collect();
        let line = lines.iter().find(|l| l.starts_with(&format!("{key} =")));
        line.cloned().unwrap_or_else(|| panic!("no {key}"))
    };
    for key in [
        "interval", "span", "severity", "before", "after", "pause", "max_size", "listen",
    ] {
        let said = of("serve --config FILE", &file(key)).unwrap();
        let usual = of("serve", "").unwrap();
        assert_eq!(said.keep, usual.keep, "{key}");
        assert_eq!((said.interval, said.span), (usual.interval, usual.span));
        assert_eq!(said.listen, usual.listen);
    }
}

#[test]
fn every_long_option_is_a_key() {
    use clap::CommandFactory as _;
    let cli = Cli::command();
    let serve = cli.find_subcommand("serve").unwrap();
    let text = spelled_out();
    for option in serve.get_arguments().filter_map(|arg| arg.get_long()) {
        if matches!(option, "config" | "help" | "color" | "version") {
            continue;
        }
        let key = format!("\n{} =", option.replace('-', "_"));
        assert!(text.contains(&key), "no {key}");
    }
}

#[test]
fn what_is_wrong_is_one_line_with_its_place() {
    for (text, part) in [
        (
            "interval = '5s'\nintervall = '5s'",
            "FILE:2: unknown field `intervall`",
        ),
        ("\n\nspan = 5", "FILE:3: invalid type: integer `5`"),
        ("before = '2 minutes'", "FILE:1: \"2 minutes\": write it as"),
        (
            "severity = 'bad'",
            "FILE:1: \"bad\": write info, warning or critical",
        ),
        ("max_size = '1'", "FILE:1: \"1\": it is less than 64k"),
        ("pid = 0", "FILE:1: write one, or a list of them"),
        ("pool = ''", "FILE:1: it is empty"),
        ("[keep]\ndir = '/x'", "FILE:1: unknown field `keep`"),
        ("interval = '5s", "FILE:1: "),
        ("interval = '5s'\ninterval = '6s'", "FILE:2: duplicate key"),
        (
            "interval = '500ms'",
            "--interval is 500ms, and must be at least 1s",
        ),
        ("span = '5s'", "--span is 5s, and must be at least 10s"),
        (
            "interval = '60s'",
            "--span (30s) is shorter than --interval (1m)",
        ),
        ("max_size = '1M'", "--max-size must be at least 16M"),
        ("listen = 'web:80'", "--listen web:80: write an address"),
        ("listen = 'none'", "nobody to give metrics to"),
        ("tls_cert = '/x'", "--tls-cert needs --tls-key"),
        ("tls_key = '/x'", "--tls-key needs --tls-cert"),
        ("otlp_ca = '/x'", "--otlp-ca needs --otlp"),
        (
            "otlp_protocol = 'soap'",
            "FILE:1: \"soap\": write grpc or http",
        ),
        (
            "otlp = 'x:1'\notlp_header = 'secret'",
            "--otlp-header: write it as NAME=VALUE",
        ),
    ] {
        let why = of("serve --config FILE", text).unwrap_err();
        assert!(why.contains(part) && !why.contains('\n'), "{text}: {why}");
    }
    let why = of("watch --config /nowhere/a.toml", "").unwrap_err();
    assert!(why.starts_with("cannot read /nowhere/a.toml: "), "{why}");
    let why = of("watch --config /tmp", "").unwrap_err();
    assert!(why.ends_with("it is no file"), "{why}");
}

#[test]
fn the_file_is_read_again_and_what_cannot_change_is_named() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("a.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("severity = 'info'\npool = 'www'");
    let args = cli::Recorder {
        lasting: cli::Lasting {
            config: Some(file.clone()),
            ..cli::Lasting::default()
        },
        ..cli::Recorder::default()
    };
    let before = Settings::of_watch(&args).unwrap();
    write("severity = 'critical'\npool = 'www'\npause = '1m'");
    let after = before.again().unwrap();
    assert_eq!(after.keep.severity, Severity::Critical);
    assert_eq!(after.keep.pause, Duration::from_secs(60));
    for (text, part) in [
        (
            "pool = 'api'",
            "what is watched cannot change while it runs",
        ),
        ("pool = 'www'\ninterval = '2s'", "interval cannot change"),
        ("pool = 'www'\nspan = '60s'", "span cannot change"),
        ("pool = 'www'\nnetns = 1", "netns or verbose cannot change"),
        ("pool = 'www'\nx = 1", ":2: unknown field `x`"),
    ] {
        write(text);
        let why = before.again().unwrap_err().to_string();
        assert!(why.contains(part), "{text}: {why}");
    }
}

#[test]
fn processes_named_by_their_ids_alone_end_for_good() {
    let ends = |line: &str| of(line, "").unwrap().is_pids_only();
    assert!(ends("watch --pid 7"));
    assert!(!ends("watch --pid 7 --pool www") && !ends("watch"));
}
