//! The document as TOML: reading with every rule checked, and writing.
//!
//! What is written is always the same for the same document, in the order of the ids, so that two
//! versions can be compared by any tool for text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, de};
use telemetry_gossip_core::NodeId;

use super::{
    ClusterId, Document, DocumentError, DocumentHash, MAX_ADDRESSES, MAX_BYTES, MAX_LABELS,
    MAX_MEMBERS, MAX_REMOVED, MAX_TEXT, MAX_VERSION, Member, Removed, is_plain,
};

/// The document as it is written, before its rules are checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    cluster: ClusterId,
    #[serde(default)]
    label: String,
    version: u64,
    previous: Option<DocumentHash>,
    #[serde(default)]
    forced: u64,
    #[serde(default)]
    recovered: u64,
    #[serde(default)]
    members: BTreeMap<String, RawMember>,
    #[serde(default)]
    removed: BTreeMap<String, RawRemoved>,
}

/// A list of members, in a file that may have more in it.
#[derive(Deserialize)]
struct RawMembers {
    members: BTreeMap<String, RawMember>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMember {
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    seed: bool,
    #[serde(default)]
    since: u64,
    replaced: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRemoved {
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    seed: bool,
    #[serde(default)]
    since: u64,
    replaced: Option<u64>,
    removed: u64,
    #[serde(default)]
    by: String,
    #[serde(default)]
    why: String,
}

/// Reads a document.
pub(super) fn read(bytes: &[u8]) -> Result<Document, DocumentError> {
    from_toml::<Raw>(bytes)?.check()
}

/// Reads a list of members, whose `since` may be any version.
pub(super) fn read_members(bytes: &[u8]) -> Result<BTreeMap<NodeId, Member>, DocumentError> {
    check_members(from_toml::<RawMembers>(bytes)?.members, MAX_VERSION)
}

fn from_toml<T: de::DeserializeOwned>(bytes: &[u8]) -> Result<T, DocumentError> {
    if bytes.len() > MAX_BYTES {
        return Err(DocumentError::TooLong { len: bytes.len() });
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| DocumentError::NotText { at: error.valid_up_to() })?;
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start).min(bytes.len());
        let line = 1 + bytes.iter().take(at).filter(|byte| **byte == b'\n').count();
        DocumentError::Syntax { line, what: brief(error.message(), MAX_TEXT) }
    })
}

fn check_members(
    members: BTreeMap<String, RawMember>,
    version: u64,
) -> Result<BTreeMap<NodeId, Member>, DocumentError> {
    if members.len() > MAX_MEMBERS {
        return Err(DocumentError::TooManyMembers { count: members.len() });
    }
    members
        .into_iter()
        .map(|(id, member)| Ok((node_id(&id)?, member.check("members", &id, version)?)))
        .collect()
}

impl Raw {
    fn check(self) -> Result<Document, DocumentError> {
        let Self { cluster, label, version, previous, forced, recovered, members, removed } = self;
        if !(1..=MAX_VERSION).contains(&version) {
            return Err(DocumentError::Version { version });
        }
        if !label.is_empty() {
            check_text(|| "label".to_owned(), &label)?;
        }
        check_version(|| "forced".to_owned(), forced, version)?;
        check_version(|| "recovered".to_owned(), recovered, version)?;
        if removed.len() > MAX_REMOVED {
            return Err(DocumentError::TooManyRemoved { count: removed.len() });
        }
        let members = check_members(members, version)?;
        let removed = removed
            .into_iter()
            .map(|(id, removed)| Ok((node_id(&id)?, removed.check(&id, version)?)))
            .collect::<Result<BTreeMap<_, _>, DocumentError>>()?;
        if let Some(id) = removed.keys().find(|id| members.contains_key(*id)) {
            return Err(DocumentError::Both { id: id.to_string() });
        }
        Ok(Document { cluster, label, version, previous, forced, recovered, members, removed })
    }
}

impl RawMember {
    /// Checks the rules of a member; `table` is the one in which it stands.
    fn check(self, table: &str, id: &str, version: u64) -> Result<Member, DocumentError> {
        let Self { addresses, labels, seed, since, replaced } = self;
        if addresses.len() > MAX_ADDRESSES {
            let (id, count) = (id.to_owned(), addresses.len());
            return Err(DocumentError::TooManyAddresses { id, count });
        }
        if let Some(address) = addresses.iter().find(|address| !is_address(address)) {
            let (id, address) = (id.to_owned(), brief(address, 64));
            return Err(DocumentError::Address { id, address });
        }
        if labels.len() > MAX_LABELS {
            return Err(DocumentError::TooManyLabels { id: id.to_owned(), count: labels.len() });
        }
        for (name, value) in &labels {
            let field = || format!("{table}.{id}.labels.{}", brief(name, 64));
            check_text(field, name)?;
            check_text(field, value)?;
        }
        check_version(|| format!("{table}.{id}.since"), since, version)?;
        check_version(|| format!("{table}.{id}.replaced"), replaced.unwrap_or(0), version)?;
        Ok(Member { addresses, labels, seed, since, replaced })
    }
}

impl RawRemoved {
    fn check(self, id: &str, version: u64) -> Result<Removed, DocumentError> {
        let Self { addresses, labels, seed, since, replaced, removed, by, why } = self;
        let was = RawMember { addresses, labels, seed, since, replaced };
        let was = was.check("removed", id, version)?;
        check_version(|| format!("removed.{id}.removed"), removed, version)?;
        for (field, text) in [("by", &by), ("why", &why)] {
            if !text.is_empty() {
                check_text(|| format!("removed.{id}.{field}"), text)?;
            }
        }
        Ok(Removed { removed, by, why, was })
    }
}

fn node_id(id: &str) -> Result<NodeId, DocumentError> {
    NodeId::new(id).map_err(|error| DocumentError::Id { id: brief(id, 64), error })
}

/// Whether a text may be `HOST:PORT`. The host is a name, an IPv4 address, or an IPv6 address in
/// brackets; whether it leads anywhere shows when it is tried.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.bytes().all(|byte| byte.is_ascii_graphic() && !b":[]/@".contains(&byte)),
    };
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
    !host.is_empty()
        && is_host
        && is_port
        && port.parse::<u16>().is_ok_and(|port| port > 0)
        && text.len() <= MAX_TEXT
}

fn check_text(field: impl Fn() -> String, text: &str) -> Result<(), DocumentError> {
    let is_right = !text.is_empty() && is_plain(text);
    if is_right { Ok(()) } else { Err(DocumentError::Text { field: field() }) }
}

fn check_version(
    field: impl Fn() -> String,
    value: u64,
    version: u64,
) -> Result<(), DocumentError> {
    if value <= version {
        return Ok(());
    }
    Err(DocumentError::AboveVersion { field: field(), value, version })
}

/// The first characters of a text that may be long or hostile, on one line.
fn brief(text: &str, most: usize) -> String {
    text.chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Writes a document.
pub(super) fn write(document: &Document) -> String {
    let Document { cluster, label, version, previous, forced, recovered, members, removed } =
        document;
    let mut text = format!("cluster = \"{cluster}\"\n");
    if !label.is_empty() {
        push_field(&mut text, "label", quote(label));
    }
    push_field(&mut text, "version", version);
    if let Some(previous) = previous {
        push_field(&mut text, "previous", format_args!("\"{previous}\""));
    }
    if *forced > 0 {
        push_field(&mut text, "forced", forced);
    }
    if *recovered > 0 {
        push_field(&mut text, "recovered", recovered);
    }
    for (id, member) in members {
        push_member(&mut text, "members", *id, member);
    }
    for (id, removed) in removed {
        let Removed { removed, by, why, was } = removed;
        push_member(&mut text, "removed", *id, was);
        push_field(&mut text, "removed", removed);
        if !by.is_empty() {
            push_field(&mut text, "by", quote(by));
        }
        if !why.is_empty() {
            push_field(&mut text, "why", quote(why));
        }
    }
    text
}

fn push_member(text: &mut String, table: &str, id: NodeId, member: &Member) {
    let Member { addresses, labels, seed, since, replaced } = member;
    push_heading(text, table, id);
    if !addresses.is_empty() {
        let quoted: Vec<String> = addresses.iter().map(|address| quote(address)).collect();
        push_field(text, "addresses", format_args!("[{}]", quoted.join(", ")));
    }
    if !labels.is_empty() {
        let pairs: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{} = {}", key(name), quote(value)))
            .collect();
        push_field(text, "labels", format_args!("{{ {} }}", pairs.join(", ")));
    }
    if *seed {
        push_field(text, "seed", true);
    }
    if *since > 0 {
        push_field(text, "since", since);
    }
    if let Some(replaced) = replaced {
        push_field(text, "replaced", replaced);
    }
}

fn push_heading(text: &mut String, table: &str, id: NodeId) {
    // Writing into a string does not fail.
    let _ = writeln!(text, "\n[{table}.{}]", key(id.as_str()));
}

fn push_field(text: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "{name} = {value}");
}

/// A key: bare where TOML allows that.
fn key(name: &str) -> String {
    let is_bare =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    if is_bare { name.to_owned() } else { quote(name) }
}

/// A basic string of TOML. Texts of a document have no control characters.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}
