//! DNS in a [`Window`](super::Window): who asks what, how often, and what waiting for it costs.

mod fold;
mod sums;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

use super::{Grown, Peer};
pub use crate::collect::dns::{Name, Resolver};
pub(super) use fold::DnsFold;
pub use sums::{Sums, Waits};

/// Rows of each list of [`Dns`]; what finds no place is added up in the `other` row beside it.
pub const MAX_DNS_ROWS: usize = 256;

/// All about DNS in one stretch of time: questions to port 53 of the processes that are followed.
#[derive(Clone, Debug, Default)]
pub struct Dns {
    /// Everything together.
    pub total: Sums,
    /// Questions a second in the worst tenth of a second, at least.
    pub peak_per_s: f64,
    /// Asked and answered over time, everywhere.
    pub timeline: Vec<Grown<2>>,
    /// By group of processes; most questions first.
    pub clients: Vec<Client>,
    /// By server; most questions first.
    pub servers: Vec<Server>,
    /// By name and type; most questions first.
    pub names: Vec<NameSums>,
    /// Names that are in no row of `names`.
    pub other_names: Sums,
    /// By group, name, type and server; most questions first.
    pub rows: Vec<Row>,
    /// What is in no row of `rows`.
    pub other_rows: Sums,
    /// Threads that wait for an answer at the window's end; longest first.
    pub waiting: Vec<Waiting>,
    /// How the groups resolve names; a group with processes that do so differently is there several times.
    pub resolvers: Vec<GroupResolver>,
}

/// Processes that are told apart by name: a PHP-FPM pool, or all of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId {
    /// Its name, any bytes.
    pub name: Vec<u8>,
    /// True for a PHP-FPM pool.
    pub php_fpm: bool,
}

/// What a group asks.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// Who.
    pub group: GroupId,
    /// Processes of it that asked something.
    pub processes: u64,
    /// The one that asked most, for commands to try by hand.
    pub example_pid: u32,
    /// Its questions.
    pub sums: Sums,
    /// Of them: questions for a name with a search domain behind it that does not exist (NXDOMAIN), beside one
    /// for the name alone: what `search` and `ndots` of resolv.conf make of one lookup.
    pub expanded: u64,
}

/// What a server was asked.
#[derive(Clone, Debug, Default)]
pub struct Server {
    /// Its address.
    pub peer: Peer,
    /// Groups that asked it.
    pub clients: u64,
    /// Their questions.
    pub sums: Sums,
}

/// What was asked for a name and a type.
#[derive(Clone, Debug, Default)]
pub struct NameSums {
    /// The name; `None` for all that the kernel side's table had no place for.
    pub name: Option<Name>,
    /// QTYPE.
    pub qtype: u16,
    /// Groups that asked for it.
    pub clients: u64,
    /// Their questions.
    pub sums: Sums,
}

/// The same in full.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Who asks.
    pub group: GroupId,
    /// Whom.
    pub server: Peer,
    /// For which name; see [`NameSums::name`].
    pub name: Option<Name>,
    /// QTYPE.
    pub qtype: u16,
    /// The questions.
    pub sums: Sums,
}

/// A thread that waits for an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Its group.
    pub group: GroupId,
    /// Process and thread.
    pub pid: u32,
    /// See `pid`.
    pub tid: u32,
    /// Whom it asked.
    pub server: Peer,
    /// For which name; see [`NameSums::name`].
    pub name: Option<Name>,
    /// QTYPE.
    pub qtype: u16,
    /// Since it asked last, ns.
    pub for_ns: u64,
}

/// How the processes of a group resolve names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupResolver {
    /// Who.
    pub group: GroupId,
    /// How; its pid is one of the processes'.
    pub resolver: Resolver,
}

/// A QTYPE by its name, where it has one that is often met.
pub fn type_name(qtype: u16) -> Option<&'static str> {
    Some(match qtype {
        1 => "A",
        2 => "NS",
        5 => "CNAME",
        6 => "SOA",
        12 => "PTR",
        15 => "MX",
        16 => "TXT",
        28 => "AAAA",
        33 => "SRV",
        35 => "NAPTR",
        43 => "DS",
        48 => "DNSKEY",
        52 => "TLSA",
        64 => "SVCB",
        65 => "HTTPS",
        255 => "ANY",
        257 => "CAA",
        _ => return None,
    })
}

/// An RCODE by its name (RFC 6895).
pub fn rcode_name(rcode: usize) -> Option<&'static str> {
    const NAMES: [&str; 11] = [
        "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET",
        "NXRRSET", "NOTAUTH", "NOTZONE",
    ];
    NAMES.get(rcode).copied()
}
