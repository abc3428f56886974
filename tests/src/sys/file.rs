//! Files: every call by its own name.

use std::{ffi::CString, os::unix::ffi::OsStrExt as _, path::Path};

use super::{Result, call};

/// In place of the descriptor of a directory: the current one.
pub const HERE: i32 = libc::AT_FDCWD;

fn c(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a path without NUL")
}

/// open(2).
pub fn open(path: &Path, flags: i32) -> Result<i32> {
    let path = c(path);
    let args = [path.as_ptr() as usize, flags as usize, 0o600, 0, 0, 0];
    Ok(call(libc::SYS_open, args)? as i32)
}

/// creat(2).
pub fn creat(path: &Path) -> Result<i32> {
    let path = c(path);
    Ok(call(libc::SYS_creat, [path.as_ptr() as usize, 0o600, 0, 0, 0, 0])? as i32)
}

/// openat(2).
pub fn openat(dir: i32, path: &Path, flags: i32) -> Result<i32> {
    let path = c(path);
    let args = [
        dir as usize,
        path.as_ptr() as usize,
        flags as usize,
        0o600,
        0,
        0,
    ];
    Ok(call(libc::SYS_openat, args)? as i32)
}

/// openat2(2).
pub fn openat2(dir: i32, path: &Path, flags: i32) -> Result<i32> {
    let path = c(path);
    let mode = if flags & libc::O_CREAT != 0 { 0o600 } else { 0 };
    let how: [u64; 3] = [flags as u64, mode, 0];
    let args = [
        dir as usize,
        path.as_ptr() as usize,
        how.as_ptr() as usize,
        size_of_val(&how),
        0,
        0,
    ];
    Ok(call(libc::SYS_openat2, args)? as i32)
}

/// unlink(2).
pub fn unlink(path: &Path) -> Result<()> {
    let path = c(path);
    call(libc::SYS_unlink, [path.as_ptr() as usize, 0, 0, 0, 0, 0]).map(drop)
}

/// unlinkat(2).
pub fn unlinkat(dir: i32, path: &Path, flags: i32) -> Result<()> {
    let path = c(path);
    let args = [
        dir as usize,
        path.as_ptr() as usize,
        flags as usize,
        0,
        0,
        0,
    ];
    call(libc::SYS_unlinkat, args).map(drop)
}

/// A call that is passed one path and a mode: mkdir(2), mknod(2).
pub fn make(nr: i64, path: &Path) -> Result<()> {
    let path = c(path);
    call(nr, [path.as_ptr() as usize, 0o600, 0, 0, 0, 0]).map(drop)
}

/// The same below the descriptor of a directory: mkdirat(2), mknodat(2).
pub fn make_at(nr: i64, dir: i32, path: &Path) -> Result<()> {
    let path = c(path);
    call(nr, [dir as usize, path.as_ptr() as usize, 0o600, 0, 0, 0]).map(drop)
}

/// symlink(2), link(2), rename(2).
pub fn name(nr: i64, from: &Path, to: &Path) -> Result<()> {
    let (from, to) = (c(from), c(to));
    call(
        nr,
        [from.as_ptr() as usize, to.as_ptr() as usize, 0, 0, 0, 0],
    )
    .map(drop)
}

/// symlinkat(2).
pub fn symlinkat(target: &Path, dir: i32, path: &Path) -> Result<()> {
    let (target, path) = (c(target), c(path));
    let args = [
        target.as_ptr() as usize,
        dir as usize,
        path.as_ptr() as usize,
        0,
        0,
        0,
    ];
    call(libc::SYS_symlinkat, args).map(drop)
}

/// linkat(2), renameat(2), renameat2(2).
pub fn name_at(nr: i64, from: &Path, dir: i32, to: &Path) -> Result<()> {
    let (from, to) = (c(from), c(to));
    let args = [
        HERE as usize,
        from.as_ptr() as usize,
        dir as usize,
        to.as_ptr() as usize,
        0,
        0,
    ];
    call(nr, args).map(drop)
}

/// fsync(2).
pub fn fsync(fd: i32) -> Result<()> {
    call(libc::SYS_fsync, [fd as usize, 0, 0, 0, 0, 0]).map(drop)
}

/// fdatasync(2).
pub fn fdatasync(fd: i32) -> Result<()> {
    call(libc::SYS_fdatasync, [fd as usize, 0, 0, 0, 0, 0]).map(drop)
}

/// fallocate(2).
pub fn fallocate(fd: i32, len: usize) -> Result<()> {
    call(libc::SYS_fallocate, [fd as usize, 0, 0, len, 0, 0]).map(drop)
}

/// pwrite64(2).
pub fn pwrite64(fd: i32, bytes: &[u8], at: usize) -> Result {
    let args = [fd as usize, bytes.as_ptr() as usize, bytes.len(), at, 0, 0];
    call(libc::SYS_pwrite64, args)
}
