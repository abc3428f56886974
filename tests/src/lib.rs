//! Shared parts of the kernel tests and the end-to-end tests.
//!
//! [`harness`] runs the cases one after the other (they attach, and must not disturb each other).
//! [`sys`], [`child`], [`netns`], [`ext4`], [`upstream`], [`prefork`], [`tcp`], [`dns`] and [`fastcgi`] make workloads whose truth the test knows;
//! [`watch`] observes them through the library, [`tool`] through the binary, [`pty`] through the binary in a terminal. [`feature`] decides
//! skips, [`stolen`] tells a busy host. [`programs`] lists what is loaded in the kernel. [`web`] starts nginx, PHP-FPM and gunicorn,
//! [`prometheus`] a Prometheus; [`otlp`] is a collector. [`soak`] has `watch` run for long. [`report`] reads what the tool said; [`lab`]
//! plays incidents and judges the tool by them.

pub mod harness;

pub mod feature;
pub mod programs;

pub mod bpftrace;
pub mod child;
pub mod dns;
pub mod ext4;
pub mod memory;
pub mod netns;
pub mod stolen;
pub mod sys;

pub mod fastcgi;
pub mod otlp;
pub mod prefork;
pub mod prometheus;
pub mod tcp;
pub mod udp;
pub mod upstream;

pub mod lab;
mod peer_text;
pub mod pty;
pub mod report;
pub mod soak;
pub mod tool;
pub mod watch;
pub mod web;
