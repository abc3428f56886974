//! The panels of dashboards/grafana, and what a Prometheus has to show on them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, ensure};
use probe_tests::prometheus::{Prometheus, Series};
use serde_json::Value;

/// What Grafana puts in the place of its variables here: everything, and a stretch that several scrapes fall into.
const VARIABLES: [(&str, &str); 5] = [
    ("$__rate_interval", "10s"),
    ("$__range", "60s"),
    ("$job", ".*"),
    ("$instance", ".*"),
    ("$pool", ".*"),
];
/// How the description of a panel begins to say why it may show nothing.
const EMPTY: &str = "Empty as long as ";

/// A query of a panel.
pub struct Query {
    /// Dashboard, panel and query.
    pub name: String,
    /// PromQL, without variables.
    pub expr: String,
    /// Labels that its legend names.
    pub legend: Vec<String>,
    /// On a machine that is well it may have nothing to show.
    pub may_be_empty: bool,
    /// Its legend tells its results apart.
    lines: bool,
}

/// The folder of the dashboards.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards")
}

/// Every query of every panel, those of annotations and variables included.
pub fn queries() -> anyhow::Result<Vec<Query>> {
    let mut all = Vec::new();
    let mut files: Vec<PathBuf> = fs::read_dir(folder().join("grafana"))?
        .map(|file| Ok(file?.path()))
        .collect::<std::io::Result<_>>()?;
    files.sort();
    ensure!(!files.is_empty(), "there are no dashboards");
    for file in files {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        let json: Value = serde_json::from_str(&fs::read_to_string(&file)?)
            .with_context(|| file.display().to_string())?;
        for panel in array(&json["panels"]) {
            let description = panel["description"].as_str().unwrap_or_default();
            for target in array(&panel["targets"]) {
                let (title, id) = (&panel["title"], &target["refId"]);
                all.push(Query {
                    name: format!("{stem}: {title} {id}"),
                    expr: filled(&target["expr"])?,
                    legend: legend(&target["legendFormat"]),
                    may_be_empty: description.contains(EMPTY),
                    lines: panel["type"] == "timeseries" || panel["type"] == "state-timeline",
                });
            }
        }
        for annotation in array(&json["annotations"]["list"]) {
            all.push(Query {
                name: format!("{stem}: annotation {}", annotation["name"]),
                expr: filled(&annotation["expr"])?,
                legend: legend(&annotation["titleFormat"]),
                may_be_empty: false,
                lines: false,
            });
        }
        for variable in array(&json["templating"]["list"]) {
            // label_values(METRIC, LABEL)
            let query = variable["query"]["query"].as_str().unwrap_or_default();
            let inside = query.strip_prefix("label_values(");
            let inside = inside.and_then(|rest| rest.strip_suffix(')'));
            if let Some((of, label)) = inside.and_then(|inside| inside.rsplit_once(", ")) {
                all.push(Query {
                    name: format!("{stem}: variable {}", variable["name"]),
                    expr: filled(&of.into())?,
                    legend: vec![label.to_owned()],
                    may_be_empty: false,
                    lines: false,
                });
            }
        }
    }
    Ok(all)
}

fn array(json: &Value) -> impl Iterator<Item = &Value> {
    json.as_array().into_iter().flatten()
}

fn filled(expr: &Value) -> anyhow::Result<String> {
    let mut expr = expr.as_str().context("no query")?.to_owned();
    for (name, value) in VARIABLES {
        expr = expr.replace(name, value);
    }
    ensure!(!expr.contains('$'), "a variable is unknown: {expr}");
    Ok(expr)
}

/// The labels in `{{label}}`.
fn legend(format: &Value) -> Vec<String> {
    let format = format.as_str().unwrap_or_default();
    let parts = format.split("{{").skip(1);
    parts
        .filter_map(|part| Some(part.split_once("}}")?.0.to_owned()))
        .collect()
}

/// Queries that said nothing between two times; fails when one that must say something is among them, or when what a
/// legend names is not there.
pub fn silent(
    prometheus: &Prometheus,
    queries: &[Query],
    from: SystemTime,
) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    let mut silent = Vec::new();
    for query in queries {
        let answer =
            prometheus.range(&query.expr, from, SystemTime::now(), Duration::from_secs(1))?;
        let answer: Vec<Series> = answer
            .into_iter()
            .filter(|s| !s.points.is_empty())
            .collect();
        if answer.is_empty() {
            silent.push(query.name.clone());
            if !query.may_be_empty {
                wrong.push(format!("{} shows nothing: {}", query.name, query.expr));
            }
        }
        for label in &query.legend {
            let values = answer.iter().filter_map(|series| series.labels.get(label));
            if !answer.is_empty() && values.count() == 0 {
                wrong.push(format!("{} has no {label}: {}", query.name, query.expr));
            }
        }
        let mut seen = BTreeMap::new();
        for series in &answer {
            let words: Vec<_> = query.legend.iter().map(|l| series.labels.get(l)).collect();
            *seen.entry(words).or_insert(0) += 1;
        }
        if let Some((words, _)) = seen.iter().find(|(_, times)| query.lines && **times > 1) {
            wrong.push(format!(
                "{}: two lines are called {words:?}: {}",
                query.name, query.expr
            ));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(silent)
}
