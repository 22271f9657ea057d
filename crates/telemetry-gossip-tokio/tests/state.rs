//! The state folder: a node that restarts finds its cluster again by the members that it keeps
//! there, and nothing that is wrong with the folder keeps it from running.
#![forbid(unsafe_code)]
#![deny(warnings)]

mod common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use common::{Net, agree, cluster, quick, udp, until, until_so, within};
use telemetry_gossip_core::Label;
use telemetry_gossip_tokio::{
    Agent, Options, Sealing, SpawnError, StateError, StateStatus, UdpTransport,
};

fn options(id: &str, folder: &Path) -> Options {
    Options::new(id.parse().unwrap()).config(quick()).state_dir(folder)
}

async fn start(options: Options) -> Agent {
    Agent::spawn(options, udp().await).unwrap()
}

/// The address of a socket that is closed.
async fn gone() -> String {
    udp().await.local_addr().to_string()
}

fn status(agent: &Agent) -> StateStatus {
    agent.state_status().expect("it has a folder").borrow().clone()
}

fn address(agent: &Agent) -> String {
    agent.transport().local().to_string()
}

/// Each time at another port, and with nothing but its folder to go by.
#[tokio::test]
async fn a_node_that_restarts_without_seeds_finds_its_cluster_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut agents = cluster(&Net::Udp, 3).await;
    let first = start(options("back", folder.path()).seeds([address(&agents[0])])).await;
    agents.push(first);
    agree(&agents).await;
    let mut generation = 0;
    for round in 0..3 {
        let before = agents.pop().unwrap();
        // Once in good order, then without a word.
        if round == 0 {
            before.leave(Duration::from_secs(30)).await.unwrap();
        }
        before.shutdown().await;
        drop(before);
        let again = start(options("back", folder.path())).await;
        assert_eq!(status(&again).peers, 3, "round {round}");
        let started = again.member("back").unwrap().generation.0;
        assert!(started > generation, "round {round}: it starts above its last generation");
        agents.push(again);
        agree(&agents).await;
        generation = agents[3].member("back").unwrap().generation.0;
    }
}

/// The last handle is dropped, and the runtime goes on.
#[tokio::test]
async fn a_dropped_node_keeps_its_members_too() {
    let folder = tempfile::tempdir().unwrap();
    let agents = cluster(&Net::Udp, 2).await;
    let first = start(options("back", folder.path()).seeds([address(&agents[0])])).await;
    agree(&[agents[0].clone(), agents[1].clone(), first.clone()]).await;
    drop(first);
    let file = folder.path().join("peers");
    until_so("it is written", || file.exists()).await;
    let text = fs::read_to_string(&file).unwrap();
    assert!(agents.iter().all(|agent| text.contains(&address(agent))), "{text}");
}

#[tokio::test]
async fn a_node_whose_seeds_are_all_gone_finds_its_cluster_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut agents = cluster(&Net::Udp, 3).await;
    let first = start(options("back", folder.path()).seeds([address(&agents[0])])).await;
    agents.push(first);
    agree(&agents).await;
    agents.pop().unwrap().shutdown().await;
    // One seed is silent, the other has no address.
    let seeds = [gone().await, "peers..invalid:7946".to_owned()];
    agents.push(start(options("back", folder.path()).seeds(seeds)).await);
    agree(&agents).await;
}

#[tokio::test]
async fn a_fleet_that_starts_anew_at_its_old_addresses_needs_no_seeds() {
    let folders: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut agents = Vec::new();
    for (index, folder) in folders.iter().enumerate() {
        let seeds: Vec<String> = agents.first().map(address).into_iter().collect();
        agents.push(start(options(&format!("n{index}"), folder.path()).seeds(seeds)).await);
    }
    agree(&agents).await;
    let mut addresses = Vec::new();
    for agent in agents.drain(..) {
        addresses.push(address(&agent));
        agent.shutdown().await;
    }
    for (index, (folder, address)) in folders.iter().zip(&addresses).enumerate() {
        let transport = within("the port is free", async {
            loop {
                match UdpTransport::bind(address.parse().unwrap(), Sealing::Plaintext).await {
                    Ok(transport) => break transport,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        });
        let options = options(&format!("n{index}"), folder.path());
        agents.push(Agent::spawn(options, transport.await).unwrap());
    }
    agree(&agents).await;
}

/// Makes a folder with a file of the node `a` in it, and returns the contents of the file.
async fn with_file(folder: &Path) -> String {
    let agents = cluster(&Net::Udp, 1).await;
    let first = start(options("a", folder).seeds([address(&agents[0])])).await;
    agree(&[agents[0].clone(), first.clone()]).await;
    first.shutdown().await;
    fs::read_to_string(folder.join("peers")).unwrap()
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_set_aside_and_told_and_the_node_starts() {
    let folder = tempfile::tempdir().unwrap();
    let (path, aside) = (folder.path().join("peers"), folder.path().join("peers.broken"));
    let good = with_file(folder.path()).await;
    let labelled = || options("a", folder.path()).config(quick().label(Label::of("another")));
    let plain = |id| options(id, folder.path());
    let cases = [
        (good[..good.len() / 2].to_owned(), plain("a"), "it is damaged"),
        (good.replacen("127", "126", 1), plain("a"), "it is damaged"),
        (String::new(), plain("a"), "it is damaged"),
        ("x".repeat(70_000), plain("a"), "it has more than 65536 bytes"),
        (good.replace("peers 1", "peers 9"), plain("a"), "another version"),
        (good.clone(), plain("b"), "it belongs to the node a"),
        (good.clone(), labelled(), "a cluster with another label"),
    ];
    for (contents, options, reason) in cases {
        fs::write(&path, &contents).unwrap();
        let agent = start(options).await;
        let StateStatus { peers, set_aside, .. } = status(&agent);
        let told = set_aside.unwrap_or_else(|| panic!("{reason}: it is told"));
        assert!(told.contains(reason) && told.contains("peers.broken"), "{told}");
        assert_eq!((peers, agent.view().len()), (0, 1));
        assert_eq!(fs::read_to_string(&aside).unwrap(), contents, "{reason}");
        assert!(!path.exists(), "{reason}: told once");
        agent.shutdown().await;
    }
}

#[tokio::test]
async fn two_nodes_do_not_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = start(options("a", folder.path())).await;
    let transport = udp().await;
    let refused = Agent::spawn(options("a", folder.path()), transport.clone()).unwrap_err();
    let SpawnError::State(StateError::InUse { folder: named, .. }) = &refused else {
        panic!("{refused}")
    };
    assert_eq!(named, folder.path());
    first.shutdown().await;
    assert!(Agent::spawn(options("a", folder.path()), transport).is_ok(), "it is free at once");
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_or_written_to_is_an_error_that_names_it() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), b"").unwrap();
    let mut folders = vec![root.path().join("file"), root.path().join("file/below")];
    #[cfg(target_os = "linux")]
    folders.push("/proc/self".into());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let closed = root.path().join("closed");
        fs::create_dir(&closed).unwrap();
        // The lock file is there, and may be locked.
        fs::write(closed.join("lock"), b"").unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
        // Nothing is closed to root.
        if fs::write(closed.join("probe"), b"").is_err() {
            folders.push(closed);
        }
    }
    for folder in folders {
        let transport = udp().await;
        let refused = Agent::spawn(options("a", &folder), transport).unwrap_err();
        assert!(
            matches!(&refused, SpawnError::State(StateError::Unusable { folder: named, .. })
                if *named == folder),
            "{refused}"
        );
        assert!(refused.to_string().contains(folder.to_str().unwrap()), "{refused}");
    }
}

#[tokio::test]
async fn a_write_that_fails_is_counted_and_tried_again_and_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let agents = cluster(&Net::Udp, 1).await;
    let agent = start(options("a", folder.path()).seeds([address(&agents[0])])).await;
    agree(&[agents[0].clone(), agent.clone()]).await;
    // In the way of the new file, also for root.
    let obstacle = folder.path().join("peers.new");
    fs::create_dir(&obstacle).unwrap();
    let mut told = agent.state_status().unwrap();
    agent.leave(Duration::from_secs(30)).await.unwrap();
    let failed = within("it is told", told.wait_for(|status| status.failures > 0)).await;
    let why = failed.unwrap().failing.clone().expect("it fails");
    assert!(why.contains("peers cannot be written"), "{why}");
    fs::remove_dir(&obstacle).unwrap();
    agent.shutdown().await;
    let StateStatus { writes, failing, .. } = told.borrow().clone();
    assert_eq!((writes, failing), (1, None));
}

/// Though nothing has changed that it would write.
#[tokio::test]
async fn a_folder_that_is_removed_while_its_node_runs_is_made_again_with_all_that_was_in_it() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("state/of/a");
    let agents = cluster(&Net::Udp, 1).await;
    let agent = start(options("a", &folder).seeds([address(&agents[0])])).await;
    agree(&[agents[0].clone(), agent.clone()]).await;
    let mut told = agent.state_status().unwrap();
    agent.leave(Duration::from_secs(30)).await.unwrap();
    within("it is written", told.wait_for(|status| status.writes == 1)).await.unwrap();
    let text = fs::read_to_string(folder.join("peers")).unwrap();
    fs::remove_dir_all(root.path().join("state")).unwrap();
    agent.shutdown().await;
    assert_eq!(fs::read_to_string(folder.join("peers")).unwrap(), text);
    assert_eq!(told.borrow().failures, 0);
}

/// A host may lose its power while it shuts down. The first time that is due by the clock comes
/// five seconds after the start.
#[tokio::test]
async fn a_node_that_has_left_has_written_its_members_before_it_ends() {
    let agents = cluster(&Net::Udp, 1).await;
    let mut first = false;
    for _ in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        let started = std::time::Instant::now();
        let agent = start(options("a", folder.path()).seeds([address(&agents[0])])).await;
        until("they know each other", &agent, |agent| agent.view().len() == 2).await;
        let mut told = agent.state_status().unwrap();
        agent.leave(Duration::from_secs(30)).await.unwrap();
        within("it is written", told.wait_for(|status| status.writes == 1)).await.unwrap();
        // Unless this machine is too busy to tell the two apart.
        first = started.elapsed() < Duration::from_secs(5);
        agent.shutdown().await;
        if first {
            break;
        }
    }
    assert!(first, "the members are written when it is due, and not when the node has left");
}
