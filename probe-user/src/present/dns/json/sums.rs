//! Sums of questions as JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    aggregate::dns::Sums,
    present::json::{Bucket, buckets},
};

/// Questions and what became of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DnsSumsJson {
    /// Messages that ask something, retries included.
    pub asked: u64,
    /// Of these: the same was asked before, and there was no answer.
    pub retried: u64,
    /// Of `asked`, without retries: anyone on the node had asked the same less than a second before.
    pub duplicates: u64,
    /// Answers received.
    pub answered: u64,
    /// Questions that nobody listened for (the host said so by ICMP).
    pub refused: u64,
    /// Questions that have no answer, and that nobody waits for any more.
    pub unanswered: u64,
    /// Questions waited for at the window's end.
    pub waiting: u64,
    /// Answers by response code: those that were met.
    pub rcodes: RcodesJson,
    /// Of the answers: the name exists, and has no such record.
    pub empty: u64,
    /// Of the answers: cut off, to be asked again over TCP.
    pub truncated: u64,
    /// From the questions to their answers, all together.
    pub latency_total_ns: u64,
    /// From a question to its answer, each.
    pub latency: Vec<Bucket>,
    /// Waits for an answer that ended without one.
    pub timed_out: u64,
    /// How long they were together.
    pub timed_out_total_ns: u64,
    /// How long each was.
    pub timed_out_duration: Vec<Bucket>,
}

impl DnsSumsJson {
    pub(super) fn of(s: &Sums) -> Self {
        Self {
            asked: s.asked,
            retried: s.retried,
            duplicates: s.duplicates,
            answered: s.answered,
            refused: s.refused,
            unanswered: s.unanswered,
            waiting: s.waiting,
            rcodes: RcodesJson::of(&s.rcodes),
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

/// Answers by response code (RFC 6895); absent where there was none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RcodesJson {
    /// No error.
    #[serde(rename = "NOERROR", skip_serializing_if = "none")]
    pub noerror: u64,
    /// The server could not read the question.
    #[serde(rename = "FORMERR", skip_serializing_if = "none")]
    pub formerr: u64,
    /// The server failed.
    #[serde(rename = "SERVFAIL", skip_serializing_if = "none")]
    pub servfail: u64,
    /// There is no such name.
    #[serde(rename = "NXDOMAIN", skip_serializing_if = "none")]
    pub nxdomain: u64,
    /// The server does not do that.
    #[serde(rename = "NOTIMP", skip_serializing_if = "none")]
    pub notimp: u64,
    /// The server refused.
    #[serde(rename = "REFUSED", skip_serializing_if = "none")]
    pub refused: u64,
    /// A name exists that should not (updates).
    #[serde(rename = "YXDOMAIN", skip_serializing_if = "none")]
    pub yxdomain: u64,
    /// A record exists that should not (updates).
    #[serde(rename = "YXRRSET", skip_serializing_if = "none")]
    pub yxrrset: u64,
    /// A record does not exist that should (updates).
    #[serde(rename = "NXRRSET", skip_serializing_if = "none")]
    pub nxrrset: u64,
    /// Not authoritative, or not authorised.
    #[serde(rename = "NOTAUTH", skip_serializing_if = "none")]
    pub notauth: u64,
    /// Not in the zone (updates).
    #[serde(rename = "NOTZONE", skip_serializing_if = "none")]
    pub notzone: u64,
    /// Unassigned.
    #[serde(rename = "RCODE11", skip_serializing_if = "none")]
    pub rcode11: u64,
    /// Unassigned.
    #[serde(rename = "RCODE12", skip_serializing_if = "none")]
    pub rcode12: u64,
    /// Unassigned.
    #[serde(rename = "RCODE13", skip_serializing_if = "none")]
    pub rcode13: u64,
    /// Unassigned.
    #[serde(rename = "RCODE14", skip_serializing_if = "none")]
    pub rcode14: u64,
    /// Unassigned.
    #[serde(rename = "RCODE15", skip_serializing_if = "none")]
    pub rcode15: u64,
}

fn none(count: &u64) -> bool {
    *count == 0
}

impl RcodesJson {
    fn of(rcodes: &[u64; 16]) -> Self {
        let &[
            noerror,
            formerr,
            servfail,
            nxdomain,
            notimp,
            refused,
            yxdomain,
            yxrrset,
            nxrrset,
            notauth,
            notzone,
            rcode11,
            rcode12,
            rcode13,
            rcode14,
            rcode15,
        ] = rcodes;
        Self {
            noerror,
            formerr,
            servfail,
            nxdomain,
            notimp,
            refused,
            yxdomain,
            yxrrset,
            nxrrset,
            notauth,
            notzone,
            rcode11,
            rcode12,
            rcode13,
            rcode14,
            rcode15,
        }
    }
}
