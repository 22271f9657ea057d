//! The guard against a list that is wrong by mistake: a truncated import, the file of another
//! cluster, a template without hosts.
//!
//! A version that would take away more than half of the members, and more than three, is held back
//! by every node, unless an operator has said how many are meant. The same rule refuses such an
//! edit before it is written. There is one place that counts: [`takes_too_many`].

use crate::document::Document;

/// How many members any version may take away.
pub const ALWAYS_ALLOWED: usize = 3;

/// How many live members have to publish a version as theirs, so that a node that missed its
/// `forced` mark takes it as well.
pub const SUPPORTERS: usize = 3;

/// Whether the list of `after` takes away so many members of `before` that an operator has to
/// confirm it: all of them, or more than half and more than [`ALWAYS_ALLOWED`]. Members of a
/// replaced machine stay members.
///
/// ```
/// use telemetry_gossip_registry::{Document, guard};
///
/// let of = |ids: &[&str]| {
///     let mut text = "cluster = '7f0c2f3e-5a1d-4b7e-9c55-0d4c1b7f7a10'\nversion = 1\n".to_owned();
///     ids.iter().for_each(|id| text += &format!("[members.{id}]\n"));
///     Document::parse(text.as_bytes())
/// };
/// let ten = of(&["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"])?;
/// assert!(!guard::takes_too_many(&ten, &of(&["a", "b", "c", "d", "e"])?));
/// assert!(guard::takes_too_many(&ten, &of(&["a", "b", "c", "d", "x", "y"])?));
/// # Ok::<(), telemetry_gossip_registry::DocumentError>(())
/// ```
#[must_use]
pub fn takes_too_many(before: &Document, after: &Document) -> bool {
    let gone = gone(before, after);
    let half = before.members().len() / 2;
    after.members().len() == 0 || gone > ALWAYS_ALLOWED && gone > half
}

/// How many members of `before` are not in `after`.
#[must_use]
pub fn gone(before: &Document, after: &Document) -> usize {
    before.members().filter(|(id, _)| !after.members.contains_key(id)).count()
}
