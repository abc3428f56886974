//! Grafana's JSON: schema 39, which Grafana 10.4 and 11 read.

use serde_json::{Value, json};

use super::{
    layout::{Dashboard, Form, Kind, Layout, Panel, Show},
    names,
    query::{self, JOB, metric},
};
use crate::present::metrics::Metric;

const SCHEMA_VERSION: u32 = 39;
/// Columns of Grafana's grid.
const COLUMNS: u32 = 24;

/// A dashboard.
pub fn dashboard(layout: &Layout, dashboard: &Dashboard) -> Result<Value, String> {
    let context = |why: String| format!("dashboard {}: {why}", dashboard.file);
    let panels = panels(layout, dashboard).map_err(context)?;
    Ok(json!({
        "uid": format!("stallscope-{}", dashboard.file),
        "title": format!("stallscope / {}", dashboard.title),
        "description": dashboard.about,
        "tags": ["stallscope"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [{
            "type": "dashboards",
            "title": "stallscope",
            "tags": ["stallscope"],
            "asDropdown": false,
            "includeVars": true,
            "keepTime": true,
            "targetBlank": false,
        }],
        "annotations": {"list": [annotation(layout)?]},
        "templating": {"list": variables(layout, dashboard)?},
        "panels": panels,
    }))
}

fn source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

/// Each open finding, from its opening to its closing.
fn annotation(layout: &Layout) -> Result<Value, String> {
    let of = metric(&layout.findings)?;
    let all = of.labels.iter().map(|l| names::label(l));
    let all: Vec<String> = all.collect();
    let has = |label: &str| all.iter().find(|l| l.ends_with(label)).cloned();
    let braces = |label: Option<String>| label.map_or_else(String::new, |l| format!("{{{{{l}}}}}"));
    Ok(json!({
        "name": "Findings",
        "datasource": source(),
        "enable": true,
        "iconColor": "red",
        "expr": format!("max by ({}) ({}{{{JOB}, instance=~\"$instance\"}})", all.join(", "), names::sample(of)),
        "titleFormat": format!("{} {}", braces(has("rule_id")), braces(has("rule_name"))),
        "textFormat": all.iter().map(|l| format!("{{{{{l}}}}}")).collect::<Vec<_>>().join(" "),
        "step": "15s",
        "useValueForTime": false,
    }))
}

fn variables(layout: &Layout, dashboard: &Dashboard) -> Result<Vec<Value>, String> {
    let identity = names::sample(metric(&layout.identity)?);
    let mut list = vec![
        json!({
            "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
            "hide": 0, "includeAll": false, "multi": false, "refresh": 1, "regex": "",
        }),
        variable("job", "Job", &format!("label_values({identity}, job)")),
        variable(
            "instance",
            "Instance",
            &format!("label_values({identity}{{{JOB}}}, instance)"),
        ),
    ];
    if uses_pool(layout, dashboard)? {
        let of = names::sample(metric(&layout.pools_of)?);
        let pool = names::label(&layout.pool);
        let query = format!("label_values({of}{{{JOB}, instance=~\"$instance\"}}, {pool})");
        list.push(variable("pool", "Pool", &query));
    }
    Ok(list)
}

fn uses_pool(layout: &Layout, dashboard: &Dashboard) -> Result<bool, String> {
    for show in dashboard.panels.iter().flat_map(|p| &p.show) {
        if query::pooled(layout, metric(&show.metric)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn variable(name: &str, label: &str, query: &str) -> Value {
    json!({
        "name": name,
        "label": label,
        "type": "query",
        "datasource": source(),
        "definition": query,
        "query": {"query": query, "refId": "variable"},
        "includeAll": true,
        // What has no such label, or none that is known yet, belongs to all.
        "allValue": ".*",
        "multi": true,
        "current": {"text": ["All"], "value": ["$__all"]},
        "refresh": 2,
        "sort": 1,
        "hide": 0,
    })
}

/// Rows and panels with their places.
fn panels(layout: &Layout, dashboard: &Dashboard) -> Result<Vec<Value>, String> {
    let mut all: Vec<Value> = Vec::new();
    let (mut x, mut y, mut lowest) = (0, 0, 0);
    for panel in &dashboard.panels {
        let height = panel.height.unwrap_or(match panel.kind {
            Kind::Stat => 4,
            _ => 8,
        });
        if let Some(row) = &panel.row {
            all.push(json!({
                "id": all.len() + 1, "type": "row", "title": row, "collapsed": false, "panels": [],
                "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": lowest},
            }));
            (x, y, lowest) = (0, lowest + 1, lowest + 1);
        }
        if x + panel.width > COLUMNS {
            (x, y) = (0, lowest);
        }
        let mut made = draw(layout, panel).map_err(|why| format!("{}: {why}", panel.title))?;
        made["id"] = json!(all.len() + 1);
        made["gridPos"] = json!({"h": height, "w": panel.width, "x": x, "y": y});
        all.push(made);
        x += panel.width;
        lowest = lowest.max(y + height);
    }
    Ok(all)
}

fn draw(layout: &Layout, panel: &Panel) -> Result<Value, String> {
    let mut targets = Vec::new();
    for show in &panel.show {
        for query in query::queries(layout, show)? {
            let now = matches!(panel.kind, Kind::Stat | Kind::Table);
            let reference = char::from(b'A' + u8::try_from(targets.len()).unwrap_or(25));
            targets.push(json!({
                "refId": reference.to_string(),
                "datasource": source(),
                "expr": query.expr,
                "legendFormat": query.legend,
                "editorMode": "code",
                "format": if panel.kind == Kind::Table { "table" } else { "time_series" },
                "instant": now,
                "range": !now,
            }));
        }
    }
    let first = panel.show.first().ok_or("it shows nothing")?;
    let unit = match &panel.unit {
        Some(unit) => unit.clone(),
        None => unit_of(metric(&first.metric)?, first).to_owned(),
    };
    let mut made = json!({
        "title": panel.title,
        "description": description(panel)?,
        "datasource": source(),
        "targets": targets,
    });
    let (kind, defaults, options) = match panel.kind {
        Kind::Lines => ("timeseries", lines(10, "none"), legend()),
        Kind::Stacked => ("timeseries", lines(60, "normal"), legend()),
        Kind::Stat => ("stat", json!({}), stat()),
        Kind::States => (
            "state-timeline",
            states(),
            json!({"showValue": "never", "mergeValues": true, "rowHeight": 0.8}),
        ),
        Kind::Table => (
            "table",
            json!({}),
            json!({"cellHeight": "sm", "showHeader": true}),
        ),
    };
    made["type"] = kind.into();
    made["fieldConfig"] = json!({"defaults": defaults, "overrides": []});
    made["options"] = options;
    match panel.kind {
        Kind::Table => table(panel, &mut made)?,
        _ => made["fieldConfig"]["defaults"]["unit"] = unit.into(),
    }
    Ok(made)
}

/// What the panel is for, and what is counted.
fn description(panel: &Panel) -> Result<String, String> {
    let mut parts: Vec<String> = Vec::new();
    parts.extend(panel.about.clone());
    for show in &panel.show {
        for name in show.metrics() {
            let help = metric(name)?.help.to_owned();
            if !parts.contains(&help) {
                parts.push(help);
            }
        }
    }
    parts.extend(
        panel
            .empty
            .as_ref()
            .map(|why| format!("Empty as long as {why}.")),
    );
    Ok(parts.join("\n\n"))
}

/// Grafana's id of a unit.
fn unit_of(of: &Metric, show: &Show) -> &'static str {
    if show.over.is_some() || show.weight.is_some() {
        return "percentunit";
    }
    match (show.form, of.unit) {
        (Form::Share, _) => "percentunit",
        (Form::Since, _) => "s",
        // Seconds a second: of so many CPUs, or workers.
        (Form::Rate, "s") => "none",
        (Form::Rate, "By") => "binBps",
        (Form::Rate | Form::Count, _) => "ops",
        (_, "s") => "s",
        (_, "By") => "bytes",
        (Form::Level, "1") => "percentunit",
        _ => "short",
    }
}

fn lines(fill: u32, stacking: &str) -> Value {
    json!({
        "min": 0,
        "color": {"mode": "palette-classic"},
        "custom": {
            "drawStyle": "line",
            "lineInterpolation": "linear",
            "lineWidth": 1,
            "fillOpacity": fill,
            "showPoints": "auto",
            "spanNulls": false,
            "stacking": {"mode": stacking, "group": "A"},
        },
    })
}

fn legend() -> Value {
    json!({
        "legend": {"showLegend": true, "displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    })
}

fn stat() -> Value {
    json!({
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
        "colorMode": "none",
        "graphMode": "none",
        "textMode": "auto",
        "justifyMode": "auto",
        "orientation": "auto",
    })
}

fn states() -> Value {
    json!({
        "color": {"mode": "fixed", "fixedColor": "red"},
        "custom": {"fillOpacity": 80, "lineWidth": 0},
    })
}

/// Columns: the labels, then a number for each query.
fn table(panel: &Panel, made: &mut Value) -> Result<(), String> {
    let mut rename = json!({});
    let mut index = json!({});
    let mut overrides = Vec::new();
    let mut columns: Vec<String> = Vec::new();
    let by = &panel.show[0].by;
    // The last word, or two where one says too little.
    let last = |label: &str, words: usize| {
        let all: Vec<&str> = label.split('.').collect();
        all[all.len().saturating_sub(words)..]
            .join(" ")
            .replace('_', " ")
    };
    for label in by {
        let twice = by.iter().filter(|other| last(other, 1) == last(label, 1));
        let words = if twice.count() > 1 { 2 } else { 1 };
        let name = names::label(label);
        rename[&name] = last(label, words).into();
        columns.push(name);
    }
    for (n, show) in panel.show.iter().enumerate() {
        if show.by != *by || show.form == Form::Quantiles && show.q.len() != 1 {
            return Err(
                "the columns of a table need the same labels, and one quantile each".to_owned(),
            );
        }
        let title = show
            .legend
            .as_ref()
            .ok_or("a column needs a name (legend)")?;
        let of = metric(&show.metric)?;
        let unit = show
            .unit
            .clone()
            .unwrap_or_else(|| unit_of(of, show).to_owned());
        let reference = char::from(b'A' + u8::try_from(n).unwrap_or(25));
        let field = if panel.show.len() == 1 {
            "Value".to_owned()
        } else {
            format!("Value #{reference}")
        };
        rename[&field] = title.as_str().into();
        columns.push(field);
        overrides.push(json!({
            "matcher": {"id": "byName", "options": title},
            "properties": [{"id": "unit", "value": unit}],
        }));
    }
    for (n, column) in columns.iter().enumerate() {
        index[column] = n.into();
    }
    let mut transformations = vec![];
    if panel.show.len() > 1 {
        transformations.push(json!({"id": "merge", "options": {}}));
    }
    transformations.push(json!({
        "id": "organize",
        "options": {"excludeByName": {"Time": true}, "indexByName": index, "renameByName": rename},
    }));
    made["transformations"] = transformations.into();
    made["fieldConfig"]["overrides"] = overrides.into();
    let last = panel.show[0].legend.as_deref().unwrap_or_default();
    made["options"]["sortBy"] = json!([{"displayName": last, "desc": true}]);
    Ok(())
}
