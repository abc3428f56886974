//! DNS in a [`Window`](super::Window): who asks what, how often, and what waiting for it costs.

use std::collections::HashMap;

use probe_common::peer::PeerKey;

use super::identity::Processes;
use crate::collect::dns::DnsReading;

/// All about it in one stretch of time.
#[derive(Clone, Debug, Default)]
pub struct Dns {}

/// It in the window so far.
#[derive(Clone, Debug, Default)]
pub(super) struct DnsFold {}

impl DnsFold {
    /// Takes in the reading that the window starts at: its sums are the base.
    pub fn set_base(&mut self, _: &DnsReading) {}

    /// Takes in a reading; in the order in which they were taken.
    pub fn push(&mut self, _: DnsReading) {}

    /// For a window that begins where this one ends: the sums so far are its base.
    pub fn successor(&self) -> Self {
        Self::default()
    }

    /// The result. `span` is the window's start and end, CLOCK_MONOTONIC ns.
    pub fn finish(&self, _: (u64, u64), _: &HashMap<u64, PeerKey>, _: &Processes) -> Dns {
        Dns {}
    }
}
