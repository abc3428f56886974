//! Queries in PromQL.

use std::collections::BTreeMap;

use super::{
    layout::{Form, Layout, Show},
    names,
};
use crate::present::metrics::{CATALOGUE, Kind, Metric};

/// A query with what its results are called.
pub struct Query {
    /// PromQL.
    pub expr: String,
    /// Grafana's legend format.
    pub legend: String,
}

/// The metric of a name.
pub fn metric(name: &str) -> Result<&'static Metric, String> {
    let found = CATALOGUE.iter().find(|metric| metric.name == name);
    found.ok_or_else(|| format!("there is no metric {name}"))
}

/// The queries of a `show`: one for each quantile, else one.
pub fn queries(layout: &Layout, show: &Show) -> Result<Vec<Query>, String> {
    let of = metric(&show.metric)?;
    for label in show
        .by
        .iter()
        .chain(show.only.keys())
        .chain(show.not.keys())
    {
        if label != INSTANCE && !of.labels.contains(&label.as_str()) {
            return Err(format!("{} has no label {label}", of.name));
        }
    }
    fits(of, show.form)?;
    let legend = |before: &str| {
        let mut words: Vec<String> = Vec::new();
        words.extend((!before.is_empty()).then(|| before.to_owned()));
        words.extend(show.legend.clone());
        if show.legend.is_none() {
            let labels = show
                .by
                .iter()
                .map(|l| format!("{{{{{}}}}}", names::label(l)));
            words.extend(labels);
        }
        words.join(" ")
    };
    if show.form == Form::Quantiles {
        return show
            .q
            .iter()
            .map(|q| {
                Ok(Query {
                    expr: cut(show, quantile(layout, of, show, *q)),
                    legend: legend(&format!("p{}", q * 100.0)),
                })
            })
            .collect();
    }
    let mut expr = plain(layout, of, show)?;
    if let Some(over) = &show.over {
        let over = metric(over)?;
        fits(over, show.form)?;
        let on = labels(&show.by);
        expr = format!("{expr} / on ({on}) {}", plain(layout, over, &all_of(show))?);
    }
    if let Some(weight) = &show.weight {
        let weight = metric(weight)?;
        let by = |label: &&String| *label == INSTANCE || weight.labels.contains(&label.as_str());
        let by: Vec<String> = show.by.iter().filter(by).cloned().collect();
        let (on, rows) = (labels(&by), series(layout, weight, "", &all_of(show)));
        expr = format!(
            "0 * {expr} + on ({on}) group_left {}",
            over("max", &on, &rows)
        );
    }
    Ok(vec![Query {
        expr: cut(show, expr),
        legend: legend(""),
    }])
}

/// Prometheus's own label, for which stallscope runs on.
const INSTANCE: &str = "instance";

/// Whether a form makes sense of a kind.
fn fits(of: &Metric, form: Form) -> Result<(), String> {
    let fits = match form {
        Form::Level | Form::Since => matches!(of.kind, Kind::Gauge | Kind::UpDownCounter),
        Form::Rate | Form::Growth | Form::Share => of.kind == Kind::Counter,
        Form::Quantiles | Form::Mean | Form::Count => of.kind == Kind::Histogram,
    };
    if fits {
        return Ok(());
    }
    Err(format!("{form:?} of {}, a {:?}", of.name, of.kind))
}

fn plain(layout: &Layout, of: &Metric, show: &Show) -> Result<String, String> {
    let by = labels(&show.by);
    let put = show.put.as_deref().unwrap_or(match of.kind {
        Kind::Gauge => "max",
        _ => "sum",
    });
    if !["sum", "max", "min", "avg"].contains(&put) {
        return Err(format!("rows are not put together by {put}"));
    }
    let rate = |suffix: &str, by: &str| {
        let series = series(layout, of, suffix, show);
        over(put, by, &format!("rate({series}[$__rate_interval])"))
    };
    Ok(match show.form {
        Form::Level => over(put, &by, &series(layout, of, "", show)),
        Form::Since => format!("time() - {}", over(put, &by, &series(layout, of, "", show))),
        Form::Rate => rate("_total", &by),
        Form::Count => rate("_count", &by),
        Form::Growth => {
            let series = series(layout, of, "_total", show);
            over(put, &by, &format!("increase({series}[$__range])"))
        }
        Form::Share => {
            let Some((_, whole)) = show.by.split_last() else {
                return Err(format!("a share of {} needs a label", of.name));
            };
            let whole = labels(whole);
            format!(
                "{} / on ({whole}) group_left {}",
                rate("_total", &by),
                rate("_total", &whole)
            )
        }
        Form::Mean => format!("{} / {}", rate("_sum", &by), rate("_count", &by)),
        Form::Quantiles => quantile(layout, of, show, 0.5),
    })
}

fn quantile(layout: &Layout, of: &Metric, show: &Show, q: f64) -> String {
    let mut by = vec!["le".to_owned()];
    by.extend(show.by.iter().cloned());
    let series = series(layout, of, "_bucket", show);
    let rates = over(
        "sum",
        &labels(&by),
        &format!("rate({series}[$__rate_interval])"),
    );
    format!("histogram_quantile({q}, {rates})")
}

/// Rows put together.
fn over(put: &str, by: &str, what: &str) -> String {
    if by.is_empty() {
        format!("{put}({what})")
    } else {
        format!("{put} by ({by}) ({what})")
    }
}

/// What of the result is looked at.
fn cut(show: &Show, mut expr: String) -> String {
    if let Some(keep) = &show.keep {
        expr = format!("{expr} {keep}");
    }
    match show.top {
        Some(top) => format!("topk({top}, {expr})"),
        None => expr,
    }
}

fn labels(of: &[String]) -> String {
    let of: Vec<String> = of.iter().map(|l| names::label(l)).collect();
    of.join(", ")
}

/// The same, of all rows.
fn all_of(show: &Show) -> Show {
    Show {
        only: BTreeMap::new(),
        not: BTreeMap::new(),
        ..show.clone()
    }
}

/// Whether the variable `pool` is applied to a metric.
pub fn pooled(layout: &Layout, of: &Metric) -> bool {
    layout.pooled.iter().any(|begin| of.name.starts_with(begin))
        && of.labels.contains(&layout.pool.as_str())
}

/// A metric's rows of the instances and pools that are chosen.
fn series(layout: &Layout, of: &Metric, suffix: &str, show: &Show) -> String {
    let mut matchers = vec![JOB.to_owned(), r#"instance=~"$instance""#.to_owned()];
    if pooled(layout, of) {
        matchers.push(format!(r#"{}=~"$pool""#, names::label(&layout.pool)));
    }
    let mut add = |label: &str, how: &str, value: &str| {
        matchers.push(format!("{}{how}{value:?}", names::label(label)));
    };
    for (label, value) in &show.only {
        add(label, "=", value);
    }
    for (label, value) in &show.not {
        add(label, "!=", value);
    }
    format!("{}{suffix}{{{}}}", names::family(of), matchers.join(", "))
}

/// Other exporters have metrics by OpenTelemetry's names, too.
pub const JOB: &str = r#"job=~"$job""#;
