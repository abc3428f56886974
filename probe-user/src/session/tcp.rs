//! `stallscope tcp`: TCP of one network namespace, once, live, or transition by transition.

use std::time::Duration;

use probe_common::{
    peer::kind,
    tcp::{Transition, state},
};
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::{
    CLEAR, Setup,
    live::Live,
    output::{self, Reader},
    pages::{Pages, namespace},
    signals::Signals,
};
use crate::{
    attach::{Mode, Options, Signals as Watched},
    cli::{Filter, Tcp},
    error::Error,
    present::{self, tcp::events},
    target::Target,
};

/// How often transitions are read; the kernel keeps them meanwhile.
const READ: Duration = Duration::from_millis(25);

/// Runs it.
///
/// # Errors
/// Options that contradict each other; what attaching and reading say.
pub async fn run(args: &Tcp, target: Target, setup: Setup) -> Result<u8, Error> {
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
    if args.events {
        let live = Live::start(&options, target, setup.started)?;
        return follow(args, live).await;
    }
    let pages = Pages {
        args: &args.pages,
        signal: "TCP",
        place: Some(namespace(args.netns)),
        page: present::tcp::page,
        json: present::tcp::json,
    };
    pages.run(&options, target, setup).await
}

/// A line for each transition.
async fn follow(args: &Tcp, mut live: Live) -> Result<u8, Error> {
    let mut signals = Signals::new()?;
    let about = live.about();
    let until = args.pages.duration.map(|length| live.began + length);
    let forever = live.began + Duration::from_secs(365 * 24 * 3600);
    let until = sleep_until(until.unwrap_or(forever).into());
    tokio::pin!(until);
    let mut tick = interval(READ);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut left = args.pages.count.unwrap_or(u64::MAX);
    let mut shown = 0u64;
    let mut words = false;
    let mut reader = Reader::There;
    if !args.pages.json {
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
            text.push_str(&if args.pages.json {
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
    if args.pages.json {
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
