//! What stands in dashboards/layout.toml: which metric is on which panel, in which form, in which order.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// The metric that each instance has exactly once: instances are listed by it.
    pub identity: String,
    /// The label that the variable `pool` chooses from, ...
    pub pool: String,
    /// ... the metric whose values of it are offered, ...
    pub pools_of: String,
    /// ... and how the names of those begin that it is applied to.
    pub pooled: Vec<String>,
    /// The metric of which a dashboard's annotations are made.
    pub findings: String,
    /// Dashboards, in the order of their links.
    #[serde(rename = "dashboard")]
    pub dashboards: Vec<Dashboard>,
    /// Metrics that stand on no panel, with the reason.
    #[serde(default)]
    pub left_out: BTreeMap<String, String>,
}

/// A dashboard.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dashboard {
    /// Stem of the file and end of the uid.
    pub file: String,
    /// Title, behind `stallscope / `.
    pub title: String,
    /// The question that it answers.
    pub about: String,
    /// Panels, from left to right and from top to bottom.
    #[serde(rename = "panel")]
    pub panels: Vec<Panel>,
}

/// A panel.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Panel {
    /// Title.
    pub title: String,
    /// A row with this title begins before it.
    pub row: Option<String>,
    /// How it is drawn.
    pub kind: Kind,
    /// Width; the whole is 24.
    pub width: u32,
    /// Height; what is usual for its kind, if it is not given.
    pub height: Option<u32>,
    /// What to make of it. What is counted is said by the metrics' own help.
    pub about: Option<String>,
    /// Grafana's id of the unit, where it does not follow from the metric and the form.
    pub unit: Option<String>,
    /// Why it may say nothing on a machine that is well.
    pub empty: Option<String>,
    /// What it shows.
    pub show: Vec<Show>,
}

/// How a panel is drawn.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Lines over time.
    Lines,
    /// Areas over time, one upon the other.
    Stacked,
    /// A number.
    Stat,
    /// Rows of labels and numbers as they are now.
    Table,
    /// Bands over time: there or not there.
    States,
}

impl Show {
    /// All metrics that it is made of.
    pub fn metrics(&self) -> impl Iterator<Item = &String> {
        [Some(&self.metric), self.over.as_ref(), self.weight.as_ref()]
            .into_iter()
            .flatten()
    }
}

/// A query, made of a metric.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Show {
    /// Name in the catalogue.
    pub metric: String,
    /// What is made of it.
    pub form: Form,
    /// Labels that are told apart.
    #[serde(default)]
    pub by: Vec<String>,
    /// Only rows whose labels have these values.
    #[serde(default)]
    pub only: BTreeMap<String, String>,
    /// Only rows whose labels do not have these values.
    #[serde(default)]
    pub not: BTreeMap<String, String>,
    /// How rows are put together: sum, max, min, avg. A gauge: max, all else: sum.
    pub put: Option<String>,
    /// Only so many, the largest.
    pub top: Option<u32>,
    /// Only those that compare so: `> 0`.
    pub keep: Option<String>,
    /// Quantiles of [`Form::Quantiles`].
    #[serde(default = "quantiles")]
    pub q: Vec<f64>,
    /// What it is divided by, in the same form and by the same labels: a metric, all its rows.
    pub over: Option<String>,
    /// What tells how much instead: a gauge of some of the same labels.
    pub weight: Option<String>,
    /// What it is called; in a table, its column.
    pub legend: Option<String>,
    /// Grafana's id of the unit, in a table.
    pub unit: Option<String>,
}

/// What is made of a metric.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// As it is.
    Level,
    /// Growth a second.
    Rate,
    /// Growth over what is looked at.
    Growth,
    /// Growth of each as a share of the growth of all that have the same labels but the last.
    Share,
    /// Quantiles of a histogram.
    Quantiles,
    /// Mean of a histogram.
    Mean,
    /// How often, of a histogram, a second.
    Count,
    /// Time since the moment that it is.
    Since,
}

fn quantiles() -> Vec<f64> {
    vec![0.5, 0.95, 0.99]
}
