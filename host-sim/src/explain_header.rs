//! The `explain` header, by which the hosts learn what the filter decided: a request with the
//! secret in it gets the filter's account of its decision in the response header of the same name.

use crate::environment::Environment;
use crate::exchange::{Pairs, first_value};
use serde_json::{Value, json};

/// The header's name where the configuration has no `explain` of its own.
const DEFAULT_NAME: &str = "x-pointsman-explain";
/// The secret where the configuration has no `explain` of its own.
const DEFAULT_TOKEN: &str = "host-sim";

/// The `explain` header of one configuration.
#[derive(Clone, Debug)]
pub struct ExplainHeader {
    /// In lower case.
    name: Vec<u8>,
    token: Vec<u8>,
    /// The variable that has the token. None: the configuration has it.
    variable: Option<String>,
}

impl ExplainHeader {
    /// Reads the header's name and secret from a configuration; where `explain` is off there, it is
    /// switched on first.
    pub fn switch_on(configuration: &mut Value) -> ExplainHeader {
        let explain = &mut configuration["explain"];
        if explain.is_null() {
            *explain = json!({ "header": DEFAULT_NAME, "token": DEFAULT_TOKEN });
        }
        let name = explain["header"].as_str().unwrap_or(DEFAULT_NAME);
        let token = explain["token"].as_str().unwrap_or_default();
        ExplainHeader {
            name: name.to_ascii_lowercase().into(),
            token: token.into(),
            variable: explain["token"]["env"].as_str().map(str::to_owned),
        }
    }

    /// Takes the secret from here, if the configuration leaves it to the environment.
    pub fn take_from(&mut self, environment: &Environment) {
        if let Some(token) = self.variable.as_ref().and_then(|it| environment.get(it)) {
            self.token = token.trim().into();
        }
    }

    /// The header pair that asks for an account. `roll` fixes the decision's random number, from 0
    /// to below 1.
    pub fn request(&self, roll: Option<f64>) -> (Vec<u8>, Vec<u8>) {
        let roll = roll.map_or(String::new(), |roll| format!(";roll={roll}"));
        (self.name.clone(), [&self.token, roll.as_bytes()].concat())
    }

    /// The account in a response's headers: JSON. None: there is none.
    pub fn account<'p>(&self, headers: &'p Pairs) -> Option<&'p [u8]> {
        first_value(headers, &self.name)
    }

    /// Takes the header out of a message's headers: only the hosts know of it.
    pub fn remove_from(&self, headers: &mut Pairs) {
        headers.retain(|(name, _)| *name != self.name);
    }
}
