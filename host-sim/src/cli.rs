//! The commands, one file each: its arguments, and `run`. An error of `run` says that the command
//! could not be carried out.

/// Prints a line to stdout, for commands that have to come to their end whether or not somebody
/// still reads: `println!` would panic, and leave what was started behind.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod diff;
pub(crate) mod explain;
pub(crate) mod faults;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod man;
pub(crate) mod package;
mod page;
mod prebuilt;
pub(crate) mod problem;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod status;
mod style;
pub(crate) mod test;
pub(crate) mod version;

/// The result of a command that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The command found nothing wrong: exit status 0.
    Good,
    /// The command found something wrong: exit status 1.
    Found,
}
