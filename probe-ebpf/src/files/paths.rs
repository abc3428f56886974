//! Where a directory is in its file system; and what a path that was passed begins with.

use aya_ebpf::{
    helpers::generated::{bpf_probe_read_kernel_str, bpf_probe_read_user_str},
    macros::map,
    maps::{HashMap, PerCpuArray},
};
use probe_common::{
    files::{DirId, DirPath, TEXT_LEN, path},
    loss,
};

use super::parent_of;
use crate::{
    maps::{config, lost},
    mem,
};

/// Components of a path that are kept.
const COMPONENTS: u32 = 24;
/// A component begins before this: the last one may run over.
const ROOM: usize = 512;
/// Longest name of a file with its NUL (NAME_MAX, include/uapi/linux/limits.h).
const NAME_LEN: u32 = 256;

/// Where directories are.
#[map]
static DIR_PATHS: HashMap<DirId, DirPath> = HashMap::with_max_entries(1, 0);

/// The path being put together.
#[map]
static DIR_PATH: PerCpuArray<DirPath> = PerCpuArray::with_max_entries(1, 0);

/// Reads where a directory is, unless it is known.
#[inline(never)]
pub fn remember(dentry: u64, id: &DirId) {
    if DIR_PATHS.get_ptr(id).is_some() {
        return;
    }
    let Some(path) = DIR_PATH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the row belongs to this CPU, and classic tracepoint programs do not nest.
    let path = unsafe { &mut *path };
    path.len = 0;
    path.whole = 0;
    if climb(dentry, path).is_none() {
        lost(loss::slot::READ_FAILED);
        return;
    }
    // It has as many rows as there are directories, at least.
    let _ = DIR_PATHS.insert(id, &*path, 0);
}

#[inline(always)]
fn climb(mut dentry: u64, path: &mut DirPath) -> Option<()> {
    let mut i = 0;
    while i < COMPONENTS {
        let parent = parent_of(dentry)?;
        if parent == dentry {
            path.whole = 1;
            break;
        }
        let at = mem::opaque(mem::reload(&path.len) as usize);
        if at >= ROOM {
            break;
        }
        let name = config!(files.dentry_name) as u64 + config!(files.qstr_name) as u64;
        let name = mem::kernel::<u64>(dentry + name)?;
        // SAFETY: begins before ROOM and has at most NAME_LEN bytes: as many as there are together.
        let n = unsafe {
            bpf_probe_read_kernel_str(
                path.text.as_mut_ptr().add(at).cast(),
                NAME_LEN,
                name as *const _,
            )
        };
        if n <= 0 {
            return None;
        }
        path.len = at as u32 + n as u32;
        dentry = parent;
        i += 1;
    }
    Some(())
}

/// A path that was passed, and where its directory part ends.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Passed {
    /// Hash of the directory part.
    pub hash: u64,
    /// Bytes of the directory part, with its last `/`; 0 when there is none.
    pub len: u32,
    /// Bytes of the path without its NUL.
    pub whole: u32,
    /// The path.
    pub text: [u8; TEXT_LEN],
    /// See [`path::directory`].
    search: path::Search,
}

#[map]
static PASSED: PerCpuArray<Passed> = PerCpuArray::with_max_entries(1, 0);

/// Reads a path that was passed. None when it cannot be read, or is too long to know where its directory part ends.
#[inline(never)]
pub fn read(path: u64) -> Option<&'static mut Passed> {
    let passed = PASSED.get_ptr_mut(0)?;
    // SAFETY: the row belongs to this CPU, and classic tracepoint programs do not nest.
    let passed = unsafe { &mut *passed };
    passed.len = 0;
    passed.hash = 0;
    // SAFETY: at most as many bytes as there are; the helper checks the source.
    let n = unsafe {
        bpf_probe_read_user_str(
            passed.text.as_mut_ptr().cast(),
            TEXT_LEN as u32,
            path as *const _,
        )
    };
    if n <= 1 || n >= TEXT_LEN as i64 {
        lost(loss::slot::READ_FAILED);
        return None;
    }
    passed.whole = n as u32 - 1;
    // SAFETY: as many bytes, and the two words before them keep them aligned.
    let words = unsafe { &*(&raw const passed.text).cast() };
    let directory = path::directory(words, &passed.whole, &mut passed.search);
    (passed.len, passed.hash) = (directory.len, directory.hash);
    Some(passed)
}
