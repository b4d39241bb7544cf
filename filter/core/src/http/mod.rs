//! HTTP: what a request is, who sent it, and the edits and answers that are made of it.

pub mod accept_language;
mod bots;
pub mod client_ip;
pub mod device;
pub mod edit;
pub(crate) mod find;
pub mod headers;
pub mod host;
pub mod key;
mod pairs;
pub mod query;
pub mod regex;
pub mod request;
pub mod respond;
pub mod router_options;
pub mod steps;
pub mod tls;
pub mod upstream;
pub mod value;
pub mod vary;
