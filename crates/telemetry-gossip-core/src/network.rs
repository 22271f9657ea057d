//! Networks of IP addresses, and which addresses a node believes others to have.
//!
//! A peer can name any address, and this node would send to it. So a node on a network of machines
//! does not believe in members on its own loopback, where services listen that take datagrams from
//! local programs only.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::address::Address;

/// A network: all IP addresses that begin with the same bits.
///
/// ```
/// use telemetry_gossip_core::Network;
///
/// let network: Network = "10.1.0.0/16".parse()?;
/// assert!(network.contains("10.1.2.3".parse().unwrap()));
/// assert!(!network.contains("10.2.0.1".parse().unwrap()));
/// assert!("10.1.0.0/33".parse::<Network>().is_err());
/// # Ok::<(), telemetry_gossip_core::NetworkError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    ip: IpAddr,
    prefix: u8,
}

/// Why a text is not a [`Network`], or one more does not fit [`Networks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The text is not an address, a slash and a number of bits.
    #[error("a network is an IP address, / and its number of bits, such as 10.0.0.0/8")]
    Text,
    /// The address has fewer bits than the prefix.
    #[error("a prefix has at most {max} bits, this one has {prefix}")]
    #[non_exhaustive]
    Prefix {
        /// The bits of the prefix.
        prefix: u8,
        /// The bits of an address of its family.
        max: u8,
    },
    /// There are more networks than a list holds.
    #[error("at most {max} networks can be given")]
    #[non_exhaustive]
    TooMany {
        /// The most networks of a list.
        max: usize,
    },
}

impl Network {
    /// The network of the addresses that share the first `prefix` bits with `ip`.
    pub fn new(ip: IpAddr, prefix: u8) -> Result<Self, NetworkError> {
        let max = if ip.is_ipv4() { 32 } else { 128 };
        if prefix > max {
            return Err(NetworkError::Prefix { prefix, max });
        }
        Ok(Self { ip, prefix })
    }

    /// Whether the address belongs to the network. An IPv4 address mapped to IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let same = |a: u128, b: u128, bits: u32| {
            (a ^ b).checked_shr(bits - u32::from(self.prefix)).is_none_or(|rest| rest == 0)
        };
        match (self.ip, ip.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
            _ => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (ip, prefix) = text.split_once('/').ok_or(NetworkError::Text)?;
        let ip = ip.parse().map_err(|_| NetworkError::Text)?;
        Self::new(ip, prefix.parse().map_err(|_| NetworkError::Text)?)
    }
}

/// The most networks in one list.
const MAX_NETWORKS: usize = 16;

/// A list of up to 16 networks, of which the empty one stands for all addresses.
///
/// Its serialised form is the list of the texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Networks([Option<Network>; MAX_NETWORKS]);

impl Networks {
    /// Collects networks; fails if there are more than 16.
    pub fn new(networks: impl IntoIterator<Item = Network>) -> Result<Self, NetworkError> {
        let mut list = Self::default();
        for network in networks {
            let place = list.0.iter_mut().find(|place| place.is_none());
            *place.ok_or(NetworkError::TooMany { max: MAX_NETWORKS })? = Some(network);
        }
        Ok(list)
    }

    /// Returns the networks.
    pub fn iter(&self) -> impl Iterator<Item = &Network> {
        self.0.iter().flatten()
    }

    /// Whether one of the networks has the address, or the list is empty.
    fn allow(&self, ip: IpAddr) -> bool {
        self.0[0].is_none() || self.iter().any(|network| network.contains(ip))
    }
}

impl Serialize for Networks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq as _;
        let mut texts = serializer.serialize_seq(Some(self.iter().count()))?;
        for network in self.iter() {
            texts.serialize_element(&alloc::format!("{network}"))?;
        }
        texts.end()
    }
}

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Networks;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of networks")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut texts: S) -> Result<Networks, S::Error> {
                let (mut list, mut len) = ([None; MAX_NETWORKS], 0);
                while let Some(text) = texts.next_element::<alloc::string::String>()? {
                    let too_many = NetworkError::TooMany { max: MAX_NETWORKS };
                    let place = list.get_mut(len).ok_or(too_many).map_err(de::Error::custom)?;
                    *place = Some(text.parse::<Network>().map_err(de::Error::custom)?);
                    len += 1;
                }
                Ok(Networks(list))
            }
        }
        deserializer.deserialize_seq(Texts)
    }
}

/// Whether a node at `own` believes that others listen at `address`, and sends to it.
///
/// Without a socket address there is no rule. All unicast addresses are believed, but those of the
/// loopback and of a single link only by a node that has such an address itself.
pub(crate) fn believes<A: Address>(own: &A, address: &A, allowed: &Networks) -> bool {
    let Some(socket) = address.socket_addr() else { return true };
    let ip = socket.ip().to_canonical();
    let own = own.socket_addr().map(|own| own.ip().to_canonical());
    let as_own = |kind: fn(IpAddr) -> bool| !kind(ip) || own.is_some_and(kind);
    socket.port() != 0
        && is_unicast(ip)
        && as_own(|ip| ip.is_loopback())
        && as_own(is_link_local)
        && allowed.allow(ip)
}

fn is_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[0] != 0 && !ip.is_multicast() && ip != Ipv4Addr::BROADCAST,
        // The addresses with 96 leading zeros are the unspecified one, the loopback, and forms of
        // IPv4 addresses that are out of use.
        IpAddr::V6(ip) => {
            !ip.is_multicast() && (ip == Ipv6Addr::LOCALHOST || ip.to_bits() >> 32 != 0)
        }
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;
    use core::net::SocketAddr;

    use super::*;

    fn socket(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_a_node_on_the_loopback_or_a_link_believes_in_others_there() {
        let all = Networks::default();
        for (own, believed, refused) in [
            (
                "10.0.0.1:7946",
                ["10.0.0.2:1", "192.0.2.7:65535", "[2001:db8::7]:7946"],
                [
                    "127.0.0.1:7946",
                    "169.254.1.1:7946",
                    "[::1]:7946",
                    "[fe80::1]:7946",
                    "[::ffff:127.0.0.1]:7946",
                ],
            ),
            (
                "127.0.0.1:7946",
                ["127.0.0.2:1", "[::1]:7946", "10.0.0.2:7946"],
                ["169.254.1.1:7946", "[fe80::1]:7946", "127.0.0.1:0", "0.0.0.0:1", "[::]:1"],
            ),
            (
                "[fe80::2]:7946",
                ["[fe80::1]:7946", "169.254.1.1:7946", "[2001:db8::7]:7946"],
                ["127.0.0.1:7946", "[::1]:7946", "[fe80::1]:0", "[ff02::1]:1", "[::7f00:1]:1"],
            ),
        ] {
            for address in believed {
                assert!(believes(&socket(own), &socket(address), &all), "{own} {address}");
            }
            for address in refused.into_iter().chain([
                "10.0.0.2:0",
                "0.0.0.0:7946",
                "0.1.2.3:7946",
                "224.0.0.1:7946",
                "255.255.255.255:7946",
                "[::ffff:255.255.255.255]:7946",
            ]) {
                assert!(!believes(&socket(own), &socket(address), &all), "{own} {address}");
            }
        }
        assert!(believes(&1_u32, &0, &all), "addresses that are no sockets have no rule");
    }

    #[test]
    fn allowed_networks_restrict_what_is_believed_and_never_widen_it() {
        let networks = ["10.1.0.0/16", "2001:db8::/32", "127.0.0.0/8", "192.0.2.1/32"];
        let allowed = Networks::new(networks.map(|text| text.parse().unwrap())).unwrap();
        let own = socket("10.1.0.1:7946");
        for (address, expected) in [
            ("10.1.255.255:1", true),
            ("[::ffff:10.1.0.9]:1", true),
            ("10.2.0.0:1", false),
            ("192.0.2.1:1", true),
            ("192.0.2.2:1", false),
            ("[2001:db8:ffff::1]:1", true),
            ("[2001:db9::1]:1", false),
            ("127.0.0.1:1", false),
        ] {
            assert_eq!(believes(&own, &socket(address), &allowed), expected, "{address}");
        }
        let all = Networks::new(["0.0.0.0/0".parse().unwrap()]).unwrap();
        assert!(believes(&own, &socket("198.51.100.1:9"), &all));
        assert!(!believes(&own, &socket("[2001:db8::1]:9"), &all));
    }

    #[test]
    fn networks_are_read_as_they_are_written_and_wrong_ones_are_refused() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32", "::1/128"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        for (text, error) in [
            ("10.0.0.0", NetworkError::Text),
            ("10.0.0/8", NetworkError::Text),
            ("10.0.0.0/-1", NetworkError::Text),
            ("10.0.0.0/33", NetworkError::Prefix { prefix: 33, max: 32 }),
            ("::/129", NetworkError::Prefix { prefix: 129, max: 128 }),
        ] {
            assert_eq!(text.parse::<Network>(), Err(error), "{text}");
        }
        let network: Network = "10.0.0.0/8".parse().unwrap();
        assert!(Networks::new([network; MAX_NETWORKS]).is_ok());
        let full = Networks::new([network; MAX_NETWORKS + 1]);
        assert_eq!(full, Err(NetworkError::TooMany { max: MAX_NETWORKS }));
        let mut buf = [0; 64];
        let list = Networks::new([network; 2]).unwrap();
        let bytes = postcard::to_slice(&list, &mut buf).unwrap();
        assert_eq!(postcard::from_bytes(bytes), Ok(list));
    }
}
