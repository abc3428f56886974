//! DNS as JSON: types of its own, as the rest of the format.

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::written;
use crate::{
    aggregate::{
        Window,
        dns::{
            Client, Dns, GroupId, GroupResolver, Name, NameSums, Row, Server, Sums, Waiting,
            rcode_name, type_name,
        },
    },
    present::{
        escape,
        json::{Bucket, PeerJson, buckets},
        udp::UdpJson,
    },
};

/// What `stallscope dns` watches.
#[derive(Serialize)]
pub(super) struct Both {
    dns: Option<DnsJson>,
    udp: Option<UdpJson>,
}

impl Both {
    pub fn of(window: &Window) -> Self {
        Self {
            dns: window.dns.as_deref().map(DnsJson::of),
            udp: window.udp.as_deref().map(UdpJson::of),
        }
    }
}

/// Everything about DNS.
#[derive(Serialize)]
pub(in crate::present) struct DnsJson {
    total: SumsJson,
    /// Questions a second in the worst tenth of a second, at least.
    peak_per_s: f64,
    clients: Vec<ClientJson>,
    servers: Vec<ServerJson>,
    names: Vec<NameJson>,
    /// What is in no row of `names`.
    names_other: SumsJson,
    questions: Vec<RowJson>,
    /// What is in no row of `questions`.
    questions_other: SumsJson,
    /// Threads that wait for an answer at the window's end.
    waiting: Vec<WaitingJson>,
    resolvers: Vec<ResolverJson>,
}

impl DnsJson {
    pub fn of(d: &Dns) -> Self {
        Self {
            total: SumsJson::of(&d.total),
            peak_per_s: d.peak_per_s,
            clients: d.clients.iter().map(ClientJson::of).collect(),
            servers: d.servers.iter().map(ServerJson::of).collect(),
            names: d.names.iter().map(NameJson::of).collect(),
            names_other: SumsJson::of(&d.other_names),
            questions: d.rows.iter().map(RowJson::of).collect(),
            questions_other: SumsJson::of(&d.other_rows),
            waiting: d.waiting.iter().map(WaitingJson::of).collect(),
            resolvers: d.resolvers.iter().map(ResolverJson::of).collect(),
        }
    }
}

/// A group of processes, flattened into what it is part of.
#[derive(Serialize)]
struct GroupJson {
    group: String,
    php_fpm: bool,
}

impl GroupJson {
    fn of(g: &GroupId) -> Self {
        Self {
            group: escape::name(&g.name),
            php_fpm: g.php_fpm,
        }
    }
}

/// What is asked, flattened likewise.
#[derive(Serialize)]
struct QuestionJson {
    /// Null for names that found no place; "" is the root.
    #[serde(rename = "dns.question.name")]
    name: Option<String>,
    /// Its name, or `TYPE65280`.
    #[serde(rename = "dns.question.type")]
    qtype: String,
}

impl QuestionJson {
    fn of(name: &Option<Name>, qtype: u16) -> Self {
        Self {
            // At most 255 bytes on the wire, of which each may be written as four.
            name: name.as_ref().map(|name| written(name, 1024)),
            qtype: type_name(qtype).map_or_else(|| format!("TYPE{qtype}"), str::to_owned),
        }
    }
}

/// Questions and what became of them.
#[derive(Serialize)]
struct SumsJson {
    asked: u64,
    retried: u64,
    duplicates: u64,
    answered: u64,
    refused: u64,
    unanswered: u64,
    /// Waited for at the window's end.
    waiting: u64,
    rcodes: RcodesJson,
    empty: u64,
    truncated: u64,
    latency_total_ns: u64,
    latency: Vec<Bucket>,
    timed_out: u64,
    timed_out_total_ns: u64,
    timed_out_duration: Vec<Bucket>,
}

impl SumsJson {
    fn of(s: &Sums) -> Self {
        Self {
            asked: s.asked,
            retried: s.retried,
            duplicates: s.duplicates,
            answered: s.answered,
            refused: s.refused,
            unanswered: s.unanswered,
            waiting: s.waiting,
            rcodes: RcodesJson(s.rcodes),
            empty: s.empty,
            truncated: s.truncated,
            latency_total_ns: s.latency.total_ns,
            latency: buckets(&s.latency.durations),
            timed_out: s.timed_out.count,
            timed_out_total_ns: s.timed_out.total_ns,
            timed_out_duration: buckets(&s.timed_out.durations),
        }
    }
}

/// `{"NOERROR": 12, "NXDOMAIN": 3}`: those that were met.
struct RcodesJson([u64; 16]);

impl Serialize for RcodesJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (code, n) in self.0.iter().enumerate().filter(|(_, n)| **n > 0) {
            let name = rcode_name(code).map_or_else(|| format!("RCODE{code}"), str::to_owned);
            map.serialize_entry(&name, n)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct ClientJson {
    #[serde(flatten)]
    group: GroupJson,
    processes: u64,
    /// The process that asked most.
    #[serde(rename = "process.pid")]
    example_pid: u32,
    #[serde(flatten)]
    sums: SumsJson,
    /// Of the questions: for a name with a search domain behind it, which does not exist.
    expanded: u64,
}

impl ClientJson {
    fn of(c: &Client) -> Self {
        Self {
            group: GroupJson::of(&c.group),
            processes: c.processes,
            example_pid: c.example_pid,
            sums: SumsJson::of(&c.sums),
            expanded: c.expanded,
        }
    }
}

#[derive(Serialize)]
struct ServerJson {
    peer: PeerJson,
    clients: u64,
    #[serde(flatten)]
    sums: SumsJson,
}

impl ServerJson {
    fn of(s: &Server) -> Self {
        Self {
            peer: PeerJson::of(&s.peer),
            clients: s.clients,
            sums: SumsJson::of(&s.sums),
        }
    }
}

#[derive(Serialize)]
struct NameJson {
    #[serde(flatten)]
    question: QuestionJson,
    clients: u64,
    #[serde(flatten)]
    sums: SumsJson,
}

impl NameJson {
    fn of(n: &NameSums) -> Self {
        Self {
            question: QuestionJson::of(&n.name, n.qtype),
            clients: n.clients,
            sums: SumsJson::of(&n.sums),
        }
    }
}

#[derive(Serialize)]
struct RowJson {
    #[serde(flatten)]
    group: GroupJson,
    peer: PeerJson,
    #[serde(flatten)]
    question: QuestionJson,
    #[serde(flatten)]
    sums: SumsJson,
}

impl RowJson {
    fn of(r: &Row) -> Self {
        Self {
            group: GroupJson::of(&r.group),
            peer: PeerJson::of(&r.server),
            question: QuestionJson::of(&r.name, r.qtype),
            sums: SumsJson::of(&r.sums),
        }
    }
}

#[derive(Serialize)]
struct WaitingJson {
    #[serde(flatten)]
    group: GroupJson,
    #[serde(rename = "process.pid")]
    pid: u32,
    #[serde(rename = "thread.id")]
    tid: u32,
    peer: PeerJson,
    #[serde(flatten)]
    question: QuestionJson,
    /// Within the window.
    for_ns: u64,
}

impl WaitingJson {
    fn of(w: &Waiting) -> Self {
        Self {
            group: GroupJson::of(&w.group),
            pid: w.pid,
            tid: w.tid,
            peer: PeerJson::of(&w.server),
            question: QuestionJson::of(&w.name, w.qtype),
            for_ns: w.for_ns,
        }
    }
}

/// How a group resolves names: its resolv.conf and nsswitch.conf.
#[derive(Serialize)]
struct ResolverJson {
    #[serde(flatten)]
    group: GroupJson,
    #[serde(rename = "process.pid")]
    pid: u32,
    servers: Vec<std::net::IpAddr>,
    timeout_s: u32,
    attempts: u32,
    ndots: u32,
    search_domains: u32,
    single_request: bool,
    use_vc: bool,
    nss_resolve: bool,
    local_stub: bool,
}

impl ResolverJson {
    fn of(r: &GroupResolver) -> Self {
        let of = &r.resolver;
        Self {
            group: GroupJson::of(&r.group),
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
