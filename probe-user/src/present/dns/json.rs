//! DNS as JSON: types of its own, as the rest of the format.

mod sums;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::written;
use crate::{
    aggregate::{
        Grown, Window,
        dns::{
            Client, Dns, GroupId, GroupResolver, Name, NameSums, Row, Server, Waiting, type_name,
        },
    },
    present::json::{PeerJson, Text, UdpJson, finite},
};

pub use sums::{DnsSumsJson, RcodesJson};

/// What `stallscope dns` watches.
#[derive(Serialize)]
pub(in crate::present) struct Both {
    dns: Option<DnsJson>,
    udp: Option<UdpJson>,
}

impl Both {
    pub(super) fn of(window: &Window) -> Self {
        Self {
            dns: window.dns.as_deref().map(DnsJson::of),
            udp: window.udp.as_deref().map(UdpJson::of),
        }
    }
}

/// Questions to name servers (port 53) of the processes that were watched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DnsJson {
    /// Everything together.
    pub total: DnsSumsJson,
    /// Questions per second in the worst tenth of a second, at least.
    pub peak_per_s: f64,
    /// How far it had come at moments of the window. Since 1.1.
    #[serde(default)]
    pub timeline: Vec<DnsPointJson>,
    /// By group of processes, most questions first.
    pub clients: Vec<DnsClientJson>,
    /// By server, most questions first.
    pub servers: Vec<DnsServerJson>,
    /// By name and type, most questions first.
    pub names: Vec<DnsNameJson>,
    /// What is in no row of `names`.
    pub names_other: DnsSumsJson,
    /// By group, name, type and server, most questions first.
    pub questions: Vec<DnsRowJson>,
    /// What is in no row of `questions`.
    pub questions_other: DnsSumsJson,
    /// Threads that wait for an answer at the window's end, longest first.
    pub waiting: Vec<DnsWaitingJson>,
    /// How the groups resolve names; one with processes that do so differently is there several times.
    pub resolvers: Vec<ResolverJson>,
}

impl DnsJson {
    pub(in crate::present) fn of(d: &Dns) -> Self {
        Self {
            total: DnsSumsJson::of(&d.total),
            peak_per_s: finite(d.peak_per_s),
            timeline: d.timeline.iter().map(DnsPointJson::of).collect(),
            clients: d.clients.iter().map(DnsClientJson::of).collect(),
            servers: d.servers.iter().map(DnsServerJson::of).collect(),
            names: d.names.iter().map(DnsNameJson::of).collect(),
            names_other: DnsSumsJson::of(&d.other_names),
            questions: d.rows.iter().map(DnsRowJson::of).collect(),
            questions_other: DnsSumsJson::of(&d.other_rows),
            waiting: d.waiting.iter().map(DnsWaitingJson::of).collect(),
            resolvers: d.resolvers.iter().map(ResolverJson::of).collect(),
        }
    }
}

/// How far all questions had come at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DnsPointJson {
    /// When, after the window's start.
    pub offset_ns: u64,
    /// Asked since the window's start.
    pub asked: u64,
    /// Answered since the window's start.
    pub answered: u64,
}

impl DnsPointJson {
    fn of(g: &Grown<2>) -> Self {
        let [asked, answered] = g.since_start;
        Self {
            offset_ns: g.at_ns,
            asked,
            answered,
        }
    }
}

/// A group of processes that asks; flattened into what it is part of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AskerJson {
    /// A PHP-FPM pool's name, or a process name.
    pub group: Text,
    /// True for a PHP-FPM pool.
    pub php_fpm: bool,
}

impl AskerJson {
    fn of(g: &GroupId) -> Self {
        Self {
            group: Text::name(&g.name),
            php_fpm: g.php_fpm,
        }
    }
}

/// What is asked; flattened into what it is part of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QuestionJson {
    /// Null for names that found no place; empty for the root.
    #[serde(rename = "dns.question.name")]
    pub name: Option<Text>,
    /// The name of the type, or `TYPE65280`.
    #[serde(rename = "dns.question.type")]
    pub qtype: Text,
}

impl QuestionJson {
    fn of(name: &Option<Name>, qtype: u16) -> Self {
        Self {
            // At most 255 bytes on the wire, of which each may be written as four.
            name: name.as_ref().map(|name| written(name, 1024).into()),
            qtype: type_name(qtype).map_or_else(|| format!("TYPE{qtype}").into(), Text::from),
        }
    }
}

/// What a group of processes asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DnsClientJson {
    /// Who.
    #[serde(flatten)]
    pub group: AskerJson,
    /// Processes of it that asked something.
    pub processes: u64,
    /// The process that asked most.
    #[serde(rename = "process.pid")]
    pub example_pid: u32,
    /// Its questions.
    #[serde(flatten)]
    pub sums: DnsSumsJson,
    /// Of the questions: for a name with a search domain behind it, which does not exist.
    pub expanded: u64,
}

impl DnsClientJson {
    fn of(c: &Client) -> Self {
        Self {
            group: AskerJson::of(&c.group),
            processes: c.processes,
            example_pid: c.example_pid,
            sums: DnsSumsJson::of(&c.sums),
            expanded: c.expanded,
        }
    }
}

/// What a server was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DnsServerJson {
    /// Its address.
    pub peer: PeerJson,
    /// Groups that asked it.
    pub clients: u64,
    /// Their questions.
    #[serde(flatten)]
    pub sums: DnsSumsJson,
}

impl DnsServerJson {
    fn of(s: &Server) -> Self {
        Self {
            peer: PeerJson::of(&s.peer),
            clients: s.clients,
            sums: DnsSumsJson::of(&s.sums),
        }
    }
}

/// What was asked for a name and a type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DnsNameJson {
    /// Name and type.
    #[serde(flatten)]
    pub question: QuestionJson,
    /// Groups that asked for it.
    pub clients: u64,
    /// Their questions.
    #[serde(flatten)]
    pub sums: DnsSumsJson,
}

impl DnsNameJson {
    fn of(n: &NameSums) -> Self {
        Self {
            question: QuestionJson::of(&n.name, n.qtype),
            clients: n.clients,
            sums: DnsSumsJson::of(&n.sums),
        }
    }
}

/// What a group asked a server for one name and type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DnsRowJson {
    /// Who.
    #[serde(flatten)]
    pub group: AskerJson,
    /// Whom.
    pub peer: PeerJson,
    /// For what.
    #[serde(flatten)]
    pub question: QuestionJson,
    /// The questions.
    #[serde(flatten)]
    pub sums: DnsSumsJson,
}

impl DnsRowJson {
    fn of(r: &Row) -> Self {
        Self {
            group: AskerJson::of(&r.group),
            peer: PeerJson::of(&r.server),
            question: QuestionJson::of(&r.name, r.qtype),
            sums: DnsSumsJson::of(&r.sums),
        }
    }
}

/// A thread that waits for an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DnsWaitingJson {
    /// Its group.
    #[serde(flatten)]
    pub group: AskerJson,
    /// Its process.
    #[serde(rename = "process.pid")]
    pub pid: u32,
    /// Its id.
    #[serde(rename = "thread.id")]
    pub tid: u32,
    /// Whom it asked.
    pub peer: PeerJson,
    /// For what.
    #[serde(flatten)]
    pub question: QuestionJson,
    /// How long already, within the window.
    pub for_ns: u64,
}

impl DnsWaitingJson {
    fn of(w: &Waiting) -> Self {
        Self {
            group: AskerJson::of(&w.group),
            pid: w.pid,
            tid: w.tid,
            peer: PeerJson::of(&w.server),
            question: QuestionJson::of(&w.name, w.qtype),
            for_ns: w.for_ns,
        }
    }
}

/// How a group resolves names: its resolv.conf and nsswitch.conf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResolverJson {
    /// Who.
    #[serde(flatten)]
    pub group: AskerJson,
    /// One of its processes.
    #[serde(rename = "process.pid")]
    pub pid: u32,
    /// The name servers, in order.
    pub servers: Vec<std::net::IpAddr>,
    /// Seconds until a question is asked again (`options timeout:`).
    pub timeout_s: u32,
    /// How often it is asked (`options attempts:`).
    pub attempts: u32,
    /// A name with fewer dots is tried with the search domains first (`options ndots:`).
    pub ndots: u32,
    /// How many search domains there are.
    pub search_domains: u32,
    /// True when A and AAAA are asked one after the other (`options single-request`).
    pub single_request: bool,
    /// True when it asks over TCP (`options use-vc`).
    pub use_vc: bool,
    /// True when nsswitch.conf names `resolve`: such lookups are no DNS messages of the process.
    pub nss_resolve: bool,
    /// True when the servers are a stub on this host.
    pub local_stub: bool,
}

impl ResolverJson {
    fn of(r: &GroupResolver) -> Self {
        let of = &r.resolver;
        Self {
            group: AskerJson::of(&r.group),
            pid: of.pid,
            servers: of.servers.clone(),
            timeout_s: of.timeout_s,
            attempts: of.attempts,
            ndots: of.ndots,
            search_domains: of.search,
            single_request: of.single_request,
            use_vc: of.use_vc,
            nss_resolve: of.nss_resolve,
            local_stub: of.local_stub,
        }
    }
}
