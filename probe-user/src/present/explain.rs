//! The text of `stallscope explain` and of docs/rules.

use super::Style;
use crate::diagnose::rules::Rule;

/// A rule's documentation as text; ends with a newline.
pub fn text(rule: &Rule, style: Style) -> String {
    let _ = (rule, style);
    String::new()
}

/// The same as a Markdown page for docs/rules, which is generated from it; ends with a newline.
pub fn markdown(rule: &Rule) -> String {
    let _ = rule;
    String::new()
}
