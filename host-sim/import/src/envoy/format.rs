//! Envoy's substitution format strings, `%REQ(X-TENANT)%`, as values that hold parts of the
//! request, `{header.x-tenant}`.

/// A value as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    /// With parts.
    pub(super) text: String,
    /// The headers whose values it holds, in lower case.
    pub(super) headers: Vec<String>,
    /// Whether it holds any part.
    pub(super) varies: bool,
}

/// A text without parts as a value.
pub(super) fn plain(text: &str) -> String {
    text.replace('{', "{{")
}

/// Reads a format string. The error says which part of it the filter does not have.
pub(super) fn format(text: &str) -> Result<Value, String> {
    let mut value = Value {
        text: String::new(),
        headers: Vec::new(),
        varies: false,
    };
    let mut rest = text;
    while let Some((before, from)) = rest.split_once('%') {
        value.text.push_str(&plain(before));
        if let Some(after) = from.strip_prefix('%') {
            value.text.push('%');
            rest = after;
            continue;
        }
        // A command's arguments may hold a `%`.
        let end = match (from.find('('), from.find('%')) {
            (Some(open), Some(percent)) if open < percent => from.find(")%").map(|at| at + 1),
            (_, percent) => percent,
        };
        let Some(end) = end else {
            return Err("a `%` without its end".into());
        };
        let (command, after) = (&from[..end], &from[end + 1..]);
        value.part(command)?;
        rest = after;
    }
    value.text.push_str(&plain(rest));
    Ok(value)
}

impl Value {
    fn part(&mut self, command: &str) -> Result<(), String> {
        let unknown = || format!("%{command}% has no counterpart among the parts of a request");
        let part = match command {
            "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => "client_ip".to_owned(),
            "ROUTE_NAME" => "route".to_owned(),
            "PATH(NQ)" => "path".to_owned(),
            _ => {
                let name = command
                    .strip_prefix("REQ(")
                    .and_then(|it| it.strip_suffix(')'))
                    .ok_or_else(unknown)?;
                if name.contains(['?', ' ']) || name.is_empty() {
                    return Err(unknown());
                }
                let name = match name.to_ascii_lowercase().as_str() {
                    "host" => ":authority".to_owned(),
                    name => name.to_owned(),
                };
                self.headers.push(name.clone());
                format!("header.{name}")
            }
        };
        self.varies = true;
        self.text.push_str(&format!("{{{part}}}"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_become_parts() {
        for (envoy, ours) in [
            ("plain", "plain"),
            ("100%% {a}", "100% {{a}"),
            ("a%REQ(X-Tenant)%b", "a{header.x-tenant}b"),
            ("%REQ(Host)%", "{header.:authority}"),
            ("%REQ(:PATH)%", "{header.:path}"),
            ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "{client_ip}"),
            ("%ROUTE_NAME%", "{route}"),
        ] {
            assert_eq!(
                format(envoy).map(|it| it.text).as_deref(),
                Ok(ours),
                "{envoy}"
            );
        }
        for envoy in [
            "%PROTOCOL%",
            "50%",
            "%REQ(A?B)%",
            "%START_TIME(%Y)%",
            "%REQ()%",
        ] {
            format(envoy).unwrap_err();
        }
    }
}
