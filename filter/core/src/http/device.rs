//! What kind of device asks, by what it says of itself: its user agent, and the client hint
//! `Sec-CH-UA-Mobile` that browsers of the Chromium family send with every request.

use super::bots::is_bot;
use std::fmt;

/// What asks. Whoever says nothing of the kind is a desktop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// `mobile`: a phone.
    Mobile,
    /// `tablet`: a larger one without keys, or a television with Android.
    Tablet,
    /// `desktop`: anything else.
    Desktop,
    /// `bot`: a program that nobody looks at.
    Bot,
}

/// Some kinds of devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Devices(u8);

impl Device {
    /// All of them, with their words.
    pub const ALL: &[(&str, Device)] = &[
        ("mobile", Device::Mobile),
        ("tablet", Device::Tablet),
        ("desktop", Device::Desktop),
        ("bot", Device::Bot),
    ];

    /// The word that stands for it.
    pub fn word(self) -> &'static str {
        match self {
            Device::Mobile => "mobile",
            Device::Tablet => "tablet",
            Device::Desktop => "desktop",
            Device::Bot => "bot",
        }
    }

    /// What asks, by the values of these headers; empty: there is none.
    ///
    /// A bot says so in its user agent, whatever browser it takes after. Otherwise the hint comes
    /// first: `?1` is a phone, and `?0` is none. Tablets are told from desktops by the user agent
    /// alone: `iPad`, `Tablet`, or `Android` without the `Mobi` that phones have.
    pub fn of(user_agent: &[u8], hint: &[u8]) -> Device {
        let user_agent = user_agent.get(..MAX_USER_AGENT).unwrap_or(user_agent);
        if is_bot(user_agent) {
            return Device::Bot;
        }
        let hint = hint.trim_ascii();
        if hint == b"?1" {
            return Device::Mobile;
        }
        let mut words = Words::default();
        (0..user_agent.len()).for_each(|at| words.note(user_agent.get(at..).unwrap_or_default()));
        if words.tablet || words.android && !words.mobile {
            Device::Tablet
        } else if words.mobile && hint != b"?0" {
            Device::Mobile
        } else {
            Device::Desktop
        }
    }
}

/// The longest part of a user agent that is looked at, in bytes: the longest of the package's
/// examples has 285.
pub const MAX_USER_AGENT: usize = 512;

/// What a user agent costs, in steps: a search of the list of bots, in 14 halves, at each byte.
pub fn steps(user_agent: &[u8]) -> usize {
    112 * user_agent.len().min(MAX_USER_AGENT)
}

/// The words of a user agent that tell.
#[derive(Default)]
struct Words {
    mobile: bool,
    tablet: bool,
    android: bool,
}

impl Words {
    fn note(&mut self, rest: &[u8]) {
        match rest {
            [b'M', b'o', b'b', b'i', ..] => self.mobile = true,
            [b'A', b'n', b'd', b'r', b'o', b'i', b'd', ..] => self.android = true,
            [b'i', b'P', b'a', b'd', ..] => self.tablet = true,
            // Internet Explorer says "Tablet PC" of any Windows that knows pens.
            [b'T', b'a', b'b', b'l', b'e', b't', behind @ ..] => {
                self.tablet |= !behind.starts_with(b" PC");
            }
            _ => {}
        }
    }
}

impl Devices {
    /// These and one more.
    #[must_use]
    pub fn with(self, device: Device) -> Devices {
        Devices(self.0 | 1 << device as u8)
    }

    /// Whether it is one of them.
    pub fn has(self, device: Device) -> bool {
        self.0 & 1 << device as u8 != 0
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Device> {
        let all = Device::ALL.iter().map(|(_, device)| *device);
        all.filter(move |device| self.has(*device))
    }
}

/// As they stand in the configuration.
impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, device) in self.iter().enumerate() {
            f.write_str(if at > 0 { " or " } else { "" })?;
            f.write_str(device.word())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// User agents with what they are, a line each: a sample of npm's `user-agents` 2.1.198
    /// (BSD-2-Clause), which were seen in 2026, with the kinds that it gives.
    const SEEN: &str = include_str!("device/seen.txt");

    fn device(user_agent: &str, hint: Option<&str>) -> Device {
        Device::of(user_agent.as_bytes(), hint.unwrap_or_default().as_bytes())
    }

    #[test]
    fn browsers_are_what_they_are() {
        for line in SEEN.lines() {
            let (kind, user_agent) = line.split_once('\t').unwrap();
            assert_eq!(device(user_agent, None).word(), kind, "{user_agent}");
        }
        assert!(SEEN.lines().count() > 100);
    }

    #[test]
    fn the_hint_comes_before_the_user_agent_and_a_bot_before_both() {
        const PHONE: &str = "Mozilla/5.0 (Linux; Android 10; K) Chrome/142.0 Mobile Safari/537.36";
        const TABLET: &str = "Mozilla/5.0 (Linux; Android 10; K) Chrome/142.0 Safari/537.36";
        const DESKTOP: &str = "Mozilla/5.0 (X11; Linux x86_64) Chrome/142.0 Safari/537.36";
        const PENS: &str = "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Tablet PC 2.0)";
        const BOT: &str = "Mozilla/5.0 (Linux; Android 6.0.1) Mobile (compatible; Googlebot/2.1)";
        use Device::{Bot, Desktop, Mobile, Tablet};
        for (user_agent, none, yes, no) in [
            (PHONE, Mobile, Mobile, Desktop),
            (TABLET, Tablet, Mobile, Tablet),
            (DESKTOP, Desktop, Mobile, Desktop),
            (PENS, Desktop, Mobile, Desktop),
            (BOT, Bot, Bot, Bot),
            ("curl/8.1", Bot, Bot, Bot),
            ("", Desktop, Mobile, Desktop),
            ("Mob", Desktop, Mobile, Desktop),
            ("\u{ff}iPad", Tablet, Mobile, Tablet),
        ] {
            assert_eq!(device(user_agent, None), none, "{user_agent}");
            assert_eq!(device(user_agent, Some("?1")), yes, "{user_agent} ?1");
            assert_eq!(device(user_agent, Some(" ?0")), no, "{user_agent} ?0");
            // What is no boolean of a structured field says nothing.
            for nothing in ["", "1", "true", "?2", "?1;a"] {
                assert_eq!(
                    device(user_agent, Some(nothing)),
                    none,
                    "{user_agent} {nothing}"
                );
            }
        }
    }

    #[test]
    fn only_the_beginning_of_a_long_user_agent_is_looked_at() {
        let within = format!("{}iPad", "a".repeat(MAX_USER_AGENT - 4));
        assert_eq!(device(&within, None), Device::Tablet);
        assert_eq!(device(&format!("a{within}"), None), Device::Desktop);
    }

    #[test]
    fn sets_hold_what_was_put_in() {
        for (_, one) in Device::ALL {
            let set = Devices::default().with(*one);
            assert_eq!(set.iter().collect::<Vec<_>>(), [*one]);
            assert!(Devices::default().is_empty() && !set.is_empty());
        }
    }
}
