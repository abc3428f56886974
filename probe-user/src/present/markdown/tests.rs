//! Windows in, Markdown out.

use super::*;
use crate::{
    aggregate::{
        Peer,
        fixture::{INCIDENT_A, MS, Page, window_of},
        udp::fixture as udp,
    },
    diagnose::run,
};

fn check(window: &Window) -> String {
    report(window, &run(window))
}

#[test]
fn sick() {
    insta::assert_snapshot!(check(&window_of(412, INCIDENT_A)));
}

#[test]
fn healthy() {
    let page = Page {
        calls: 1,
        each_ns: 2 * MS,
        cpu_ns: 4 * MS,
        queue_ns: 0,
        ..INCIDENT_A
    };
    insta::assert_snapshot!(check(&window_of(412, page)));
}

#[test]
fn a_setting_has_its_change_and_both_commands() {
    let window = udp::window_with(udp::sick(udp::dropping("127.0.0.1:53", 3000)));
    insta::assert_snapshot!(check(&window));
}

#[test]
fn an_empty_window_says_what_could_not_be_judged() {
    let text = check(&Window::default());
    assert!(text.starts_with("# No rule could be judged"), "{text}");
    assert!(
        text.contains("- **Not judged:** T01 port-exhaustion"),
        "{text}"
    );
}

#[test]
fn no_name_leaves_its_code_span() {
    let evil =
        b"x`y <script>alert(1)</script> @root [l](http://e.vil) ![i](//e) ```sh\n# h\n\xff|a|"
            .to_vec();
    let mut window = window_of(412, INCIDENT_A);
    window.host = String::from_utf8_lossy(&evil).into_owned();
    window.target.clone_from(&window.host);
    window.groups[0].name.clone_from(&evil);
    window.groups[0].slowest[0].uri.clone_from(&evil);
    window.groups[0].peers[0].peer = Peer::Unix { path: evil };
    for line in check(&window).lines().filter(|l| l.contains("script")) {
        let outside = outside_code(line);
        for bad in ["<s", "@root", "](", "http:", "```", "# h"] {
            let found = outside
                .match_indices(bad)
                .any(|(at, _)| at == 0 || outside.as_bytes()[at - 1] != b'\\');
            assert!(!found, "{bad} outside of code in {line}");
        }
    }
}

/// What stands outside of the code spans of a line, by CommonMark's rule: a run of backticks opens a span that ends at the
/// next run of the same length; escaped ones open none.
fn outside_code(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(['`', '\\']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with('\\') {
            let end = rest.char_indices().nth(2).map_or(rest.len(), |(i, _)| i);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        let run = rest.len() - rest.trim_start_matches('`').len();
        let inside = &rest[run..];
        let mut from = 0;
        let mut close = None;
        while let Some(tick) = inside[from..].find('`').map(|t| t + from) {
            let length = inside[tick..].len() - inside[tick..].trim_start_matches('`').len();
            if length == run {
                close = Some(tick + length);
                break;
            }
            from = tick + length;
        }
        match close {
            Some(end) => rest = &inside[end..],
            None => {
                out.push_str(&rest[..run]);
                rest = inside;
            }
        }
    }
    out + rest
}
