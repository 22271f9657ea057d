//! The address type of the host, and its compact form in records and on the wire.

use core::fmt::Debug;
use core::hash::Hash;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest compact form of an address, in bytes.
pub const MAX_ADDRESS_LEN: usize = 128;

/// The address type of a host. The core stores, compares and returns addresses. It looks inside
/// one only to refuse addresses at which no member can be: see [`Address::socket_addr`].
///
/// `encode` and `decode` are inverse. The compact form of every address has at least 1 byte and at
/// most [`MAX_ADDRESS_LEN`]. The trait is implemented for [`SocketAddr`] (6 or 18 bytes; scope and
/// flow of IPv6 are local to a host and not carried) and for `u32` (4 bytes), which suits
/// simulations.
pub trait Address: Copy + Eq + Ord + Hash + Debug {
    /// Writes the compact form into the front of `out` and returns its length.
    fn encode(&self, out: &mut [u8; MAX_ADDRESS_LEN]) -> usize;

    /// Reads an address from its compact form; `None` if `bytes` are not a compact form.
    fn decode(bytes: &[u8]) -> Option<Self>;

    /// The IP address and port that datagrams to this address go to; `None`, the default, if it is
    /// of another kind. A node believes only in some of those: see
    /// [`Input::AllowNetworks`](crate::Input::AllowNetworks).
    fn socket_addr(&self) -> Option<SocketAddr> {
        None
    }

    /// Whether `bytes` are the compact form of this address.
    fn is_encoded(&self, bytes: &[u8]) -> bool {
        Self::decode(bytes).as_ref() == Some(self)
    }
}

impl Address for SocketAddr {
    fn encode(&self, out: &mut [u8; MAX_ADDRESS_LEN]) -> usize {
        let len = match self.ip() {
            IpAddr::V4(ip) => {
                out[..4].copy_from_slice(&ip.octets());
                4
            }
            IpAddr::V6(ip) => {
                out[..16].copy_from_slice(&ip.octets());
                16
            }
        };
        out[len..len + 2].copy_from_slice(&self.port().to_be_bytes());
        len + 2
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (ip, port) = bytes.split_last_chunk::<2>()?;
        let ip = if let Ok(octets) = <[u8; 4]>::try_from(ip) {
            IpAddr::from(Ipv4Addr::from(octets))
        } else {
            IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?))
        };
        Some(Self::new(ip, u16::from_be_bytes(*port)))
    }

    fn socket_addr(&self) -> Option<SocketAddr> {
        Some(*self)
    }

    fn is_encoded(&self, bytes: &[u8]) -> bool {
        match (self, bytes) {
            (Self::V4(own), &[a, b, c, d, e, f]) => {
                own.ip().octets() == [a, b, c, d] && own.port() == u16::from_be_bytes([e, f])
            }
            _ => Self::decode(bytes).as_ref() == Some(self),
        }
    }
}

impl Address for u32 {
    fn encode(&self, out: &mut [u8; MAX_ADDRESS_LEN]) -> usize {
        out[..4].copy_from_slice(&self.to_be_bytes());
        4
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_be_bytes)
    }
}
