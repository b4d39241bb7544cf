//! Durations: as others write them, and as the configuration does.

/// Milliseconds of a duration of the Gateway API (GEP-2257): `1h30m`, `500ms`. None: it is none.
pub(crate) fn gateway_api(text: &str) -> Option<u64> {
    let mut total = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let (digits, from) = rest.split_at(end);
        // `ms` before `m`.
        let units = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
        let (unit, milliseconds) = units.into_iter().find(|(unit, _)| from.starts_with(unit))?;
        let number: u64 = digits.parse().ok()?;
        total = total.checked_add(number.checked_mul(milliseconds)?)?;
        rest = &from[unit.len()..];
    }
    (!text.is_empty()).then_some(total)
}

/// As the configuration has it: `90s`, `1500ms`, in the largest unit that is exact.
pub(crate) fn text(milliseconds: u64) -> String {
    match milliseconds {
        0 => "0s".into(),
        _ if milliseconds.is_multiple_of(3_600_000) => format!("{}h", milliseconds / 3_600_000),
        _ if milliseconds.is_multiple_of(60_000) => format!("{}m", milliseconds / 60_000),
        _ if milliseconds.is_multiple_of(1000) => format!("{}s", milliseconds / 1000),
        _ => format!("{milliseconds}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_carried_exactly() {
        for (written, expected) in [
            ("0s", Some("0s")),
            ("1h30m", Some("90m")),
            ("1m500ms", Some("60500ms")),
            ("2h", Some("2h")),
            ("10s", Some("10s")),
            ("", None),
            ("1", None),
            ("1d", None),
            ("s", None),
            ("99999999999999999999h", None),
        ] {
            let found = gateway_api(written).map(text);
            assert_eq!(found.as_deref(), expected, "{written}");
        }
    }
}
