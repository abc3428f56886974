//! BPF iterators: programs that the kernel runs once for each object of a kind, when we read a file.
//!
//! Loading one takes the id that the kernel's type information gives to a function (`bpf_iter_tcp`). aya
//! wants that as type information, decoded, which takes 19 MB for the kernel's own; so it gets some that
//! is made up and holds nothing else.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
};

use aya::{Btf, Ebpf, Endianness, programs::Iter};

use super::{chain, load_program, probes::Attachment};

/// Commands and attach type of bpf(2) (include/uapi/linux/bpf.h).
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_TRACE_ITER: u32 = 28;

/// Iterators that are ready to be read.
#[derive(Default)]
pub struct Iterators {
    links: HashMap<&'static str, OwnedFd>,
}

impl Iterators {
    /// The link of a program, by which files are made to read from; it is taken out.
    pub fn take(&mut self, program: &str) -> Option<OwnedFd> {
        self.links.remove(program)
    }

    /// Loads a program and attaches it to the iterator whose function has the id in `ids`.
    pub fn attach(
        &mut self,
        ebpf: &mut Ebpf,
        ids: &HashMap<&'static str, u32>,
        a: &Attachment,
    ) -> Result<(), String> {
        let id = *ids
            .get(a.name)
            .ok_or_else(|| format!("this kernel has no iterator {}", a.name))?;
        let program: &mut Iter = ebpf
            .program_mut(a.program)
            .ok_or_else(|| format!("the object has no program {}", a.program))?
            .try_into()
            .map_err(|e| format!("{}: {e}", a.program))?;
        let types = Btf::parse(
            &types(&format!("bpf_iter_{}", a.name), id)?,
            Endianness::default(),
        )
        .map_err(|e| format!("iterator {}: {}", a.name, chain(&e)))?;
        load_program(a.program, program.fd().is_ok(), || {
            program.load(a.name, &types)
        })?;
        if let Ok(info) = program.info() {
            log::debug!(
                "{}: {:?} instructions verified",
                a.program,
                info.verified_instruction_count()
            );
        }
        let fd = program.fd().map_err(|e| format!("{}: {e}", a.program))?;
        let link = link(fd.as_fd().as_raw_fd())
            .map_err(|e| format!("iterator {}: {}", a.name, chain(&e)))?;
        self.links.insert(a.program, link);
        Ok(())
    }
}

/// Ties a loaded program to the iterator that it was loaded for.
fn link(program: i32) -> io::Result<OwnedFd> {
    /// The part of `union bpf_attr` that BPF_LINK_CREATE reads for an iterator.
    #[repr(C)]
    struct Attributes {
        prog_fd: u32,
        target_fd: u32,
        attach_type: u32,
        flags: u32,
    }
    let attributes = Attributes {
        prog_fd: program as u32,
        target_fd: 0,
        attach_type: BPF_TRACE_ITER,
        flags: 0,
    };
    // SAFETY: the attributes live through the call, and their size is passed; the kernel takes what is
    // beyond as zero.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_LINK_CREATE,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Type information in which `function` has the id `id`, and the ids below are nameless.
fn types(function: &str, id: u32) -> Result<Vec<u8>, String> {
    /// A forward declaration: a type with nothing behind its header.
    const FWD: u32 = 7 << 24;
    const FUNC: u32 = 12 << 24;
    // The kernel has some 130,000; the bound guards against malformed input.
    if id == 0 || id > 10_000_000 {
        return Err(format!("{function} has an impossible type id"));
    }
    let size = id * 12;
    let mut blob = Vec::with_capacity(24 + size as usize + function.len() + 2);
    blob.extend(0xeb9f_u16.to_ne_bytes());
    blob.extend([1, 0]);
    // Length of the header, then where types and strings begin and their lengths.
    for word in [24, 0, size, size, function.len() as u32 + 2] {
        blob.extend(word.to_ne_bytes());
    }
    for i in 1..=id {
        let (name, info): (u32, u32) = if i == id { (1, FUNC) } else { (0, FWD) };
        for word in [name, info, 0] {
            blob.extend(word.to_ne_bytes());
        }
    }
    blob.push(0);
    blob.extend(function.as_bytes());
    blob.push(0);
    Ok(blob)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attach::btf;

    #[test]
    fn the_made_up_types_hold_one_function_with_the_kernels_id() {
        for id in [1, 2, 64_272] {
            let blob = types("bpf_iter_tcp", id).unwrap();
            assert!(Btf::parse(&blob, Endianness::default()).is_ok());
            let read = btf::Btf::parse(blob, &["bpf_iter_tcp"]).unwrap();
            assert_eq!(read.function("bpf_iter_tcp"), Some(id));
        }
        assert!(types("bpf_iter_tcp", 0).is_err());
    }
}
