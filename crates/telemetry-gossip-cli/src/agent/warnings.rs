//! What an agent warns of while it runs.

use telemetry_gossip_tokio::{Agent, HostStatus, SeedStatus};

use super::line::Line;

/// Prints a warning for each seed whose name leads nowhere, and if all lead to this node alone: the
/// node keeps trying. Never ends.
pub(super) async fn of_seeds(agent: &Agent, say: &impl Fn(Line)) {
    let mut status = agent.seed_status();
    while status.changed().await.is_ok() {
        let SeedStatus { unresolved, only_itself, .. } = status.borrow_and_update().clone();
        for (seed, reason) in unresolved {
            let text = format!("the seed {seed} has no address so far ({reason}): trying again");
            say(Line::warning(text));
        }
        if only_itself {
            say(Line::warning(
                "the seeds lead to this node alone so far: it waits for others, and tries again"
                    .to_owned(),
            ));
        }
    }
    std::future::pending().await
}

/// Prints a warning if the file of the earlier run is not used, and when the file cannot be written
/// any more. Never ends.
pub(super) async fn of_state(agent: &Agent, say: &impl Fn(Line)) {
    if let Some(mut status) = agent.state_status() {
        if let Some(why) = status.borrow().set_aside.clone() {
            say(Line::warning(why));
        }
        let mut told = false;
        while status.changed().await.is_ok() {
            let failing = status.borrow_and_update().failing.clone();
            if let Some(why) = failing.as_ref().filter(|_| !told) {
                say(Line::warning(not_kept(why)));
            }
            told = failing.is_some();
        }
    }
    std::future::pending().await
}

pub(super) fn not_kept(why: &str) -> String {
    format!("the live members are not kept for the next start (--state), as {why}: trying again")
}

/// Prints a warning when something on this host begins to fail, and when it works again. Never
/// ends.
pub(super) async fn of_host(agent: &Agent, say: &impl Fn(Line)) {
    let mut status = agent.host_status();
    let mut before = HostStatus::default();
    loop {
        let now = status.borrow_and_update().clone();
        for (was, is, again) in [
            (&before.record, &now.record, "the node is recorded again; the record has a gap"),
            (&before.sends, &now.sends, "this node can send again"),
        ] {
            match (was, is) {
                (None, Some(text)) => say(Line::warning(text.clone())),
                (Some(_), None) => say(Line::warning(again.to_owned())),
                _ => {}
            }
        }
        before = now;
        if status.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
