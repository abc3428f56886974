//! What reads files of the user and words of the network, and what makes a window of a recording, opened to the fuzz
//! targets, and to nothing else.

use super::daemon::settings::file::File;

pub use super::{
    daemon::{
        http::{
            Counts, Plan as ServePlan,
            answer::{Published, answer},
            auth::Auth,
        },
        push::{
            answer::{Outcome, Partial, of_grpc, of_http, of_logs, of_metrics},
            plan::{End, end, headers},
        },
        settings::{Listen, address::parse as listen},
    },
    doctor::lockdown_mode,
    replay::{Fold, about, window},
};

/// Reads a configuration file.
///
/// # Errors
/// What is wrong, with the line.
pub fn file(text: &str) -> Result<(), String> {
    File::parse(text).map(drop)
}
