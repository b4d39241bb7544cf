//! Regions: the targets near a client go first.

/// `prefer_region` of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreferRegion {
    /// The request header that tells where the client is. Lower case.
    pub header: Box<[u8]>,
    /// What its value means: the regions to try, in this order. Values compare byte by byte.
    pub map: Vec<(Box<[u8]>, Vec<Box<str>>)>,
    /// The regions for every other value, and for requests without the header.
    pub default: Vec<Box<str>>,
    /// The regions after those, in this order. Targets of regions that are named nowhere, or of none, come last.
    pub order: Vec<Box<str>>,
}
