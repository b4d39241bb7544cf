//! A module that is there already, in place of the filter that is linked in or that Cargo would
//! build.

use anyhow::Result;
use host_sim::package;
use host_sim::world::Code;
use std::path::PathBuf;

/// Which module.
#[derive(clap::Args)]
pub(crate) struct Prebuilt {
    /// The filter as a `.wasm` file: as it ships, or anybody's build of it.
    #[arg(long, value_name = "FILE", env = "POINTSMAN_WASM")]
    module: Option<PathBuf>,
}

impl Prebuilt {
    /// What decides in the simulator: the file, in a second engine; or else the filter as it is
    /// linked into this program.
    pub(crate) fn code(&self) -> Result<Code> {
        match &self.module {
            Some(path) => Code::read(path),
            None => Ok(Code::default()),
        }
    }

    /// What a proxy loads: the file, or else what Cargo builds of this repository.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        match &self.module {
            Some(path) => Ok(std::path::absolute(path)?),
            None => package::module_as_it_ships(),
        }
    }
}
