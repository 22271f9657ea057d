//! Sealed transports: only holders of a key are heard, keys change while agents run, and key files
//! keep their rules.
#![forbid(unsafe_code)]
#![deny(warnings)]

mod common;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Wrapped, agree, quick, until, until_so, within};
use telemetry_gossip_core::{Config, Identity, Input, Instant as CoreInstant, Label, Node};
use telemetry_gossip_seal::{Key, Keyring, NoncePrefix, OVERHEAD, Seal};
use telemetry_gossip_tokio::{
    Agent, KeyFileError, MemoryNetwork, Options, PeerAddr, Sealing, SharedSeal, SpawnError,
    Subscription, Transport as _, UdpTransport, create_key, read_key,
};

fn key(byte: u8) -> Key {
    Key::new([byte; 32])
}

fn ring(cluster: &str, byte: u8) -> Keyring {
    Keyring::new(Label::of(cluster), key(byte))
}

async fn udp(sealing: Sealing) -> Arc<UdpTransport> {
    UdpTransport::bind("127.0.0.1:0".parse().unwrap(), sealing).await.unwrap()
}

fn spawn(id: &str, seeds: &[&UdpTransport], transport: &Arc<UdpTransport>) -> Agent {
    let seeds = seeds.iter().map(|seed| seed.local_addr().to_string());
    let options = Options::new(id.parse().unwrap()).config(quick()).seeds(seeds);
    Agent::spawn(options, transport.clone()).unwrap()
}

#[tokio::test]
async fn only_holders_of_the_key_are_heard() {
    let seed = udp(Sealing::Keyring(ring("production", 1))).await;
    let first = spawn("n0", &[], &seed);
    let members =
        [first.clone(), spawn("n1", &[&seed], &udp(Sealing::Keyring(ring("production", 1))).await)];
    let strangers = [
        spawn("plain", &[&seed], &udp(Sealing::Plaintext).await),
        spawn("other-key", &[&seed], &udp(Sealing::Keyring(ring("production", 2))).await),
        spawn("other-cluster", &[&seed], &udp(Sealing::Keyring(ring("staging", 1))).await),
    ];
    agree(&members).await;
    // Each stranger asks again and again; no event tells of what is refused.
    until_so("each is refused by its reason", || {
        let stats = first.seal_stats().unwrap();
        stats.not_sealed > 0 && stats.unknown_key > 0 && stats.not_authentic > 0
    })
    .await;
    members[1].publish("load", b"0.7").await.unwrap();
    until("telemetry goes on", &first, |agent| {
        agent.member("n1").is_some_and(|n1| n1.value("load").is_some())
    })
    .await;
    assert!(members.iter().all(|agent| agent.view().len() == 2));
    assert!(strangers.iter().all(|agent| agent.view().len() == 1));
    let stats = first.stats().await.unwrap();
    let decoded =
        stats.datagrams_malformed + stats.datagrams_other_version + stats.datagrams_other_label;
    assert_eq!(decoded, 0, "nothing was decoded that is not authentic");
    assert_eq!(strangers[0].seal_stats(), None);
}

#[tokio::test(start_paused = true)]
async fn the_keys_of_running_agents_change() {
    let network = MemoryNetwork::new(1);
    let mut agents: Vec<Agent> = Vec::new();
    for index in 0..5 {
        let (id, seeds) = (format!("n{index}"), agents.first().map(|_| "n0"));
        let options = Options::new(id.as_str().parse().unwrap()).config(quick()).seeds(seeds);
        let transport =
            network.sealed_transport(&id, SharedSeal::new(ring("", 1)).unwrap()).unwrap();
        agents.push(Agent::spawn(options, transport).unwrap());
    }
    agree(&agents).await;
    for step in 0..3 {
        for agent in &agents {
            let seal = agent.transport().seal().unwrap();
            match step {
                0 => seal.add_key(key(2)).unwrap(),
                1 => seal.use_key(key(2).id()).unwrap(),
                _ => seal.remove_key(key(1).id()).unwrap(),
            }
            // Updates must reach all nodes in the middle of the change.
            let value = format!("{step} of {}", agent.id());
            agent.publish("step", value.as_bytes()).await.unwrap();
            for reader in &agents {
                until("the update has come", reader, |reader| {
                    let member = reader.member(agent.id().as_str()).unwrap();
                    member.value("step").is_some_and(|held| held.value == value.as_bytes())
                })
                .await;
            }
        }
    }
    for agent in &agents {
        assert_eq!(agent.transport().seal().unwrap().keys(), [key(2).id()]);
        assert_eq!(agent.seal_stats().unwrap().refused(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_sealed_datagram_is_no_longer_than_the_mtu() {
    let network = MemoryNetwork::new(1);
    let sealed = |id| network.sealed_transport(id, SharedSeal::new(ring("", 1)).unwrap()).unwrap();
    let config = quick().mtu(900);
    let options = |id: &str, seeds: &[&str]| {
        Options::new(id.parse().unwrap()).config(config.clone()).seeds(seeds.iter().copied())
    };
    let longest = Arc::new(AtomicUsize::new(0));
    let measured = Wrapped::over(sealed("a"));
    measured.on_send({
        let longest = longest.clone();
        move |inner, to, bytes| {
            longest.fetch_max(bytes.len(), Ordering::Relaxed);
            inner.send(to, bytes)
        }
    });
    let a = Agent::spawn(options("a", &[]), measured).unwrap();
    for entry in 0..80 {
        a.publish(&format!("entry-{entry}"), &[7; 20]).await.unwrap();
    }
    let b = Agent::spawn(options("b", &["a"]), sealed("b")).unwrap();
    until("all has come", &b, |b| b.member("a").is_some_and(|a| a.value("entry-79").is_some()))
        .await;
    let longest = longest.load(Ordering::Relaxed) + OVERHEAD;
    assert!((860..=900).contains(&longest), "{longest}");
}

#[tokio::test]
async fn an_mtu_too_small_beside_the_seal_is_an_error_that_names_it() {
    let network = MemoryNetwork::new(1);
    let config = Config::default().mtu(780);
    assert_eq!(config.validate(), Ok(()));
    let options = || Options::new("a".parse().unwrap()).config(config.clone());
    let sealed = network.sealed_transport("a", SharedSeal::new(ring("", 1)).unwrap()).unwrap();
    let refused = Agent::spawn(options(), sealed).unwrap_err();
    assert!(matches!(refused, SpawnError::SealedMtu { mtu: 780, .. }), "{refused}");
    assert!(
        refused
            .to_string()
            .contains("mtu 780 is too small for sealed datagrams, of which the seal takes 45"),
        "{refused}"
    );
    assert!(Agent::spawn(options(), network.transport("a").unwrap()).is_ok());
}

#[tokio::test]
async fn a_node_opens_its_own_datagrams() {
    let (a, b) = (udp(Sealing::Keyring(ring("", 1))).await, udp(Sealing::Plaintext).await);
    let (mut at_a, mut at_b) = (a.subscribe(), b.subscribe());
    a.send(b.local(), b"to b").unwrap();
    let sealed = within("b sees it", at_b.recv()).await.unwrap().bytes;
    for _ in 0..10 {
        b.send(a.local(), &sealed).unwrap();
    }
    until_so("each is refused", || a.seal().unwrap().stats().own == 10).await;
    assert!(at_a.try_recv().is_none());
}

/// A node of the cluster made by hand, on a plaintext socket: its join as it goes over the wire,
/// and the same again for each answer that it opens.
struct ByHand {
    node: Node<PeerAddr>,
    seal: Seal,
    socket: Arc<UdpTransport>,
    arriving: Subscription,
}

impl ByHand {
    async fn joining(id: &str, seed: PeerAddr) -> Self {
        let socket = udp(Sealing::Plaintext).await;
        let identity = Identity::new(id.parse().unwrap(), socket.local());
        let config = quick().mtu(1_000);
        let mut node = Node::new(config, identity, [5; 32], CoreInstant::ORIGIN).unwrap();
        node.handle(CoreInstant::ORIGIN, Input::join(vec![seed])).unwrap();
        let seal = Seal::new(ring("", 1), NoncePrefix::new([5; 16]));
        let arriving = socket.subscribe();
        Self { node, seal, socket, arriving }
    }

    /// The datagrams that it sends now, sealed.
    fn sealed(&mut self) -> Vec<(PeerAddr, Vec<u8>)> {
        let (mut plain, mut sealed) = ([0; 1_400], [0; 1_400]);
        let mut all = Vec::new();
        while let Some(sent) = self.node.poll_transmit(&mut plain) {
            let len = self.seal.seal(&plain[..sent.len], &mut sealed).unwrap();
            all.push((sent.to, sealed[..len].to_vec()));
        }
        all
    }

    /// Hears one datagram and answers.
    async fn answer(&mut self) {
        let delivery = within("an answer", self.arriving.recv()).await.unwrap();
        let mut bytes = delivery.bytes.to_vec();
        let Ok(contents) = self.seal.open(&mut bytes) else { return };
        let input = Input::datagram(delivery.from, contents);
        self.node.handle(CoreInstant::ORIGIN, input).unwrap();
        for (to, bytes) in self.sealed() {
            self.socket.send(to, &bytes).unwrap();
        }
    }
}

#[tokio::test]
async fn a_recorded_join_adds_no_member_and_a_present_one_does() {
    let transport = udp(Sealing::Keyring(ring("", 1))).await;
    let agent = spawn("n0", &[], &transport);
    let mut newcomer = ByHand::joining("newcomer", transport.local()).await;
    let recorded = newcomer.sealed().remove(0).1;
    // From a socket that has no key, again and again, also after the agent has started anew.
    let outsider = udp(Sealing::Plaintext).await;
    let mut asked = outsider.subscribe();
    for _ in 0..50 {
        outsider.send(transport.local(), &recorded).unwrap();
    }
    until_so("all are opened", || transport.seal().unwrap().stats().unproved == 50).await;
    within("the sender is asked", asked.recv()).await.unwrap();
    // The agent has handled all when it has answered a command.
    let stats = agent.stats().await.unwrap();
    assert!(stats.datagrams_received > 0);
    assert_eq!((agent.view().len(), transport.seal().unwrap().stats().windows), (1, 0));

    newcomer.socket.send(transport.local(), &recorded).unwrap();
    while agent.member("newcomer").is_none() {
        newcomer.answer().await;
        agent.stats().await.unwrap();
    }
    assert_eq!(transport.seal().unwrap().stats().windows, 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_pause_an_agent_seals_under_another_prefix_and_goes_on() {
    let network = MemoryNetwork::new(1);
    let mut agents: Vec<Agent> = Vec::new();
    for id in ["n0", "n1", "n2"] {
        let options = Options::new(id.parse().unwrap()).config(quick());
        let options = options.seeds(agents.first().map(|_| "n0"));
        let seal = SharedSeal::new(ring("", 1)).unwrap();
        agents.push(Agent::spawn(options, network.sealed_transport(id, seal).unwrap()).unwrap());
    }
    agree(&agents).await;
    let proofs =
        || -> Vec<u64> { agents.iter().map(|agent| agent.seal_stats().unwrap().windows).collect() };
    within("each has proved its prefix", async {
        while proofs() != [2, 2, 2] {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    let first = agents[0].transport().seal().unwrap().nonce_prefix();
    tokio::time::advance(std::time::Duration::from_secs(5)).await;
    within("each has proved its next prefix", async {
        while proofs().iter().any(|&windows| windows < 4) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(agents[0].transport().seal().unwrap().nonce_prefix(), first, "it names the start");
    agents[1].publish("load", b"0.7").await.unwrap();
    until("telemetry goes on", &agents[2], |agent| {
        agent.member("n1").is_some_and(|n1| n1.value("load").is_some())
    })
    .await;
}

/// A folder of one test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("telemetry-gossip-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        #[cfg(unix)]
        chmod(&path, 0o600);
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(unix)]
fn chmod(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_key_file_is_created_once_for_its_owner_and_read_again() {
    let folder = Folder::new("made");
    let path = folder.0.join("cluster.key");
    let made = create_key(&path).unwrap();
    assert_eq!(read_key(&path).unwrap().id(), made.id());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let again = create_key(&path).unwrap_err();
    let KeyFileError::Unwritable { error, .. } = &again else { panic!("{again}") };
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(read_key(&path).unwrap().id(), made.id(), "it is as it was");
    assert_ne!(create_key(&folder.0.join("another.key")).unwrap().id(), made.id());
}

#[test]
fn a_file_without_a_key_is_refused_by_name_and_rule() {
    let folder = Folder::new("refused");
    let good = key(7).to_text();
    let good = good.as_str();
    for (name, text, rule) in [
        ("short.key", &good[..40], "the text has 40 bytes, a key has 64 hexadecimal digits"),
        ("empty.key", "", "the text has 0 bytes"),
        ("word.key", &*format!("secret{}", &good[6..]), "not a hexadecimal digit"),
        ("long.key", &good.repeat(100), "the text has 1025 bytes"),
        ("padded.key", &*format!("{}{}junk", good, " ".repeat(1_000)), "the text has 1025 bytes"),
    ] {
        let path = folder.file(name, text);
        let refused = read_key(&path).unwrap_err().to_string();
        assert!(refused.contains(name) && refused.contains(rule), "{refused}");
        assert!(!refused.contains(&good[..8]), "nothing of the file is told");
    }
    let missing = read_key(&folder.0.join("missing.key")).unwrap_err();
    assert!(
        matches!(missing, KeyFileError::Unreadable { .. })
            && missing.to_string().contains("missing.key")
    );
    let fine = folder.file("fine.key", &format!("\n {good}\n\n"));
    assert_eq!(read_key(&fine).unwrap().id(), key(7).id());

    let refused = Sealing::from_files(Label::of(""), [&fine, &fine]).unwrap_err();
    assert!(refused.to_string().contains("is already in the keyring"), "{refused}");
    assert!(matches!(
        Sealing::from_files(Label::of(""), std::iter::empty::<PathBuf>()),
        Err(KeyFileError::NoFile)
    ));
}

#[cfg(unix)]
#[test]
fn a_key_file_that_others_can_read_or_write_is_refused() {
    let folder = Folder::new("exposed");
    let path = folder.file("cluster.key", key(7).to_text().as_str());
    for (mode, is_refused) in
        [(0o600, false), (0o640, true), (0o604, true), (0o602, true), (0o644, true)]
    {
        chmod(&path, mode);
        match read_key(&path) {
            Ok(_) => assert!(!is_refused, "{mode:o}"),
            Err(refused) => {
                let text = refused.to_string();
                assert!(
                    is_refused && text.contains("cluster.key") && text.contains("chmod 600"),
                    "{text}"
                );
            }
        }
    }
}
