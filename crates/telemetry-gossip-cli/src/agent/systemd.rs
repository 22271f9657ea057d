//! What systemd, or another service manager of its kind, is told of an agent (`Type=notify`).
//!
//! ```text
//!   events, registry, watchdog --> the node's task is asked for its health
//!                                          |
//!                                        Told --> thread --> $NOTIFY_SOCKET
//! ```
//!
//! An agent is ready once its node runs, not once it has joined: a first node, and a fleet whose
//! registry is down, would be killed after the start timeout. That a node is joining is a status.
//!
//! Every ping of the watchdog follows an answer of the node's task. If the task is stuck, no answer
//! comes and the pings stop.
//!
//! Sending waits while the service manager does not read, so a thread of its own sends. What it has
//! not sent yet is one value, which later values replace. Without `$NOTIFY_SOCKET`, there is no
//! thread, and the node is not asked.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use telemetry_gossip_core::{Event, Health};
use telemetry_gossip_registry::follow::{State, Status};
use telemetry_gossip_registry::host::Following;
use telemetry_gossip_tokio::{Agent, Events, PeerAddr, RecvError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::LAST_LINES_TIMEOUT;
use super::line::Line;
use crate::error::Error;
use crate::text;

/// The shortest time between two questions to the node after changes, however many there are: the
/// service manager passes each status on.
const PAUSE: Duration = Duration::from_millis(500);

/// The shortest time between two pings, however short the time of the watchdog is.
const MIN_PING_INTERVAL: Duration = Duration::from_millis(50);

/// The longest status, in characters. `systemctl status` shows it in one line.
const MAX_STATUS_CHARS: usize = 300;

/// A service manager that wants to be told of this agent.
pub(super) struct ServiceManager {
    told: watch::Sender<Told>,
    /// How often it expects a ping at the latest; `None` if it expects none.
    watchdog: Option<Duration>,
    sending: JoinHandle<()>,
}

impl ServiceManager {
    /// The service manager that has started this process; `None` if none wants to be told.
    pub(super) fn of_environment(say: impl Fn(Line) + Send + 'static) -> Option<Self> {
        if !environment::has_socket() {
            return None;
        }
        let (told, news) = watch::channel(Told::default());
        let runtime = tokio::runtime::Handle::current();
        let sending = tokio::task::spawn_blocking(move || {
            runtime.block_on(send(news, environment::send, say));
        });
        // A service manager means no watchdog by 0.
        let watchdog = environment::watchdog().filter(|span| !span.is_zero());
        Some(Self { told, watchdog, sending })
    }

    /// Tells that the node leaves.
    pub(super) fn stopping(&self) {
        self.told.send_if_modified(|told| told.stop(None));
    }

    /// Tells that the agent ends, and why if that is an error, and waits until that is sent.
    pub(super) async fn end(self, failure: Option<&Error>) {
        self.told.send_if_modified(|told| told.stop(failure.map(ToString::to_string)));
        drop(self.told);
        // A service manager that does not read must not keep the process alive.
        let _ = tokio::time::timeout(LAST_LINES_TIMEOUT, self.sending).await;
    }
}

/// Tells a service manager of the node. Never ends.
pub(super) async fn tell(
    manager: Option<&ServiceManager>,
    agent: &Agent,
    following: Option<&Following>,
    has_seeds: bool,
) -> Infallible {
    let Some(manager) = manager else { return std::future::pending().await };
    let mut events = agent.events();
    let mut registry = following.map(Following::changes);
    let ask = async || {
        let health = agent.health().await.ok()?;
        let isolation = agent.view().isolation().map(|isolation| (isolation.lost, isolation.of));
        let registry = following.map(Following::status);
        Some(sentence(&health, isolation, registry.as_ref(), has_seeds))
    };
    let changed = async || {
        let read = async {
            let ended = match &mut registry {
                Some(registry) => registry.changed().await.is_err(),
                None => true,
            };
            if ended {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = next_change(&mut events) => {}
            () = read => {}
        }
    };
    follow(&manager.told, manager.watchdog, ask, changed).await
}

/// Waits for an event that may change the status.
async fn next_change(events: &mut Events) {
    loop {
        match events.recv().await {
            Ok(event) if !changes_status(&event) => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

fn changes_status(event: &Event<PeerAddr>) -> bool {
    !matches!(event, Event::Telemetry { .. } | Event::Evidence { .. } | Event::Dropped { .. })
}

/// Asks the node for its status after each change, and in time for the watchdog. `ask` returns
/// `None` once the node has ended. Never ends.
async fn follow(
    told: &watch::Sender<Told>,
    watchdog: Option<Duration>,
    mut ask: impl AsyncFnMut() -> Option<String>,
    mut changed: impl AsyncFnMut(),
) -> Infallible {
    let interval = watchdog.map(|span| (span / 2).max(MIN_PING_INTERVAL));
    let mut due = interval.map(|_| Instant::now());
    loop {
        let Some(status) = ask().await else { return std::future::pending().await };
        let now = Instant::now();
        let pings = due.is_some_and(|due| due <= now);
        if pings {
            // A time that is too far away to be told never comes.
            due = interval.and_then(|interval| now.checked_add(interval));
        }
        told.send_if_modified(|told| told.answered(status, pings));
        tokio::select! {
            () = async {
                tokio::time::sleep(PAUSE).await;
                changed().await;
            } => {}
            () = at(due) => {}
        }
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Describes a node in a sentence. If it is isolated, `isolation` has how many members did not
/// answer then, and of how many.
fn sentence(
    health: &Health,
    isolation: Option<(u32, u32)>,
    registry: Option<&Status>,
    has_seeds: bool,
) -> String {
    let mut sentence = if !health.active {
        "no member: it has left, or another process has its id".to_owned()
    } else if let Some((lost, of)) = isolation {
        format!("isolated: {lost} of {of} members do not answer")
    } else if has_seeds && !health.joined && health.alive <= 1 {
        "joining: no other member has answered so far".to_owned()
    } else {
        format!("{} alive", text::counted(health.alive.into(), "member"))
    };
    match registry.map(|status| &status.state) {
        // The first read takes a moment.
        None | Some(State::Current | State::Waiting(None)) => {}
        Some(state) => sentence += &format!("; registry {state}"),
    }
    sentence
}

/// What a service manager is to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    /// Whether the node runs.
    ready: bool,
    /// How many pings of the watchdog there were.
    pings: u64,
    status: String,
    stopping: bool,
}

impl Told {
    /// The node has answered; whether there is something to tell.
    fn answered(&mut self, status: String, pings: bool) -> bool {
        let before = self.clone();
        self.ready = true;
        self.pings += u64::from(pings);
        if !self.stopping {
            self.status = status;
        }
        *self != before
    }

    /// The node leaves, or ends for this reason; whether that is new.
    fn stop(&mut self, why: Option<String>) -> bool {
        let before = self.clone();
        let status = why.or_else(|| (!self.stopping).then(|| "leaving the cluster".to_owned()));
        self.stopping = true;
        if let Some(status) = status {
            self.status = status;
        }
        *self != before
    }

    /// The message with what is new since `before`; empty if nothing is.
    fn since(&self, before: &Self) -> String {
        let mut lines = Vec::new();
        if self.ready && !before.ready {
            lines.push("READY=1".to_owned());
        }
        if self.stopping && !before.stopping {
            lines.push("STOPPING=1".to_owned());
        }
        if self.status != before.status {
            // A line break would begin another order. The registry's texts are an operator's.
            lines.push(format!("STATUS={}", text::printable(&self.status, MAX_STATUS_CHARS)));
        }
        if self.pings != before.pings {
            lines.push("WATCHDOG=1".to_owned());
        }
        lines.join("\n")
    }
}

/// Sends what is new, until nothing more will be. What could not be sent is sent with the next
/// change.
async fn send(
    mut news: watch::Receiver<Told>,
    send: impl Fn(&str) -> io::Result<()>,
    say: impl Fn(Line),
) {
    let (mut before, mut fails) = (Told::default(), false);
    loop {
        let now = news.borrow_and_update().clone();
        let message = now.since(&before);
        match if message.is_empty() { Ok(()) } else { send(&message) } {
            Ok(()) => (before, fails) = (now, false),
            Err(error) => {
                if !fails {
                    say(Line::warning(format!(
                        "the service manager cannot be told how this agent is: {error}: look at \
                         $NOTIFY_SOCKET and Type= of the service"
                    )));
                }
                fails = true;
            }
        }
        if news.changed().await.is_err() {
            return;
        }
    }
}

/// What a service manager has put into the environment of this process. It stays there: to change
/// the environment is unsafe, and an agent starts no other program.
#[cfg(unix)]
mod environment {
    use std::io;
    use std::time::Duration;

    use sd_notify::NotifyState;

    pub(super) fn has_socket() -> bool {
        std::env::var_os("NOTIFY_SOCKET").is_some_and(|path| !path.is_empty())
    }

    pub(super) fn watchdog() -> Option<Duration> {
        sd_notify::watchdog_enabled()
    }

    pub(super) fn send(message: &str) -> io::Result<()> {
        sd_notify::notify(&[NotifyState::Custom(message)])
    }
}

#[cfg(not(unix))]
mod environment {
    use std::io;
    use std::time::Duration;

    pub(super) fn has_socket() -> bool {
        false
    }

    pub(super) fn watchdog() -> Option<Duration> {
        None
    }

    pub(super) fn send(_: &str) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use telemetry_gossip_registry::follow::Reason;

    /// The time of a watchdog in these tests: twice the shortest time between pings.
    const WATCHDOG: Duration = MIN_PING_INTERVAL.saturating_mul(2);

    fn told(status: &str) -> Told {
        Told { ready: true, status: status.to_owned(), ..Told::default() }
    }

    fn run(test: impl Future<Output = ()>) {
        crate::runtime::new().unwrap().block_on(test);
    }

    /// Another node whose task answers is the clock: while it is pinged for twenty times, the stuck
    /// one is not.
    #[test]
    fn a_node_whose_task_does_not_answer_is_not_pinged_for() {
        run(async {
            let (well, stuck) = (watch::Sender::new(Told::default()), watch::Sender::default());
            let mut answers = 0;
            let answers_twice = async || {
                answers += 1;
                if answers > 2 {
                    std::future::pending::<()>().await;
                }
                Some("1 member alive".to_owned())
            };
            let mut pings = well.subscribe();
            tokio::select! {
                never = follow(
                    &well,
                    Some(WATCHDOG),
                    async || Some(String::new()),
                    std::future::pending,
                ) => match never {},
                never = follow(&stuck, Some(WATCHDOG), answers_twice, std::future::pending) => {
                    match never {}
                }
                told = pings.wait_for(|told| told.pings >= 20) => drop(told.unwrap()),
            }
            assert_eq!(stuck.borrow().pings, 2);
        });
    }

    #[test]
    fn a_change_is_told_without_a_ping_and_without_a_watchdog_there_is_none() {
        run(async {
            let sender = watch::Sender::new(Told::default());
            let mut news = sender.subscribe();
            let mut statuses = ["a", "b"].into_iter();
            let ask = async || statuses.next().map(ToOwned::to_owned);
            tokio::select! {
                never = follow(&sender, None, ask, async || {}) => match never {},
                told = news.wait_for(|told| told.status == "b") => {
                    assert_eq!(*told.unwrap(), told_b());
                }
            }
        });

        fn told_b() -> Told {
            told("b")
        }
    }

    #[test]
    fn a_message_has_what_is_new() {
        let mut now = Told::default();
        assert_eq!(now.since(&Told::default()), "");
        assert!(now.answered("joining".to_owned(), true));
        let first = now.clone();
        assert_eq!(first.since(&Told::default()), "READY=1\nSTATUS=joining\nWATCHDOG=1");
        assert!(!now.answered("joining".to_owned(), false));
        assert!(now.answered("2 members alive".to_owned(), false));
        assert_eq!(now.since(&first), "STATUS=2 members alive");
        assert!(now.stop(None) && !now.stop(None));
        assert!(!now.answered("1 member alive".to_owned(), false), "it leaves");
        assert_eq!(now.since(&first), "STOPPING=1\nSTATUS=leaving the cluster");
        let leaving = now.clone();
        assert!(now.stop(Some("it was removed".to_owned())));
        assert_eq!(now.since(&leaving), "STATUS=it was removed");
    }

    #[test]
    fn a_status_cannot_give_other_orders() {
        let message = told("held: \nMAINPID=1").since(&told(""));
        assert_eq!(message.lines().count(), 1, "{message}");
        let long = told(&"x".repeat(5_000)).since(&told(""));
        assert_eq!(long.chars().count(), "STATUS=".len() + MAX_STATUS_CHARS + 1);
    }

    #[test]
    fn what_could_not_be_sent_is_sent_with_the_next_change_after_one_warning() {
        let (sender, news) = watch::channel(told("a"));
        let (tries, warnings) = (RefCell::new(Vec::new()), RefCell::new(0));
        let try_to_send = |message: &str| {
            tries.borrow_mut().push(message.to_owned());
            match tries.borrow().len() {
                // Each failure is followed by a change.
                1 => drop(sender.send_replace(told("b"))),
                2 => drop(sender.send_replace(told("c"))),
                3 => return Ok(()),
                _ => unreachable!("nothing is new"),
            }
            Err(io::ErrorKind::NotFound.into())
        };
        run(async {
            let sends = send(news, try_to_send, |_| *warnings.borrow_mut() += 1);
            let sent = async {
                while tries.borrow().len() < 3 {
                    tokio::task::yield_now().await
                }
            };
            tokio::select! { biased; () = sends => {}, () = sent => {} }
        });
        assert_eq!(tries.borrow()[2], "READY=1\nSTATUS=c");
        assert_eq!(*warnings.borrow(), 1);
    }

    #[test]
    fn a_status_says_how_the_node_is_and_what_its_registry_holds() {
        let mut health: Health = serde_json::from_value(serde_json::json!({
            "local_health": 0, "isolated_since": null, "alive": 1, "suspected": 0, "dead": 0,
            "left": 0, "cluster_config": null, "joined": false, "active": true,
        }))
        .unwrap();
        assert_eq!(
            sentence(&health, None, None, true),
            "joining: no other member has answered so far"
        );
        assert_eq!(sentence(&health, None, None, false), "1 member alive");
        (health.joined, health.alive) = (true, 5);
        assert_eq!(sentence(&health, None, None, true), "5 members alive");
        assert_eq!(
            sentence(&health, Some((3, 5)), None, true),
            "isolated: 3 of 5 members do not answer"
        );
        let mut status = Status::default();
        let held = Reason::Unreachable("it is down".to_owned());
        (status.state, status.store) = (State::Held(held.clone()), None);
        assert_eq!(
            sentence(&health, None, Some(&status), true),
            format!("5 members alive; registry held: {held}")
        );
        status.state = State::Current;
        assert_eq!(sentence(&health, None, Some(&status), true), "5 members alive");
        health.active = false;
        assert!(sentence(&health, None, None, true).starts_with("no member"));
    }
}
