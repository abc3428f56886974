//! Durations as people type them: `500ms`, `10s`, `2m`, `1h`, `1.5s`.

use std::time::Duration;

/// Longest time to watch.
const MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Refreshing faster than this shows nothing to an eye and costs CPU.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// Longest pause between two refreshes.
const MAX_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Units and their length in ns, the longer suffix first so that `ms` is not taken for `s`.
const UNITS: [(&str, u64); 4] = [
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3600 * 1_000_000_000),
];

/// How long to watch: more than 0, at most 24 hours.
pub fn watch(text: &str) -> Result<Duration, String> {
    let duration = parse(text)?;
    if duration.is_zero() {
        return Err("it is 0, which would see nothing; give at least 1ms".into());
    }
    if duration > MAX {
        return Err("it is longer than 24h, the longest run".into());
    }
    Ok(duration)
}

/// How often to refresh: 100 ms to 1 hour.
pub fn interval(text: &str) -> Result<Duration, String> {
    let duration = parse(text)?;
    if !(MIN_INTERVAL..=MAX_INTERVAL).contains(&duration) {
        return Err("it must lie between 100ms and 1h".into());
    }
    Ok(duration)
}

/// A number with a unit. Fractions are exact to the nanosecond; what is finer is refused, not rounded.
fn parse(text: &str) -> Result<Duration, String> {
    if text.starts_with('-') {
        return Err("it is negative or missing; write it as 500ms, 10s, 2m or 1h".into());
    }
    let Some((number, unit)) = UNITS
        .iter()
        .find_map(|(suffix, ns)| Some((text.strip_suffix(suffix)?, *ns)))
    else {
        return match text.parse::<u64>() {
            Ok(0) => Ok(Duration::ZERO),
            Ok(number) => Err(format!("it has no unit; did you mean {number}s?")),
            Err(_) => Err("write it as a number and a unit: 500ms, 10s, 2m or 1h".into()),
        };
    };
    nanoseconds(number, unit)
        .map(Duration::from_nanos)
        .ok_or_else(|| {
            // `1m30s` ends in a known unit but is no number before it.
            "write it as one number and one unit, up to 24h: 500ms, 10s, 2m or 1h".into()
        })
}

/// `number` (digits, perhaps with a fraction) times `unit` ns, or `None` when it is not one.
fn nanoseconds(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |s: &str| !s.is_empty() && s.len() <= 9 && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let scale = 10u64.pow(fraction.len() as u32);
    let fraction = u128::from(fraction.parse::<u64>().ok()?) * u128::from(unit);
    if fraction % u128::from(scale) != 0 {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.saturating_mul(unit);
    // Too long to count is still longer than the longest run, which the caller says.
    Some(whole.saturating_add(u64::try_from(fraction / u128::from(scale)).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_a_unit_are_accepted() {
        for (text, ms) in [
            ("1ms", 1),
            ("500ms", 500),
            ("10s", 10_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("24h", 86_400_000),
            ("1.5s", 1_500),
            ("0.25m", 15_000),
            ("007s", 7_000),
        ] {
            assert_eq!(watch(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_a_reason() {
        for (text, part) in [
            ("0s", "it is 0"),
            ("0ms", "it is 0"),
            ("0", "it is 0"),
            ("0.0h", "it is 0"),
            ("-5s", "negative"),
            ("--json", "negative or missing"),
            ("30", "did you mean 30s?"),
            ("", "a number and a unit"),
            ("s", "one number and one unit"),
            ("ten", "a number and a unit"),
            ("10 s", "one number and one unit"),
            ("1m30s", "one number and one unit"),
            ("1e3s", "one number and one unit"),
            ("+1s", "one number and one unit"),
            ("1.s", "one number and one unit"),
            ("0.0000001ms", "one number and one unit"),
            ("10S", "a number and a unit"),
            ("٣s", "one number and one unit"),
            ("24.001h", "longer than 24h"),
            ("1441m", "longer than 24h"),
            ("999999999h", "longer than 24h"),
            (
                "99999999999999999999s",
                "one number and one unit, up to 24h",
            ),
        ] {
            let error = watch(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn an_interval_has_bounds_of_its_own() {
        assert_eq!(interval("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(interval("1h"), Ok(Duration::from_secs(3600)));
        for text in ["99ms", "0s", "61m"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }
}
