//! The tests of Pointsman on every host that we have. Each file beside this one is a test program of its own, listed in
//! `Cargo.toml`; this one only is what Cargo asks a package to have.
