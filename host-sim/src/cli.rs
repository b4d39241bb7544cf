//! The commands, one file each: its arguments, and `run`. An error of `run` says that the command
//! could not be carried out.

pub mod bench;
pub mod check;
pub mod demo;
pub mod explain;
pub mod faults;
mod page;
pub mod run;
pub mod schema;
mod style;
pub mod test;

/// The result of a command that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The command found nothing wrong: exit status 0.
    Good,
    /// The command found something wrong: exit status 1.
    Found,
}
