//! The whole view of an agent as pages, each made from the view that is current by then.
//!
//! No text of the whole view is ever held: a page is some members, and the next page begins behind
//! the last id of the page before. Members that change between two pages are told as they are when
//! their page is made. Nothing of an old view is kept for a client that reads slowly.

use std::io;
use std::sync::Arc;

use telemetry_gossip_core::NodeId;
use telemetry_gossip_tokio as driver;

use super::server::Reply;
use super::{Answer, MemberView, View};

/// A page ends with the member that takes it beyond this size.
const PAGE_BYTES: usize = 16 << 10;

/// What stands around the members in the text of a view.
const NO_MEMBERS: &[u8] = br#""members":[]"#;

/// Makes the pages of a view: `view` has everything but the members, which `current` provides.
pub(crate) fn of(
    view: View,
    current: impl Fn() -> Arc<driver::View> + Send + 'static,
) -> Result<Reply, String> {
    let itself = view.node.clone();
    let (head, tail) = around(view).map_err(|error| error.to_string())?;
    let (mut head, mut last): (Option<Vec<u8>>, Option<NodeId>) = (Some(head), None);
    Ok(Reply::Pages(Box::new(move |page| {
        let mut first = head.is_some();
        page.extend(head.take().unwrap_or_default());
        let view = current();
        let members = view.iter().as_slice();
        let from = last.map_or(0, |last| members.partition_point(|member| member.id <= last));
        for member in &members[from..] {
            let start = page.len();
            if !std::mem::take(&mut first) {
                page.push(b',');
            }
            if serde_json::to_writer(&mut *page, &MemberView::of(&itself, &view, member)).is_err() {
                // A member is plain data in memory, so that this cannot happen.
                page.truncate(start);
            }
            last = Some(member.id);
            if page.len() >= PAGE_BYTES {
                return true;
            }
        }
        page.extend_from_slice(&tail);
        false
    })))
}

/// Splits the text of a view without members at the place of the members.
fn around(view: View) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut text = serde_json::to_vec(&Answer::View(Box::new(View { members: vec![], ..view })))?;
    // Quotes inside of texts are escaped, so that this is the field and no part of an id.
    let at = text.windows(NO_MEMBERS.len()).position(|part| part == NO_MEMBERS);
    let at = at.ok_or_else(|| io::Error::other("a view has no members"))?;
    let mut tail = text.split_off(at + NO_MEMBERS.len() - 1);
    tail.push(b'\n');
    Ok((text, tail))
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
}
