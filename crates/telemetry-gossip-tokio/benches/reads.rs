//! What a read costs while gossip runs, and what a change costs until readers see it.
//!
//! ```sh
//! cargo bench -p telemetry-gossip-tokio --bench reads
//! ```
//!
//! 250 agents on a network in memory probe each other and publish telemetry each second, on a
//! thread of their own; the figures are of readers of one of them. A round of `publish` is a
//! command, a new view, and the answer.

use std::hint::black_box;
use std::sync::LazyLock;
use std::time::Duration;

use divan::Bencher;
use telemetry_gossip_core::{Config, Generation, Mode, Status};
use telemetry_gossip_tokio::{Agent, MemoryNetwork, Options};
use tokio::runtime::{Builder, Runtime};

const NODES: usize = 250;

/// How often each member's telemetry changes.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);

fn main() {
    LazyLock::force(&CLUSTER);
    divan::main();
}

/// One of 250 agents that are at work as long as the benchmark runs.
static CLUSTER: LazyLock<(Agent, Runtime)> = LazyLock::new(|| {
    let runtime =
        Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let agent = runtime.block_on(async {
        let network = MemoryNetwork::new(1);
        let mut agents = Vec::new();
        for index in 0..NODES {
            let id = name(index);
            let seeds = if index == 0 { Vec::new() } else { vec![name(0)] };
            let options = Options::new(id.parse().expect("an id")).seeds(seeds);
            let transport = network.transport(&id).expect("an id");
            agents.push(Agent::spawn(options, transport).expect("sound settings"));
        }
        for agent in agents.clone() {
            tokio::spawn(publish(agent));
        }
        let first = agents.swap_remove(0);
        let mut events = first.events();
        let complete = || {
            let view = first.view();
            view.alive() == NODES
                && (0..NODES).all(|index| {
                    view.get(&name(index)).is_some_and(|member| member.telemetry_version > 0)
                })
        };
        while !complete() {
            events.recv().await.expect("it runs");
        }
        drop(events);
        first
    });
    (agent, runtime)
});

fn name(index: usize) -> String {
    format!("edge-{index}")
}

/// Keeps the agent, and its telemetry changing.
async fn publish(agent: Agent) {
    for load in 0_u64.. {
        let value = [load.to_le_bytes(); 8].concat();
        agent.publish("load", &value).await.expect("it runs");
        tokio::time::sleep(PUBLISH_EVERY).await;
    }
}

/// A consistent snapshot of all members.
#[divan::bench(sample_size = 1_000, sample_count = 1_000)]
fn snapshot(bencher: Bencher<'_, '_>) {
    let agent = &CLUSTER.0;
    bencher.bench(|| agent.view());
}

/// One member, found by its id.
#[divan::bench(sample_size = 1_000, sample_count = 1_000)]
fn one_member(bencher: Bencher<'_, '_>) {
    let agent = &CLUSTER.0;
    let mut index = 0;
    let names: Vec<String> = (0..NODES).map(name).collect();
    bencher.bench_local(|| {
        index = (index + 7) % NODES;
        agent.member(black_box(&names[index]))
    });
}

/// Every member's id, status and generation, of a new snapshot each time.
#[divan::bench(sample_size = 1_000, sample_count = 1_000)]
fn walk(bencher: Bencher<'_, '_>) {
    let agent = &CLUSTER.0;
    bencher.bench(|| {
        let view = agent.view();
        let mut sum = 0;
        for member in view.iter() {
            let last = member.id.as_str().as_bytes().last().copied().unwrap_or_default();
            sum +=
                u64::from(last) + member.generation.0 + u64::from(member.status == Status::Alive);
        }
        sum
    });
}

/// A change of one member until it is in the view of as many, by way of a command.
#[divan::bench(args = [1, 250, 1_000])]
fn publish_one(bencher: Bencher<'_, '_>, members: usize) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let agent = runtime.block_on(async {
        let transport = MemoryNetwork::new(1).transport("me").expect("an id");
        let config = Config::default().mode(Mode::OnDemand);
        let options = Options::new("me".parse().expect("an id")).config(config);
        let agent = Agent::spawn(options, transport).expect("sound settings");
        for index in 1..members {
            let id = name(index).parse().expect("an id");
            agent.introduce(id, None, Generation(0)).await.expect("it runs");
        }
        agent
    });
    bencher.bench_local(|| runtime.block_on(agent.publish("load", b"0.7")).expect("it runs"));
}
