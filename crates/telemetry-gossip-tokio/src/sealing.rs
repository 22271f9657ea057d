//! How a transport seals its datagrams: [`Sealing`] is the setting, [`SharedSeal`] the seal itself.

use std::fmt::{self, Debug};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use telemetry_gossip_core::Label;
use telemetry_gossip_seal::{
    Key, KeyId, Keyring, KeyringError, MessageError, NoncePrefix, Refusal, Seal, SealStats,
};

use crate::key_file::{KeyFileError, read_key};

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

/// A [`Seal`] that a transport shares with the code that changes its keys. It has its own nonce
/// prefix. Use one per socket: to other nodes, two sockets with one seal are one sender.
///
/// An implementation of [`Transport`](crate::Transport) passes all datagrams that it sends through
/// [`SharedSeal::send`], and all that arrive through [`SharedSeal::open`] before it delivers them.
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
    /// A buffer for the sealed datagram.
    sealed: Vec<u8>,
}

impl SharedSeal {
    /// A seal with these keys, and a nonce prefix from the randomness of the system.
    pub fn new(keyring: Keyring) -> io::Result<Arc<Self>> {
        let mut prefix = [0; 16];
        getrandom::fill(&mut prefix).map_err(io::Error::other)?;
        let seal = Seal::new(keyring, NoncePrefix::new(prefix));
        Ok(Arc::new(Self { held: Mutex::new(Held { seal, sealed: Vec::new() }) }))
    }

    /// Seals a datagram and passes it to `send`.
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

    /// Opens a datagram in place. A refused datagram is counted, and no part of it may be used.
    pub fn open<'d>(&self, datagram: &'d mut [u8]) -> Result<&'d [u8], Refusal> {
        self.held().seal.open(datagram)
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

    /// Returns the nonce prefix, which differs at each start of the transport.
    #[must_use]
    pub fn nonce_prefix(&self) -> NoncePrefix {
        self.held().seal.nonce_prefix()
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

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Debug for SharedSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSeal").field("keys", &self.keys()).finish_non_exhaustive()
    }
}
