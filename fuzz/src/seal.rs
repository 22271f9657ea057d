//! The input of the target `seal`: operations on nodes that seal, against a model that knows every
//! datagram and letter made.
//!
//! Three nodes are of one cluster, a fourth is of another that has the same key. Only what was
//! sealed under a key that the receiver has, for its cluster, by another session, and that has not
//! come before, may open; the model says by which rule all else is refused. What is refused leaves
//! nothing but a counter.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use arbitrary::Arbitrary;
use telemetry_gossip_core::Label;
use telemetry_gossip_seal::{
    Key, KeyError, KeyId, Keyring, KeyringError, LETTER_OVERHEAD, LetterError, MAX_KEYS, OVERHEAD,
    Refusal, Seal, SealStats, Session, WINDOW,
};

const NODES: usize = 4;
/// The node whose ring is full but for one place.
const MANY_KEYS: usize = 2;
/// The most operations that are carried out.
const MAX_OPS: usize = 48;
/// One more than fit a ring, and one that nobody ever has.
const KEYS: usize = MAX_KEYS + 2;
/// The longest plain text.
const LONGEST: usize = 96;
/// How many sessions are remembered by nodes that forget.
const FEW: usize = 2;

/// How many datagrams a fifth node has sent before: two windows.
const RECORDED: u64 = 2 * WINDOW;

static KEYRING: LazyLock<Vec<Key>> =
    LazyLock::new(|| (0..KEYS).map(|key| Key::new([key as u8; 32])).collect());

/// Made once, as that many take a while.
static RECORD: LazyLock<Vec<Sealed>> = LazyLock::new(|| {
    let mut seal =
        Seal::new(Keyring::new(Label::of("fuzz"), KEYRING[0].clone()), Session([0xff; 16]));
    (0..RECORDED).map(|_| Sealed::by(&mut seal, b"recorded")).collect()
});

/// Operations on four nodes.
#[derive(Arbitrary, Clone, Debug)]
pub struct Traffic {
    /// Whether the nodes remember two sessions only.
    pub forgetful: bool,
    /// What happens.
    pub ops: Vec<Op>,
}

/// One operation. Nodes, keys, datagrams and letters are taken modulo their number.
#[derive(Arbitrary, Clone, Debug)]
pub enum Op {
    /// A node seals a datagram of so many bytes.
    Seal(u8, u8),
    /// A datagram arrives, come to harm or not.
    Deliver {
        /// Which.
        which: u8,
        /// Where.
        to: u8,
        /// What happened to it.
        harm: Harm,
    },
    /// One of many datagrams of a fifth node arrives, come to harm or not.
    Repeat {
        /// Which.
        which: u16,
        /// Where.
        to: u8,
        /// What happened to it.
        harm: Harm,
    },
    /// Any bytes arrive.
    Noise(u8, Vec<u8>),
    /// Bytes arrive that name a key and a session.
    Forge {
        /// Where.
        to: u8,
        /// Which key.
        key: u8,
        /// The session of which node.
        from: u8,
        /// The counter.
        counter: u64,
        /// What follows.
        bytes: Vec<u8>,
    },
    /// A node gets a key more.
    Add(u8, u8),
    /// A node seals with another key.
    Use(u8, u8),
    /// A node removes a key.
    Remove(u8, u8),
    /// A node starts again, with the keys that it has.
    Restart(u8),
    /// A node seals a letter of so many bytes, in a context.
    Write(u8, u8, u8),
    /// A letter is opened, come to harm or not.
    Open {
        /// Which.
        which: u8,
        /// By whom.
        to: u8,
        /// In which context.
        context: u8,
        /// What happened to it.
        harm: Harm,
    },
    /// Any bytes are opened as a letter.
    Scrap(u8, Vec<u8>),
    /// A key file holds these bytes.
    File(Vec<u8>),
    /// A key file holds the text of a key, come to harm or not.
    Text(u8, Harm),
}

/// What happens to bytes on their way.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Harm {
    /// Nothing.
    None,
    /// Bits of a byte are flipped.
    Flip(u16, u8),
    /// All after so many bytes is lost.
    Cut(u16),
    /// A byte is added at the end, or at the beginning.
    Longer(u8, bool),
    /// From a place on they are those of another datagram or letter.
    Splice(u8, u16),
}

/// What became of the operations; lets a test see that each rule was met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Datagrams opened.
    pub opened: usize,
    /// Datagrams refused.
    pub refused: Vec<Refusal>,
    /// Letters opened.
    pub read: usize,
    /// Letters refused.
    pub unread: Vec<LetterError>,
    /// Changes of keys refused.
    pub kept: Vec<KeyringError>,
    /// Key files read.
    pub files: usize,
    /// Key files refused.
    pub no_keys: Vec<KeyError>,
    /// Sessions forgotten.
    pub forgotten: u64,
}

struct Sealed {
    bytes: Vec<u8>,
    plain: Vec<u8>,
    key: KeyId,
    label: Label,
    session: Session,
    counter: u64,
}

impl Sealed {
    fn by(seal: &mut Seal, plain: &[u8]) -> Self {
        let (key, label) = (seal.keyring().primary().id(), seal.keyring().label());
        let (session, counter) = (seal.session(), seal.stats().sealed);
        let mut bytes = vec![0; plain.len() + OVERHEAD];
        assert_eq!(seal.seal(plain, &mut bytes), Ok(bytes.len()));
        Self { bytes, plain: plain.to_vec(), key, label, session, counter }
    }
}

/// The only one of the recorded datagrams that these bytes may be: the counter says which.
fn recorded(bytes: &[u8]) -> Option<&'static Sealed> {
    let counter = bytes.get(21..29)?.try_into().ok()?;
    RECORD.get(usize::try_from(u64::from_be_bytes(counter)).ok()?)
}

struct Letter {
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
    letters: Vec<Letter>,
    /// What has come to a node, by its own session and that of the sender: counters, each of some
    /// datagram.
    came: BTreeMap<(Session, Session), Vec<u64>>,
    lives: u8,
    outcome: Outcome,
}

impl Traffic {
    /// Carries it out.
    ///
    /// # Panics
    /// If anything opens that must not, or the reverse.
    pub fn run(&self) -> Outcome {
        let mut run = Run {
            nodes: Vec::new(),
            forgetful: self.forgetful,
            sent: Vec::new(),
            letters: Vec::new(),
            came: BTreeMap::new(),
            lives: 0,
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
        run.outcome.forgotten = run.nodes.iter().map(|node| node.stats().sessions_forgotten).sum();
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
        self.lives += 1;
        let seal = Seal::new(ring, Session([self.lives; 16]));
        if self.forgetful { seal.with_max_sessions(FEW) } else { seal }
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
                forged.extend(key(named).id().0);
                forged.extend(self.nodes[node(from)].session().0);
                forged.extend(counter.to_be_bytes());
                forged.extend(bytes);
                self.deliver(node(to), forged);
            }
            Op::Add(at, which) => {
                let ring = self.nodes[node(at)].keyring_mut();
                let held = ring.get(key(which).id()).is_some();
                let full = ring.ids().len() == MAX_KEYS;
                let result = ring.add(key(which).clone());
                assert_eq!(result.is_err(), held || full, "{result:?}");
                self.outcome.kept.extend(result.err());
            }
            Op::Use(at, which) => {
                let ring = self.nodes[node(at)].keyring_mut();
                let held = ring.get(key(which).id()).is_some();
                let result = ring.use_key(key(which).id());
                assert_eq!(result.is_ok(), held, "{result:?}");
                assert!(!held || ring.primary().id() == key(which).id());
                self.outcome.kept.extend(result.err());
            }
            Op::Remove(at, which) => {
                let ring = self.nodes[node(at)].keyring_mut();
                let id = key(which).id();
                let removable = ring.get(id).is_some() && ring.primary().id() != id;
                let result = ring.remove(id);
                assert_eq!(result.is_ok(), removable, "{result:?}");
                assert!(!removable || ring.get(id).is_none());
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
                let Some(letter) = pick(&self.letters, which) else { return };
                let others = |other| pick(&self.letters, other).map(|other| &other.bytes[..]);
                let bytes = harm.on(&letter.bytes, others);
                self.open(node(to), context % 4, &bytes);
            }
            Op::Scrap(to, ref bytes) => self.open(node(to), 0, bytes),
            Op::File(ref bytes) => self.file(bytes),
            Op::Text(which, harm) => {
                let text = key(which).to_text();
                let other = |other| Some(key(other).to_text().as_bytes().to_vec());
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

    /// Bytes arrive, and the model says what must become of them.
    fn deliver(&mut self, to: usize, mut bytes: Vec<u8>) {
        let seal = &mut self.nodes[to];
        let own = seal.session();
        let sealed = self.sent.iter().chain(recorded(&bytes)).find(|sealed| sealed.bytes == bytes);
        let expected = sealed.map(|sealed| {
            let came = self.came.get(&(own, sealed.session)).map_or(&[][..], |came| &came[..]);
            expected(seal.keyring(), own, sealed, came)
        });
        let before = seal.stats();
        let result = seal.open(&mut bytes).map(<[u8]>::to_vec);
        let after = seal.stats();
        match (&result, expected) {
            (Ok(plain), Some(expected)) => {
                // Who has forgotten a session may take its datagrams again.
                let again =
                    self.forgetful && matches!(expected, Err(Refusal::Replayed | Refusal::Stale));
                assert!(expected.is_ok() || again, "opened, and it is {expected:?}");
                let sealed = sealed.expect("it is expected");
                assert_eq!(*plain, sealed.plain);
                assert_eq!(after.opened, before.opened + 1);
                self.came.entry((own, sealed.session)).or_default().push(sealed.counter);
                self.outcome.opened += 1;
            }
            (Ok(_), None) => panic!("nobody has sealed what was opened"),
            (Err(refusal), expected) => {
                let expected = expected.and_then(Result::err);
                // Whose session was forgotten for a while, its highest counter may be a lower one.
                let known = |refusal| matches!(refusal, Refusal::Replayed | Refusal::Stale);
                let alike = self.forgetful && known(*refusal) && expected.is_some_and(known);
                let right = alike || expected == Some(*refusal);
                assert!(sealed.is_none() || right, "{refusal:?}, not {expected:?}");
                assert_eq!(
                    without_refusals(after),
                    without_refusals(before),
                    "{refusal}, and it left a trace"
                );
                assert_eq!(
                    after.refused(),
                    before.refused() + 1,
                    "{refusal}, and not counted once"
                );
                self.outcome.refused.push(*refusal);
            }
        }
        assert!(!self.forgetful || after.sessions <= FEW as u64, "{} sessions", after.sessions);
    }

    fn write(&mut self, by: usize, len: usize, context: u8) {
        let ring = self.nodes[by].keyring();
        let (key, label, text) = (ring.primary().id(), ring.label(), vec![b't'; len]);
        let nonce = [u8::try_from(self.letters.len()).unwrap_or(0); 24];
        let bytes = ring.seal_letter(nonce, &[context], &text).expect("it is short");
        assert_eq!(bytes.len(), len + LETTER_OVERHEAD);
        self.letters.push(Letter { bytes, text, key, label, context });
    }

    /// Bytes are opened as a letter, and the model says what must become of them.
    fn open(&mut self, to: usize, context: u8, bytes: &[u8]) {
        let ring = self.nodes[to].keyring();
        let letter = self.letters.iter().find(|letter| letter.bytes == bytes);
        let result = ring.open_letter(&[context], bytes);
        if let Some(letter) = letter {
            let expected = if ring.get(letter.key).is_none() {
                Err(LetterError::UnknownKey(letter.key))
            } else if (letter.label, letter.context) != (ring.label(), context) {
                Err(LetterError::NotAuthentic)
            } else {
                Ok(letter.text.clone())
            };
            assert_eq!(result, expected);
        } else {
            assert!(result.is_err(), "nobody has written what was opened");
        }
        match result {
            Ok(_) => self.outcome.read += 1,
            Err(error) => self.outcome.unread.push(error),
        }
    }

    /// What a key file holds is a key if it is 64 digits with nothing but white space around them.
    fn file(&mut self, bytes: &[u8]) {
        let digits = str::from_utf8(bytes).ok().map(str::trim);
        let is_key = digits.is_some_and(|digits| {
            digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
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
                assert!(is_key, "it is no key");
                assert_eq!(
                    Some(key.to_text().as_str()),
                    digits.map(str::to_ascii_lowercase).as_deref()
                );
                self.outcome.files += 1;
            }
            Err(error) => {
                assert!(!is_key, "{error}, and it is a key");
                self.outcome.no_keys.push(error);
            }
        }
    }
}

/// What must become of a datagram that came to no harm, at a node that remembers all sessions.
fn expected(ring: &Keyring, own: Session, sealed: &Sealed, came: &[u64]) -> Result<(), Refusal> {
    let highest = came.iter().max().copied();
    if ring.get(sealed.key).is_none() {
        Err(Refusal::UnknownKey(sealed.key))
    } else if sealed.session == own {
        Err(Refusal::Own)
    } else if highest.is_some_and(|highest| highest >= sealed.counter + WINDOW) {
        Err(Refusal::Stale)
    } else if came.contains(&sealed.counter) {
        Err(Refusal::Replayed)
    } else if ring.label() != sealed.label {
        Err(Refusal::NotAuthentic)
    } else {
        Ok(())
    }
}

/// What a refusal leaves as it was.
fn without_refusals(stats: SealStats) -> [u64; 4] {
    [stats.sealed, stats.opened, stats.sessions, stats.sessions_forgotten]
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
