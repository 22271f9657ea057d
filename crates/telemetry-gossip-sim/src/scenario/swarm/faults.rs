//! The kinds of faults of random scenarios: which steps begin and end each, and with what strength.

use std::time::Duration;

use super::{Swarm, Window, group, random};
use crate::liar::LieKind;
use crate::network::{Kind, LoseKind, Network};
use crate::process::{Memory, Place, Rejoin};
use crate::scenario::{Group, Lie, Operation};
use crate::units::Share;

/// A kind of fault: a function that adds the steps which begin and end it.
pub(super) type Fault = fn(&mut Swarm, Window);

/// All kinds of faults, by name. Add a new one at the end: this changes which kinds a seed chooses,
/// but not what the kinds do.
pub(super) const FAULTS_BY_NAME: [(&str, Fault); 43] = [
    ("crash", Swarm::crash),
    ("restart-all", Swarm::restart_all),
    ("pause", Swarm::pause),
    ("block", Swarm::block),
    ("slow", Swarm::slow),
    ("jump", Swarm::jump),
    ("partition", Swarm::partition),
    ("bridge", Swarm::bridge),
    ("cut", Swarm::cut),
    ("mute", Swarm::mute),
    ("deaf", Swarm::deaf),
    ("ring", Swarm::ring),
    ("network", Swarm::worse_network),
    ("lose-kind", Swarm::lose_kind),
    ("lose-long", Swarm::lose_long),
    ("zones", Swarm::zones),
    ("replay", Swarm::replay),
    ("alter", Swarm::alter),
    ("join", Swarm::join),
    ("leave", Swarm::leave),
    ("twin", Swarm::twin),
    ("ghosts", Swarm::ghosts),
    ("configure", Swarm::configure),
    ("accept-loss", Swarm::accept_loss),
    ("restart-soon", Swarm::restart_soon),
    ("ladder", Swarm::ladder),
    ("crowd", Swarm::crowd),
    ("rival", Swarm::rival),
    ("poison", Swarm::poison),
    ("recording", Swarm::recording),
    ("spoof", Swarm::spoof),
    ("newcomers", Swarm::newcomers),
    ("partner", Swarm::partner),
    ("elsewhere", Swarm::elsewhere),
    ("lose-address", Swarm::lose_address),
    ("distant", Swarm::distant),
    ("late-ticks", Swarm::late_ticks),
    ("restore", Swarm::restore),
    ("uplink", Swarm::uplink),
    ("replace", Swarm::replace),
    ("storm", Swarm::storm),
    ("long-ids", Swarm::long_ids),
    ("one-way", Swarm::one_way),
];

impl Swarm {
    fn crash(&mut self, window: Window) {
        self.at(window.begin, Operation::Crash(random(window.few)));
        let memory = self.memory();
        let place = if self.one_in(3) { Place::New } else { Place::Same };
        let rejoin = self.rejoin();
        self.at(window.end, Operation::Restart { nodes: group("down"), memory, place, rejoin });
    }

    /// Crashes and restarts a few nodes, once or several times, before other nodes notice.
    fn restart_soon(&mut self, window: Window) {
        let mut begin = window.begin;
        for _ in 0..1 + self.below(3) {
            self.at(begin, Operation::Crash(random(window.few)));
            let (memory, rejoin) = (self.memory(), self.rejoin());
            let back = begin + Duration::from_millis(1) + self.millis(500);
            let nodes = group("down");
            self.at(back, Operation::Restart { nodes, memory, place: Place::Same, rejoin });
            begin = back + self.millis(5_000);
        }
    }

    pub(super) fn rejoin(&mut self) -> Rejoin {
        [Rejoin::Running, Rejoin::Alone, Rejoin::OldSeeds, Rejoin::File][self.below(4)]
    }

    fn memory(&mut self) -> Memory {
        if self.one_in(2) { Memory::Kept } else { Memory::Lost }
    }

    /// Crashes all nodes at once, and restarts them in two groups.
    fn restart_all(&mut self, window: Window) {
        self.at(window.begin, Operation::Crash(group("all")));
        let memory = self.memory();
        let half = format!("0..{}", window.split.max(1));
        let soon = window.begin + self.millis(3_000);
        for (at, nodes) in [(soon, half.as_str()), (window.end, "down")] {
            let (nodes, place, rejoin) = (group(nodes), Place::Same, self.rejoin());
            self.at(at, Operation::Restart { nodes, memory, place, rejoin });
        }
    }

    fn pause(&mut self, window: Window) {
        self.at(window.begin, Operation::Pause(random(window.few)));
        self.at(window.end, Operation::Resume(group("paused")));
    }

    fn block(&mut self, window: Window) {
        self.at(window.begin, Operation::Block(random(window.few)));
        self.at(window.end, Operation::Unblock(group("blocked")));
    }

    fn slow(&mut self, window: Window) {
        let by = Duration::from_millis(1) + self.millis(400);
        self.at(window.begin, Operation::Slow { nodes: random(window.few), by });
        self.at(window.end, Operation::Slow { nodes: group("all"), by: Duration::ZERO });
    }

    /// Lets the timers of a few nodes, or of all, fire late.
    fn late_ticks(&mut self, window: Window) {
        let by = Duration::from_millis(1) + self.millis(600);
        let nodes = if self.one_in(3) { group("all") } else { random(window.few) };
        self.at(window.begin, Operation::LateTicks { nodes, by });
        self.at(window.end, Operation::LateTicks { nodes: group("all"), by: Duration::ZERO });
    }

    fn jump(&mut self, window: Window) {
        let (most, back) = if self.one_in(3) { (2_000, true) } else { (20_000, false) };
        let by = self.millis(most);
        self.at(window.begin, Operation::Jump { nodes: random(window.few), by, back });
    }

    fn partition(&mut self, window: Window) {
        let (left, right) = sides(window);
        self.at(window.begin, Operation::Partition { left, right });
        self.at(window.end, Operation::Heal {});
    }

    /// Makes a partition with one node that reaches both sides.
    fn bridge(&mut self, window: Window) {
        let right = group(&format!("{}..{}", window.split + 1, window.nodes));
        self.at(window.begin, Operation::Partition { left: sides(window).0, right });
        self.at(window.end, Operation::Heal {});
    }

    fn cut(&mut self, window: Window) {
        let (from, to) = sides(window);
        self.at(window.begin, Operation::Cut { from, to });
        self.at(window.end, Operation::Heal {});
    }

    /// Loses most of the datagrams that a few nodes send.
    fn mute(&mut self, window: Window) {
        let loss = self.percent(20, 100);
        self.at(window.begin, Operation::Lose { from: random(window.few), to: group("all"), loss });
        self.at(window.end, Operation::Heal {});
    }

    /// Loses most of the datagrams that a few nodes would receive.
    fn deaf(&mut self, window: Window) {
        let loss = self.percent(20, 100);
        self.at(window.begin, Operation::Lose { from: group("all"), to: random(window.few), loss });
        self.at(window.end, Operation::Heal {});
    }

    fn ring(&mut self, window: Window) {
        let reach = 1 + self.below(3);
        self.at(window.begin, Operation::Ring(reach));
        self.at(window.end, Operation::Heal {});
    }

    fn worse_network(&mut self, window: Window) {
        let network = self.network();
        self.for_a_while(window, network);
    }

    fn lose_kind(&mut self, window: Window) {
        let kinds =
            [Kind::Ping, Kind::Ack, Kind::PingReq, Kind::Claims, Kind::Telemetry, Kind::Session];
        let kind = kinds[self.below(kinds.len())];
        let share = self.percent(30, 100);
        let lose_kind = Some(LoseKind { kind, share });
        self.for_a_while(window, Network::default().lose_kind(lose_kind));
    }

    fn lose_long(&mut self, window: Window) {
        let lose_above = 100 + u32::try_from(self.below(900)).unwrap_or(0);
        self.for_a_while(window, Network::default().lose_above(lose_above));
    }

    fn zones(&mut self, window: Window) {
        let zones = 2 + u32::try_from(self.below(3)).unwrap_or(0);
        let between_zones = self.millis(120);
        self.for_a_while(window, Network::default().zones(zones).between_zones(between_zones));
    }

    /// Moves some nodes to a distant site.
    fn distant(&mut self, window: Window) {
        let network = self.distant_site(window);
        self.for_a_while(window, network);
    }

    /// Lets datagrams to some nodes take a detour, and those from them none.
    fn one_way(&mut self, window: Window) {
        let network = self.distant_site(window).one_way(true);
        self.for_a_while(window, network);
    }

    fn distant_site(&mut self, window: Window) -> Network {
        let distant = u32::try_from(window.few).unwrap_or(1);
        let distance = self.millis(400);
        let loss = if self.one_in(2) { self.percent(1, 5) } else { Share::NONE };
        Network::default().distant(distant).distance(distance).distant_loss(loss)
    }

    /// Replays datagrams late, even across restarts.
    fn replay(&mut self, window: Window) {
        let replay_within = Duration::from_secs(1) + self.millis(50_000);
        let replay = self.percent(1, 30);
        self.for_a_while(window, Network::default().replay(replay).replay_within(replay_within));
    }

    fn alter(&mut self, window: Window) {
        let alter = self.percent(1, 20);
        self.for_a_while(window, Network::default().alter(alter));
    }

    fn join(&mut self, window: Window) {
        self.at(window.begin, Operation::Join(window.few));
    }

    fn leave(&mut self, window: Window) {
        self.at(window.begin, Operation::Leave(random(1)));
    }

    /// Starts a second process with the id of a node. The two hear of each other from other nodes,
    /// some of which must not have twins themselves.
    fn twin(&mut self, window: Window) {
        if window.nodes > 4 {
            self.at(window.begin, Operation::Twin(random(1)));
        }
    }

    fn ghosts(&mut self, window: Window) {
        self.at(window.begin, Operation::Ghosts { nodes: random(window.few), count: window.few });
    }

    /// Applies a cluster config to some nodes. Nodes that join later are not in it until the config
    /// is applied again.
    fn configure(&mut self, window: Window) {
        let told = if self.one_in(2) { group("running") } else { random(1 + window.nodes / 2) };
        self.at(window.begin, Operation::Configure(told));
        self.at(window.end, Operation::Configure(group("running")));
    }

    fn accept_loss(&mut self, window: Window) {
        let (left, right) = sides(window);
        self.at(window.begin, Operation::Partition { left, right });
        self.at(window.begin + Duration::from_secs(6), Operation::AcceptLoss(group("running")));
        self.at(window.end.max(window.begin + Duration::from_secs(8)), Operation::Heal {});
    }

    /// Lets a liar act from the beginning of the window until all lies end.
    fn lie(&mut self, window: Window, kind: LieKind, about: Group, most: usize) {
        let to = if self.one_in(2) { group("all") } else { random(1 + window.nodes / 2) };
        let every = Duration::from_millis(200) + self.millis(3_000);
        let count = u16::try_from(1 + self.below(most)).unwrap_or(1);
        let (member, key) = (self.one_in(2), !self.one_in(4));
        let lie = Lie::new(kind, about, to, every).count(count).member(member).key(key);
        self.at(window.begin, Operation::Lie(lie));
    }

    fn ladder(&mut self, window: Window) {
        self.lie(window, LieKind::Ladder, random(window.few), 5);
    }

    fn crowd(&mut self, window: Window) {
        self.lie(window, LieKind::Crowd, random(1), 25);
    }

    /// Lets a liar take the id of a node, which at times is down for a while.
    fn rival(&mut self, window: Window) {
        let owner = group(&self.below(window.nodes).to_string());
        self.lie(window, LieKind::Rival, owner.clone(), 1);
        if self.one_in(2) {
            let down = window.begin + self.millis(2_000);
            self.at(down, Operation::Crash(owner.clone()));
            let (memory, rejoin) = (self.memory(), self.rejoin());
            let restart = Operation::Restart { nodes: owner, memory, place: Place::Same, rejoin };
            self.at(window.end.max(window.begin + Duration::from_secs(3)), restart);
        }
    }

    fn poison(&mut self, window: Window) {
        self.lie(window, LieKind::Poison, random(window.few), 1);
    }

    /// Lets a liar repeat what it has recorded, at times while nodes are restarted.
    fn recording(&mut self, window: Window) {
        self.lie(window, LieKind::Recording, random(1), 10);
        if self.one_in(2) {
            self.restart_soon(window);
        }
    }

    fn spoof(&mut self, window: Window) {
        self.lie(window, LieKind::Spoof, group("all"), 1);
    }

    /// Lets newcomers join and fall silent: mostly a few, at times more than there are nodes.
    fn newcomers(&mut self, window: Window) {
        let most = if self.one_in(4) { 2 * window.nodes.min(30) } else { window.few };
        self.lie(window, LieKind::Newcomers, random(1), most);
    }

    fn partner(&mut self, window: Window) {
        self.lie(window, LieKind::Partner, random(window.few), 1);
    }

    /// Lets the hosts of a few nodes, or of all, send from another address than they state.
    fn elsewhere(&mut self, window: Window) {
        let nodes = if self.one_in(4) { group("all") } else { random(window.few) };
        self.at(window.begin, Operation::SendElsewhere(nodes));
    }

    /// Lets the addresses of a few nodes lead nowhere for a while. The nodes hear all answers.
    fn lose_address(&mut self, window: Window) {
        self.at(window.begin, Operation::LoseAddress(random(window.few)));
        self.at(window.end, Operation::RegainAddress(group("all")));
    }

    /// Restarts a few nodes from an earlier state, which is older than their end.
    fn restore(&mut self, window: Window) {
        let nodes = random(window.few);
        self.at(window.begin, Operation::Save(group("running")));
        let crash = window.begin + self.millis(10_000);
        self.at(crash, Operation::Crash(nodes));
        let (memory, place, rejoin) = (Memory::Saved, Place::Same, self.rejoin());
        let restart = Operation::Restart { nodes: group("down"), memory, place, rejoin };
        self.at(window.end.max(window.begin + Duration::from_secs(10)), restart);
    }

    /// Lets all nodes send only so much: at least what an idle node sends, with some telemetry.
    fn uplink(&mut self, window: Window) {
        let uplink = 1_000 + u32::try_from(self.below(20_000)).unwrap_or(0);
        self.for_a_while(window, Network::default().uplink(uplink));
    }

    /// Replaces a node by another one at its address.
    fn replace(&mut self, window: Window) {
        self.at(window.begin, Operation::Replace(random(1)));
    }

    /// Lets hosts pass many commands at once, several times.
    fn storm(&mut self, window: Window) {
        for _ in 0..1 + self.below(3) {
            let at = window.begin + self.millis(5_000);
            let count = 1 + u32::try_from(self.below(60)).unwrap_or(0);
            self.at(at, Operation::Storm { nodes: random(window.few), count });
        }
    }

    /// Starts nodes with the longest ids that there are.
    fn long_ids(&mut self, window: Window) {
        self.at(window.begin, Operation::JoinLong(window.few.min(4)));
    }
}

/// The two sides of a partition.
fn sides(window: Window) -> (Group, Group) {
    (group(&format!("0..{}", window.split)), group(&format!("{}..{}", window.split, window.nodes)))
}
