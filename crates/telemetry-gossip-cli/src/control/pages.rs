//! Long answers of an agent as pages: its view, what the members publish, a document. Lists of
//! members are made from the view that is current when their page is.
//!
//! No text of the whole view is ever held: a page is some members, and the next page begins behind
//! the last id of the page before. Members that change between two pages are told as they are when
//! their page is made. Nothing of an old view is kept for a client that reads slowly.

use std::sync::Arc;

use serde::Serialize;
use telemetry_gossip_core::NodeId;
use telemetry_gossip_tokio as driver;

use super::registry::{Publishing, RegistryAnswer};
use super::server::Reply;
use super::{Answer, MemberView, View};

/// A page ends with the member, or the part of a document, that takes it to this size or beyond.
const PAGE_BYTES: usize = 16 << 10;

/// Makes the pages of a view: `view` has everything but the members, which `current` provides.
pub(crate) fn of(
    view: View,
    current: impl Fn() -> Arc<driver::View> + Send + 'static,
) -> Result<Reply, String> {
    let itself = view.node.clone();
    let text = text_of(&Answer::View(Box::new(View { members: vec![], ..view })))?;
    listed(text, br#""members":[]"#, current, move |view, member| {
        Some(MemberView::of(&itself, view, member))
    })
}

/// Makes the pages of an answer about a registry: `answer` has everything but what the members
/// publish, who are those of `current`.
pub(crate) fn of_registry(
    answer: RegistryAnswer,
    current: impl Fn() -> Arc<driver::View> + Send + 'static,
) -> Result<Reply, String> {
    let empty = RegistryAnswer { published: vec![], ..answer };
    let text = text_of(&Answer::Registry(Box::new(empty)))?;
    listed(text, br#""published":[]"#, current, |_, member| Publishing::of(member))
}

/// Makes the pages of a document.
pub(crate) fn of_document(document: Arc<[u8]>) -> Result<Reply, String> {
    std::str::from_utf8(&document).map_err(|error| error.to_string())?;
    let (mut begun, mut at) = (false, 0);
    Ok(Reply::Pages(Box::new(move |page| {
        if !std::mem::replace(&mut begun, true) {
            page.extend_from_slice(br#"{"registry-document":""#);
        }
        // It was checked above.
        let rest = std::str::from_utf8(&document[at..]).unwrap_or_default();
        let is_end = |end: &usize| rest.is_char_boundary(*end);
        let end = (0..=PAGE_BYTES.min(rest.len())).rev().find(is_end).unwrap_or(0);
        let part = &rest[..end];
        let start = page.len();
        if serde_json::to_writer(&mut *page, part).is_ok() {
            // The text goes on over the pages, without the quotes around each part.
            page.remove(start);
            page.pop();
        }
        at += part.len();
        if at < document.len() && !part.is_empty() {
            return true;
        }
        page.extend_from_slice(b"\"}\n");
        false
    })))
}

fn text_of(answer: &Answer) -> Result<Vec<u8>, String> {
    serde_json::to_vec(answer).map_err(|error| error.to_string())
}

/// Makes the pages of an answer with a list of members. `text` is the answer with an empty list,
/// which stands in it as `empty`; `item` says what is listed of a member, if anything is.
fn listed<T: Serialize>(
    text: Vec<u8>,
    empty: &[u8],
    current: impl Fn() -> Arc<driver::View> + Send + 'static,
    item: impl Fn(&driver::View, &driver::MemberView) -> Option<T> + Send + 'static,
) -> Result<Reply, String> {
    let (head, tail) = around(text, empty).ok_or("the answer has no list")?;
    let (mut head, mut last): (Option<Vec<u8>>, Option<NodeId>) = (Some(head), None);
    let mut is_first = true;
    Ok(Reply::Pages(Box::new(move |page| {
        page.extend(head.take().unwrap_or_default());
        let view = current();
        let members = view.iter().as_slice();
        let from = last.map_or(0, |last| members.partition_point(|member| member.id <= last));
        for member in &members[from..] {
            last = Some(member.id);
            let Some(item) = item(&view, member) else { continue };
            let start = page.len();
            if !is_first {
                page.push(b',');
            }
            if serde_json::to_writer(&mut *page, &item).is_err() {
                // A member is plain data in memory, so that this cannot happen.
                page.truncate(start);
                continue;
            }
            is_first = false;
            if page.len() >= PAGE_BYTES {
                return true;
            }
        }
        page.extend_from_slice(&tail);
        false
    })))
}

/// Splits the text of an answer at the place of the items of its empty list.
fn around(mut text: Vec<u8>, empty: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    // Quotes inside of texts are escaped, so that this is the field and no part of an id.
    let at = text.windows(empty.len()).position(|part| part == empty)?;
    let mut tail = text.split_off(at + empty.len() - 1);
    tail.push(b'\n');
    Some((text, tail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::tests::view;
    use telemetry_gossip_tokio::{Agent, MemoryNetwork, Options};

    #[tokio::test]
    async fn pages_are_small_and_together_the_whole_view() {
        let network = MemoryNetwork::new(1);
        let transport = network.transport("n0").unwrap();
        let agent = Agent::spawn(Options::new("n0".parse().unwrap()), transport).unwrap();
        agent.publish("load", &[b'"'; 500]).await.unwrap();
        for n in 1..1_000 {
            let id = format!("n{n}").parse().unwrap();
            agent.introduce(id, None, telemetry_gossip_core::Generation(1)).await.unwrap();
        }
        let odd = r#"x"members":[]"#;
        let View { node: _, members: _, .. } = view();
        let asked = View { node: odd.to_owned(), members: vec![], ..view() };
        let of_agent = agent.clone();
        let Ok(Reply::Pages(mut pages)) = of(asked, move || of_agent.view()) else {
            panic!("pages");
        };
        let (mut text, mut sizes) = (Vec::new(), Vec::new());
        loop {
            let mut page = Vec::new();
            let more = pages(&mut page);
            sizes.push(page.len());
            text.extend(page);
            if sizes.len() == 2 {
                // A member that goes between two pages, and one that comes.
                agent.introduce("n999b".parse().unwrap(), None, Default::default()).await.unwrap();
            }
            if !more {
                break;
            }
        }
        assert!(sizes.len() > 5, "{sizes:?}");
        assert!(sizes.iter().all(|&size| size < PAGE_BYTES + 4_096), "{sizes:?}");
        let Answer::View(told) = serde_json::from_slice(&text).unwrap() else { panic!("a view") };
        assert_eq!((told.node.as_str(), told.members.len()), (odd, 1_001));
        assert!(told.members.is_sorted_by(|a, b| a.id < b.id));
    }

    fn whole(reply: Reply) -> Vec<Vec<u8>> {
        let Reply::Pages(mut pages) = reply else { panic!("pages") };
        let mut all = Vec::new();
        loop {
            let mut page = Vec::new();
            let more = pages(&mut page);
            all.push(page);
            if !more {
                return all;
            }
        }
    }

    #[tokio::test]
    async fn what_the_members_publish_is_told_of_live_members_in_pages() {
        let network = MemoryNetwork::new(1);
        let transport = network.transport("n0").unwrap();
        let agent = Agent::spawn(Options::new("n0".parse().unwrap()), transport).unwrap();
        agent.publish("tg.config", b"42.0123456789abcdef").await.unwrap();
        for n in 1..1_000 {
            let id = format!("n{n}").parse().unwrap();
            agent.introduce(id, None, telemetry_gossip_core::Generation(1)).await.unwrap();
        }
        let (node, of_agent) = ("n0".to_owned(), agent.clone());
        let asked = RegistryAnswer { node, registry: None, published: vec![] };
        let pages = whole(of_registry(asked, move || of_agent.view()).unwrap());
        assert!(pages.len() > 2, "{} pages", pages.len());
        let told = serde_json::from_slice(&pages.concat()).unwrap();
        let Answer::Registry(told) = told else { panic!("{told:?}") };
        assert_eq!(told.published.len(), 1_000);
        let Publishing { id, version, hash } = &told.published[0];
        assert_eq!(
            (id.as_str(), *version, hash.as_deref()),
            ("n0", Some(42), Some("0123456789abcdef"))
        );
        assert_eq!(told.published[1].version, None);
    }

    #[test]
    fn a_document_is_told_byte_by_byte_whatever_its_length() {
        for length in [0, 1, PAGE_BYTES - 1, PAGE_BYTES, 3 * PAGE_BYTES + 7] {
            // Each character has two bytes or is escaped, and none fits the end of a page.
            let text: String =
                "x".chars().chain("\u{e4}\"\n".chars().cycle()).take(length).collect();
            let pages = whole(of_document(text.as_bytes().into()).unwrap());
            assert!(pages.iter().all(|page| page.len() <= 2 * PAGE_BYTES + 64));
            assert!(pages.len() >= text.len().div_ceil(PAGE_BYTES));
            let told: Answer = serde_json::from_slice(&pages.concat()).unwrap();
            assert_eq!(told, Answer::RegistryDocument(Some(text)));
        }
    }
}
