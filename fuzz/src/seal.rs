//! The input of the target `seal`: operations on nodes that seal, checked against a model that
//! knows each datagram and message that was sealed.
//!
//! Three nodes belong to one cluster. A fourth belongs to another cluster that has the same key. A
//! datagram may open only if it was sealed for the receiver's cluster, under a key of the receiver,
//! with the nonce prefix of another node, and was not accepted before. For all others the model
//! names the reason of the refusal. A refusal changes nothing but a counter.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use arbitrary::Arbitrary;
use telemetry_gossip_core::Label;
use telemetry_gossip_seal::{
    Key, KeyError, KeyId, Keyring, KeyringError, MAX_KEY_FILE, MAX_KEYS, MESSAGE_OVERHEAD,
    MessageError, NoncePrefix, OVERHEAD, Refusal, Seal, SealStats, WINDOW,
};

const NODES: usize = 4;
/// The node whose ring has room for one more key.
const MANY_KEYS: usize = 2;
/// The most operations of an input; the rest is ignored.
const MAX_OPS: usize = 48;
/// The number of keys: two more than fit a ring.
const KEYS: usize = MAX_KEYS + 2;
/// The longest plaintext.
const LONGEST: usize = 96;
/// The most replay windows of forgetful nodes.
const FEW: usize = 2;

/// The number of datagrams that a fifth node has sent before: two windows.
const RECORDED: u64 = 2 * WINDOW;

static KEYRING: LazyLock<Vec<Key>> =
    LazyLock::new(|| (0..KEYS).map(|key| Key::new([key as u8; 32])).collect());

/// The datagrams of the fifth node. They are made once, because that takes time.
static RECORD: LazyLock<Vec<Sealed>> = LazyLock::new(|| {
    let mut seal = Seal::new(
        Keyring::new(Label::of("fuzz"), KEYRING[0].clone()),
        NoncePrefix::new([0xff; 16]),
    );
    (0..RECORDED).map(|_| Sealed::by(&mut seal, b"recorded")).collect()
});

/// Operations on four nodes.
#[derive(Arbitrary, Clone, Debug)]
pub struct Traffic {
    /// Limits the nodes to two replay windows.
    pub forgetful: bool,
    /// The operations.
    pub ops: Vec<Op>,
}

/// One operation. Nodes, keys, datagrams and messages are taken modulo their number.
#[derive(Arbitrary, Clone, Debug)]
pub enum Op {
    /// A node seals a datagram of this length.
    Seal(u8, u8),
    /// A datagram arrives, possibly damaged.
    Deliver {
        /// The datagram.
        which: u8,
        /// The receiver.
        to: u8,
        /// The damage.
        harm: Harm,
    },
    /// A datagram of the fifth node arrives, possibly damaged.
    Repeat {
        /// The datagram.
        which: u16,
        /// The receiver.
        to: u8,
        /// The damage.
        harm: Harm,
    },
    /// Arbitrary bytes arrive.
    Noise(u8, Vec<u8>),
    /// Bytes with a valid header arrive.
    Forge {
        /// The receiver.
        to: u8,
        /// The key in the header.
        key: u8,
        /// The node whose nonce prefix is in the header.
        from: u8,
        /// The counter in the header.
        counter: u64,
        /// The bytes after the header.
        bytes: Vec<u8>,
    },
    /// A node adds a key.
    Add(u8, u8),
    /// A node uses another key.
    Use(u8, u8),
    /// A node removes a key.
    Remove(u8, u8),
    /// A node restarts with its keys.
    Restart(u8),
    /// A node seals a message of this length for a context.
    Write(u8, u8, u8),
    /// A message is opened, possibly damaged.
    Open {
        /// The message.
        which: u8,
        /// The receiver.
        to: u8,
        /// The context.
        context: u8,
        /// The damage.
        harm: Harm,
    },
    /// Arbitrary bytes are opened as a message.
    Scrap(u8, Vec<u8>),
    /// A key file with these bytes is read.
    File(Vec<u8>),
    /// A key file with the text of a key is read, possibly damaged.
    Text(u8, Harm),
}

/// Damage to bytes in flight.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Harm {
    /// No damage.
    None,
    /// Flips bits of a byte.
    Flip(u16, u8),
    /// Cuts the bytes at a position.
    Cut(u16),
    /// Adds a byte at the end, or at the beginning.
    Longer(u8, bool),
    /// Replaces the bytes from a position on by those of another datagram or message.
    Splice(u8, u16),
}

/// The outcome of the operations, by which a test sees that each rule was exercised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Datagrams opened.
    pub opened: usize,
    /// Datagrams refused.
    pub refused: Vec<Refusal>,
    /// Messages opened.
    pub read: usize,
    /// Messages refused.
    pub unread: Vec<MessageError>,
    /// Changes of keys refused.
    pub kept: Vec<KeyringError>,
    /// Key files read.
    pub files: usize,
    /// Key files refused.
    pub no_keys: Vec<KeyError>,
    /// Replay windows forgotten.
    pub forgotten: u64,
}

struct Sealed {
    bytes: Vec<u8>,
    plain: Vec<u8>,
    key: KeyId,
    label: Label,
    prefix: NoncePrefix,
    counter: u64,
}

impl Sealed {
    fn by(seal: &mut Seal, plain: &[u8]) -> Self {
        let (key, label) = (seal.keyring().primary_id(), seal.keyring().label());
        let (prefix, counter) = (seal.nonce_prefix(), seal.stats().sealed);
        let mut bytes = vec![0; plain.len() + OVERHEAD];
        assert_eq!(seal.seal(plain, &mut bytes), Ok(bytes.len()));
        Self { bytes, plain: plain.to_vec(), key, label, prefix, counter }
    }
}

/// Returns the datagram of the fifth node with the same counter as these bytes.
fn recorded(bytes: &[u8]) -> Option<&'static Sealed> {
    let counter = bytes.get(21..29)?.try_into().ok()?;
    RECORD.get(usize::try_from(u64::from_be_bytes(counter)).ok()?)
}

struct Message {
    bytes: Vec<u8>,
    text: Vec<u8>,
    key: KeyId,
    label: Label,
    context: u8,
}

struct Run {
    nodes: Vec<Seal>,
    forgetful: bool,
    sent: Vec<Sealed>,
    messages: Vec<Message>,
    /// The counters that a node has accepted, by its own prefix and that of the sender.
    accepted: BTreeMap<(NoncePrefix, NoncePrefix), Vec<u64>>,
    starts: u8,
    outcome: Outcome,
}

impl Traffic {
    /// Carries out the operations.
    ///
    /// # Panics
    /// If the nodes and the model disagree.
    pub fn run(&self) -> Outcome {
        let mut run = Run {
            nodes: Vec::new(),
            forgetful: self.forgetful,
            sent: Vec::new(),
            messages: Vec::new(),
            accepted: BTreeMap::new(),
            starts: 0,
            outcome: Outcome::default(),
        };
        for node in 0..NODES {
            let label = if node == NODES - 1 { "another" } else { "fuzz" };
            let mut ring = Keyring::new(Label::of(label), KEYRING[0].clone());
            for key in KEYRING[1..MAX_KEYS - 1].iter().filter(|_| node == MANY_KEYS) {
                ring.add(key.clone()).expect("there is room");
            }
            let seal = run.start(ring);
            run.nodes.push(seal);
        }
        for op in self.ops.iter().take(MAX_OPS) {
            run.op(op);
        }
        run.outcome.forgotten = run.nodes.iter().map(|node| node.stats().windows_forgotten).sum();
        run.outcome
    }
}

fn node(index: u8) -> usize {
    usize::from(index) % NODES
}

fn key(index: u8) -> &'static Key {
    &KEYRING[usize::from(index) % KEYS]
}

fn pick<T>(among: &[T], index: u8) -> Option<&T> {
    among.get(usize::from(index) % among.len().max(1))
}

impl Run {
    fn start(&mut self, ring: Keyring) -> Seal {
        self.starts += 1;
        let seal = Seal::new(ring, NoncePrefix::new([self.starts; 16]));
        if self.forgetful { seal.with_max_windows(FEW) } else { seal }
    }

    fn op(&mut self, op: &Op) {
        match *op {
            Op::Seal(by, len) => self.seal(node(by), usize::from(len) % LONGEST),
            Op::Deliver { which, to, harm } => {
                let Some(sealed) = pick(&self.sent, which) else { return };
                let others = |other| pick(&self.sent, other).map(|other| &other.bytes[..]);
                let bytes = harm.on(&sealed.bytes, others);
                self.deliver(node(to), bytes);
            }
            Op::Repeat { which, to, harm } => {
                let recorded = |which| &RECORD[usize::from(which) % RECORD.len()].bytes[..];
                let bytes = harm.on(recorded(which), |other| Some(recorded(other.into())));
                self.deliver(node(to), bytes);
            }
            Op::Noise(to, ref bytes) => self.deliver(node(to), bytes.clone()),
            Op::Forge { to, key: named, from, counter, ref bytes } => {
                let mut forged = vec![0x81];
                forged.extend(key(named).id().to_bytes());
                forged.extend(self.nodes[node(from)].nonce_prefix().to_bytes());
                forged.extend(counter.to_be_bytes());
                forged.extend(bytes);
                self.deliver(node(to), forged);
            }
            Op::Add(at, which) => {
                let ring = self.nodes[node(at)].keyring_mut();
                let held = ring.contains(key(which).id());
                let full = ring.ids().len() == MAX_KEYS;
                let result = ring.add(key(which).clone());
                assert_eq!(result.is_err(), held || full, "{result:?}");
                self.outcome.kept.extend(result.err());
            }
            Op::Use(at, which) => {
                let ring = self.nodes[node(at)].keyring_mut();
                let held = ring.contains(key(which).id());
                let result = ring.use_key(key(which).id());
                assert_eq!(result.is_ok(), held, "{result:?}");
                assert!(!held || ring.primary_id() == key(which).id());
                self.outcome.kept.extend(result.err());
            }
            Op::Remove(at, which) => {
                let ring = self.nodes[node(at)].keyring_mut();
                let id = key(which).id();
                let removable = ring.contains(id) && ring.primary_id() != id;
                let result = ring.remove(id);
                assert_eq!(result.is_ok(), removable, "{result:?}");
                assert!(!removable || !ring.contains(id));
                self.outcome.kept.extend(result.err());
            }
            Op::Restart(at) => {
                let ring = self.nodes[node(at)].keyring().clone();
                self.nodes[node(at)] = self.start(ring);
            }
            Op::Write(by, len, context) => {
                self.write(node(by), usize::from(len) % LONGEST, context % 4)
            }
            Op::Open { which, to, context, harm } => {
                let Some(message) = pick(&self.messages, which) else { return };
                let others = |other| pick(&self.messages, other).map(|other| &other.bytes[..]);
                let bytes = harm.on(&message.bytes, others);
                self.open(node(to), context % 4, &bytes);
            }
            Op::Scrap(to, ref bytes) => self.open(node(to), 0, bytes),
            Op::File(ref bytes) => self.file(bytes),
            Op::Text(which, harm) => {
                let text = key(which).to_text();
                let text = text.as_str();
                let other = |other| Some(key(other).to_text().as_str().as_bytes().to_vec());
                let bytes = match harm {
                    Harm::Splice(with, at) => {
                        let other = other(with);
                        Harm::Splice(0, at).on(text.as_bytes(), |_| other.as_deref())
                    }
                    harm => harm.on(text.as_bytes(), |_| None),
                };
                self.file(&bytes);
            }
        }
    }

    fn seal(&mut self, by: usize, len: usize) {
        self.sent.push(Sealed::by(&mut self.nodes[by], &vec![b'p'; len]));
    }

    /// Delivers bytes and compares the result with the model.
    fn deliver(&mut self, to: usize, mut bytes: Vec<u8>) {
        let seal = &mut self.nodes[to];
        let own = seal.nonce_prefix();
        let sealed = self.sent.iter().chain(recorded(&bytes)).find(|sealed| sealed.bytes == bytes);
        let expected = sealed.map(|sealed| {
            let accepted =
                self.accepted.get(&(own, sealed.prefix)).map_or(&[][..], |counters| &counters[..]);
            expected(seal.keyring(), own, sealed, accepted)
        });
        let before = seal.stats();
        let result = seal.open(&mut bytes).map(<[u8]>::to_vec);
        let after = seal.stats();
        match (&result, expected) {
            (Ok(plain), Some(expected)) => {
                // A node that has forgotten a window may accept its datagrams again.
                let again =
                    self.forgetful && matches!(expected, Err(Refusal::Replayed | Refusal::Stale));
                assert!(expected.is_ok() || again, "opened, but the model expects {expected:?}");
                let sealed = sealed.expect("the model knows it");
                assert_eq!(*plain, sealed.plain);
                assert_eq!(after.opened, before.opened + 1);
                self.accepted.entry((own, sealed.prefix)).or_default().push(sealed.counter);
                self.outcome.opened += 1;
            }
            (Ok(_), None) => panic!("opened, but never sealed"),
            (Err(refusal), expected) => {
                let expected = expected.and_then(Result::err);
                // If the window was forgotten in between, its highest counter may be lower.
                let is_old = |refusal| matches!(refusal, Refusal::Replayed | Refusal::Stale);
                let alike = self.forgetful && is_old(*refusal) && expected.is_some_and(is_old);
                let right = alike || expected == Some(*refusal);
                assert!(sealed.is_none() || right, "{refusal:?}, not {expected:?}");
                assert_eq!(
                    without_refusals(after),
                    without_refusals(before),
                    "{refusal}, but it left a trace"
                );
                assert_eq!(
                    after.refused(),
                    before.refused() + 1,
                    "{refusal}, but it was not counted once"
                );
                self.outcome.refused.push(*refusal);
            }
        }
        assert!(!self.forgetful || after.windows <= FEW as u64, "{} windows", after.windows);
    }

    fn write(&mut self, by: usize, len: usize, context: u8) {
        let ring = self.nodes[by].keyring();
        let (key, label, text) = (ring.primary_id(), ring.label(), vec![b't'; len]);
        let nonce = [u8::try_from(self.messages.len()).unwrap_or(0); 24];
        let bytes = ring.seal_message(nonce, &[context], &text).expect("it is short");
        assert_eq!(bytes.len(), len + MESSAGE_OVERHEAD);
        self.messages.push(Message { bytes, text, key, label, context });
    }

    /// Opens bytes as a message and compares the result with the model.
    fn open(&mut self, to: usize, context: u8, bytes: &[u8]) {
        let ring = self.nodes[to].keyring();
        let message = self.messages.iter().find(|message| message.bytes == bytes);
        let result = ring.open_message(&[context], bytes);
        if let Some(message) = message {
            let expected = if !ring.contains(message.key) {
                Err(MessageError::UnknownKey(message.key))
            } else if (message.label, message.context) != (ring.label(), context) {
                Err(MessageError::NotAuthentic)
            } else {
                Ok(message.text.clone())
            };
            assert_eq!(result, expected);
        } else {
            assert!(result.is_err(), "opened, but never sealed");
        }
        match result {
            Ok(_) => self.outcome.read += 1,
            Err(error) => self.outcome.unread.push(error),
        }
    }

    /// Reads a key file. It is valid if it has 64 digits with nothing but white space around them.
    fn file(&mut self, bytes: &[u8]) {
        let digits = str::from_utf8(bytes).ok().map(str::trim);
        let is_key = digits.is_some_and(|digits| {
            bytes.len() <= MAX_KEY_FILE
                && digits.len() == 64
                && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        });
        let id = digits.filter(|digits| {
            digits.len() == 8 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        });
        if let Some(digits) = digits {
            assert_eq!(
                digits.parse::<KeyId>().map(String::from).ok(),
                id.map(str::to_ascii_lowercase)
            );
        }
        match Key::from_file(bytes) {
            Ok(key) => {
                assert!(is_key, "the file is not a key");
                assert_eq!(
                    Some(key.to_text().as_str()),
                    digits.map(str::to_ascii_lowercase).as_deref()
                );
                self.outcome.files += 1;
            }
            Err(error) => {
                assert!(!is_key, "{error}, but the file is a key");
                self.outcome.no_keys.push(error);
            }
        }
    }
}

/// The model: the result for an undamaged datagram at a node that forgets no window.
fn expected(
    ring: &Keyring,
    own: NoncePrefix,
    sealed: &Sealed,
    accepted: &[u64],
) -> Result<(), Refusal> {
    let highest = accepted.iter().max().copied();
    if !ring.contains(sealed.key) {
        Err(Refusal::UnknownKey(sealed.key))
    } else if sealed.prefix == own {
        Err(Refusal::Own)
    } else if highest.is_some_and(|highest| highest >= sealed.counter + WINDOW) {
        Err(Refusal::Stale)
    } else if accepted.contains(&sealed.counter) {
        Err(Refusal::Replayed)
    } else if ring.label() != sealed.label {
        Err(Refusal::NotAuthentic)
    } else {
        Ok(())
    }
}

/// The counters that a refusal must not change.
fn without_refusals(stats: SealStats) -> [u64; 4] {
    [stats.sealed, stats.opened, stats.windows, stats.windows_forgotten]
}

impl Harm {
    fn on<'a>(self, bytes: &[u8], other: impl FnOnce(u8) -> Option<&'a [u8]>) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        let len = bytes.len();
        match self {
            Self::None => {}
            Self::Flip(at, bits) => bytes[usize::from(at) % len] ^= bits,
            Self::Cut(at) => bytes.truncate(usize::from(at) % len),
            Self::Longer(byte, front) => bytes.insert(if front { 0 } else { len }, byte),
            Self::Splice(with, at) => {
                let other = other(with).unwrap_or_default();
                let at = usize::from(at) % len;
                bytes.truncate(at);
                bytes.extend(other.get(at..).unwrap_or_default());
            }
        }
        bytes
    }
}
