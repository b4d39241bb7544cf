//! The action `respond`, and every answer that the filter gives itself.

/// `respond: { status, body, headers }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    /// What to say; may be empty.
    pub body: Box<[u8]>,
    /// With a body and no `content-type`, `content-type: text/plain` stands here already.
    pub headers: Vec<(Box<[u8]>, Box<[u8]>)>,
}

/// An answer that the filter gives itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Headers beside those that the proxy adds.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The body; may be empty.
    pub body: Vec<u8>,
    /// What a gRPC client gets in place of the HTTP status, which is then 200; the body is its
    /// `grpc-message`. None: what the proxy makes of the HTTP status.
    pub grpc_status: Option<u32>,
}

impl Respond {
    /// The answer as configured.
    pub fn answer(&self) -> Answer {
        Answer {
            status: self.status,
            headers: self
                .headers
                .iter()
                .map(|(name, value)| (name.to_vec(), value.to_vec()))
                .collect(),
            body: self.body.to_vec(),
            grpc_status: None,
        }
    }
}

impl Answer {
    /// A status and nothing else.
    pub fn of(status: u16) -> Answer {
        Answer {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            grpc_status: None,
        }
    }
}
