//! What the other side's answer means: taken, try again, or never (the OTLP specification says which is which).

use std::time::{Duration, SystemTime};

use hyper::{StatusCode, header::HeaderMap};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceResponse, metrics::v1::ExportMetricsServiceResponse,
};
use prost::Message;
use tonic::{Code, Status};

/// The longest piece of the other side's words that is shown, in characters.
const WORDS: usize = 200;

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken, but for what is said here.
    Taken(Option<Partial>),
    /// It was not; it may be the next time.
    Later {
        /// Why.
        why: String,
        /// The other side wants to be left alone for so long.
        asked: Option<Duration>,
    },
    /// It is refused for good.
    Refused(String),
}

/// What was left out of a message that was taken otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partial {
    /// Points or records.
    pub rejected: u64,
    /// The other side's words.
    pub why: String,
}

impl Outcome {
    /// Nothing came back, or nothing that makes sense.
    pub fn broken(why: impl Into<String>) -> Self {
        Self::Later {
            why: why.into(),
            asked: None,
        }
    }
}

/// Of an answer's number of rejected things and its message.
fn partial(rejected: i64, why: &str) -> Option<Partial> {
    // A message without a number is advice, and shown as well.
    (rejected > 0 || !why.is_empty()).then(|| Partial {
        rejected: rejected.max(0) as u64,
        why: words(why),
    })
}

/// A metrics answer's.
pub fn of_metrics(answer: &ExportMetricsServiceResponse) -> Option<Partial> {
    let said = answer.partial_success.as_ref()?;
    partial(said.rejected_data_points, &said.error_message)
}

/// A logs answer's.
pub fn of_logs(answer: &ExportLogsServiceResponse) -> Option<Partial> {
    let said = answer.partial_success.as_ref()?;
    partial(said.rejected_log_records, &said.error_message)
}

/// Of an HTTP status that is not 200.
pub fn of_http(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Outcome {
    let said = rpc::Status::decode(body).map_or_else(|_| String::new(), |s| words(&s.message));
    let mut why = status.to_string();
    if !said.is_empty() {
        why = format!("{why}: {said}");
    }
    match status.as_u16() {
        429 | 502 | 503 | 504 => Outcome::Later {
            why,
            asked: retry_after(headers, SystemTime::now()),
        },
        _ => Outcome::Refused(why),
    }
}

/// Of a gRPC status.
pub fn of_grpc(status: &Status) -> Outcome {
    let asked = retry_info(status.details());
    let mut why = format!("gRPC {:?}", status.code());
    if !status.message().is_empty() {
        why = format!("{why}: {}", words(status.message()));
    }
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Outcome::Later { why, asked },
        // Without a time it means: never again.
        Code::ResourceExhausted if asked.is_some() => Outcome::Later { why, asked },
        _ => Outcome::Refused(why),
    }
}

fn words(text: &str) -> String {
    text.chars().take(WORDS).collect()
}

/// `Retry-After`: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers
        .get(hyper::header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(value)
            .ok()?
            .duration_since(now)
            .ok(),
    }
}

/// The pause that a gRPC status' details ask for.
fn retry_info(details: &[u8]) -> Option<Duration> {
    let status = rpc::Status::decode(details).ok()?;
    let info = status
        .details
        .iter()
        .find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = rpc::RetryInfo::decode(info.value.as_slice())
        .ok()?
        .retry_delay?;
    let whole = u64::try_from(delay.seconds).ok()?;
    let rest = u32::try_from(delay.nanos).unwrap_or(0).min(999_999_999);
    Some(Duration::new(whole, rest))
}

/// What is needed of `google.rpc`: too little for a crate of its own.
mod rpc {
    /// `google.rpc.Status`.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Status {
        /// Code.
        #[prost(int32, tag = "1")]
        pub code: i32,
        /// For developers.
        #[prost(string, tag = "2")]
        pub message: String,
        /// Any.
        #[prost(message, repeated, tag = "3")]
        pub details: Vec<Any>,
    }

    /// `google.protobuf.Any`.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Any {
        /// Which message.
        #[prost(string, tag = "1")]
        pub type_url: String,
        /// The message.
        #[prost(bytes = "vec", tag = "2")]
        pub value: Vec<u8>,
    }

    /// `google.rpc.RetryInfo`.
    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct RetryInfo {
        /// The pause.
        #[prost(message, optional, tag = "1")]
        pub retry_delay: Option<Span>,
    }

    /// `google.protobuf.Duration`.
    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct Span {
        /// Seconds.
        #[prost(int64, tag = "1")]
        pub seconds: i64,
        /// And ns.
        #[prost(int32, tag = "2")]
        pub nanos: i32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details(seconds: i64, nanos: i32) -> Vec<u8> {
        let info = rpc::RetryInfo {
            retry_delay: Some(rpc::Span { seconds, nanos }),
        };
        rpc::Status {
            code: 14,
            message: "busy".to_owned(),
            details: vec![rpc::Any {
                type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
                value: info.encode_to_vec(),
            }],
        }
        .encode_to_vec()
    }

    fn is_later(outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Later { .. })
    }

    #[test]
    fn grpc_codes_are_tried_again_as_the_specification_says() {
        // Its table: retryable or not. ResourceExhausted depends on RetryInfo.
        let again: Vec<i32> = (0..=16)
            .filter(|&code| is_later(&of_grpc(&Status::new(Code::from(code), ""))))
            .collect();
        assert_eq!(again, [1, 4, 10, 11, 14, 15]);
        let status = Status::with_details(Code::ResourceExhausted, "", details(7, 5).into());
        let asked = Some(Duration::new(7, 5));
        assert!(
            matches!(of_grpc(&status), Outcome::Later { asked: a, .. } if a == asked),
            "{:?}",
            of_grpc(&status)
        );
    }

    #[test]
    fn http_statuses_are_tried_again_as_the_specification_says() {
        let again: Vec<u16> = (100..600)
            .filter(|&status| {
                let status = StatusCode::from_u16(status).unwrap();
                is_later(&of_http(status, &HeaderMap::new(), b""))
            })
            .collect();
        assert_eq!(again, [429, 502, 503, 504]);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let asked = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", value.parse().unwrap());
            retry_after(&headers, now).map(|asked| asked.as_secs())
        };
        assert_eq!(asked("120"), Some(120));
        assert_eq!(asked("Sun, 06 Nov 1994 08:50:07 GMT"), Some(30));
        // In the past, negative, nonsense.
        assert_eq!(asked("Sun, 06 Nov 1994 08:00:00 GMT"), None);
        assert_eq!(asked("-5"), None);
        assert_eq!(asked("soon"), None);
    }

    #[test]
    fn nonsense_in_details_is_no_pause() {
        assert_eq!(retry_info(b"\xff\xff\xff"), None);
        assert_eq!(retry_info(&details(-1, 0)), None);
        assert_eq!(retry_info(&details(1, -1)), Some(Duration::from_secs(1)));
        assert_eq!(retry_info(b""), None);
    }

    #[test]
    fn the_other_sides_words_are_bounded() {
        let outcome = of_grpc(&Status::invalid_argument("x".repeat(10_000)));
        let Outcome::Refused(why) = outcome else {
            panic!("{outcome:?}")
        };
        assert!(why.chars().count() < 300, "{}", why.len());
    }
}
