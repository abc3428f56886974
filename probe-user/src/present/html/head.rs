//! The top of the document: the verdict in one sentence, and what it is about.

use super::{words, writer::Html};
use crate::{
    aggregate::Window,
    diagnose::{Diagnosis, Severity},
    present::{escape, sentences},
};

/// Nothing may be loaded, run or sent, whatever a name in the document tries.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// `<head>`: title, style.
pub(super) fn head(h: &mut Html, window: &Window, css: &[&'static str]) {
    h.nest("head", &[], |h| {
        h.void("meta", &[("charset", "utf-8")]);
        let policy = [
            ("http-equiv", "Content-Security-Policy"),
            ("content", POLICY),
        ];
        h.void("meta", &policy);
        let phone = "width=device-width, initial-scale=1";
        h.void("meta", &[("name", "viewport"), ("content", phone)]);
        h.void(
            "meta",
            &[("name", "color-scheme"), ("content", "light dark")],
        );
        h.void("meta", &[("name", "referrer"), ("content", "no-referrer")]);
        let host = escape::bounded(window.host.as_bytes(), 64);
        h.element(
            "title",
            &[],
            &format!("stallscope: {host}, {}", sentences::begun(window)),
        );
        h.style(css);
    });
}

/// The verdict.
pub(super) fn verdict(h: &mut Html, window: &Window, diagnosis: &Diagnosis) {
    h.nest("header", &[], |h| {
        let tool = format!("stallscope {}", env!("CARGO_PKG_VERSION"));
        h.element("p", &[("class", "tool")], &tool);
        let worst = diagnosis.findings.first();
        match worst.filter(|f| f.severity >= Severity::Warning) {
            Some(found) => {
                h.nest("h1", &[], |h| {
                    words::badge(h, found.severity);
                    h.text(" ");
                    h.text(&escape::name(found.title.as_bytes()));
                });
                for sentence in found.summary.iter().take(1) {
                    h.nest("p", &[("class", "lede")], |h| words::sentence(h, sentence));
                }
            }
            None => {
                let text = sentences::nothing_wrong(window, diagnosis);
                let class = if sentences::judged(diagnosis) {
                    "good"
                } else {
                    "warning"
                };
                // The first sentence is the verdict; the numbers behind the colon go below it.
                let (verdict, rest) = text.split_once(": ").unwrap_or((&text, ""));
                h.element("h1", &[("class", class)], verdict.trim_end_matches('.'));
                if !rest.is_empty() {
                    h.element("p", &[("class", "lede")], rest);
                }
                if let Some(limits) = sentences::closest(window) {
                    h.element("p", &[], &limits);
                }
            }
        }
        facts(h, window);
        contents(h, diagnosis);
    });
}

/// Where, when, whom.
fn facts(h: &mut Html, window: &Window) {
    let kernel = escape::bounded(window.kernel.as_bytes(), 64);
    let length = format!("{:.1} s", window.duration_ns as f64 / 1e9);
    let facts = [
        ("Host", escape::bounded(window.host.as_bytes(), 64), ""),
        ("Kernel", format!("Linux {kernel}"), ""),
        ("Begun", sentences::begun(window), ""),
        ("Watched for", length, ""),
        ("Watched", sentences::served(window), "wide"),
    ];
    h.nest("dl", &[("class", "facts")], |h| {
        for (what, text, class) in facts {
            h.nest("div", &[("class", class)], |h| {
                h.element("dt", &[], what);
                h.element("dd", &[], &text);
            });
        }
    });
}

/// What was found, in a line each, where it is more than one thing.
fn contents(h: &mut Html, diagnosis: &Diagnosis) {
    if diagnosis.findings.len() < 2 {
        return;
    }
    h.nest("nav", &[("class", "toc"), ("aria-label", "Causes")], |h| {
        h.element(
            "p",
            &[],
            &format!("{} causes, the worst first:", diagnosis.findings.len()),
        );
        h.nest("ol", &[], |h| {
            for (n, found) in diagnosis.findings.iter().enumerate() {
                h.nest("li", &[], |h| {
                    words::badge(h, found.severity);
                    h.text(" ");
                    let target = format!("#cause-{}", n + 1);
                    h.element(
                        "a",
                        &[("href", &target)],
                        &escape::name(found.title.as_bytes()),
                    );
                });
            }
        });
    });
}
