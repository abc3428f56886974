//! Windows in, pages out: parsed, as a page is well-formed XML as well.

mod hostile;

use std::{collections::BTreeMap, fmt::Write as _};

use roxmltree::{Document, Node, ParsingOptions};

use super::*;
use crate::{
    aggregate::{
        dns,
        fixture::{INCIDENT_A, MS, Page, S, window_of},
        journal,
        tcp::{self, States},
        udp,
    },
    diagnose::run,
};

/// The page of a window, and what `look` sees in it.
fn check<T>(window: &Window, look: impl FnOnce(&Document<'_>) -> T) -> T {
    let page = report(window, &run(window));
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(&page, options);
    look(&document.unwrap_or_else(|e| panic!("{e}\n{page}")))
}

fn text(node: Node<'_, '_>) -> String {
    let texts = node.descendants().filter(Node::is_text);
    texts.filter_map(|n| n.text()).collect()
}

/// What a reader sees first: headings, what is folded, captions, and the heads of tables with how many rows are below.
fn outline(document: &Document<'_>) -> String {
    let mut out = String::new();
    for node in document.root_element().descendants() {
        let _ = match node.tag_name().name() {
            tag @ ("h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "figcaption" | "caption") => {
                writeln!(out, "{tag}: {}", text(node))
            }
            "details" => match node.attribute("open") {
                Some(_) => writeln!(out, "details, open"),
                None => writeln!(out, "details"),
            },
            "table" => {
                let of = |tag| node.descendants().filter(move |n| n.has_tag_name(tag));
                let heads: Vec<String> = match of("thead").next() {
                    Some(head) => head
                        .descendants()
                        .filter(|n| n.has_tag_name("th"))
                        .map(text)
                        .collect(),
                    None => Vec::new(),
                };
                let rows = of("tbody")
                    .flat_map(|b| b.children())
                    .filter(Node::is_element)
                    .count();
                writeln!(out, "table of {rows}: {}", heads.join(" | "))
            }
            _ => Ok(()),
        };
    }
    out
}

#[test]
fn sick() {
    insta::assert_snapshot!(check(&window_of(412, INCIDENT_A), outline));
}

/// Every signal has something to say.
fn everything() -> Window {
    let mut window = window_of(412, INCIDENT_A);
    let dropping = udp::fixture::dropping("127.0.0.1:53", 3000);
    window.tcp = Some(Box::new(tcp::fixture::healthy()));
    window.udp = Some(Box::new(udp::fixture::sick(dropping)));
    window.dns = Some(Box::new(dns::fixture::storm()));
    window.journal = Some(Box::new(journal::fixture::sick()));
    window
}

#[test]
fn every_signal_has_a_section_which_is_open_where_something_was_found() {
    insta::assert_snapshot!(check(&everything(), outline));
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
    let outline = check(&window_of(412, page), outline);
    assert!(
        outline.starts_with("h1: Nothing wrong found in 10.0 s\n"),
        "{outline}"
    );
}

#[test]
fn an_empty_window_says_what_could_not_be_judged() {
    check(&Window::default(), |page| {
        let page = text(page.root_element());
        assert!(page.contains("No rule could be judged in 0.0 s"), "{page}");
        assert!(page.contains("U02 dns-storm: "), "{page}");
    });
}

#[test]
fn a_window_of_a_moment_breaks_nothing() {
    for length in [0, 1, MS] {
        let mut window = everything();
        window.duration_ns = length;
        if let Some(tcp) = &mut window.tcp {
            tcp.timeline.truncate(1);
        }
        check(&window, |page| assert!(!outline(page).is_empty()));
    }
}

#[test]
fn nothing_is_loaded_run_or_sent() {
    check(&everything(), |page| {
        let all = || page.descendants();
        let policy = all().find(|n| n.attribute("http-equiv") == Some("Content-Security-Policy"));
        let policy = policy.and_then(|n| n.attribute("content"));
        assert!(
            policy.is_some_and(|p| p.starts_with("default-src 'none'; style-src 'unsafe-inline'"))
        );
        for node in all().filter(Node::is_element) {
            let tag = node.tag_name().name();
            let loads = [
                "script", "link", "img", "iframe", "object", "embed", "image", "use", "form",
                "base",
            ];
            assert!(!loads.contains(&tag), "{tag}");
            for attribute in node.attributes() {
                let (name, value) = (attribute.name(), attribute.value());
                assert!(
                    !name.starts_with("on") && name != "src" && name != "style",
                    "{name}"
                );
                assert!(name != "href" || value.starts_with("#cause-"), "{value}");
            }
        }
        let style = all()
            .find(|n| n.has_tag_name("style"))
            .and_then(|n| n.text());
        let loads = style.is_none_or(|css| css.contains("url(") || css.contains("@import"));
        assert!(!loads);
    });
}

#[test]
fn every_chart_has_words_and_every_table_cell_its_head() {
    check(&everything(), |page| {
        let charts = page
            .descendants()
            .filter(|n| n.attribute("role") == Some("img"));
        let words: Vec<_> = charts.map(|n| n.attribute("aria-label")).collect();
        assert!(words.len() > 10);
        assert!(
            words.iter().all(|w| w.is_some_and(|w| w.len() > 5)),
            "{words:?}"
        );
        let ids: Vec<_> = page
            .descendants()
            .filter_map(|n| n.attribute("id"))
            .collect();
        let mut once = ids.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), ids.len(), "{ids:?}");
    });
}

#[test]
fn a_big_window_stays_a_small_file() {
    let mut window = everything();
    let mut group = window.groups[0].clone();
    let peer = group.peers[0].clone();
    group.peers = (0..24).map(|_| peer.clone()).collect();
    for peer in &mut group.peers {
        (0..2000).for_each(|n| peer.exchange.record(n * n * 1000));
    }
    for request in &mut group.slowest {
        let span = request.spans[0].clone();
        request.spans = vec![span; 32];
    }
    window.groups = vec![group; 32];
    if let Some(tcp) = &mut window.tcp {
        tcp.timeline = (0..600)
            .map(|second| tcp::Point {
                at_ns: second * S,
                took_ns: MS,
                states: States {
                    established: second * 7 % 1000,
                    time_wait: second * 100,
                    fin_wait_2: second % 50,
                    close_wait: second % 3,
                    ..States::default()
                },
            })
            .collect();
        tcp.ports = vec![tcp.ports[0].clone(); 256];
        tcp.peers = vec![tcp.peers[0].clone(); 256];
    }
    if let Some(udp) = &mut window.udp {
        udp.sockets = vec![udp.sockets[0].clone(); 256];
    }
    if let Some(dns) = &mut window.dns {
        dns.names = vec![dns.names[0].clone(); 256];
    }
    window.duration_ns = 600 * S;
    let page = report(&window, &run(&window));
    assert!(page.len() < 500_000, "{}", page.len());
}

/// Elements and attributes by name, and how often each occurs.
fn structure(document: &Document<'_>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for node in document.descendants().filter(Node::is_element) {
        let tag = node.tag_name().name();
        *counts.entry(tag.to_owned()).or_default() += 1;
        for attribute in node.attributes() {
            *counts
                .entry(format!("{tag} {}", attribute.name()))
                .or_default() += 1;
        }
    }
    counts
}

#[test]
fn names_change_nothing_but_text() {
    let plain = check(&hostile::window("name"), structure);
    for evil in hostile::NAMES {
        let (there, structure) = check(&hostile::window(evil), |page| {
            let all = text(page.root_element());
            let labels = page.descendants().filter_map(|n| n.attribute("aria-label"));
            let everything = all + &labels.collect::<String>();
            let raw = everything
                .chars()
                .find(|c| matches!(c, '\u{202e}' | '\u{1b}' | '\0'));
            assert_eq!(raw, None, "{evil:?}");
            (everything.contains("marked"), structure(page))
        });
        assert!(there, "{evil:?}");
        assert_eq!(structure, plain, "{evil:?}");
    }
}
