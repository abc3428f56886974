//! Durations, counts and shares as people read them.

use crate::diagnose::{Quantity, Unit};

/// A duration of `ns` in at most 6 characters of number and a unit: `9.02 s`, `371 ms`, `42 µs`, `2 m 5 s`.
pub fn duration(ns: u64) -> String {
    const MINUTE: u64 = 60_000_000_000;
    match ns {
        0 => "0 s".to_owned(),
        1..1_000 => format!("{ns} ns"),
        1_000..999_500 => three(ns as f64 / 1e3, "µs"),
        999_500..999_500_000 => three(ns as f64 / 1e6, "ms"),
        999_500_000..MINUTE => seconds(ns),
        _ => {
            let seconds = (ns / 500_000_000).div_ceil(2);
            match seconds {
                0..3600 => format!("{} m {} s", seconds / 60, seconds % 60),
                _ => format!("{} h {} m", seconds / 3600, seconds / 60 % 60),
            }
        }
    }
}

/// Seconds with two or three digits: `0.40 s`, `9.02 s`, `11.4 s`.
pub fn seconds(ns: u64) -> String {
    let s = ns as f64 / 1e9;
    if s < 9.995 {
        format!("{s:.2} s")
    } else {
        format!("{s:.1} s")
    }
}

/// Three digits of significance at most, and no more than one of them behind the point above 10.
fn three(value: f64, unit: &str) -> String {
    if value < 9.995 {
        format!("{} {unit}", trim(format!("{value:.2}")))
    } else if value < 99.95 {
        format!("{} {unit}", trim(format!("{value:.1}")))
    } else {
        format!("{value:.0} {unit}")
    }
}

/// `1.50` as `1.5`, `2.0` as `2`.
fn trim(number: String) -> String {
    if number.contains('.') {
        number
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned()
    } else {
        number
    }
}

/// A whole number with its thousands parted: `36,214`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A mean number of things: `24`, `2.3`, `0.05`; whole when it is within a hundredth of a whole number.
pub fn mean(value: f64) -> String {
    if !value.is_finite() {
        "-".to_owned()
    } else if value >= 99.5 || (value - value.round()).abs() < 0.01 {
        count(value.round().max(0.0) as u64)
    } else if value >= 1.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// `n` in `ns` as a rate: `7,242.8/s`.
pub fn rate(n: u64, ns: u64) -> String {
    if ns == 0 {
        return "-/s".to_owned();
    }
    let tenths = (n as f64 * 1e10 / ns as f64).round() as u64;
    format!("{}.{}/s", count(tenths / 10), tenths % 10)
}

/// A share as `98 %`; `<1 %` and `>99 %` rather than a rounded 0 or 100 that it is not.
pub fn percent(share: f64) -> String {
    if !share.is_finite() {
        return "-".to_owned();
    }
    let percent = share * 100.0;
    match percent.round() as i64 {
        0 if percent > 0.0 => "<1 %".to_owned(),
        100 if percent < 100.0 => ">99 %".to_owned(),
        n => format!("{n} %"),
    }
}

/// Bytes as `11 MB` (10^6).
pub fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => three(n as f64 / 1e3, "kB"),
        1_000_000..1_000_000_000 => three(n as f64 / 1e6, "MB"),
        _ => three(n as f64 / 1e9, "GB"),
    }
}

/// A number in its unit.
pub fn quantity(q: Quantity) -> String {
    match q.unit {
        Unit::Ns => duration(whole(q.value)),
        Unit::Ratio => percent(q.value),
        Unit::Count => mean(q.value),
        Unit::PerSecond => format!("{}/s", mean(q.value)),
        Unit::Bytes => bytes(whole(q.value)),
    }
}

/// The nearest whole number that is not negative.
fn whole(value: f64) -> u64 {
    // A cast from a float saturates, and makes NaN 0.
    value.round() as u64
}

/// `1 worker`, `2 workers`.
pub fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well_at_every_size() {
        for (ns, text) in [
            (0, "0 s"),
            (999, "999 ns"),
            (1_500, "1.5 µs"),
            (42_000, "42 µs"),
            (999_499, "999 µs"),
            (999_600, "1 ms"),
            (371_000_000, "371 ms"),
            (999_499_999, "999 ms"),
            (999_500_000, "1.00 s"),
            (9_020_000_000, "9.02 s"),
            (11_400_000_000, "11.4 s"),
            (125_000_000_000, "2 m 5 s"),
            (7_260_000_000_000, "2 h 1 m"),
        ] {
            assert_eq!(duration(ns), text, "{ns}");
        }
        assert!(!duration(u64::MAX).is_empty());
    }

    #[test]
    fn counts_rates_and_shares() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(36_214), "36,214");
        assert_eq!(count(1_000_000), "1,000,000");
        assert_eq!(rate(36_214, 5_000_000_000), "7,242.8/s");
        assert_eq!(rate(1, 0), "-/s");
        assert_eq!(mean(24.0), "24");
        assert_eq!(mean(2.31), "2.3");
        assert_eq!(mean(f64::NAN), "-");
        assert_eq!(percent(0.979), "98 %");
        assert_eq!(percent(0.001), "<1 %");
        assert_eq!(percent(0.999), ">99 %");
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(bytes(11_300_000), "11.3 MB");
        assert_eq!(plural(1, "worker", "workers"), "1 worker");
        assert_eq!(plural(1024, "worker", "workers"), "1,024 workers");
    }
}
