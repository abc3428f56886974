//! What reads texts and bytes of the kernel at the start, opened to the fuzz targets, and to nothing else.

use std::{ffi::CString, path::PathBuf};

pub use super::{
    btf::{Btf, Member},
    format::{Field, Format},
    netns::listener,
    resolve::version,
};

/// Where a tracefs is mounted that can be used, by this mountinfo.
pub fn tracefs(mountinfo: &str) -> Option<PathBuf> {
    super::tracefs::mounted(mountinfo)
}

/// The mount that a tracefs of ours would sit on, by this mountinfo.
pub fn tracefs_parent(mountinfo: &str) -> Option<CString> {
    super::tracefs::parent(mountinfo)
}
