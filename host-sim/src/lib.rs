//! Pointsman's native host and the parts of its command line.

pub mod exchange;
