//! Reports that are read back: from any file, of this version or another, within bounded memory; and what is said of one that
//! is none.

use stallscope::present::json::{Report, Unreadable};

use crate::{memory, outputs};

/// A value is a separator in the text and at most so many bytes in memory, in a list that may have grown to twice its length
/// and is copied when it grows.
const OF_VALUE: usize = 3 * size_of::<Report>();

/// Reads it; what was read is written, read once more, and compared with itself.
pub fn run(bytes: &[u8]) {
    let values = bytes
        .iter()
        .filter(|b| matches!(b, b',' | b'[' | b'{'))
        .count();
    let most = memory::ALWAYS + OF_VALUE * (values + 1) + 8 * bytes.len();
    let report = match memory::within(most, || Report::parse(bytes)) {
        Ok(report) => report,
        Err(why) => {
            // It is said behind the file's name, in a line.
            let said = why.to_string();
            outputs::harmless(&said);
            assert!(
                !said.contains('\n') && said.chars().count() < 600,
                "{said:?}"
            );
            assert!(!matches!(why, Unreadable::Io(_)), "nothing was read");
            return;
        }
    };
    let written = serde_json::to_vec(&report).expect("what was read can be written");
    let again = Report::parse(&written).unwrap_or_else(|why| panic!("what was written: {why}"));
    let twice = serde_json::to_vec(&again).expect("what was read can be written");
    assert!(written == twice, "it comes back as something else");
    outputs::itself(&report);
}
