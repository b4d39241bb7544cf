//! `explain`: a request that carries the token is told in a response header what was decided. No other request is.

/// `explain: { header, token }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explain {
    /// The header that carries the token in the request and the decision in the response. Lower case.
    pub header: Box<[u8]>,
    /// The secret. A request shows `token`, or `token;roll=0.37` to fix its roll.
    pub token: Box<[u8]>,
}
