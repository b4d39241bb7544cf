//! A filter that comes from a file which Envoy watches (ECDS).

use super::deployment::{Deployment, PluginConfiguration};
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// The file. It is there as long as this is.
pub struct FilterFile {
    file: PathBuf,
    /// What was in it first.
    resources: Value,
    _directory: TempDir,
}

impl FilterFile {
    /// The filter of a deployment in a file of its own, and the deployment, which reads it there.
    pub fn of(deployment: Deployment) -> Result<(Deployment, FilterFile)> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("filter.json");
        let deployment = deployment.discover_filter(&file)?;
        let file = FilterFile {
            resources: serde_json::from_slice(&fs::read(&file)?)?,
            file,
            _directory: directory,
        };
        Ok((deployment, file))
    }

    /// Replaces the filter's configuration. Envoy looks at it by and by.
    pub fn configure(&self, configuration: PluginConfiguration) -> Result<()> {
        let mut next = self.resources.clone();
        let filter = next.pointer_mut("/resources/0/typed_config/config");
        let filter = filter.context("a filter")?;
        filter["configuration"] = configuration.into_any();
        super::write_atomically(&self.file, &next)
    }
}
