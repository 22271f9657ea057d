//! How a transport seals its datagrams: [`Sealing`] is the setting, [`SharedSeal`] the seal itself.

use std::fmt::{self, Debug};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use telemetry_gossip_core::{Dropped, Label};
use telemetry_gossip_seal::{
    Key, KeyId, Keyring, KeyringError, MessageError, NoncePrefix, Refusal, Seal, SealStats, Stamp,
};
use tokio::sync::broadcast;

use crate::clocks::{Clocks, CopyWatch};
use crate::drops::SealDrops;
use crate::key_file::{KeyFileError, read_key};
use crate::peer_addr::PeerAddr;

/// Whether a transport seals its datagrams. Plaintext must be requested explicitly.
///
/// ```no_run
/// use telemetry_gossip_core::Label;
/// use telemetry_gossip_tokio::{Sealing, UdpTransport};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let sealing = Sealing::from_files(Label::of("production"), ["/etc/tgossip/cluster.key"])?;
/// let transport = UdpTransport::bind("10.0.0.17:7946".parse()?, sealing).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "one per transport, for a short time")]
pub enum Sealing {
    /// Seals under the primary key, and opens under any of the keys. The keys can be changed while
    /// the transport is used, through [`Transport::seal`](crate::Transport::seal).
    Keyring(Keyring),
    /// Does not seal: every host on the network can read and forge datagrams. For one machine, or
    /// where a layer below encrypts.
    Plaintext,
}

impl Sealing {
    /// Seals with the keys of these files. The first one is the primary key. See [`read_key`] for
    /// the rules of a key file.
    ///
    /// # Errors
    /// A file cannot be read, its key does not fit the others, or there is no file.
    pub fn from_files<P: AsRef<Path>>(
        label: Label,
        files: impl IntoIterator<Item = P>,
    ) -> Result<Self, KeyFileError> {
        let mut ring: Option<Keyring> = None;
        for file in files {
            let (key, path) = (read_key(file.as_ref())?, file.as_ref().to_owned());
            match &mut ring {
                None => ring = Some(Keyring::new(label, key)),
                Some(ring) => {
                    ring.add(key).map_err(|error| KeyFileError::Keyring { path, error })?
                }
            }
        }
        ring.map(Self::Keyring).ok_or(KeyFileError::NoFile)
    }

    /// The seal for a transport; `None` for plaintext.
    ///
    /// # Errors
    /// The system provided no randomness for the nonce prefix.
    pub fn into_seal(self) -> io::Result<Option<Arc<SharedSeal>>> {
        match self {
            Self::Keyring(keyring) => SharedSeal::new(keyring).map(Some),
            Self::Plaintext => Ok(None),
        }
    }
}

/// The nonce of a datagram that was sealed, and what is known of its age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Provenance {
    /// The nonce.
    pub stamp: Stamp,
    /// The time since the nonce prefix was last proved; `None` if it is not, so that the datagram
    /// may be a recording.
    pub proof_age: Option<Duration>,
}

/// A [`Seal`] that a transport shares with the code that changes its keys. It has its own nonce
/// prefix. Use one per socket: to other nodes, two sockets with one seal are one sender.
///
/// An implementation of [`Transport`](crate::Transport) passes all datagrams that it sends through
/// [`SharedSeal::send`], and all that arrive through [`SharedSeal::open_from`] before it delivers
/// them by [`Subscribers::deliver_sealed`](crate::Subscribers::deliver_sealed).
///
/// ```
/// use telemetry_gossip_core::Label;
/// use telemetry_gossip_tokio::{Agent, MemoryNetwork, Options, SharedSeal, Transport};
/// use telemetry_gossip_seal::{Key, Keyring};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let network = MemoryNetwork::new(1);
/// let ring = || Keyring::new(Label::of(""), Key::new([7; 32]));
/// let a = network.sealed_transport("a", SharedSeal::new(ring())?)?;
/// let b = network.sealed_transport("b", SharedSeal::new(ring())?)?;
/// let mut arriving = b.subscribe();
/// a.send(b.local(), b"hello")?;
/// network.transport("eve")?.send(b.local(), b"forged")?;
/// assert_eq!(&*arriving.recv().await.unwrap().bytes, b"hello");
///
/// let seal = b.seal().unwrap();
/// assert_eq!((seal.stats().opened, seal.stats().not_sealed), (1, 1));
/// seal.add_key(Key::new([8; 32]))?;
/// # Ok(())
/// # }
/// ```
pub struct SharedSeal {
    held: Mutex<Held>,
    drops: Mutex<SealDrops>,
}

struct Held {
    seal: Seal,
    /// The nonce prefix at the start.
    first_prefix: NoncePrefix,
    /// Tells when a copy of this process may have the same nonces.
    watch: CopyWatch,
    /// A buffer for the sealed datagram.
    sealed: Vec<u8>,
}

impl SharedSeal {
    /// A seal with these keys, and a nonce prefix from the randomness of the system.
    pub fn new(keyring: Keyring) -> io::Result<Arc<Self>> {
        let first_prefix = random_prefix()?;
        let seal = Seal::new(keyring, first_prefix);
        let watch = CopyWatch::new(Clocks::read());
        let held = Held { seal, first_prefix, watch, sealed: Vec::new() };
        let drops = Mutex::new(SealDrops::new());
        Ok(Arc::new(Self { held: Mutex::new(held), drops }))
    }

    /// Takes a new nonce prefix for what is sealed from now on.
    ///
    /// This happens by itself every hour, and when the clocks of the system show that this process
    /// may be a copy of another. Receivers then ask for a proof of the new prefix.
    pub fn renew(&self) -> io::Result<()> {
        let prefix = random_prefix()?;
        self.held().seal.renew(prefix);
        Ok(())
    }

    /// Seals a datagram and passes it to `send`.
    pub fn send<T>(
        &self,
        plain: &[u8],
        send: impl FnOnce(&[u8]) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut held = self.held();
        let Held { seal, sealed, watch, .. } = &mut *held;
        if watch.is_due(Clocks::read(), Duration::ZERO) {
            seal.renew(random_prefix()?);
        }
        let len = plain.len() + telemetry_gossip_seal::OVERHEAD;
        if sealed.len() < len {
            sealed.resize(len, 0);
        }
        let len = seal
            .seal(plain, sealed)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
        send(&sealed[..len])
    }

    /// Opens a datagram that came from this address in place. A refused datagram is counted, and no
    /// part of it may be used. The log and the nodes of the transport are told of it once in a
    /// while ([`Event::Dropped`](crate::Event::Dropped)).
    pub fn open_from<'d>(
        &self,
        from: PeerAddr,
        datagram: &'d mut [u8],
    ) -> Result<(&'d [u8], Provenance), Refusal> {
        self.open(datagram).inspect_err(|&refusal| self.drops().add(refusal, from))
    }

    /// The notices of refused datagrams; see [`SealDrops::subscribe`].
    pub(crate) fn notices(&self) -> broadcast::Receiver<Dropped<PeerAddr>> {
        self.drops().subscribe()
    }

    /// Opens a datagram in place, as [`SharedSeal::open_from`] does; nobody is told if it is
    /// refused.
    pub fn open<'d>(&self, datagram: &'d mut [u8]) -> Result<(&'d [u8], Provenance), Refusal> {
        let opened = self.held().seal.open_stamped(datagram)?;
        let proof_age = opened.proved_at.map(age);
        Ok((opened.contents, Provenance { stamp: opened.stamp, proof_age }))
    }

    /// Looks again at a datagram that has waited: its prefix may have been proved meanwhile.
    pub(crate) fn look_again(&self, provenance: Provenance) -> Option<Duration> {
        let Provenance { stamp, proof_age } = provenance;
        proof_age.or_else(|| self.held().seal.proved_meanwhile(stamp).map(age))
    }

    /// Keeps a proof, from [`Node::poll_proof`](telemetry_gossip_core::Node::poll_proof).
    pub(crate) fn prove(&self, stamp: Stamp) {
        let now = boot_micros();
        self.held().seal.prove(stamp, now);
    }

    /// The ids of all keys, that of the primary key first.
    #[must_use]
    pub fn keys(&self) -> Vec<KeyId> {
        self.held().seal.keyring().ids().collect()
    }

    /// Adds a key that opens datagrams from now on.
    pub fn add_key(&self, key: Key) -> Result<(), KeyringError> {
        self.change(|ring| ring.add(key))
    }

    /// Makes this key the primary key, which seals from now on.
    pub fn use_key(&self, id: KeyId) -> Result<(), KeyringError> {
        self.change(|ring| ring.use_key(id))
    }

    /// Removes a key: datagrams sealed under it are refused from now on.
    pub fn remove_key(&self, id: KeyId) -> Result<(), KeyringError> {
        self.change(|ring| ring.remove(id))
    }

    /// Changes the keyring in more than one step at once.
    pub fn change<T>(&self, change: impl FnOnce(&mut Keyring) -> T) -> T {
        change(self.held().seal.keyring_mut())
    }

    /// Returns the nonce prefix of the first datagrams, which differs at each start of the
    /// transport and stands for it. Later datagrams may have [another](SharedSeal::renew).
    #[must_use]
    pub fn nonce_prefix(&self) -> NoncePrefix {
        self.held().first_prefix
    }

    /// Opens a sealed message, such as an operator's order; see [`Keyring::open_message`].
    pub fn open_message(&self, context: &[u8], message: &[u8]) -> Result<Vec<u8>, MessageError> {
        self.held().seal.keyring().open_message(context, message)
    }

    /// The counters of datagrams sealed, opened, and refused by reason.
    #[must_use]
    pub fn stats(&self) -> SealStats {
        self.held().seal.stats()
    }

    fn drops(&self) -> MutexGuard<'_, SealDrops> {
        self.drops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn random_prefix() -> io::Result<NoncePrefix> {
    let mut prefix = [0; 16];
    getrandom::fill(&mut prefix).map_err(io::Error::other)?;
    Ok(NoncePrefix::new(prefix))
}

/// The time since the machine was started, suspensions included.
fn boot_micros() -> u64 {
    u64::try_from(Clocks::read().boot.as_micros()).unwrap_or(u64::MAX)
}

/// The age of a proof of this time.
fn age(proved_at: u64) -> Duration {
    Duration::from_micros(boot_micros().saturating_sub(proved_at))
}

impl Debug for SharedSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSeal").field("keys", &self.keys()).finish_non_exhaustive()
    }
}
