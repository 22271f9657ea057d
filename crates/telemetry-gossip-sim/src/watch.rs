//! Follows pieces of news through the cluster: when the first node knew, and when every node did.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemetry_gossip_core::Event;

use crate::checker::Name;
use crate::units::{in_seconds, maybe_in_seconds};

/// A piece of news about one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum News {
    /// The node was killed. A node knows this once it holds the killed one Dead, or a process that
    /// has taken its place Alive.
    Crash,
    /// The node leaves. A node knows this once it holds the leaving one Left.
    Leave,
    /// The node was restarted. A node knows this once it holds the restarted one Alive above its
    /// old generation.
    Return,
    /// The node published. A node knows this once it has this version of the telemetry.
    Telemetry,
}

/// How a piece of news spread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Spread {
    /// The kind of news.
    pub news: News,
    /// The node that the news is about.
    pub node: usize,
    /// When the node crashed, left, returned or published, in virtual time.
    #[serde(rename = "at_s", with = "in_seconds")]
    pub at: Duration,
    /// Time until the first node suspected the crashed one; `None` for other news.
    #[serde(rename = "suspected_s", with = "maybe_in_seconds")]
    pub suspected: Option<Duration>,
    /// Time until the first node knew.
    #[serde(rename = "first_s", with = "maybe_in_seconds")]
    pub first: Option<Duration>,
    /// Time until every node that ran throughout knew; `None` if one of them never did.
    #[serde(rename = "everyone_s", with = "maybe_in_seconds")]
    pub everyone: Option<Duration>,
    /// The number of nodes that knew.
    pub known_by: usize,
}

#[derive(Debug)]
struct Watch {
    /// A generation or a telemetry version; events below it are about older news.
    least: u64,
    /// The generation at which the node of each index held the one that crashed, if it was below
    /// `least`: the word of a node that climbs as fast as it may is at some nodes late. Such a node
    /// finds the crash at the generation that it holds.
    behind: BTreeMap<usize, u64>,
    /// Whether the node of each index has still to learn the news.
    waiting: Vec<bool>,
    /// How many nodes have still to learn it.
    left: usize,
    spread: Spread,
}

/// All pieces of news of a run.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    /// The pieces of news that are still spreading, by the name they are about.
    open: Vec<Vec<Watch>>,
    done: Vec<Spread>,
}

impl Watches {
    /// Follows a piece of news from now on. `waiting` marks the nodes that have still to learn it.
    pub(crate) fn open(
        &mut self,
        at: Duration,
        news: News,
        node: usize,
        name: Name,
        least: u64,
        waiting: Vec<bool>,
    ) {
        let left = waiting.iter().filter(|&&waits| waits).count();
        let spread =
            Spread { news, node, at, suspected: None, first: None, everyone: None, known_by: 0 };
        // Without an audience the news is known at once; `first` stays `None` to tell this case.
        if left == 0 {
            self.done.push(Spread { everyone: Some(Duration::ZERO), ..spread });
            return;
        }
        if self.open.len() <= name.index() {
            self.open.resize_with(name.index() + 1, Vec::new);
        }
        let open = &mut self.open[name.index()];
        if news != News::Telemetry {
            // Newer claims about the node supersede older membership news, which can no longer
            // spread.
            close(open, &mut self.done, |watch| watch.spread.news != News::Telemetry);
        }
        open.push(Watch { least, behind: BTreeMap::new(), waiting, left, spread });
    }

    /// Some nodes hold the one whose crash was opened last at an earlier generation than its own.
    pub(crate) fn are_behind(&mut self, name: Name, behind: BTreeMap<usize, u64>) {
        let open = self.open.get_mut(name.index()).and_then(|open| open.last_mut());
        if let Some(watch) = open.filter(|watch| watch.spread.news == News::Crash) {
            watch.behind = behind;
        }
    }

    /// Removes a stopped observer: it no longer has to learn news, and other nodes no longer have
    /// to learn its last publications.
    pub(crate) fn stopped(&mut self, now: Duration, observer: usize) {
        for open in &mut self.open {
            open.retain(|watch| {
                watch.spread.news != News::Telemetry || watch.spread.node != observer
            });
            for watch in open.iter_mut() {
                watch.tick_off(now, observer, false);
            }
            close(open, &mut self.done, |watch| watch.left == 0);
        }
    }

    /// Follows an event about `name` at `observer`.
    pub(crate) fn event(&mut self, now: Duration, observer: usize, name: Name, event: &Event<u32>) {
        let Some(open) = self.open.get_mut(name.index()) else {
            return;
        };
        let mut complete = false;
        for watch in open.iter_mut() {
            let number = match (watch.spread.news, event) {
                (News::Crash, Event::Suspected { generation, .. })
                    if generation.0 >= watch.least =>
                {
                    watch.spread.suspected.get_or_insert(now - watch.spread.at);
                    continue;
                }
                (News::Crash, Event::Alive { generation, .. }) if generation.0 > watch.least => {
                    generation.0
                }
                (News::Crash, Event::Dead { generation, .. })
                | (News::Leave, Event::Left { generation, .. })
                | (
                    News::Return,
                    Event::Alive { generation, .. } | Event::Joined { generation, .. },
                ) => generation.0,
                (News::Telemetry, Event::Telemetry { version, .. }) => *version,
                _ => continue,
            };
            let is_death = matches!(event, Event::Dead { .. });
            let behind = watch.behind.get(&observer).filter(|_| is_death);
            if number >= behind.copied().unwrap_or(watch.least) {
                watch.tick_off(now, observer, true);
                complete |= watch.left == 0;
            }
        }
        if complete {
            close(open, &mut self.done, |watch| watch.left == 0);
        }
    }

    /// All spreads, ordered by their beginning.
    pub(crate) fn spreads(&self) -> Vec<Spread> {
        let open = self.open.iter().flatten().map(|watch| watch.spread.clone());
        let mut all: Vec<Spread> = self.done.iter().cloned().chain(open).collect();
        all.sort_by_key(|spread| (spread.at, spread.node, spread.news));
        all
    }
}

fn close(open: &mut Vec<Watch>, done: &mut Vec<Spread>, ends: impl Fn(&Watch) -> bool) {
    done.extend(open.extract_if(.., |watch| ends(watch)).map(|watch| watch.spread));
}

impl Watch {
    /// Marks an observer as done, because it `knows` or because it stopped.
    fn tick_off(&mut self, now: Duration, observer: usize, knows: bool) {
        let Some(waits) = self.waiting.get_mut(observer).filter(|waits| **waits) else {
            return;
        };
        *waits = false;
        self.left -= 1;
        if knows {
            self.spread.known_by += 1;
            self.spread.first.get_or_insert(now - self.spread.at);
        }
        if self.left == 0 {
            self.spread.everyone = Some(now - self.spread.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use telemetry_gossip_core::{Generation, NodeId};

    const NAME: Name = Name(9);

    #[test]
    fn a_node_that_held_the_crashed_one_at_an_earlier_generation_finds_its_crash_there() {
        let second = Duration::from_secs;
        for (behind, known) in [(None, 1), (Some(7), 1), (Some(5), 2)] {
            let mut watches = Watches::default();
            watches.open(second(10), News::Crash, 9, NAME, 9, vec![true, true]);
            watches.are_behind(NAME, behind.into_iter().map(|held| (1, held)).collect());
            watches.event(second(11), 0, NAME, &dead(10));
            watches.event(second(12), 1, NAME, &dead(6));
            assert_eq!(watches.spreads()[0].known_by, known, "held at {behind:?}");
        }
    }

    fn dead(generation: u64) -> Event<u32> {
        Event::dead(NodeId::new("n9").unwrap(), Generation(generation))
    }

    #[test]
    fn a_crash_is_known_to_all_once_the_last_running_node_knows() {
        let mut watches = Watches::default();
        let second = Duration::from_secs;
        watches.open(second(10), News::Crash, 9, NAME, 3, vec![true, true, true, false]);
        watches.event(second(11), 0, NAME, &dead(2));
        watches.event(second(12), 0, NAME, &dead(3));
        watches.event(second(13), 0, NAME, &dead(3));
        watches.event(second(13), 3, NAME, &dead(3));
        watches.stopped(second(14), 1);
        assert_eq!(watches.spreads()[0].everyone, None);
        watches.event(second(15), 2, NAME, &dead(3));
        let spread = &watches.spreads()[0];
        assert_eq!((spread.first, spread.everyone), (Some(second(2)), Some(second(5))));
        assert_eq!(spread.known_by, 2);
    }
}
