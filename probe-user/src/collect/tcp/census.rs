//! Takes a census: runs the socket iterator and reads what it counted.

use std::{io, os::fd::OwnedFd, sync::atomic::AtomicBool};

use aya::Ebpf;
use probe_common::tcp::{CENSUS_ROWS, CensusRow, CensusTotals};

use super::{Census, counters, records::Written};
use crate::collect::{
    iterator::{self, Mapped},
    monotonic_ns,
};

/// Takes censuses of the network namespace of the calling thread.
pub struct Taker {
    link: OwnedFd,
    rows: Mapped<CensusRow>,
    totals: Mapped<CensusTotals>,
    epoch: u64,
}

impl Taker {
    /// Maps the tables.
    ///
    /// # Errors
    /// The kernel refuses, or the object has no such maps.
    pub fn new(ebpf: &Ebpf, link: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            link,
            rows: Mapped::of(ebpf, "CENSUS", CENSUS_ROWS)?,
            totals: Mapped::of(ebpf, "CENSUS_TOTALS", 1)?,
            epoch: 0,
        })
    }

    /// Takes one.
    ///
    /// # Errors
    /// The kernel refuses, or `stop` was set meanwhile.
    pub fn take(&mut self, stop: &AtomicBool) -> io::Result<Census> {
        self.epoch += 1;
        self.totals.set(
            0,
            CensusTotals {
                epoch: self.epoch,
                ..CensusTotals::ZERO
            },
        );
        let at_ns = monotonic_ns();
        let written: Written = iterator::run(&self.link, stop)?;
        let took_ns = monotonic_ns() - at_ns;
        let totals = self.totals.get(0).unwrap_or(&CensusTotals::ZERO);
        let rows = (0..CENSUS_ROWS)
            .filter_map(|i| self.rows.get(i))
            .filter(|row| row.epoch == self.epoch)
            .map(|row| (row.key, row.counts))
            .collect();
        Ok(Census {
            at_ns,
            took_ns,
            totals: totals.counts,
            rows,
            other: totals.other,
            time_wait: Box::new(totals.time_wait),
            jiffies: totals.jiffies,
            fin_wait2: written.fin_wait2,
            fin_wait2_left_out: totals.fin_wait2_left_out,
            listeners: written.listeners,
            unreadable: totals.unreadable,
            counters: counters::counters(),
        })
    }
}
