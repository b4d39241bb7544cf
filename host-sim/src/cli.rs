//! The commands, one file each: its arguments, and `run`, whose error means that it could not be
//! done.

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

/// What a command that could be done came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Exit status 0.
    Good,
    /// It found something: exit status 1.
    Found,
}
