//! Secrets: written down, or left to the environment of the proxy (`{ env: NAME }`).

use super::reader::{Node, Report};
use super::syntax;

/// What gives the value of a variable of the proxy's environment. None: it is not set.
pub type Variables<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// A secret that could be read.
pub(super) struct Secret {
    /// The secret itself, which no problem may show. That of a variable is without the blanks and
    /// the end of the line around it, which a file that became a variable has.
    pub text: String,
    /// What a problem says first: the variable that it is from.
    of: String,
}

impl Secret {
    /// Reads a secret. None, after a problem was noted: it is none.
    #[cold]
    #[inline(never)]
    pub(super) fn read(
        node: &Node<'_>,
        variables: &Variables<'_>,
        report: &mut Report,
        expected: &str,
    ) -> Option<Secret> {
        if !node.is_map() {
            return node.secret(report, expected).map(|text| Secret {
                text: text.to_owned(),
                of: String::new(),
            });
        }
        let map = node.map(report, &["env"])?;
        let name = map.need(report, "env", syntax::VARIABLE)?;
        let name = name.text_that(report, syntax::is_variable, syntax::VARIABLE)?;
        let secret = Secret {
            text: variables(name).unwrap_or_default().trim().to_owned(),
            of: format!("the variable {name}: "),
        };
        if secret.text.is_empty() {
            secret.wrong(node, report, "not set, empty or no text", GIVEN);
            return None;
        }
        Some(secret)
    }

    /// Notes that it is `found`, which is not what it should be.
    #[cold]
    #[inline(never)]
    pub(super) fn wrong(&self, node: &Node<'_>, report: &mut Report, found: &str, expected: &str) {
        report.note(node, &format!("{}{found}", self.of), expected);
    }
}

/// What a variable has to be.
const GIVEN: &str = "one that the proxy has, and gives to the filter's VM";
