//! The styles of text. `anstream` removes them where stdout is no terminal and where `NO_COLOR` is
//! set.

use anstyle::{AnsiColor, Style};

/// Success.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Failure.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// A warning.
pub const ODD: Style = AnsiColor::Yellow.on_default().bold();
/// What readers should see first.
pub const STRONG: Style = Style::new().bold();
/// Details.
pub const FAINT: Style = Style::new().dimmed();
