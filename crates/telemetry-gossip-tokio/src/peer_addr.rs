//! The address that a transport sends to: a socket address, or a name in memory.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use telemetry_gossip_core::{Address, IdError, MAX_ADDRESS_LEN, NodeId};

/// The address of a node, whatever the transport.
///
/// ```
/// use telemetry_gossip_tokio::PeerAddr;
///
/// let socket = PeerAddr::Socket("127.0.0.1:7946".parse().unwrap());
/// assert_eq!(PeerAddr::try_from("127.0.0.1:7946")?, socket);
/// assert_eq!(PeerAddr::try_from("edge-17")?, PeerAddr::Name("edge-17".parse()?));
/// # Ok::<(), telemetry_gossip_core::IdError>(())
/// ```
///
/// Its compact form is that of the socket address (6 or 18 bytes), or a zero byte and the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PeerAddr {
    /// The address of a UDP socket.
    Socket(SocketAddr),
    /// The id of a node in memory.
    Name(NodeId),
}

impl PeerAddr {
    /// The id of a node that is named after its address: the name in memory, the text of a socket
    /// address.
    #[must_use]
    pub fn to_id(self) -> NodeId {
        match self {
            Self::Name(id) => id,
            Self::Socket(address) => NodeId::from(address),
        }
    }
}

impl Address for PeerAddr {
    fn encode(&self, out: &mut [u8; MAX_ADDRESS_LEN]) -> usize {
        match self {
            Self::Socket(address) => address.encode(out),
            Self::Name(name) => {
                // A name has at most 127 bytes, so that its form fits. The length distinguishes it
                // from a socket address.
                let bytes = name.as_str().as_bytes();
                out[0] = 0;
                out[1..=bytes.len()].copy_from_slice(bytes);
                pad(out, bytes.len() + 1)
            }
        }
    }

    fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Socket(address) => Some(*address),
            Self::Name(_) => None,
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        if matches!(bytes.len(), 6 | 18) {
            return SocketAddr::decode(bytes).map(Self::Socket);
        }
        let (0, name) = bytes.split_first().map(|(&tag, name)| (tag, name))? else { return None };
        let name = name.strip_suffix(&[0]).unwrap_or(name);
        NodeId::new(std::str::from_utf8(name).ok()?).ok().map(Self::Name)
    }
}

/// The form of a name must not have the length of a socket address: if it does, append a zero byte,
/// which no name ends with.
fn pad(out: &mut [u8; MAX_ADDRESS_LEN], len: usize) -> usize {
    if matches!(len, 6 | 18) {
        out[len] = 0;
        len + 1
    } else {
        len
    }
}

impl From<SocketAddr> for PeerAddr {
    fn from(address: SocketAddr) -> Self {
        Self::Socket(address)
    }
}

impl TryFrom<&str> for PeerAddr {
    type Error = IdError;

    /// A socket address if the text is one, otherwise a name.
    fn try_from(text: &str) -> Result<Self, IdError> {
        text.parse::<SocketAddr>().map(Self::Socket).or_else(|_| NodeId::new(text).map(Self::Name))
    }
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_decodes_to_itself() {
        let names = (1..=127).map(|len| PeerAddr::try_from("n".repeat(len).as_str()).unwrap());
        let sockets = ["127.0.0.1:7946", "[::1]:9"].map(|text| PeerAddr::try_from(text).unwrap());
        for peer in names.chain(sockets) {
            let mut out = [0xff; MAX_ADDRESS_LEN];
            let len = peer.encode(&mut out);
            assert_eq!(PeerAddr::decode(&out[..len]), Some(peer));
        }
    }
}
