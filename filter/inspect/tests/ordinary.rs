//! What people write every day is no SQL injection, and what is near it is.

#![allow(
    clippy::disallowed_macros,
    reason = "a panic in a test is its way to fail"
)]

fn is_attack(value: &str) -> bool {
    pointsman_inspect::sql_injection(value.as_bytes(), &mut u32::MAX.clone())
}

#[test]
fn what_people_write_is_no_attack_and_what_is_near_it_is() {
    for (ordinary, attacks) in [
        (
            "count(5)",
            &["sleep(5)", "count(5)or(1)=1", "count((select 1))"][..],
        ),
        (
            "max(width)",
            &["max(sleep(5))", "max(width) union select 1"],
        ),
        ("min(1, 2)", &["min(1, (select 2))", "benchmark(1, 2)"]),
        (
            "(red OR blue) AND shoes",
            &["(red OR 1=1) AND shoes", "(red OR blue) AND sleep(5)"],
        ),
        (
            "1234-ABCDEFEhfhihwuefi--",
            &[
                "1--",
                "1-1--",
                "1234' or ABCDEF--",
                "1234; drop table users--",
            ],
        ),
        ("a!@#", &["a'!@#", "1 or a!=@@version"]),
        (
            "TEST 0001 - (09/07/2025)",
            &["1 - (select 2025)", "1 or 0001 - (9) = 1"],
        ),
        (
            "I have read and agree to the <a href=\"/privacy-policy/\">",
            &[
                "\" or \"\"=\"",
                "\" or 1=1-- <a href=\"/a\">",
                "<a href=\" or 1=1--\">",
                "<a href=\"/a--\"> union select 1--",
            ],
        ),
    ] {
        assert!(!is_attack(ordinary), "{ordinary}");
        for attack in attacks {
            assert!(is_attack(attack), "{attack}");
        }
    }
}

/// Without the rules here: they are for something.
#[test]
fn libinjection_takes_each_of_them_for_an_attack() {
    for ordinary in [
        "count(5)",
        "(red OR blue) AND shoes",
        "1234-ABCDEFEhfhihwuefi--",
        "a!@#",
        "TEST 0001 - (09/07/2025)",
        "I have read and agree to the <a href=\"/privacy-policy/\">",
    ] {
        let value = ordinary.as_bytes();
        let is_attack = pointsman_inspect::libinjection_sqli(value, &mut u32::MAX.clone());
        assert!(is_attack, "{ordinary}");
    }
}
