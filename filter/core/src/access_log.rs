//! `access_log`: what the proxy's access log is told of a decision.
//!
//! One line: `route=checkout pool=web target=blue reason=balance`. A part that there is nothing to
//! say of is left out, what a protection found is `protect=edge found=sql_injection`; `reason` is always there. In a name the bytes that would make the line
//! ambiguous, or that a log would escape once more, are percent-encoded: blanks, `"`, `%` and `\`.
//! All of it is made of names of the configuration, so nothing in it comes from a client.

use crate::decision::Decision;

/// The line of one decision.
pub fn line(decision: &Decision<'_>) -> String {
    let mut line = String::with_capacity(USUAL_LENGTH);
    let mut part = |key: &str, value: &str| {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(key);
        line.push('=');
        value.chars().for_each(|letter| match letter {
            ' ' => line.push_str("%20"),
            '"' => line.push_str("%22"),
            '%' => line.push_str("%25"),
            '\\' => line.push_str("%5C"),
            letter => line.push(letter),
        });
    };
    if let Some(route) = decision.route {
        part("route", &route.name);
    }
    if let Some((pool, target)) = decision.target {
        part("pool", &pool.name);
        part("target", &target.name);
    }
    for hit in &decision.hits {
        part("protect", &hit.protect.name);
        part("found", hit.word());
    }
    part("reason", decision.reason.word());
    line
}

/// Room for names as they usually are.
const USUAL_LENGTH: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{Action, Reason};
    use crate::route::Route;
    use crate::route::tests::route;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_part_that_is_not_there_is_left_out() {
        let decision = Decision::forward(Action::Pass, Reason::NoRoute, Vec::new());
        assert_eq!(line(&decision), "reason=no_route");
    }

    #[test]
    fn a_name_cannot_look_like_another_part() {
        let route = Route {
            name: "a reason=b \"100%\\é".into(),
            ..route(Vec::new())
        };
        let decision = Decision {
            route: Some(&route),
            ..Decision::forward(Action::Pass, Reason::Route, Vec::new())
        };
        assert_eq!(
            line(&decision),
            "route=a%20reason=b%20%22100%25%5Cé reason=route"
        );
    }
}
