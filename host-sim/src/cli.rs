//! The commands, one file each: its arguments, and `run`. An error of `run` says that the command
//! could not be carried out.

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod explain;
pub(crate) mod faults;
pub(crate) mod import;
pub(crate) mod package;
mod page;
mod prebuilt;
pub(crate) mod run;
pub(crate) mod schema;
mod style;
pub(crate) mod test;

/// The result of a command that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The command found nothing wrong: exit status 0.
    Good,
    /// The command found something wrong: exit status 1.
    Found,
}
