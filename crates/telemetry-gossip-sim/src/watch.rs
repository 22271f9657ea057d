//! Follows pieces of news: when the first node knew, and when everybody did.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemetry_gossip_core::Event;

use crate::checker::Name;
use crate::units::{in_seconds, maybe_in_seconds};

/// A piece of news about one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum News {
    /// It was killed: who holds it Dead?
    Crash,
    /// It leaves: who holds it Left?
    Leave,
    /// It is back, above its old generation: who holds it Alive?
    Return,
    /// It published: who has this version of its telemetry?
    Telemetry,
}

/// How a piece of news spread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// What it is.
    pub news: News,
    /// About which node.
    pub node: usize,
    /// When it happened, in virtual time.
    #[serde(rename = "at_s", with = "in_seconds")]
    pub at: Duration,
    /// How long until somebody suspected the node, for a crash.
    #[serde(rename = "suspected_s", with = "maybe_in_seconds")]
    pub suspected: Option<Duration>,
    /// How long until somebody knew.
    #[serde(rename = "first_s", with = "maybe_in_seconds")]
    pub first: Option<Duration>,
    /// How long until everybody who ran all the time knew; `None` if somebody never did.
    #[serde(rename = "everyone_s", with = "maybe_in_seconds")]
    pub everyone: Option<Duration>,
    /// How many knew.
    pub known_by: usize,
}

#[derive(Debug)]
struct Watch {
    /// A generation or a telemetry version: what is below is older news.
    least: u64,
    waiting: Vec<bool>,
    left: usize,
    spread: Spread,
}

/// All pieces of news that are followed in a run.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    /// By name.
    open: Vec<Vec<Watch>>,
    done: Vec<Spread>,
}

impl Watches {
    /// Follows news from now on. `waiting` tells who does not know yet, by index.
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
        if left == 0 {
            self.done.push(Spread { everyone: Some(Duration::ZERO), ..spread });
            return;
        }
        if self.open.len() <= name.index() {
            self.open.resize_with(name.index() + 1, Vec::new);
        }
        let open = &mut self.open[name.index()];
        if news != News::Telemetry {
            // What was told of the node before, nobody can learn any more.
            close(open, &mut self.done, |watch| watch.spread.news != News::Telemetry);
        }
        open.push(Watch { least, waiting, left, spread });
    }

    /// `observer` stopped: nobody waits for it any more, nor has to learn what it published last.
    pub(crate) fn gone(&mut self, now: Duration, observer: usize) {
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
                (News::Crash, Event::Dead { generation, .. })
                | (News::Leave, Event::Left { generation, .. })
                | (
                    News::Return,
                    Event::Alive { generation, .. } | Event::Joined { generation, .. },
                ) => generation.0,
                (News::Telemetry, Event::Telemetry { version, .. }) => *version,
                _ => continue,
            };
            if number >= watch.least {
                watch.tick_off(now, observer, true);
                complete |= watch.left == 0;
            }
        }
        if complete {
            close(open, &mut self.done, |watch| watch.left == 0);
        }
    }

    /// All spreads in the order in which they began.
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

    fn dead(generation: u64) -> Event<u32> {
        Event::dead(NodeId::new("n9").unwrap(), Generation(generation))
    }

    #[test]
    fn a_crash_is_known_to_everyone_when_the_last_runner_knows() {
        let mut watches = Watches::default();
        let second = Duration::from_secs;
        watches.open(second(10), News::Crash, 9, NAME, 3, vec![true, true, true, false]);
        watches.event(second(11), 0, NAME, &dead(2));
        watches.event(second(12), 0, NAME, &dead(3));
        watches.event(second(13), 0, NAME, &dead(3));
        watches.event(second(13), 3, NAME, &dead(3));
        watches.gone(second(14), 1);
        assert_eq!(watches.spreads()[0].everyone, None);
        watches.event(second(15), 2, NAME, &dead(3));
        let spread = &watches.spreads()[0];
        assert_eq!((spread.first, spread.everyone), (Some(second(2)), Some(second(5))));
        assert_eq!(spread.known_by, 2);
    }
}
