//! Tables of sums out of which user space takes rows again: what has ended, or has not moved for a while.
//!
//! The kernel side counts the rows that it makes, and says so now and then, so that a table is looked at before it is full.

use crate::shared;

/// Tables, as places in the map `MADE`.
pub mod slot {
    /// `STATS`
    pub const STATS: u32 = 0;
    /// `PEERS`
    pub const PEERS: u32 = 1;
    /// `TRANSITIONS`
    pub const TRANSITIONS: u32 = 2;
    /// `DNS_SUMS`
    pub const QUESTIONS: u32 = 3;
    /// `DIRECTORIES`
    pub const DIRECTORIES: u32 = 4;
    /// `UNLINKED`
    pub const UNLINKED: u32 = 5;
    /// `SYNCS`
    pub const SYNCS: u32 = 6;
    /// `HANDLES`
    pub const HANDLES: u32 = 7;
    /// `SLEEPS`
    pub const SLEEPS: u32 = 8;
    /// Number of tables.
    pub const COUNT: u32 = 9;
}

/// Of each table, so many new rows are told of together: a power of two, at most a sixteenth of the table.
pub const TOLD_EVERY: [u64; slot::COUNT as usize] = [256, 256, 256, 256, 256, 32, 64, 256, 128];

shared! {
    /// So many rows were made in a table.
    pub struct Made {
        /// [`crate::request::event::MADE`].
        pub event: u32,
        /// One of [`slot`].
        pub table: u32,
        /// Since attach.
        pub rows: u64,
    }
}
