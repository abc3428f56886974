//! Metrics and findings as OTLP messages: [`points`] makes a snapshot of metrics into some, [`record`] a finding's change.
//! Names follow OpenTelemetry's semantic conventions where they have them (a test compares); all text is escaped and bounded.

mod findings;
mod points;
#[cfg(test)]
mod tests;

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    resource::v1::Resource as About,
};

use crate::present::escape;

pub use findings::{Event, record};
pub use points::points;

/// The semantic conventions whose names are used: the published list that the tests compare with.
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.42.0";

/// What a message is about: attributes of the OTLP resource.
#[derive(Clone, Debug, Default)]
pub struct Resource {
    /// `host.name`.
    pub host: String,
    /// `os.version`: the kernel's release.
    pub kernel: String,
    /// What is watched, in words (`stallscope.target`).
    pub target: String,
}

impl Resource {
    /// As a message has it. `instance` stands for this run of the tool, and for no other one anywhere.
    pub fn about(&self, instance: &str) -> About {
        About {
            attributes: [
                text("service.name", "stallscope"),
                text("service.version", env!("CARGO_PKG_VERSION")),
                text("service.instance.id", instance),
                text("host.name", &self.host),
                text("os.type", "linux"),
                text("os.version", &self.kernel),
                text("stallscope.target", &self.target),
            ]
            .into_iter()
            .flatten()
            .collect(),
            ..About::default()
        }
    }
}

/// The message that has `records`.
pub fn logs(records: Vec<LogRecord>, about: &About) -> ExportLogsServiceRequest {
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(about.clone()),
            scope_logs: vec![ScopeLogs {
                scope: Some(scope()),
                log_records: records,
                schema_url: SCHEMA_URL.to_owned(),
            }],
            schema_url: SCHEMA_URL.to_owned(),
        }],
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "stallscope".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

/// An attribute of text, escaped and bounded; none where the text is empty, as an attribute without a value is left out.
fn text(key: &str, value: &str) -> Option<KeyValue> {
    (!value.is_empty()).then(|| attribute(key, string(value, escape::MAX)))
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn string(text: &str, max: usize) -> any_value::Value {
    any_value::Value::StringValue(escape::again(text, max).into_owned())
}
