//! The list of `stallscope rules`.

use super::Style;

/// Every rule, a line each; ends with a newline.
pub fn text(style: Style) -> String {
    let _ = style;
    String::new()
}

/// One JSON document; ends with a newline.
pub fn json() -> String {
    String::new()
}

/// The index page of docs/rules as Markdown; ends with a newline.
pub fn markdown_index() -> String {
    String::new()
}
