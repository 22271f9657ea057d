//! Parsers for the values of options. Each error states the rule and an example to type.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use telemetry_gossip_core::{Network, NodeId};
use telemetry_gossip_registry::Location;
use telemetry_gossip_sim::Share;

/// The largest number of nodes in a demo. One process runs them all, keeps n × n views, and has to
/// end within 30 s.
pub(crate) const MAX_DEMO_NODES: usize = 500;

/// The datagram sizes that an agent accepts. The smallest holds the longest telemetry entry.
pub(crate) const MTUS: RangeInclusive<u16> = 767..=65_507;

/// The longest label in bytes; an id may be equally long.
const MAX_LABEL_BYTES: usize = 127;

/// Parses the location of a registry. Its errors do not repeat the value, as those of the other
/// parsers do, since it may have a password by mistake.
#[derive(Clone, Debug)]
pub(super) struct RegistryLocation;

impl TypedValueParser for RegistryLocation {
    type Value = Location;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Location, clap::Error> {
        let name = argument.map_or_else(|| "URL".to_owned(), ToString::to_string);
        let wrong = |why: String| {
            let message = format!("invalid value for '{name}': {why}\n");
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        };
        let text = value.to_str().ok_or_else(|| wrong("it is not UTF-8".to_owned()))?;
        text.parse()
            .map_err(|error: telemetry_gossip_registry::LocationError| wrong(error.to_string()))
    }
}

pub(super) fn demo_nodes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(nodes) if (2..=MAX_DEMO_NODES).contains(&nodes) => Ok(nodes),
        Ok(0 | 1) => Err("a demo needs at least two nodes: type 2 or more".to_owned()),
        Ok(more) => Err(format!(
            "a demo runs at most {MAX_DEMO_NODES} nodes: type a number from 2 to {MAX_DEMO_NODES}, \
             or simulate more: tgossip sim --nodes {more}"
        )),
        Err(_) => Err(format!("type a number from 2 to {MAX_DEMO_NODES}, such as --nodes 20")),
    }
}

pub(super) fn seed(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("a seed is a whole number from 0 to {}: type --seed 7", u64::MAX))
}

pub(super) fn sim_nodes(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "type a whole number of nodes, such as --nodes 20".to_owned())
}

pub(super) fn plan_nodes(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "type a whole number of nodes, such as --nodes 250".to_owned())
}

pub(super) fn count(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "type a whole number, 1 or more".to_owned())
}

pub(super) fn mtu(text: &str) -> Result<u16, String> {
    let bytes = text.parse().ok().filter(|bytes| MTUS.contains(bytes));
    bytes.ok_or_else(|| {
        format!(
            "the longest telemetry entry has to fit: type a number of bytes from {} to {}, such \
             as --mtu 1200",
            MTUS.start(),
            MTUS.end()
        )
    })
}

pub(super) fn network(text: &str) -> Result<Network, String> {
    text.parse().map_err(|error| format!("{error}: type --allow-network 10.0.0.0/8"))
}

pub(super) fn label(text: &str) -> Result<String, String> {
    if text.len() > MAX_LABEL_BYTES {
        return Err(format!(
            "a label has at most {MAX_LABEL_BYTES} bytes, this one has {}: type a shorter name",
            text.len()
        ));
    }
    if text.chars().any(char::is_control) {
        return Err("a label has no control characters: type a name such as staging".to_owned());
    }
    Ok(text.to_owned())
}

pub(super) fn node_id(text: &str) -> Result<NodeId, String> {
    NodeId::new(text).map_err(|error| format!("{error}: type a name such as edge-1"))
}

pub(super) fn socket_addr(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let hint = match text.parse::<std::net::IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, 0).to_string(),
            Err(_) => "127.0.0.1:7101".to_owned(),
        };
        format!(
            "an address is an IP address and a port: type {hint} (port 0 picks a free one) or \
             [::1]:7101"
        )
    })
}

pub(crate) fn host_port(text: &str) -> Result<String, String> {
    let host_and_port = text.rsplit_once(':').filter(|(host, _)| {
        // The last group of an IPv6 address without brackets would be taken for the port.
        !host.is_empty() && (!host.contains(':') || (host.starts_with('[') && host.ends_with(']')))
    });
    match host_and_port.map(|(_, port)| port.parse::<u16>()) {
        Some(Ok(port)) if port > 0 => Ok(text.to_owned()),
        _ => Err("type a host and a port from 1 to 65535, such as 127.0.0.1:7101, \
                  seed.example.net:7101 or [::1]:7101"
            .to_owned()),
    }
}

pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("type a key, an equals sign and a value, such as --set role=cache".to_owned()),
    }
}

/// A node of a registry, and one of its addresses.
pub(super) fn registry_member(text: &str) -> Result<(NodeId, String), String> {
    let Some((id, address)) = text.split_once('=') else {
        return Err("type an id, an equals sign and an address, such as \
                    --member edge-1=10.0.0.1:7946"
            .to_owned());
    };
    Ok((node_id(id)?, host_port(address)?))
}

/// A label of a node.
pub(super) fn registry_label(text: &str) -> Result<(String, String), String> {
    key_value(text)
        .map_err(|_| "type a name, an equals sign and a value, such as --label zone=eu-1".into())
}

pub(super) fn span(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| {
        let rule = if text.starts_with('-') {
            "a span of time is not negative"
        } else {
            "a span of time is a number and a unit"
        };
        format!("{rule}: type 500ms, 90s, 5m or \"1m 30s\"")
    })
}

/// A time to wait for an answer. The longest bounds the arithmetic with times.
pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    let allowed = Duration::from_millis(1)..=Duration::from_secs(3_600);
    let timeout = span(text)?;
    if allowed.contains(&timeout) {
        return Ok(timeout);
    }
    Err("a timeout is 1ms to 1h: type --timeout 3s".to_owned())
}

pub(super) fn share(text: &str) -> Result<Share, String> {
    text.parse().map_err(|_| match text.parse::<f64>() {
        Ok(share) if share >= 0.0 => {
            format!("a share ends in a percent sign, 0% to 100%: type {text}%")
        }
        _ => "a share is a number from 0% to 100% with up to 4 decimals: type 2.5%".to_owned(),
    })
}
