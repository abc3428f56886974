//! What the binary is made of, as CycloneDX JSON: read by whoever looks for a component with a known hole.

use anyhow::Result;
use serde_json::{Value, json};

use super::{Release, crates::Crate};

/// The bill of materials of the binary with this SHA-256. The same release gives the same bytes.
pub fn json(release: &Release, sha256: &str) -> Result<String> {
    let components: Vec<Value> = release.crates.iter().map(component).collect();
    let all: Vec<String> = release.crates.iter().map(purl).collect();
    let own = format!("pkg:github/stallscope/stallscope@{}", release.version);
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": serial(sha256),
        "version": 1,
        "metadata": {
            "timestamp": timestamp(release.epoch),
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": "stallscope",
                "version": release.version,
                "purl": own,
                "hashes": [{ "alg": "SHA-256", "content": sha256 }],
                "licenses": [{ "expression": "MIT OR Apache-2.0" }],
            },
        },
        "components": components,
        // Which crate brought which is not told: what matters is that it is there.
        "dependencies": [{ "ref": own, "dependsOn": all }],
    });
    Ok(serde_json::to_string_pretty(&bill)? + "\n")
}

fn component(of: &Crate) -> Value {
    json!({
        "type": "library",
        "bom-ref": purl(of),
        "name": of.name,
        "version": of.version,
        "purl": purl(of),
        "hashes": [{ "alg": "SHA-256", "content": of.checksum }],
        "licenses": [{ "expression": of.licence }],
    })
}

/// Package URL, the name that data bases of holes use. A plus sign is escaped in it.
fn purl(of: &Crate) -> String {
    format!("pkg:cargo/{}@{}", of.name, of.version.replace('+', "%2B"))
}

/// A UUID of its own for each binary: version 8 is for those made from a digest.
fn serial(sha256: &str) -> String {
    let digit = |from: usize, to: usize| sha256.get(from..to).unwrap_or_default();
    format!(
        "urn:uuid:{}-{}-8{}-8{}-{}",
        digit(0, 8),
        digit(8, 12),
        digit(12, 15),
        digit(15, 18),
        digit(18, 30)
    )
}

/// Seconds since the Unix epoch as `2026-01-31T12:00:00Z`.
fn timestamp(epoch: u64) -> String {
    let (days, rest) = (epoch / 86_400, epoch % 86_400);
    let (year, month, day) = date(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// Year, month and day of a day since the Unix epoch, by counting: there are some 20,000 of them.
pub fn date(days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let (mut year, mut left) = (1970, days);
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn times_are_written_as_the_format_wants() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(timestamp(1_798_761_599), "2026-12-31T23:59:59Z");
    }

    #[test]
    fn every_crate_is_in_it_with_checksum_and_licence() {
        let release = Release {
            version: "0.1.0".to_owned(),
            epoch: 0,
            crates: vec![Crate {
                name: "zstd-sys".to_owned(),
                version: "2.0.16+zstd.1.5.7".to_owned(),
                licence: "MIT".to_owned(),
                checksum: "ab".repeat(32),
                folder: PathBuf::new(),
            }],
            out: PathBuf::new(),
        };
        let bill: Value = serde_json::from_str(&json(&release, &"0f".repeat(32)).unwrap()).unwrap();
        let component = &bill["components"][0];
        assert_eq!(component["purl"], "pkg:cargo/zstd-sys@2.0.16%2Bzstd.1.5.7");
        assert_eq!(component["hashes"][0]["content"], "ab".repeat(32));
        assert_eq!(
            bill["dependencies"][0]["dependsOn"][0],
            component["bom-ref"]
        );
        let serial = bill["serialNumber"].as_str().unwrap();
        assert_eq!(serial.len(), "urn:uuid:".len() + 36);
        assert_eq!(serial, "urn:uuid:0f0f0f0f-0f0f-80f0-8f0f-0f0f0f0f0f0f");
    }
}
