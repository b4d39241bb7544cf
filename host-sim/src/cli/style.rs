//! The styles of text. `anstream` removes them where stdout is no terminal and where `NO_COLOR` is
//! set.

use anstyle::{AnsiColor, Style};

/// Success.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// Failure.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
/// A warning.
pub(super) const ODD: Style = AnsiColor::Yellow.on_default().bold();
/// What readers should see first.
pub(super) const STRONG: Style = Style::new().bold();
/// Details.
pub(super) const FAINT: Style = Style::new().dimmed();
