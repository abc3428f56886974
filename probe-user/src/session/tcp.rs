//! `stallscope tcp`: TCP of one network namespace, once, live, or transition by transition.

use std::{
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use probe_common::{
    peer::kind,
    tcp::{Transition, state},
};
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::{
    CLEAR, Setup,
    live::Live,
    output::{self, Progress, Reader},
    own,
    screen::Screen,
    signals::{End, Signals},
    workers::since,
};
use crate::{
    aggregate::{About, Aggregator},
    attach::{Mode, Options, Signals as Watched},
    cli::{Filter, Tcp},
    error::Error,
    present::{self, tcp::events},
    target::Target,
};

/// How long to watch when nothing is said and nobody watches live.
const ONCE: Duration = Duration::from_secs(10);
/// How often a live page is refreshed when nothing is said.
const REFRESH: Duration = Duration::from_secs(1);
/// A live page covers one to two of these: long enough for rates that do not jump, short enough to see an
/// end. With slower pages, it covers one to two pages.
const SPAN: Duration = Duration::from_secs(5);
/// How often transitions are read; the kernel keeps them meanwhile.
const READ: Duration = Duration::from_millis(25);

/// Runs it.
///
/// # Errors
/// Options that contradict each other; what attaching and reading say.
pub async fn run(args: &Tcp, target: Target, setup: Setup) -> Result<u8, Error> {
    if args.duration.is_some() && args.count.is_some() && !args.events {
        let why = "--count is for live pages and --events; --duration prints one page";
        return Err(Error::Usage(why.to_owned()));
    }
    let options = Options {
        mode: Mode::Signals,
        log: args.kernel.verbose,
        signals: Watched {
            tcp: true,
            tcp_events: args.events,
            ..Watched::default()
        },
        netns_of: args.netns,
        ..Options::default()
    };
    let live = Live::start(&options, target, setup.started)?;
    let wants_live = args.interval.is_some() || args.count.is_some();
    if args.events {
        follow(args, live).await
    } else if args.duration.is_none() && (wants_live || io::stdout().is_terminal()) {
        refresh(args, live, setup).await
    } else {
        once(args, live, setup).await
    }
}

/// What the pages are about.
fn about(live: &Live, args: &Tcp) -> About {
    About {
        target: match args.netns {
            Some(pid) => format!("network namespace of {pid}"),
            None => "this network namespace".to_owned(),
        },
        ..live.about()
    }
}

async fn once(args: &Tcp, mut live: Live, setup: Setup) -> Result<u8, Error> {
    let length = args.duration.unwrap_or(ONCE);
    let mut signals = Signals::new()?;
    let mut window = Aggregator::new(about(&live, args));
    let mut progress = Progress::new();
    let end = live
        .watch(
            live.began + length,
            &mut signals,
            Some(&mut |reading| window.push(reading)),
            |live| {
                progress.show(&format!(
                    "watching TCP: {} of {} s (Ctrl-C: result now)",
                    live.watched().as_secs(),
                    length.as_secs_f64()
                ));
            },
        )
        .await?;
    progress.clear();
    window.push(live.collector.read()?);
    let window = window.signals_window(live.probes(), live.cost());
    let _detaching = live.detach();
    if let Some(note) = end.note() {
        output::complain(&format!(
            "{note} after {}; the page covers that time",
            present::units::duration(window.duration_ns)
        ));
    }
    output::print(&if args.json {
        present::tcp::json(&window)
    } else {
        present::tcp::page(&window, None, setup.style)
    })?;
    Ok(CLEAR)
}

/// Pages until the count is up, a signal, or until nobody reads any more.
async fn refresh(args: &Tcp, mut live: Live, setup: Setup) -> Result<u8, Error> {
    let every = args.interval.unwrap_or(REFRESH);
    let span = SPAN.max(every);
    let mut signals = Signals::new()?;
    let mut screen = Screen::new(args.json);
    // The page shows the older of two windows; when it is two spans long, the younger one takes its place.
    let mut older = Aggregator::new(about(&live, args));
    let mut younger: Option<Aggregator> = None;
    let mut spent = [live.cost(); 2];
    let mut began = Instant::now();
    let mut next = began;
    let mut shown = 0u64;
    let end = loop {
        // After a stall, the missed pages are left out rather than made up for.
        next = (next + every).max(Instant::now());
        let end = live
            .watch(
                next,
                &mut signals,
                Some(&mut |reading| {
                    if let Some(younger) = &mut younger {
                        younger.push(reading.clone());
                    }
                    older.push(reading);
                }),
                |_| {},
            )
            .await?;
        let reading = live.collector.read()?;
        if let Some(younger) = &mut younger {
            younger.push(reading.clone());
        }
        older.push(reading);
        let cost = live.cost();
        let window = older.signals_window(live.probes(), since(cost, &spent[0]));
        let text = if args.json {
            present::tcp::json(&window)
        } else {
            // The last row stays free.
            present::tcp::page(&window, screen.rows(1), setup.style)
        };
        if screen.show(&text)? == Reader::Gone {
            break End::Time;
        }
        shown += 1;
        if end != End::Time || args.count.is_some_and(|count| shown >= count) {
            break end;
        }
        if began.elapsed() >= span {
            began = Instant::now();
            let now = older.signals_successor(own::unix_ns());
            if let Some(ready) = younger.replace(now) {
                older = ready;
                spent[0] = spent[1];
            }
            spent[1] = cost;
        }
    };
    let _detaching = live.detach();
    drop(screen);
    if let Some(note) = end.note().filter(|_| end == End::Target) {
        output::complain(note);
    }
    Ok(CLEAR)
}

/// A line for each transition.
async fn follow(args: &Tcp, mut live: Live) -> Result<u8, Error> {
    let mut signals = Signals::new()?;
    let about = live.about();
    let until = args.duration.map(|length| live.began + length);
    let forever = live.began + Duration::from_secs(365 * 24 * 3600);
    let until = sleep_until(until.unwrap_or(forever).into());
    tokio::pin!(until);
    let mut tick = interval(READ);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut shown = 0u64;
    let mut words = false;
    let mut reader = Reader::There;
    if !args.json {
        reader = output::print(&events::heading())?;
    }
    let mut losses = live.collector.losses()?;
    let base = losses;
    let mut over = false;
    while reader == Reader::There && left > 0 && !over {
        tokio::select! {
            biased;
            _ = signals.end() => over = true,
            () = &mut until => over = true,
            _ = tick.tick() => {}
        }
        let reading = live.collector.events()?;
        losses = reading.losses;
        let mut events = reading.tcp.map(|tcp| tcp.events).unwrap_or_default();
        // Each CPU writes its own in order, but not all of them together.
        events.sort_by_key(|event| event.at_ns);
        let mut text = String::new();
        for event in events.iter().filter(|event| wanted(event, &args.filter)) {
            if left == 0 {
                break;
            }
            words |= events::needs_words(event);
            // The first ones were while we still attached.
            let unix_ns = event
                .at_ns
                .saturating_add(about.start_unix_ns)
                .saturating_sub(about.start_ns);
            text.push_str(&if args.json {
                events::json(event, unix_ns)
            } else {
                events::text(event, unix_ns)
            });
            shown += 1;
            left -= 1;
        }
        reader = if text.is_empty() {
            output::reader()
        } else {
            output::print(&text)?
        };
    }
    let _detaching = live.detach();
    let lost: Vec<u64> = losses
        .iter()
        .zip(base)
        .map(|(now, then)| now.saturating_sub(then))
        .collect();
    if reader == Reader::Gone {
        return Ok(CLEAR);
    }
    if args.json {
        output::print(&events::end_json(shown, &lost))?;
    } else {
        for line in events::closing(shown, words, &lost) {
            output::complain(&line);
        }
    }
    Ok(CLEAR)
}

/// True for an event that the filter lets through.
fn wanted(event: &Transition, filter: &Filter) -> bool {
    let among = |ports: &[u16], port| ports.is_empty() || ports.contains(&port);
    let family = match event.kind {
        kind::INET => !filter.ipv6,
        _ => !filter.ipv4,
    };
    family
        && among(&filter.local_ports, event.local_port)
        // A listener has no other side.
        && (among(&filter.remote_ports, event.remote_port)
            && (filter.remote_ports.is_empty() || event.new != state::LISTEN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_narrow_down() {
        let event = |kind, local_port, remote_port| Transition {
            kind,
            local_port,
            remote_port,
            ..Transition::ZERO
        };
        let all = Filter::default();
        let filter = Filter {
            local_ports: vec![80, 443],
            remote_ports: vec![5000],
            ipv4: true,
            ipv6: false,
        };
        for (kind, local, remote, passes) in [
            (kind::INET, 443, 5000, true),
            (kind::INET, 80, 5000, true),
            (kind::INET, 81, 5000, false),
            (kind::INET, 80, 5001, false),
            (kind::INET6, 80, 5000, false),
        ] {
            let event = event(kind, local, remote);
            assert_eq!(wanted(&event, &filter), passes, "{kind} {local} {remote}");
            assert!(wanted(&event, &all));
        }
        let six = Filter {
            ipv6: true,
            ..Filter::default()
        };
        assert!(wanted(&event(kind::INET6, 1, 2), &six));
        assert!(!wanted(&event(kind::INET, 1, 2), &six));
    }
}
