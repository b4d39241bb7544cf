//! Reads other programs' routes into Pointsman's configuration.
//!
//! Nothing is lost silently: an importer reads its input through [`fields::Fields`], which knows
//! what was taken; what is left is named in [`Output::not_carried`], with its path and why.

pub mod clusters;
pub mod documents;
mod duration;
pub mod envoy;
pub mod fields;
pub mod gateway_api;
mod header_edits;
pub mod ingress;
mod kubernetes;
pub mod output;
mod pools;

pub use clusters::ClusterTemplate;
pub use documents::{Document, InputFile, UnreadableFile};
pub use output::{NotCarried, Output};

/// Whose routes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The Kubernetes Gateway API: `HTTPRoute` and `GRPCRoute`.
    GatewayApi,
    /// An Envoy's bootstrap, `config_dump` or `RouteConfiguration`.
    Envoy,
    /// A Kubernetes `Ingress` with the annotations of ingress-nginx.
    Ingress,
}

/// What an import is told besides its files.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only routes that are attached to this gateway, `name` or `namespace/name`. None: all.
    pub gateway: Option<String>,
    /// How the cluster of a backend is called.
    pub cluster_template: ClusterTemplate,
    /// envoy: which of several route configurations is read. None: the first.
    pub route_configuration: Option<String>,
}

/// Imports the routes of files.
pub fn import(
    kind: Kind,
    files: &[InputFile],
    options: &Options,
) -> Result<Output, UnreadableFile> {
    let documents = documents::read(files)?;
    Ok(match kind {
        Kind::GatewayApi => gateway_api::import(documents, options),
        Kind::Envoy => return envoy::import(documents, options),
        Kind::Ingress => ingress::import(documents, options),
    })
}
