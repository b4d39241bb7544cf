//! What a connection's TLS says of its client.

use crate::port::Connection;

/// The TLS of the connection that one request came on. Each part is asked for when it is first
/// needed, and only once: it costs a call that returns bytes.
#[derive(Debug, Default)]
pub struct Tls {
    server_name: Option<Option<Vec<u8>>>,
    peer: Option<Option<Vec<u8>>>,
}

impl Tls {
    /// The name that the client asked for. None: there is none.
    pub fn server_name(&mut self, connection: &mut dyn Connection) -> Option<&[u8]> {
        let known = self
            .server_name
            .get_or_insert_with(|| connection.server_name());
        named(known.as_deref())
    }

    /// The first URI of the client's certificate. None: there is none.
    pub fn peer(&mut self, connection: &mut dyn Connection) -> Option<&[u8]> {
        let known = self.peer.get_or_insert_with(|| connection.peer());
        named(known.as_deref())
    }
}

/// A proxy may say that there is none by a value without bytes.
fn named(value: Option<&[u8]>) -> Option<&[u8]> {
    value.filter(|value| !value.is_empty())
}
