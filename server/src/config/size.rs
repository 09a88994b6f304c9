//! Sizes and fractions as RabbitMQ's configuration writes them.

/// Bytes of a size: a number, perhaps with a unit. `k`, `M`, `G`, `T` and the same with `i` or `iB` count in 1,024s, those with `B`
/// alone in 1,000s (RabbitMQ docs: Configuration / information units).
///
/// # Errors
/// A text that says what is expected.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let bad = || {
        format!(
            "\"{text}\" is no size: expected bytes such as 500000000, or a number with a unit such as 500MB, 2GiB or 2G"
        )
    };
    let text_end = text.trim();
    let digits = text_end.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text_end.len());
    let (number, unit) = text_end.split_at(digits);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let (base, power) = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => (1, 0),
        "k" | "ki" | "kib" => (1024, 1),
        "kb" => (1000, 1),
        "m" | "mi" | "mib" => (1024, 2),
        "mb" => (1000, 2),
        "g" | "gi" | "gib" => (1024, 3),
        "gb" => (1000, 3),
        "t" | "ti" | "tib" => (1024, 4),
        "tb" => (1000, 4),
        "p" | "pi" | "pib" => (1024, 5),
        "pb" => (1000, 5),
        _ => return Err(bad()),
    };
    u64::pow(base, power).checked_mul(number).ok_or_else(|| format!("\"{text}\" is larger than any disk"))
}

/// A decimal fraction such as `0.4` of a number, rounded down.
///
/// # Errors
/// A text that says what is expected.
pub fn fraction_of(text: &str, total: u64) -> Result<u64, String> {
    let bad = || format!("\"{text}\" is no fraction: expected a number such as 0.6");
    let (whole, decimals) = text.trim().split_once('.').unwrap_or_else(|| (text.trim(), ""));
    let is_number = |part: &str| part.len() <= 9 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(decimals) || (whole.is_empty() && decimals.is_empty()) {
        return Err(bad());
    }
    let parts = format!("{whole}{decimals}").parse::<u128>().map_err(|_| bad())?;
    let scale = decimals.bytes().fold(1_u128, |scale, _| scale * 10);
    u64::try_from(u128::from(total) * parts / scale).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RabbitMQ docs: Memory Threshold and Limit / units.
    #[test]
    fn units_are_rabbitmqs() {
        for (text, bytes) in [
            ("0", 0),
            ("1234", 1234),
            ("1kB", 1000),
            ("1k", 1024),
            ("2KiB", 2048),
            ("50MB", 50_000_000),
            ("50M", 52_428_800),
            ("1 GiB", 1 << 30),
            ("1GB", 1_000_000_000),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "banana", "1.5GB", "-1", "1XB", "99999999999999PB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn fractions_are_exact() {
        for (text, of_1000) in [("0.6", 600), ("0", 0), ("1", 1000), ("1.5", 1500), (".25", 250), ("0.0009", 0)] {
            assert_eq!(fraction_of(text, 1000), Ok(of_1000), "{text}");
        }
        for text in ["", ".", "-1", "1e3", "banana", "1.2.3"] {
            assert!(fraction_of(text, 1000).is_err(), "{text}");
        }
    }
}
