//! The registry that an agent follows: where it is, what is printed of it, and when it ends the
//! agent.
//!
//! ```text
//!   another label, at the first read    leave, exit code 6
//!   removed, replaced                   (the follower leaves) exit code 5
//!   anything else                       the agent goes on with the version in force
//! ```

use std::sync::Arc;

use telemetry_gossip_registry::follow::{Gone, Reason, State, Status};
use telemetry_gossip_registry::host::{Following, Registry};
use telemetry_gossip_registry::{Location, LocationError, Store};

use super::line::Line;
use crate::args::AgentArgs;
use crate::control::registry::RegistryView;
use crate::error::Error;

/// How a program opens a registry. `tgossip` opens all of them. `tgossip-agent` opens files alone,
/// so that nothing in it refers to the client of etcd, and the linker leaves that out.
pub(crate) type Open = fn(&Location) -> Result<Arc<dyn Store>, LocationError>;

/// What an agent with a registry and without a state folder warns of.
pub(super) const WITHOUT_STATE: &str = "nothing of the registry is kept on this host, as --state is not given: after a restart while \
     the registry is down, this node has no list and is not ready: add --state DIR";

/// Opens the registry that the arguments name, if they name one. Nothing is read yet.
pub(super) fn of(args: &AgentArgs, open: Open) -> Result<Option<Registry>, Error> {
    let Some(location) = &args.registry else { return Ok(None) };
    let store = open(location).map_err(|error| match error {
        LocationError::File { .. } => Error::RegistryFile(error),
        error => Error::Usage(format!("--registry {location}: {error}")),
    })?;
    Ok(Some(Registry::new(store).when_removed(args.when_removed.into())))
}

/// Prints each change of what matters, until the registry ends the agent. Without a registry, it
/// never does.
pub(super) async fn end(following: Option<&Following>, say: &impl Fn(Line)) -> Error {
    let Some(following) = following else { return std::future::pending().await };
    let mut changes = following.changes();
    let (mut told, mut has_read) = (None, false);
    loop {
        let status = changes.borrow_and_update().clone();
        let view = RegistryView::of_status(following.location(), &status);
        if is_settled(&status) {
            let now = matters(&view, status.left);
            if told.as_ref() != Some(&now) {
                say(Line::registry(&view, status.left));
                told = Some(now);
            }
        }
        if let Some(error) = gone_by(&status).or_else(|| refusal(&status, has_read)) {
            return error;
        }
        has_read |= status.store.is_some();
        if changes.changed().await.is_err() {
            // The node has ended for another reason.
            std::future::pending::<()>().await;
        }
    }
}

/// Why the registry has ended the node, if it has.
pub(super) fn gone(following: Option<&Following>) -> Option<Error> {
    gone_by(&following?.status())
}

fn gone_by(status: &Status) -> Option<Error> {
    let State::Gone(gone) = &status.state else { return None };
    let undo = match gone {
        Gone::Replaced { .. } => "start this machine with another --id",
        _ => "`tgossip registry URL readmit ID` takes it back",
    };
    status.left.then(|| Error::Gone(format!("{gone}. It has left the cluster; {undo}")))
}

/// Why the node must not follow this registry at all. That is judged once: a node that has read its
/// registry before holds on to that, whatever takes its place.
fn refusal(status: &Status, has_read: bool) -> Option<Error> {
    let reason = match &status.state {
        State::Waiting(reason) => reason.as_ref()?,
        State::Held(reason) if !has_read => reason,
        _ => return None,
    };
    let is_other = matches!(reason, Reason::OtherLabel { .. } | Reason::OtherCluster { .. });
    is_other.then(|| Error::OtherRegistry(reason.to_string()))
}

/// Whether a status is more than a moment between the head and the document of a new version.
fn is_settled(status: &Status) -> bool {
    let in_force = status.in_force.as_ref().map(|in_force| in_force.version);
    match &status.state {
        State::Waiting(None) => false,
        State::Current => status.store == in_force,
        State::NotYetMember { version } => status.store == Some(*version),
        _ => true,
    }
}

/// What a line is printed for if it changes. The sentence is not part of it, since it may name
/// times and system errors that change with each read.
fn matters(view: &RegistryView, left: bool) -> impl PartialEq + use<> {
    let RegistryView { state, reason, version, hash, store_version, differs, .. } = view.clone();
    // That others doubt a node which the registry does not name says nothing new.
    let doubted = view.doubted && state != "gone";
    (state, reason, version, hash, store_version, differs, (doubted, view.ready, left))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: State, store: Option<u64>) -> Status {
        let mut status = Status::default();
        (status.state, status.store) = (state, store);
        status
    }

    fn other_label() -> Reason {
        Reason::OtherLabel { label: "prod".to_owned() }
    }

    #[test]
    fn another_label_ends_an_agent_at_its_first_read_and_never_later() {
        let waiting = status(State::Waiting(Some(other_label())), Some(1));
        let held = status(State::Held(other_label()), Some(1));
        assert_eq!(refusal(&waiting, false).map(|error| error.exit_code()), Some(6));
        assert_eq!(refusal(&held, false).map(|error| error.exit_code()), Some(6));
        assert!(refusal(&held, true).is_none());
        let unreachable = Reason::Unreachable("it is down".to_owned());
        assert!(refusal(&status(State::Waiting(Some(unreachable)), None), false).is_none());
    }

    #[test]
    fn an_agent_ends_once_it_has_left_and_not_before() {
        let gone = Gone::Removed { version: 7, by: "ana".to_owned(), why: "stolen".to_owned() };
        let mut status = status(State::Gone(gone), Some(7));
        assert!(gone_by(&status).is_none());
        status.left = true;
        let error = gone_by(&status).expect("it ends");
        assert_eq!(error.exit_code(), 5);
        assert!(error.to_string().contains("in version 7 of the registry by ana: stolen"));
    }

    #[test]
    fn nothing_is_printed_between_the_head_and_the_document_of_a_version() {
        assert!(!is_settled(&status(State::Current, Some(2))));
        assert!(!is_settled(&status(State::Waiting(None), Some(2))));
        assert!(!is_settled(&status(State::NotYetMember { version: 1 }, Some(2))));
        assert!(is_settled(&status(State::NotYetMember { version: 2 }, Some(2))));
        assert!(is_settled(&status(State::Held(other_label()), Some(2))));
    }

    #[test]
    fn an_error_of_the_system_that_is_told_in_other_words_makes_no_new_line() {
        let of = |why: &str| {
            let held = State::Held(Reason::Unreachable(why.to_owned()));
            RegistryView::of_status("file:x", &status(held, None))
        };
        assert!(matters(&of("after 1 s"), false) == matters(&of("after 2 s"), false));
        assert!(matters(&of("after 1 s"), false) != matters(&of("after 1 s"), true));
    }
}
