//! Islands: parts of a cluster that boot or live apart. Nobody tells them of each other, and each
//! is healthy. They find each other by their seeds, soon after the network lets them.

use std::time::Duration;

use tokio::time::sleep;

use crate::support::{HEALS_WITHIN, World, alive, until_whole};

const SITES: [&str; 4] = ["a", "b", "c", "d"];

/// One list of seeds for all, in which each node finds itself as well.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn two_sites_that_boot_apart_with_one_list_of_seeds() {
    let world = World::new();
    SITES.iter().for_each(|at| world.names.set(at, &[at]));
    world.cut(&["a", "b"], &["c", "d"]);
    let mut nodes = Vec::new();
    for id in SITES {
        nodes.push(world.start(id, id, &SITES).await);
    }
    sleep(Duration::from_secs(60)).await;
    assert_eq!(alive(&nodes), [2; 4]);
    world.network.heal();
    until_whole(&nodes, HEALS_WITHIN).await;
}

/// One name stands for all members; at boot it led each site to itself alone.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn two_sites_that_boot_apart_with_one_name_for_all() {
    let world = World::new();
    world.names.set("fleet", &SITES);
    world.cut(&["a", "b"], &["c", "d"]);
    let mut nodes = Vec::new();
    for id in SITES {
        nodes.push(world.start(id, id, &["fleet"]).await);
    }
    sleep(Duration::from_secs(600)).await;
    assert_eq!(alive(&nodes), [2; 4]);
    world.network.heal();
    until_whole(&nodes, HEALS_WITHIN).await;
}

/// The only seed is down while the others start, and comes up later, without seeds of its own.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn seeds_that_are_down_at_boot() {
    let world = World::new();
    world.names.set("a", &["a"]);
    let mut nodes = Vec::new();
    for id in ["b", "c", "d"] {
        nodes.push(world.start(id, id, &["a"]).await);
    }
    sleep(Duration::from_secs(300)).await;
    assert_eq!(alive(&nodes), [1; 3]);
    nodes.push(world.start("a", "a", &[]).await);
    until_whole(&nodes, HEALS_WITHIN).await;
}

/// `b` joins through `a` while `c` is down; then `c` and `d` start together.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn one_seed_of_two_is_down_when_the_first_joins() {
    let world = World::new();
    SITES.iter().for_each(|at| world.names.set(at, &[at]));
    let a = world.start("a", "a", &[]).await;
    let b = world.start("b", "b", &["a", "c"]).await;
    sleep(Duration::from_secs(20)).await;
    let c = world.start("c", "c", &[]).await;
    let d = world.start("d", "d", &["c"]).await;
    until_whole(&[a, b, c, d], HEALS_WITHIN).await;
}

/// One of three is cut off; meanwhile the others move to new addresses, and the name says so.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn all_others_move_while_one_is_cut_off() {
    let world = World::new();
    world.names.set("fleet", &["at-1", "at-2", "at-3"]);
    let a = world.start("a", "at-1", &["fleet"]).await;
    let b = world.start("b", "at-2", &["fleet"]).await;
    let c = world.start("c", "at-3", &["fleet"]).await;
    sleep(Duration::from_secs(20)).await;
    assert_eq!(alive(&[a.clone(), b.clone(), c.clone()]), [3; 3]);
    world.network.isolate("at-1");
    sleep(Duration::from_secs(30)).await;
    for node in [b, c] {
        node.shutdown().await;
    }
    world.names.set("fleet", &["at-22", "at-33"]);
    let b = world.start("b", "at-22", &["fleet"]).await;
    let c = world.start("c", "at-33", &["fleet"]).await;
    sleep(Duration::from_secs(30)).await;
    world.network.heal();
    let nodes = [a, b, c];
    until_whole(&nodes, HEALS_WITHIN).await;
    // The next roll call ends the isolation.
    sleep(Duration::from_secs(5)).await;
    assert_eq!(nodes[0].health().await.unwrap().isolated_since, None);
    assert!(nodes.iter().all(|node| node.members().len() == 3));
}

/// The first node of a cluster has no seeds. It ends, in good order or not, and starts again.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn the_first_node_ends_and_starts_again_without_seeds() {
    for leaves in [false, true] {
        let world = World::new();
        world.names.set("a", &["a"]);
        let mut nodes = Vec::new();
        for (id, seeds) in [("a", &[][..]), ("b", &["a"][..]), ("c", &["a"][..])] {
            nodes.push(world.start(id, id, seeds).await);
        }
        until_whole(&nodes, Duration::from_secs(5)).await;
        if leaves {
            nodes[0].leave(Duration::from_secs(5)).await.unwrap();
        }
        nodes[0].shutdown().await;
        sleep(Duration::from_secs(10)).await;
        nodes[0].start().await;
        until_whole(&nodes, HEALS_WITHIN).await;
    }
}
