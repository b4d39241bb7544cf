//! YAML, and JSON, which is YAML too, as JSON values.

use serde_json::Value;

/// Reads a text. Words such as `no` and `on` are text, as YAML 1.2 has it: a country, not false. A key given twice is
/// an error.
pub fn value(text: &str) -> Result<Value, String> {
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn plain_words_are_text_and_numbers_are_numbers() {
        assert_eq!(
            value("[no, n, on, true, 10, 1.5, 1:30, ~, \"\\xff\"]"),
            Ok(json!(["no", "n", "on", true, 10, 1.5, "1:30", null, "\u{ff}"]))
        );
    }

    #[test]
    fn json_is_read_and_a_key_given_twice_is_not() {
        assert_eq!(value("{\"a\": [1, \"b\"]}"), Ok(json!({"a": [1, "b"]})));
        assert!(value("{\"a\": 1, \"a\": 2}").unwrap_err().contains("duplicate"));
    }
}
