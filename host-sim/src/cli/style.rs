//! Colours: on a terminal only, and not where `NO_COLOR` asks for none (`anstream` sees to both).

use anstyle::{AnsiColor, Style};

/// What is as it should be.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// What is not.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// What is strange.
pub const ODD: Style = AnsiColor::Yellow.on_default().bold();
/// What to look at first.
pub const STRONG: Style = Style::new().bold();
/// What need not be read.
pub const FAINT: Style = Style::new().dimmed();
