//! Sizes as people type them: `500k`, `50M`, `2G`.

/// Smallest recording: less holds no whole look at a node.
const MIN: u64 = 64 << 10;

/// Units and their bytes, as in ls(1) and du(1).
const UNITS: [(char, u64); 3] = [('k', 1 << 10), ('m', 1 << 20), ('g', 1 << 30)];

/// A size in bytes, at least 64k.
pub fn bytes(text: &str) -> Result<u64, String> {
    const HOW: &str = "write it as a number and a unit: 500k, 50M or 2G";
    let lower = text.to_ascii_lowercase();
    let (number, unit) = UNITS
        .iter()
        .find_map(|&(suffix, unit)| Some((lower.strip_suffix(suffix)?, unit)))
        .unwrap_or((&lower, 1));
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let size = digits.then(|| number.parse::<u64>().ok()?.checked_mul(unit));
    match size.flatten() {
        Some(size) if size >= MIN => Ok(size),
        Some(_) => Err("it is less than 64k, which holds nothing".to_owned()),
        None => Err(HOW.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_have_units_and_a_least() {
        assert_eq!(bytes("64k"), Ok(64 << 10));
        assert_eq!(bytes("50M"), Ok(50 << 20));
        assert_eq!(bytes("2g"), Ok(2 << 30));
        assert_eq!(bytes("100000"), Ok(100_000));
        for text in ["", "k", "1.5M", "-1M", "10 M", "63k", "99999999999G", "٣M"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
