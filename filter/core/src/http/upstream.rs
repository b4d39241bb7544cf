//! `upstream`: how the choice of a target reaches the proxy.

/// `upstream`: the request headers that carry the choice. Lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Default `x-pointsman-cluster`.
    pub cluster_header: Box<[u8]>,
    /// Default `x-pointsman-endpoint`.
    pub endpoint_header: Box<[u8]>,
    /// Default `x-pointsman-mirror`.
    pub mirror_header: Box<[u8]>,
}

impl Upstream {
    /// All of them. What a client sends in one never goes on.
    pub fn headers(&self) -> [&[u8]; 3] {
        [
            &self.cluster_header,
            &self.endpoint_header,
            &self.mirror_header,
        ]
    }
}
