//! Answers of a collector: what is taken from them is bounded, and what is tried again is what the specification says.
//!
//! The first byte of an input says what answered.

use std::time::Duration;

use hyper::{
    StatusCode,
    header::{HeaderMap, HeaderValue, RETRY_AFTER},
};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceResponse, metrics::v1::ExportMetricsServiceResponse,
};
use prost::Message;
use stallscope::session::fuzzing::{Outcome, Partial, of_grpc, of_http, of_logs, of_metrics};
use tonic::{Code, Status};

use crate::{input::Input, memory};

/// The longest piece of the other side's words, characters.
const WORDS: usize = 200;

/// Gives it to who reads it. An empty message within a message is two bytes, and some words in a list that doubles.
pub fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let most = memory::ALWAYS + 128 * bytes.len();
    match input.byte() % 4 {
        0 => memory::within(most, || http(input)),
        1 => memory::within(most, || grpc(input)),
        2 => {
            let answer = memory::within(most, || ExportMetricsServiceResponse::decode(input.0));
            let Ok(answer) = answer else { return };
            let said = answer.partial_success.as_ref();
            let said = said.map(|said| (said.rejected_data_points, said.error_message.as_str()));
            partial(of_metrics(&answer), said);
        }
        _ => {
            let answer = memory::within(most, || ExportLogsServiceResponse::decode(input.0));
            let Ok(answer) = answer else { return };
            let said = answer.partial_success.as_ref();
            let said = said.map(|said| (said.rejected_log_records, said.error_message.as_str()));
            partial(of_logs(&answer), said);
        }
    }
}

/// An HTTP status, a `Retry-After` of so many bytes, and a body.
fn http(mut input: Input<'_>) {
    let status = StatusCode::from_u16(input.short() % 1000).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut headers = HeaderMap::new();
    let len = input.byte();
    if let Ok(value) = HeaderValue::from_bytes(input.take(len.into())) {
        headers.insert(RETRY_AFTER, value);
    }
    let outcome = of_http(status, &headers, input.0);
    let later = matches!(status.as_u16(), 429 | 502 | 503 | 504);
    let asked = judged(&outcome, later);
    let seconds = headers
        .get(RETRY_AFTER)
        .and_then(|v| v.to_str().ok()?.trim().parse().ok());
    if let (true, Some(seconds)) = (later, seconds) {
        assert_eq!(asked, Some(Duration::from_secs(seconds)));
    }
}

/// A gRPC code, a message of so many bytes, and details.
fn grpc(mut input: Input<'_>) {
    let code = Code::from(i32::from(input.byte() % 18));
    let len = input.byte();
    let message = String::from_utf8_lossy(input.take(len.into())).into_owned();
    let details = input.0.to_vec();
    let outcome = of_grpc(&Status::with_details(code, message, details.into()));
    let later = match code {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        // Only with a time.
        Code::ResourceExhausted => matches!(outcome, Outcome::Later { asked: Some(_), .. }),
        _ => false,
    };
    judged(&outcome, later);
}

/// What became of a message, with bounded words; the pause that was asked for.
fn judged(outcome: &Outcome, later: bool) -> Option<Duration> {
    let (why, asked) = match outcome {
        Outcome::Later { why, asked } => (why, *asked),
        Outcome::Refused(why) => (why, None),
        Outcome::Taken(_) => panic!("nobody took it: {outcome:?}"),
    };
    assert_eq!(
        matches!(outcome, Outcome::Later { .. }),
        later,
        "{outcome:?}"
    );
    assert!(why.chars().count() <= WORDS + 60, "{why:?}");
    asked
}

fn partial(read: Option<Partial>, said: Option<(i64, &str)>) {
    let told = said.filter(|(rejected, message)| *rejected > 0 || !message.is_empty());
    assert_eq!(read.is_some(), told.is_some());
    if let (Some(read), Some((rejected, message))) = (read, told) {
        assert_eq!(read.rejected, u64::try_from(rejected).unwrap_or(0));
        assert!(message.starts_with(&read.why) && read.why.chars().count() <= WORDS);
    }
}
