//! The report as one HTML file that needs nothing else: no script, no network, readable on a phone and on paper.
//!
//! Whatever comes from the traced system goes through [`escape`](super::escape) and then through [`writer::Html`], which
//! is the only way into the document.

mod causes;
mod chart;
mod closing;
mod head;
mod ink;
mod names;
mod requests;
mod section;
mod storage;
mod style;
mod table;
mod tcp;
mod words;
mod writer;

#[cfg(test)]
mod tests;

use crate::{aggregate::Window, diagnose::Diagnosis};

/// The whole document.
pub fn report(window: &Window, diagnosis: &Diagnosis) -> String {
    let mut h = writer::Html::new();
    h.open("html", &[("lang", "en")]);
    head::head(&mut h, window, &[style::CSS, ink::CSS]);
    h.open("body", &[]);
    head::verdict(&mut h, window, diagnosis);
    h.nest("main", &[], |h| {
        causes::causes(h, diagnosis);
        requests::requests(h, window);
        tcp::tcp(h, window, diagnosis);
        names::udp(h, window, diagnosis);
        names::dns(h, window, diagnosis);
        storage::storage(h, window, diagnosis);
        closing::closing(h, window, diagnosis);
    });
    h.finish()
}
