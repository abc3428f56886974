//! What is made from the catalogues of metrics and rules and committed: dashboards, alert rules with their tests, and the page
//! of the metrics. dashboards/layout.toml says by hand what stands where. `cargo xtask bless` writes them.

mod alerts;
mod grafana;
mod layout;
mod names;
mod own_alerts;
mod page;
mod query;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use self::layout::Layout;
use super::CATALOGUE;

/// How they are written.
const BLESS: &str = "BLESS=1 cargo test -p probe-user metrics::generated";

fn root(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn layout() -> Layout {
    let text = fs::read_to_string(root("dashboards/layout.toml")).expect("the layout is there");
    toml::from_str(&text).unwrap_or_else(|why| panic!("dashboards/layout.toml: {why}"))
}

/// Writes a file, or makes sure that it is what would be written.
fn keep(name: &str, made: &str) {
    let path = root(name);
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(path.parent().expect("it is in a folder")).expect("a folder");
        fs::write(&path, made).expect("it can be written");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "{name} is out of date: `cargo xtask bless` writes it"
    );
}

#[test]
fn the_dashboards_are_what_the_layout_says() {
    let layout = layout();
    let folder = "dashboards/grafana";
    for dashboard in &layout.dashboards {
        let made = grafana::dashboard(&layout, dashboard).unwrap_or_else(|why| panic!("{why}"));
        keep(
            &format!("{folder}/{}.json", dashboard.file),
            &format!("{made:#}\n"),
        );
    }
    let files = fs::read_dir(root(folder)).expect("the dashboards are there");
    assert_eq!(
        files.count(),
        layout.dashboards.len(),
        "{folder} has a file of no dashboard"
    );
}

#[test]
fn every_metric_is_on_a_panel_or_left_out_for_a_reason() {
    let layout = layout();
    let shows = layout
        .dashboards
        .iter()
        .flat_map(|d| &d.panels)
        .flat_map(|p| &p.show);
    let shown: BTreeSet<&str> = shows
        .flat_map(|show| show.metrics())
        .map(String::as_str)
        .collect();
    for metric in CATALOGUE {
        let left_out = layout.left_out.get(metric.name);
        assert!(
            shown.contains(metric.name) != left_out.is_some(),
            "{}: it must be on a panel of dashboards/layout.toml, or else under left_out, with the reason",
            metric.name
        );
    }
    for (name, why) in &layout.left_out {
        assert!(
            query::metric(name).is_ok() && why.len() > 20,
            "left_out: {name}"
        );
    }
}

#[test]
fn panels_fit_into_the_grid_and_say_what_they_are_for() {
    for dashboard in layout().dashboards {
        let mut titles = BTreeSet::new();
        for panel in dashboard.panels {
            let context = format!("{}: {}", dashboard.file, panel.title);
            assert!((1..=24).contains(&panel.width), "{context}");
            assert!(
                titles.insert(panel.title.clone()),
                "{context} is there twice"
            );
            assert!(!panel.show.is_empty(), "{context} shows nothing");
        }
    }
}

#[test]
fn the_alerts_are_what_the_catalogues_say() {
    let text = |made: Result<String, String>| made.unwrap_or_else(|why| panic!("{why}"));
    keep("dashboards/prometheus/alerts.yml", &text(alerts::rules()));
    keep(
        "dashboards/prometheus/alerts.test.yml",
        &text(alerts::tests()),
    );
}

#[test]
fn the_page_of_metrics_is_what_the_catalogue_says() {
    keep("docs/metrics.md", &page::page());
}
