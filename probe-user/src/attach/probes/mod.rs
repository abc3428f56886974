//! The probe catalogue: what each probe attaches to, and what it needs of the kernel, side by side.
//!
//! A probe whose needs are not met is off with the reason; the rest goes on without it.

pub mod dns;
pub mod files;
pub mod journal;
pub mod ledger;
pub mod tcp;
pub mod udp;

use probe_common::config::Config;

/// A structure member that a probe reads.
pub struct MemberNeed {
    /// Structure.
    pub structure: &'static str,
    /// Member, by each name that it has had, newest first; a dot leads into a member.
    pub members: &'static [&'static str],
    /// Stores the offset.
    pub set: fn(&mut Config, u32),
}

/// A field of a classic tracepoint's record that a program reads at an offset looked up at load.
pub struct FieldNeed {
    /// Category and name of the tracepoint.
    pub tracepoint: (&'static str, &'static str),
    /// Field, by each name that it has had, newest first.
    pub fields: &'static [&'static str],
    /// Its size in bytes: another one is another field.
    pub size: u32,
    /// Stores the offset.
    pub set: fn(&mut Config, u32),
}

/// What a probe can go without.
pub struct Optional {
    /// Structure members.
    pub members: &'static [MemberNeed],
    /// Fields of tracepoints.
    pub fields: &'static [FieldNeed],
}

/// One program on one tracepoint, iterator or function.
pub struct Attachment {
    /// Program in the object.
    pub program: &'static str,
    /// Category of the tracepoint, or [`RAW`], [`ITER`], [`KPROBE`], [`CALLS`].
    pub category: &'static str,
    /// Name of the tracepoint, or of what it is instead.
    pub name: &'static str,
    /// The probe works without it (a call that older kernels do not have).
    pub optional: bool,
}

impl Attachment {
    /// In words, such as `sched:sched_switch`.
    pub fn source(&self) -> String {
        match self.category {
            RAW => self.name.to_owned(),
            ITER => format!("iterator {}", self.name),
            KPROBE => format!("kprobe {}", self.name),
            category => format!("{category}:{}", self.name),
        }
    }
}

/// In place of a category: a raw tracepoint (its arguments are kernel pointers, read by BTF offsets).
pub const RAW: &str = "raw";

/// In place of a category: a BPF iterator over objects of the kernel.
pub const ITER: &str = "iter";

/// In place of a category: the beginning of a kernel function. Many kernels have no kprobes, so nothing but an
/// optional refinement may rest on one.
pub const KPROBE: &str = "kprobe";

/// In place of a category: the programs of the probe `calls` go on to this one (see the kernel side's dns.rs).
pub const CALLS: &str = "calls";

/// One probe.
pub struct Probe {
    /// Stable id.
    pub id: &'static str,
    /// What it shows.
    pub summary: &'static str,
    /// Programs and tracepoints. The system calls of [`probe_common::op`] are added to `calls`.
    pub attachments: &'static [Attachment],
    /// Structure members.
    pub members: &'static [MemberNeed],
    /// Fields of tracepoints.
    pub fields: &'static [FieldNeed],
    /// Members and fields that only some kernels have: the offset is [`probe_common::config::ABSENT`] on others.
    pub optional: Optional,
    /// System calls whose records its programs read, and how many arguments each has.
    pub calls: &'static [(&'static str, u32)],
    /// It finds a socket or file by its descriptor, and is nothing without the probe `peers`.
    pub needs_peers: bool,
    /// It goes on from a program with functions by a tail call, which interpreted programs cannot.
    pub needs_jit: bool,
    /// Stores whether the kernel side may rely on it.
    pub switch: Option<fn(&mut Config, u32)>,
}

impl Probe {
    /// What a probe has that does not say otherwise.
    const NONE: Self = Self {
        id: "",
        summary: "",
        attachments: &[],
        members: &[],
        fields: &[],
        optional: Optional {
            members: &[],
            fields: &[],
        },
        calls: &[],
        needs_peers: false,
        needs_jit: false,
        switch: None,
    };
}

/// Probes that are asked for together.
pub struct Group {
    /// In the order of attaching and of display. Returns are attached before entries, so that a call is never
    /// left open by us.
    pub probes: &'static [Probe],
    /// Rows of the maps that only this group needs; each has one row otherwise.
    pub maps: &'static [(&'static str, u32)],
}

/// Every group, in the order of attaching and of display.
pub const GROUPS: &[&Group] = &[
    &ledger::GROUP,
    &tcp::GROUP,
    &udp::GROUP,
    &dns::GROUP,
    &files::GROUP,
    &journal::GROUP,
];

/// The probe of this id.
pub fn probe(id: &str) -> Option<&'static Probe> {
    let mut probes = GROUPS.iter().flat_map(|g| g.probes);
    probes.find(|p| p.id == id)
}

/// The programs of a probe, where it has some of its own.
pub fn programs_of(probe: &str) -> impl Iterator<Item = &'static str> {
    let probes = GROUPS.iter().flat_map(|g| g.probes);
    let programs = probes
        .filter(move |p| p.id == probe)
        .flat_map(|p| p.attachments)
        // The kernel counts a run by where it began.
        .filter(|a| a.category != CALLS)
        .map(|a| a.program);
    let calls = super::programs::RETURNS
        .iter()
        .filter(move |_| probe == "calls");
    programs.chain(calls.copied())
}

/// The ids of all probes, which rules name in their `needs`.
#[cfg(test)]
pub fn ids() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().flat_map(|g| g.probes).map(|p| p.id)
}

macro_rules! members {
    ($( $structure:literal $($member:literal)|+ => $($path:ident).+; )*) => {
        &[$( MemberNeed {
            structure: $structure, members: &[$($member),+], set: |c, offset| c.$($path).+ = offset,
        } ),*]
    };
}

macro_rules! attachments {
    ($( $program:literal $category:literal $name:literal $($optional:ident)?; )*) => {
        &[$( Attachment {
            program: $program, category: $category, name: $name,
            optional: attachments!(@ $($optional)?),
        } ),*]
    };
    (@) => { false };
    (@ optional) => { true };
}

macro_rules! fields {
    ($( $category:literal $name:literal $($field:literal)|+ : $size:literal => $($path:ident).+; )*) => {
        &[$( FieldNeed {
            tracepoint: ($category, $name), fields: &[$($field),+], size: $size,
            set: |c, offset| c.$($path).+ = offset,
        } ),*]
    };
}

use {attachments, fields, members};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_apart() {
        let mut all: Vec<_> = ids().collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
