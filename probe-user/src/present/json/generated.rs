//! What is made from the types and committed: docs/report.schema.json, and reports of every version in tests/reports.
//! `BLESS=1 cargo test -p probe-user json::generated` writes them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::*;
use crate::diagnose::run;

/// The schema of this version: what is written, so that fields are required which reports always have.
fn schema() -> Value {
    let mut schema = SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<Report>();
    schema.insert(
        "$id".to_owned(),
        format!("urn:stallscope:report:{SCHEMA_VERSION}").into(),
    );
    tidy(schema.to_value())
}

/// Names without what our types have behind them, descriptions on one line, and keys in order.
fn tidy(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<String, Value> = map
                .into_iter()
                .map(|(key, value)| {
                    let key = key.strip_suffix("Json").map(str::to_owned).unwrap_or(key);
                    let value = match value {
                        Value::String(to) if key == "$ref" => {
                            to.strip_suffix("Json").unwrap_or(&to).into()
                        }
                        Value::String(text) if key == "description" => {
                            text.replace('\n', " ").into()
                        }
                        other => tidy(other),
                    };
                    (key, value)
                })
                .collect();
            Value::Object(Map::from_iter(sorted))
        }
        Value::Array(list) => list.into_iter().map(tidy).collect(),
        other => other,
    }
}

fn root(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn json_of(window: &Window) -> String {
    report(window, &run(window))
}

fn bless() -> bool {
    std::env::var_os("BLESS").is_some()
}

/// Names and texts of the reports in tests/reports.
fn kept() -> Vec<(String, String)> {
    let files = fs::read_dir(root("tests/reports")).expect("the reports are there");
    let mut files: Vec<_> = files
        .map(|file| {
            let file = file.expect("it can be listed");
            let text = fs::read_to_string(file.path()).expect("it can be read");
            (file.file_name().to_string_lossy().into_owned(), text)
        })
        .collect();
    files.sort();
    files
}

fn of_this_version((name, _): &(String, String)) -> bool {
    name.starts_with(&format!("{SCHEMA_VERSION}-"))
}

#[test]
fn the_schema_is_what_the_types_say() {
    let path = root("../docs/report.schema.json");
    let made = format!("{:#}\n", schema());
    if bless() {
        fs::write(&path, &made).expect("docs can be written");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "docs/report.schema.json is out of date: `cargo xtask bless` writes it; is schema_version still right?"
    );
}

#[test]
fn every_type_has_a_name_and_every_field_a_description() {
    let schema = schema();
    let types = schema["$defs"].as_object().expect("there are types");
    for (name, of) in types {
        assert!(!name.ends_with('2'), "two types are called {name}");
        assert!(of["description"].is_string(), "{name}");
        for (field, of) in of["properties"].as_object().into_iter().flatten() {
            assert!(of["description"].is_string(), "{name}.{field}");
        }
    }
}

#[test]
fn every_report_is_as_the_schema_says() {
    let schema = schema();
    let validator = jsonschema::validator_for(&schema).expect("it is a schema");
    let valid = |name: &str, text: &str| {
        let report: Value = serde_json::from_str(text).expect("it is JSON");
        let errors: Vec<String> = validator
            .iter_errors(&report)
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}");
        report
    };
    for (name, window) in samples::windows() {
        let mut report = valid(name, &json_of(&window));
        // And it says something: what is missing or of another type is found.
        report["cost"]["own_cpu_ns"] = "1 ms".into();
        assert!(!validator.is_valid(&report));
        report["cost"]
            .as_object_mut()
            .expect("an object")
            .remove("own_cpu_ns");
        assert!(!validator.is_valid(&report));
    }
    for (name, text) in kept().into_iter().filter(of_this_version) {
        valid(&name, &text);
    }
}

/// Reports of former versions stay for good. One of this version is kept as it was written first; a change of the types
/// without a new version would write it otherwise.
#[test]
fn reports_of_every_version_are_read() {
    if bless() && !kept().iter().any(of_this_version) {
        for (name, window) in samples::windows() {
            let path = root("tests/reports").join(format!("{SCHEMA_VERSION}-{name}.json"));
            fs::write(path, json_of(&window)).expect("tests/reports can be written");
        }
    }
    let kept = kept();
    assert!(kept.iter().any(|(name, _)| name.starts_with("1.0-")));
    assert!(
        kept.iter().any(of_this_version),
        "tests/reports has none of version {SCHEMA_VERSION}: `cargo xtask bless` writes them"
    );
    for file in &kept {
        let (name, text) = file;
        let read = Report::parse(text.as_bytes()).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert!(
            name.starts_with(&format!("{}-", read.schema_version)),
            "{name}"
        );
        if of_this_version(file) {
            assert!(
                line(&read) == *text,
                "{name} would be written otherwise now: what changes the format needs a new schema_version"
            );
        }
    }
}
