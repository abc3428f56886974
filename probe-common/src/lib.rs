//! The bytes that the kernel side and the user side of stallscope share.
//!
//! Rules of this crate: `no_std`, no dependencies (aya only for the `Pod` marker, behind the feature
//! `user`), fixed-width integers and arrays only: no bool, enum, `Option` or `usize` inside a shared
//! struct. Every shared struct goes through [`abi::shared`], which asserts that it has no padding.
//! Maths that both sides need (histogram buckets, the FastCGI reader) lives here once, with host tests.
#![cfg_attr(not(test), no_std)]

pub mod abi;
pub mod config;
pub mod count;
pub mod dns;
pub mod fastcgi;
pub mod files;
pub mod hist;
pub mod journal;
pub mod loss;
pub mod op;
pub mod part;
pub mod peer;
pub mod request;
pub mod stat;
pub mod table;
pub mod task;
pub mod tcp;
pub mod udp;
