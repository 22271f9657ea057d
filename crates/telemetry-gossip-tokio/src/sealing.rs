//! How a transport seals: [`Sealing`] is what its owner decides, [`SharedSeal`] what the transport
//! then works with.

use std::fmt::{self, Debug};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use telemetry_gossip_core::Label;
use telemetry_gossip_seal::{
    Key, KeyId, Keyring, KeyringError, MessageError, NoncePrefix, Refusal, Seal, SealStats,
};

use crate::key_file::{KeyFileError, read_key};

/// Whether a transport seals its datagrams: with a [`Keyring`], unless it is told otherwise in so
/// many words.
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
#[expect(clippy::large_enum_variant, reason = "there is one for each transport, for a moment")]
pub enum Sealing {
    /// Sealed under the primary of these keys, opened under any of them. The keys change under way
    /// through [`Transport::seal`](crate::Transport::seal).
    Keyring(Keyring),
    /// Not at all: whoever is on the network reads and forges. For one machine, or where something
    /// below seals.
    Plaintext,
}

impl Sealing {
    /// With the keys of these files, the first of which is the primary; see [`read_key`] for the
    /// rules of a file. No file is an error, too.
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

    /// What a transport works with; `None` for plaintext. An error if the system has no randomness
    /// for the session.
    pub fn into_seal(self) -> io::Result<Option<Arc<SharedSeal>>> {
        match self {
            Self::Keyring(keyring) => SharedSeal::new(keyring).map(Some),
            Self::Plaintext => Ok(None),
        }
    }
}

/// A [`Seal`] for a transport and those who change its keys, with a session of its own. For one
/// socket: two that share it are one sender to others.
///
/// Who implements a [`Transport`](crate::Transport) lets all that leaves go through
/// [`SharedSeal::send`], and all that arrives through [`SharedSeal::open`] before anybody sees it.
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
}

struct Held {
    seal: Seal,
    /// The datagram that is being sealed.
    sealed: Vec<u8>,
}

impl SharedSeal {
    /// Seals with these keys, under a session from the system's randomness.
    pub fn new(keyring: Keyring) -> io::Result<Arc<Self>> {
        let mut prefix = [0; 16];
        getrandom::fill(&mut prefix).map_err(io::Error::other)?;
        let seal = Seal::new(keyring, NoncePrefix::new(prefix));
        Ok(Arc::new(Self { held: Mutex::new(Held { seal, sealed: Vec::new() }) }))
    }

    /// Seals a datagram, and hands it to `send`.
    pub fn send<T>(
        &self,
        plain: &[u8],
        send: impl FnOnce(&[u8]) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut held = self.held();
        let Held { seal, sealed } = &mut *held;
        let len = plain.len() + telemetry_gossip_seal::OVERHEAD;
        if sealed.len() < len {
            sealed.resize(len, 0);
        }
        let len = seal
            .seal(plain, sealed)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
        send(&sealed[..len])
    }

    /// Opens a datagram in place. A refused one is counted, and nothing of it may be used.
    pub fn open<'d>(&self, datagram: &'d mut [u8]) -> Result<&'d [u8], Refusal> {
        self.held().seal.open(datagram)
    }

    /// The ids of all keys, the primary's first.
    #[must_use]
    pub fn keys(&self) -> Vec<KeyId> {
        self.held().seal.keyring().ids().collect()
    }

    /// One more key that opens, from now on.
    pub fn add_key(&self, key: Key) -> Result<(), KeyringError> {
        self.change(|ring| ring.add(key))
    }

    /// Seals under this key of the ring, from now on.
    pub fn use_key(&self, id: KeyId) -> Result<(), KeyringError> {
        self.change(|ring| ring.use_key(id))
    }

    /// Opens no more what is sealed under this key.
    pub fn remove_key(&self, id: KeyId) -> Result<(), KeyringError> {
        self.change(|ring| ring.remove(id))
    }

    /// Changes the ring, for more than one step at once.
    pub fn change<T>(&self, change: impl FnOnce(&mut Keyring) -> T) -> T {
        change(self.held().seal.keyring_mut())
    }

    /// Returns the nonce prefix, which differs at each start of the transport.
    #[must_use]
    pub fn nonce_prefix(&self) -> NoncePrefix {
        self.held().seal.nonce_prefix()
    }

    /// Opens a sealed message, such as an operator's order; see [`Keyring::open_message`].
    pub fn open_message(&self, context: &[u8], message: &[u8]) -> Result<Vec<u8>, MessageError> {
        self.held().seal.keyring().open_message(context, message)
    }

    /// What was sealed, opened and refused, each refusal by its reason.
    #[must_use]
    pub fn stats(&self) -> SealStats {
        self.held().seal.stats()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Debug for SharedSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSeal").field("keys", &self.keys()).finish_non_exhaustive()
    }
}
