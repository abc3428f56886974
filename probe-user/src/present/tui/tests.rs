//! The view as a whole: what is on the screen, what keys and the mouse do, and that nothing breaks it.

use insta::assert_snapshot;
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{
        Event as Input, KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
    },
};

use super::{
    Action, App, Data, Event, History, Moment, Palette, Playback, SCREENS, Slow, Theme, Tone, draw,
    shot::{SIZES, shot},
};
use crate::{
    aggregate::{
        Look, Window, dns,
        fixture::{INCIDENT_A, MS, S, window_of},
        journal,
        tcp::{self, States, Tcp},
        udp,
    },
    attach::State,
    diagnose,
};

/// A node with several things wrong.
fn sick() -> Data {
    let mut window = window_of(40, INCIDENT_A);
    let states = States {
        established: 850,
        time_wait: 26_000,
        ..States::default()
    };
    window.tcp = Some(Box::new(Tcp {
        timeline: tcp::fixture::still(states),
        ..tcp::fixture::healthy()
    }));
    window.udp = Some(Box::new(udp::fixture::sick(udp::fixture::dropping(
        "127.0.0.1:53",
        900,
    ))));
    window.dns = Some(Box::new(dns::fixture::storm()));
    window.journal = Some(Box::new(journal::fixture::sick()));
    of(window)
}

/// A node with nothing wrong.
fn healthy() -> Data {
    let quick = crate::aggregate::fixture::Page {
        calls: 1,
        each_ns: 2 * MS,
        cpu_ns: 20 * MS,
        queue_ns: 0,
        ..INCIDENT_A
    };
    of(window_of(40, quick))
}

fn of(window: Window) -> Data {
    let slowest = window.groups.iter().flat_map(|group| {
        group.slowest.iter().map(|request| Slow {
            group: group.name.clone(),
            unix_ns: 1_700_000_000 * S,
            request: request.clone(),
        })
    });
    Data {
        slowest: slowest.collect(),
        diagnosis: diagnose::run(&window),
        last: window.clone(),
        recent: window,
        events: (0..5)
            .map(|n| Event {
                unix_ns: (1_700_000_000 + n) * S,
                tone: Tone::Warning,
                text: format!("something happened for the {n}th time"),
            })
            .collect(),
        lost: 3,
        elapsed_ns: 3_723 * S,
        unix_ns: 1_700_003_723 * S,
    }
}

fn key(app: &mut App, code: KeyCode) -> Action {
    app.fit(100, 30);
    app.key(KeyEvent::new(code, KeyModifiers::NONE))
}

fn text(app: &mut App, (width, height): (u16, u16)) -> String {
    app.fit(width, height);
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, app)).unwrap();
    let buffer = terminal.backend().buffer();
    buffer.content.iter().map(|cell| cell.symbol()).collect()
}

fn app(data: Data) -> App {
    let mut app = App::new(Theme::default());
    app.data(data);
    app
}

#[test]
fn the_overview_tells_causes_then_who_is_busy_then_the_signals() {
    for (name, data) in [
        ("sick", sick()),
        ("healthy", healthy()),
        ("empty", Data::default()),
    ] {
        for size in SIZES {
            assert_snapshot!(format!("overview_{name}_{}", size.0), shot(&data, "", size));
        }
    }
}

#[test]
fn a_cause_opens_with_all_that_is_known_of_it() {
    for size in SIZES {
        assert_snapshot!(format!("cause_{}", size.0), shot(&sick(), "\n", size));
    }
}

#[test]
fn events_stand_with_their_time_the_newest_on_top() {
    for size in SIZES {
        assert_snapshot!(format!("events_{}", size.0), shot(&sick(), "7", size));
    }
    assert_snapshot!("events_empty", shot(&Data::default(), "7", (80, 24)));
    let screen = &SCREENS[6];
    super::screens::check::sound(screen, &sick());
}

#[test]
fn the_help_lists_every_key() {
    for size in SIZES {
        assert_snapshot!(format!("help_{}", size.0), shot(&sick(), "?", size));
    }
}

#[test]
fn a_screen_that_is_too_small_says_so_and_one_of_no_size_is_no_error() {
    assert_snapshot!(shot(&sick(), "", (34, 6)));
    for size in [(0, 0), (1, 1), (39, 30), (200, 7), (1, 100)] {
        text(&mut app(sick()), size);
    }
}

#[test]
fn screens_are_reached_by_number_by_tab_and_by_a_click() {
    let mut app = app(sick());
    key(&mut app, KeyCode::Char('4'));
    assert_eq!(app.screen, 3);
    key(&mut app, KeyCode::Tab);
    key(&mut app, KeyCode::Tab);
    key(&mut app, KeyCode::Tab);
    key(&mut app, KeyCode::Tab);
    assert_eq!(app.screen, 0);
    key(&mut app, KeyCode::BackTab);
    assert_eq!(app.screen, 6);
    key(&mut app, KeyCode::Char('9'));
    assert_eq!(app.screen, 6);
    click(&mut app, 14, 1);
    assert_eq!(app.screen, 1);
    key(&mut app, KeyCode::Char('4'));
    key(&mut app, KeyCode::Left);
    assert_eq!(app.section_number(), SCREENS[3].sections.len() - 1);
    key(&mut app, KeyCode::Char('l'));
    assert_eq!(app.section_number(), 0);
}

fn click(app: &mut App, column: u16, row: u16) {
    app.fit(100, 30);
    let kind = MouseEventKind::Down(MouseButton::Left);
    app.event(&Input::Mouse(MouseEvent {
        kind,
        column,
        row,
        modifiers: KeyModifiers::NONE,
    }));
}

#[test]
fn a_filter_is_typed_kept_and_cleared() {
    let mut app = app(sick());
    key(&mut app, KeyCode::Char('7'));
    key(&mut app, KeyCode::Char('/'));
    for c in "3TH".chars() {
        // Letters that mean something elsewhere are text here.
        assert_eq!(key(&mut app, KeyCode::Char(c)), Action::None);
    }
    let size = (80, 24);
    assert!(text(&mut app, size).contains("for the 3th time"));
    assert!(!text(&mut app, size).contains("for the 2th time"));
    key(&mut app, KeyCode::Enter);
    assert!(text(&mut app, size).contains("1 of 5"));
    key(&mut app, KeyCode::Esc);
    assert!(text(&mut app, size).contains("for the 2th time"));
    key(&mut app, KeyCode::Char('/'));
    app.event(&Input::Paste("q\nno such thing".to_owned()));
    assert!(text(&mut app, size).contains("Nothing has \"qno such thing\" in it"));
    assert_eq!(key(&mut app, KeyCode::Char('q')), Action::None);
}

#[test]
fn a_frozen_view_shows_what_it_showed_until_it_goes_on() {
    let mut app = app(healthy());
    key(&mut app, KeyCode::Char('p'));
    app.data(sick());
    let frozen = text(&mut app, (80, 24));
    assert!(
        frozen.contains("FROZEN") && frozen.contains("Nothing wrong"),
        "{frozen}"
    );
    key(&mut app, KeyCode::Char(' '));
    let shown = text(&mut app, (80, 24));
    assert!(
        !shown.contains("FROZEN") && shown.contains("CRIT"),
        "{shown}"
    );
}

#[test]
fn a_click_on_a_heading_sorts_and_on_a_row_chooses_and_opens_it() {
    let mut app = app(sick());
    key(&mut app, KeyCode::Char('7'));
    app.fit(100, 30);
    let (x, y) = (app.page.headings.x + 3, app.page.headings.y);
    click(&mut app, x, y);
    click(&mut app, x, y);
    assert!(text(&mut app, (100, 30)).contains("time (UTC▴") || app.choice().unwrap().reversed);
    let row = app.page.rows.y + 2;
    click(&mut app, 20, row);
    assert!(matches!(app.mode, super::app::Mode::Table));
    click(&mut app, 20, row);
    assert!(text(&mut app, (100, 30)).contains("22:13:22 UTC"));
}

#[test]
fn what_was_open_and_is_gone_stays_to_be_read() {
    let mut app = app(sick());
    key(&mut app, KeyCode::Enter);
    assert!(text(&mut app, (80, 24)).contains("U02 dns-storm"));
    app.data(healthy());
    let shown = text(&mut app, (80, 24));
    assert!(shown.contains("U02 dns-storm"), "{shown}");
    assert!(shown.contains("not there any more"), "{shown}");
    key(&mut app, KeyCode::Esc);
    assert!(text(&mut app, (80, 24)).contains("Nothing wrong"));
}

#[test]
fn keys_of_a_replay_mean_something_in_a_replay_only() {
    let mut app = app(sick());
    assert_eq!(key(&mut app, KeyCode::Char('>')), Action::None);
    app.playback(Playback {
        speed: 4.0,
        ..Playback::default()
    });
    assert!(text(&mut app, (80, 24)).contains("REPLAY x4"));
    assert_eq!(key(&mut app, KeyCode::Char('>')), Action::Forward);
    assert_eq!(key(&mut app, KeyCode::Char('+')), Action::Faster);
    assert_eq!(key(&mut app, KeyCode::Char(' ')), Action::Pause);
    assert_eq!(key(&mut app, KeyCode::Char('q')), Action::Quit);
}

#[test]
fn without_colours_nothing_is_coloured_and_severities_are_words() {
    let mut app = app(sick());
    app.fit(80, 24);
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    terminal.draw(|frame| draw(frame, &app)).unwrap();
    let cells = &terminal.backend().buffer().content;
    use ratatui::style::Color;
    assert!(
        cells
            .iter()
            .all(|c| c.fg == Color::Reset && c.bg == Color::Reset)
    );
    assert!(text(&mut app, (80, 24)).contains("CRIT"));
}

/// Any keys and clicks, at any sizes, over changing data.
#[test]
fn nothing_that_is_typed_breaks_it() {
    let data = [sick(), healthy(), Data::default()];
    for palette in [Palette::None, Palette::Sixteen] {
        let mut app = App::new(Theme { palette });
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = |n: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % n
        };
        let codes = [
            KeyCode::Up,
            KeyCode::Down,
            KeyCode::Left,
            KeyCode::Right,
            KeyCode::PageUp,
            KeyCode::PageDown,
            KeyCode::Home,
            KeyCode::End,
            KeyCode::Enter,
            KeyCode::Esc,
            KeyCode::Tab,
            KeyCode::BackTab,
            KeyCode::Backspace,
            KeyCode::F(1),
        ];
        let mut size = (80, 24);
        for step in 0..3000 {
            match random(12) {
                0 => size = (random(230) as u16, random(70) as u16),
                1 => app.data(data[random(3) as usize].clone()),
                2 => {
                    let kinds = [
                        MouseEventKind::Down(MouseButton::Left),
                        MouseEventKind::ScrollDown,
                        MouseEventKind::ScrollUp,
                        MouseEventKind::Moved,
                    ];
                    app.event(&Input::Mouse(MouseEvent {
                        kind: kinds[random(4) as usize],
                        column: random(240) as u16,
                        row: random(80) as u16,
                        modifiers: KeyModifiers::NONE,
                    }));
                }
                3..7 => {
                    let code = codes[random(codes.len() as u64) as usize];
                    app.key(KeyEvent::new(code, KeyModifiers::NONE));
                }
                _ => {
                    let c = char::from(random(95) as u8 + 32);
                    app.key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE));
                }
            }
            // Drawing everything each time would take minutes.
            if step % 4 == 0 {
                text(&mut app, size);
            }
        }
    }
}

#[test]
fn findings_begin_and_end_and_losses_are_told_once_in_a_while() {
    let mut history = History::default();
    let mut look = |window: &Window, second: u64| {
        let look = Look {
            last: window.clone(),
            recent: window.clone(),
        };
        let now = Moment {
            at_ns: second * S,
            elapsed_ns: second * S,
            unix_ns: second * S,
        };
        history.look(look, diagnose::run(window), now)
    };
    let mut lossy = sick().recent;
    lossy.losses = vec![1];
    lossy.probes[0].state = State::Off("no BTF\u{1b}[2J".to_owned());
    look(&lossy, 100);
    let data = look(&lossy, 101);
    let count =
        |data: &Data, part: &str| data.events.iter().filter(|e| e.text.contains(part)).count();
    assert_eq!(count(&data, "no BTF\\x1b[2J"), 1, "{:?}", data.events);
    assert_eq!(count(&data, "lost: 1 threads"), 1);
    assert_eq!(data.lost, 2);
    let healthy = healthy().recent;
    assert_eq!(count(&look(&healthy, 103), "is over"), 0);
    let data = look(&healthy, 107);
    assert!(
        count(&data, "is over after 1.00 s") > 0,
        "{:?}",
        data.events
    );
    assert_eq!(count(&look(&lossy, 120), "lost: 2 threads"), 1);
}

#[test]
fn the_slowest_requests_are_kept_once_each() {
    let mut history = History::default();
    let window = sick().recent;
    for second in [100, 101] {
        let look = Look {
            last: window.clone(),
            recent: window.clone(),
        };
        let now = Moment {
            at_ns: 100 * S,
            elapsed_ns: second * S,
            unix_ns: second * S,
        };
        let data = history.look(look, diagnose::run(&window), now);
        let all: usize = window.groups.iter().map(|g| g.slowest.len()).sum();
        assert_eq!(data.slowest.len(), all);
        let walls = data.slowest.iter().map(|s| s.request.wall_ns);
        assert!(walls.is_sorted_by(|a, b| a >= b));
    }
}

#[test]
fn a_thousand_events_are_kept() {
    let mut history = History::default();
    for n in 0..1500 {
        history.tell(n, Tone::Plain, n.to_string());
    }
    let nothing = Look {
        last: Window::default(),
        recent: Window::default(),
    };
    let data = history.look(nothing, diagnose::Diagnosis::default(), Moment::default());
    assert_eq!(data.events.len(), super::history::MAX_EVENTS);
    assert_eq!(data.events[0].text, "500");
}
