//! Where in a file a configuration's problems stand ([`Positions`]), and what to write instead of
//! other products' words ([`mod@advice`]). A crate of its own, since it needs nothing of the rest and
//! compiles in seconds.

mod advice;
mod positions;

pub use advice::advice;
pub use positions::{Position, Positions};
