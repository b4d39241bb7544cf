//! `vary`: of which request headers a response is a matter, so that a cache gives it to nobody who
//! would have got another one (RFC 9110 section 12.5.5).

/// What a decision looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vary {
    /// Which device asks.
    pub device: bool,
    /// Which language it prefers.
    pub language: bool,
}

impl Vary {
    /// Whether it looked at neither.
    pub fn is_empty(self) -> bool {
        self == Vary::default()
    }

    /// The names that the values of a response's `vary` do not have yet. Empty: they have all, or
    /// say `*`, which is anything.
    pub fn missing<'v>(self, values: impl Iterator<Item = &'v [u8]>) -> Vec<u8> {
        let there = values.flat_map(|value| value.split(|byte| *byte == b','));
        let there: Vec<&[u8]> = there.map(<[u8]>::trim_ascii).collect();
        let has = |name: &[u8]| {
            let mut there = there.iter();
            there.any(|known| *known == b"*" || known.eq_ignore_ascii_case(name))
        };
        let device: &[&[u8]] = if self.device { DEVICE } else { &[] };
        let language: &[&[u8]] = if self.language { LANGUAGE } else { &[] };
        let names = device.iter().chain(language);
        let missing: Vec<&[u8]> = names.filter(|name| !has(name)).copied().collect();
        missing.join(&b", "[..])
    }
}

const DEVICE: &[&[u8]] = &[b"user-agent", b"sec-ch-ua-mobile"];
const LANGUAGE: &[&[u8]] = &[b"accept-language"];

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn names_are_added_and_never_doubled() {
        for (device, language, there, missing) in [
            (false, false, &[][..], ""),
            (false, true, &[], "accept-language"),
            (true, false, &[], "user-agent, sec-ch-ua-mobile"),
            (
                true,
                true,
                &[],
                "user-agent, sec-ch-ua-mobile, accept-language",
            ),
            (
                true,
                true,
                &["accept-encoding"],
                "user-agent, sec-ch-ua-mobile, accept-language",
            ),
            (
                true,
                true,
                &["accept-encoding,User-Agent "],
                "sec-ch-ua-mobile, accept-language",
            ),
            (
                true,
                true,
                &["x", "Accept-Language, sec-ch-ua-mobile"],
                "user-agent",
            ),
            (false, true, &["accept-language"], ""),
            (true, true, &["x, *"], ""),
            (
                false,
                true,
                &["accept-languages, xaccept-language"],
                "accept-language",
            ),
        ] {
            let vary = Vary { device, language };
            let values = there.iter().map(|value: &&str| value.as_bytes());
            assert_eq!(
                vary.missing(values),
                missing.as_bytes(),
                "{vary:?} {there:?}"
            );
            assert_eq!(vary.is_empty(), !(device || language));
        }
    }
}
