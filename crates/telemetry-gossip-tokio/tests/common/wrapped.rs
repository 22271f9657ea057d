//! A transport of the host around another one: what it does differently is up to the test.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use telemetry_gossip_tokio::{BoxFuture, NameError, PeerAddr, SharedSeal, Subscription, Transport};

type OnCall = dyn Fn() + Send + Sync;
type OnSend = dyn Fn(&dyn Transport, PeerAddr, &[u8]) -> io::Result<()> + Send + Sync;
/// What a look-up leads to; `None` if the inner transport is to say it.
type Named = Option<BoxFuture<'static, io::Result<Vec<PeerAddr>>>>;
type OnResolve = dyn Fn(&str) -> Named + Send + Sync;

/// A transport that does what its inner one does, except for what a test has set. No lock of it is
/// held while it calls code of the test.
pub(crate) struct Wrapped {
    inner: Arc<dyn Transport>,
    settings: Mutex<Settings>,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Settings {
    on_call: Option<Arc<OnCall>>,
    on_send: Option<Arc<OnSend>>,
    on_resolve: Option<Arc<OnResolve>>,
    cut: HashSet<PeerAddr>,
    /// Each name stands for a peer, or is never found, and never given up.
    names: HashMap<String, Option<PeerAddr>>,
}

impl Wrapped {
    pub(crate) fn over(inner: Arc<dyn Transport>) -> Arc<Self> {
        Arc::new(Self { inner, settings: Mutex::default(), dropped: AtomicU64::new(0) })
    }

    /// Calls the hook whenever the library calls the transport.
    pub(crate) fn on_call(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.settings().on_call = Some(Arc::new(hook));
    }

    /// Sends by the hook, which gets the inner transport.
    pub(crate) fn on_send(
        &self,
        hook: impl Fn(&dyn Transport, PeerAddr, &[u8]) -> io::Result<()> + Send + Sync + 'static,
    ) {
        self.settings().on_send = Some(Arc::new(hook));
    }

    /// Looks up names by the hook.
    pub(crate) fn on_resolve(&self, hook: impl Fn(&str) -> Named + Send + Sync + 'static) {
        self.settings().on_resolve = Some(Arc::new(hook));
    }

    /// Does not send, for this reason.
    pub(crate) fn fail(&self, error: io::ErrorKind) {
        self.on_send(move |_, _, _| Err(error.into()));
    }

    /// Removes the hooks.
    pub(crate) fn mend(&self) {
        let mut settings = self.settings();
        (settings.on_call, settings.on_send, settings.on_resolve) = (None, None, None);
    }

    /// Drops what is sent to a peer.
    pub(crate) fn cut(&self, to: PeerAddr) {
        self.settings().cut.insert(to);
    }

    /// The datagrams that [`Wrapped::cut`] has taken.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// From now on `name` stands for `peer`.
    pub(crate) fn name(&self, name: &str, peer: PeerAddr) {
        self.settings().names.insert(name.to_owned(), Some(peer));
    }

    /// From now on looking up `name` does not end.
    pub(crate) fn hang(&self, name: &str) {
        self.settings().names.insert(name.to_owned(), None);
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap()
    }

    fn called(&self) {
        let hook = self.settings().on_call.clone();
        if let Some(hook) = hook {
            hook();
        }
    }
}

impl fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wrapped")
    }
}

impl Transport for Wrapped {
    fn local(&self) -> PeerAddr {
        self.called();
        self.inner.local()
    }

    fn send(&self, to: PeerAddr, bytes: &[u8]) -> io::Result<()> {
        self.called();
        let (cut, hook) = {
            let settings = self.settings();
            (settings.cut.contains(&to), settings.on_send.clone())
        };
        if cut {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        match hook {
            Some(hook) => hook(&*self.inner, to, bytes),
            None => self.inner.send(to, bytes),
        }
    }

    fn seal(&self) -> Option<&Arc<SharedSeal>> {
        self.called();
        self.inner.seal()
    }

    fn subscribe(&self) -> Subscription {
        self.called();
        self.inner.subscribe()
    }

    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<PeerAddr>>> {
        self.called();
        let (named, hook) = {
            let settings = self.settings();
            (settings.names.get(name).copied(), settings.on_resolve.clone())
        };
        match named {
            Some(Some(peer)) => Box::pin(std::future::ready(Ok(vec![peer]))),
            Some(None) => Box::pin(std::future::pending()),
            None => match hook.and_then(|hook| hook(name)) {
                Some(found) => found,
                None => self.inner.resolve(name),
            },
        }
    }

    fn check_name(&self, name: &str) -> Result<(), NameError> {
        self.inner.check_name(name)
    }

    fn close(&self) {
        self.inner.close();
    }
}

/// Blocks those who pass it while it is shut.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<(bool, bool)>,
    opened: Condvar,
}

impl Gate {
    /// A transport that sends once it has passed a gate, which is open.
    pub(crate) fn before(inner: Arc<dyn Transport>) -> (Arc<Self>, Arc<Wrapped>) {
        let (gate, transport) = (Arc::new(Self::default()), Wrapped::over(inner));
        let passed = gate.clone();
        transport.on_send(move |inner, to, bytes| {
            passed.pass();
            inner.send(to, bytes)
        });
        (gate, transport)
    }

    pub(crate) fn set(&self, shut: bool) {
        self.state.lock().unwrap().0 = shut;
        self.opened.notify_all();
    }

    pub(crate) fn is_blocking(&self) -> bool {
        self.state.lock().unwrap().1
    }

    pub(crate) fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        while state.0 {
            state.1 = true;
            state = self.opened.wait(state).unwrap();
        }
        state.1 = false;
    }
}
