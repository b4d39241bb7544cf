//! The command line of Pointsman.
fn main() {}
