//! The `log` crate's records as lines of the proxy's log.

use crate::host;
use log::{LevelFilter, Log, Metadata, Record};

/// Writes the records of the filter's own crates. Natively other crates of the program may log too,
/// also where no VM is running.
struct HostLogger;

impl Log for HostLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("pointsman_")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            host::log(record.level(), &record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Has the `log` crate's macros write to the proxy's log. It may be called more than once. The
/// filter logs nothing below a warning but which configuration is live, and targets that are back.
pub(crate) fn install() {
    if log::set_logger(&HostLogger).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}
