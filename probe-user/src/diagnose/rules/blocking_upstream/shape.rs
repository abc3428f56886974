//! One slow call, many calls in a row, or many at once.

use crate::aggregate::{PeerTime, Use};

/// The longest single wait is most of all waiting: one call is slow, however many others there are.
const ONE_DOMINATES: f64 = 0.7;
/// Of the connections after a request's first, so many begin before an earlier one is answered: they are
/// made at once. Sequential code has none of these, curl_multi all.
const OVERLAPS: f64 = 0.5;
/// From one and a half calls per request on, the typical request makes more than one.
const SEVERAL: f64 = 1.5;
/// A call this short would be no finding by itself: it is their number that hurts.
const QUICK_NS: u64 = super::MIN_WAIT_NS;

/// How the calls of a request to one peer lie in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// One call, or one that takes nearly all the time.
    One,
    /// One after the other.
    InARow,
    /// At the same time.
    AtOnce,
}

/// The calls of a typical request to one peer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shape {
    pub order: Order,
    /// Calls per request: connections, or rounds where a connection is kept.
    pub calls: f64,
    /// Each call opens a connection of its own.
    pub connects_each: bool,
    /// Connections per request.
    pub connects: f64,
    /// Wait per request, ns.
    pub wait_ns: u64,
    /// The longest wait of a request, on average, ns.
    pub longest_ns: u64,
    /// These are requests that have not ended: there may be more to come.
    pub unfinished: bool,
}

impl Shape {
    /// Taken from finished requests, unless those that have not ended waited longer.
    pub fn of(peer: &PeerTime) -> Self {
        let unfinished = peer.open.wait_ns > peer.done.wait_ns;
        let used: &Use = if unfinished { &peer.open } else { &peer.done };
        let requests = used.requests.max(1);
        let per_request = |n: u64| n as f64 / requests as f64;
        let connects = per_request(used.connects);
        let connects_each = connects >= SEVERAL;
        let calls = if connects_each {
            connects
        } else {
            per_request(used.exchanges).max(1.0)
        };
        let after_first = used.connects.saturating_sub(used.requests);
        let order = if connects_each && used.overlapped as f64 >= OVERLAPS * after_first as f64 {
            Order::AtOnce
        } else if calls < SEVERAL
            || used.longest_sum_ns as f64 >= ONE_DOMINATES * used.wait_ns as f64
        {
            Order::One
        } else {
            Order::InARow
        };
        Self {
            order,
            calls,
            connects_each,
            connects,
            wait_ns: used.wait_ns / requests,
            longest_ns: used.longest_sum_ns / requests,
            unfinished,
        }
    }

    /// The longest call of a request, ns. A call may take several waits, so it is at least the mean.
    pub fn longest_call_ns(&self) -> u64 {
        self.longest_ns
            .max((self.wait_ns as f64 / self.calls) as u64)
            .min(self.wait_ns)
    }

    /// The finding's title.
    pub fn title(&self) -> &'static str {
        let quick = self.wait_ns as f64 / self.calls < QUICK_NS as f64;
        match self.order {
            Order::One => "Requests wait for one slow call",
            Order::InARow if quick => {
                "Requests make many quick calls to one peer, one after the other"
            }
            Order::InARow => "Requests wait for one slow peer, called several times in a row",
            Order::AtOnce => "Requests wait for one slow peer, called several times at once",
        }
    }
}
