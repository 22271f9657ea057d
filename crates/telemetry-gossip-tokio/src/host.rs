//! What hinders a node on its own host: a disk or a network that does not take what it writes.

use std::sync::Arc;

use tokio::sync::watch;

/// What hinders a node on its own host, from [`Agent::host_status`](crate::Agent::host_status).
/// Each text is a sentence for people that says what to do; `None` if all is well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostStatus {
    /// Why the node is not recorded at present; also `None` without a record.
    pub record: Option<String>,
    /// Why no datagram is sent at present: some in a row were not. See also
    /// [`Agent::send_stats`](crate::Agent::send_stats).
    pub sends: Option<String>,
}

/// Tells the readers of the status, and the log, when something begins to fail and when it works
/// again. It does not repeat itself meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct HostTold(Arc<watch::Sender<HostStatus>>);

impl HostTold {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(HostStatus::default())))
    }

    pub(crate) fn status(&self) -> watch::Receiver<HostStatus> {
        self.0.subscribe()
    }

    /// The record is not written.
    pub(crate) fn record_fails(&self, why: impl FnOnce() -> String) {
        self.change(|status| &mut status.record, Some(why));
    }

    pub(crate) fn record_works(&self) {
        self.change(|status| &mut status.record, None::<fn() -> String>);
    }

    /// No datagram is sent.
    pub(crate) fn sends_fail(&self, why: impl FnOnce() -> String) {
        self.change(|status| &mut status.sends, Some(why));
    }

    pub(crate) fn sends_work(&self) {
        self.change(|status| &mut status.sends, None::<fn() -> String>);
    }

    /// The first reason stays until it works again: later ones are mostly the same.
    fn change(
        &self,
        part: impl FnOnce(&mut HostStatus) -> &mut Option<String>,
        why: Option<impl FnOnce() -> String>,
    ) {
        self.0.send_if_modified(|status| {
            let held = part(status);
            if held.is_some() == why.is_some() {
                return false;
            }
            match why.map(|why| why()) {
                Some(text) => {
                    tracing::warn!("{text}");
                    *held = Some(text);
                }
                None => {
                    // Not within the macro, which reads nothing if there is no log.
                    let was = held.take().unwrap_or_default();
                    tracing::info!("works again: {was}");
                }
            }
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_to_fail_is_told_once_and_what_works_again_is_told_once() {
        let told = HostTold::new();
        let mut status = told.status();
        told.record_works();
        assert!(!status.has_changed().unwrap(), "all is well from the start");
        for (reason, news) in [("first", true), ("second", false), ("third", false)] {
            told.record_fails(|| reason.to_owned());
            assert_eq!(status.has_changed().unwrap(), news, "told once: {reason}");
            assert_eq!(status.borrow_and_update().record.as_deref(), Some("first"));
        }
        told.sends_fail(|| "sends".to_owned());
        assert!(status.has_changed().unwrap(), "another thing is told by itself");
        assert!(status.borrow_and_update().record.is_some());
        for news in [true, false] {
            told.record_works();
            assert_eq!(status.has_changed().unwrap(), news, "told once that it works");
            assert_eq!(status.borrow_and_update().record, None);
        }
        assert!(status.borrow().sends.is_some());
    }
}
