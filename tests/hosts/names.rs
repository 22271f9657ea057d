//! Names that lead nowhere yet, to this node alone, or to other addresses than before.

use std::time::Duration;

use tokio::time::sleep;

use crate::support::{HEALS_WITHIN, World, alive, until_whole};

/// A name that does not resolve, or leads to this node alone, keeps no node from starting.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_name_that_leads_nowhere_at_first() {
    for first in [&[][..], &["a"][..]] {
        let world = World::new();
        world.names.set("fleet", first);
        let a = world.start("a", "a", &["fleet"]).await;
        sleep(Duration::from_secs(600)).await;
        world.names.set("fleet", &["a", "b"]);
        let b = world.start("b", "b", &["fleet"]).await;
        until_whole(&[a, b], HEALS_WITHIN).await;
    }
}

/// Of several names, some never resolve: the others serve.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_name_that_never_resolves_beside_one_that_does() {
    let world = World::new();
    world.names.set("a", &["a"]);
    let a = world.start("a", "a", &["gone", "a"]).await;
    let b = world.start("b", "b", &["gone", "a"]).await;
    until_whole(&[a, b], Duration::from_secs(10)).await;
}

/// The seed was replaced by another host under the same name, long after all had joined; then a
/// second cluster grows around it, since it was given no seed itself.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn the_seed_is_replaced_by_another_host() {
    let world = World::new();
    world.names.set("seed", &["a"]);
    let a = world.start("a", "a", &[]).await;
    let b = world.start("b", "b", &["seed"]).await;
    until_whole(&[a.clone(), b.clone()], Duration::from_secs(10)).await;
    a.leave(Duration::from_secs(5)).await.unwrap();
    a.shutdown().await;
    sleep(Duration::from_secs(1_000)).await;
    world.names.set("seed", &["new"]);
    let new = world.start("new", "new", &[]).await;
    let c = world.start("c", "c", &["seed"]).await;
    sleep(Duration::from_millis(1)).await;
    until_whole(&[b, new, c], HEALS_WITHIN).await;
}

/// A name server that fails for an hour, in the middle of a life, changes nothing.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_name_server_that_fails_for_an_hour() {
    let world = World::new();
    world.names.set("fleet", &["a", "b"]);
    let a = world.start("a", "a", &["fleet"]).await;
    let b = world.start("b", "b", &["fleet"]).await;
    let nodes = [a, b];
    until_whole(&nodes, Duration::from_secs(10)).await;
    world.names.set("fleet", &[]);
    world.cut(&["a"], &["b"]);
    sleep(Duration::from_secs(3_600)).await;
    assert_eq!(alive(&nodes), [1; 2]);
    world.network.heal();
    until_whole(&nodes, HEALS_WITHIN).await;
}
