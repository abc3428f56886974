//! stallscope finds by itself what the processes of a sick Linux node wait for.
//!
//! Data flows one way, and the modules stand in that order:
//!
//! ```text
//! attach -> collect -> aggregate -> diagnose -> present
//! ```
//!
//! [`attach`] finds what this kernel offers, loads and attaches; every probe ends active or off with a
//! reason. [`collect`] turns maps and the ring into a [`collect::Reading`]. [`aggregate`] turns readings
//! into a [`aggregate::Window`]: plain data. [`diagnose`] judges a window. [`present`] writes text and
//! JSON. Only the first two touch the kernel; everything from `Reading` on runs and is tested without root.

mod bounded;
pub mod error;

pub mod attach;
pub mod collect;

pub mod aggregate;
pub mod diagnose;
pub mod present;

pub mod cli;
pub mod session;
pub mod target;
