//! The registry of the demo: an etcd of its own where there is the program, and otherwise a file.
//! It is made in a temporary folder, stopped, started again, and gone when the demo ends.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use telemetry_gossip_registry::edit::EditError;
use telemetry_gossip_registry::store::StoreFuture;
use telemetry_gossip_registry::{
    Edition, FoundHead, Location, LocationError, Stamp, Store, StoreError, Write, Written,
};
use tempfile::TempDir;

use crate::error::Error;

/// The variable that names the program etcd.
const VARIABLE: &str = "TGOSSIP_ETCD";

/// How long etcd may take to start. It takes 1 s on 2 cores that do nothing else.
const START_LIMIT: Duration = Duration::from_secs(12);

/// How long to wait between two questions whether etcd has started.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// How often a node of the demo looks for a new version. On etcd a node outside the demo looks
/// every 30 s, and would not notice a registry that is down for seconds.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Who writes the versions.
pub(super) const OPERATOR: &str = "the operator";

/// The registry. The fields are dropped in this order: first the process, last the folder.
pub(super) struct Registry {
    place: Place,
    location: Location,
    /// The store of the operator.
    store: Arc<dyn Store>,
    folder: TempDir,
}

enum Place {
    Etcd(Box<Etcd>),
    File(PathBuf),
}

impl Registry {
    /// Makes the registry, and waits until it answers. It has no version yet.
    pub(super) async fn start() -> Result<Self, Error> {
        let folder = tempfile::Builder::new()
            .prefix("tgossip-demo-")
            .tempdir()
            .map_err(|error| Error::Unwritable { path: std::env::temp_dir(), error })?;
        let (place, location) = match find_etcd() {
            Some(program) => {
                let (etcd, client) = Etcd::start(program, folder.path())?;
                (Place::Etcd(Box::new(etcd)), format!("etcd://127.0.0.1:{client}/demo"))
            }
            None => {
                let path = folder.path().join("cluster.toml");
                let location = format!("file:{}", path.display());
                (Place::File(path), location)
            }
        };
        let location: Location = location.parse().map_err(not_opened)?;
        let store = location.open().map_err(not_opened)?;
        let mut registry = Self { place, location, store, folder };
        registry.wait_until_it_answers().await?;
        Ok(registry)
    }

    /// What the registry is, in words.
    pub(super) fn describe(&self) -> String {
        match &self.place {
            Place::Etcd(etcd) => {
                format!("etcd, one member ({})", Path::new(etcd.command.get_program()).display())
            }
            Place::File(_) => {
                format!("a file, since there is no program etcd (${VARIABLE}, $PATH)")
            }
        }
    }

    /// What the registry is, in two words.
    pub(super) fn kind(&self) -> &'static str {
        match &self.place {
            Place::Etcd(_) => "etcd",
            Place::File(_) => "a file",
        }
    }

    /// Where the registry is.
    pub(super) fn location(&self) -> &Location {
        &self.location
    }

    /// A folder for what the nodes keep.
    pub(super) fn state_folder(&self) -> PathBuf {
        self.folder.path().join("nodes")
    }

    /// Writes the first version, and returns its number.
    pub(super) async fn write_first(
        &self,
        first: Result<Edition, EditError>,
    ) -> Result<u64, Error> {
        self.write(first.map_err(impossible)?, &stamp("the first nodes")?, None).await
    }

    /// Writes the version that `edit` makes of the newest one, and returns its number.
    pub(super) async fn edit(
        &self,
        why: &str,
        edit: impl FnOnce(&Edition, &Stamp) -> Result<Edition, EditError>,
    ) -> Result<u64, Error> {
        let stamp = stamp(why)?;
        let gone = || Error::Step("the demo's registry has no version any more".to_owned());
        let base = self.store.head().await.map_err(refused)?.ok_or_else(gone)?;
        let read = self.store.document(base.head.version, base.head.chunks).await;
        let bytes = read.map_err(refused)?.ok_or_else(gone)?;
        let newest = Edition::parse(&bytes).map_err(|error| refused(error.into()))?;
        let next = edit(&newest, &stamp).map_err(impossible)?;
        self.write(next, &stamp, Some(&base)).await
    }

    async fn write(
        &self,
        next: Edition,
        stamp: &Stamp,
        base: Option<&FoundHead>,
    ) -> Result<u64, Error> {
        let version = next.version();
        match self.store.write(&Write::new(next, stamp, base)).await.map_err(refused)? {
            Written::Done => Ok(version),
            _ => Err(Error::Step("another program writes to the demo's registry".to_owned())),
        }
    }

    /// Stops the registry at once, as a crash of its host does. Returns what was done, in words.
    pub(super) fn stop(&mut self) -> Result<&'static str, Error> {
        match &mut self.place {
            Place::Etcd(etcd) => {
                etcd.kill();
                Ok("etcd is killed")
            }
            Place::File(path) => {
                rename(path, &away(path))?;
                Ok("its file is moved away")
            }
        }
    }

    /// Starts the registry again on what it had, and waits until it answers. Returns what was done,
    /// in words.
    pub(super) async fn start_again(&mut self) -> Result<&'static str, Error> {
        let what = match &mut self.place {
            Place::Etcd(etcd) => {
                etcd.spawn()?;
                "etcd is started again on its data"
            }
            Place::File(path) => {
                rename(&away(path), path)?;
                "its file is moved back"
            }
        };
        self.wait_until_it_answers().await?;
        Ok(what)
    }

    async fn wait_until_it_answers(&mut self) -> Result<(), Error> {
        let until = Instant::now() + START_LIMIT;
        loop {
            let Err(error) = self.store.head().await else { return Ok(()) };
            if let Place::Etcd(etcd) = &mut self.place {
                etcd.check_that_it_runs()?;
            }
            if Instant::now() >= until {
                let why = format!("it does not answer within {START_LIMIT:?}: {error}");
                return Err(Error::Step(format!("the demo's registry was started, and {why}")));
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
}

/// An etcd of one member. It is killed when it is dropped: at the end of the demo, after an error,
/// and after the signals that the demo catches. It only outlives a demo that is killed by SIGKILL.
struct Etcd {
    command: Command,
    process: Option<Child>,
    log: PathBuf,
}

impl Etcd {
    /// Starts one with its data in this folder. Returns its port for clients, too.
    fn start(program: OsString, folder: &Path) -> Result<(Self, u16), Error> {
        let (client, peer) = free_ports().map_err(Error::Setup)?;
        let (log, url) = (folder.join("etcd.log"), |port| format!("http://127.0.0.1:{port}"));
        let mut command = Command::new(program);
        // A package supports what it is built for.
        command.env("ETCD_UNSUPPORTED_ARCH", "arm64").stdin(Stdio::null()).stdout(Stdio::null());
        command.arg("--data-dir").arg(folder.join("etcd"));
        for (option, value) in [
            ("--name", "demo"),
            ("--listen-client-urls", &url(client)),
            ("--advertise-client-urls", &url(client)),
            ("--listen-peer-urls", &url(peer)),
            ("--initial-advertise-peer-urls", &url(peer)),
            ("--initial-cluster", &format!("demo={}", url(peer))),
        ] {
            command.arg(option).arg(value);
        }
        let mut etcd = Self { command, process: None, log };
        etcd.spawn()?;
        Ok((etcd, client))
    }

    fn spawn(&mut self) -> Result<(), Error> {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.map_err(|error| Error::Unwritable { path: self.log.clone(), error })?;
        let process = self.command.stderr(log).spawn().map_err(|error| {
            let program = Path::new(self.command.get_program()).display();
            Error::Usage(format!(
                "{program} cannot be started: {error}: let ${VARIABLE} name the program etcd, or \
                 take etcd from $PATH for a demo on a file"
            ))
        })?;
        self.process = Some(process);
        Ok(())
    }

    fn check_that_it_runs(&mut self) -> Result<(), Error> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let Ok(Some(status)) = process.try_wait() else { return Ok(()) };
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let last = log.lines().next_back().unwrap_or("it said nothing");
        Err(Error::Step(format!("etcd has ended by itself ({status}). It said last: {last}")))
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // An error means that it has ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The program etcd; `None` if there is none, or this program has no client for it.
fn find_etcd() -> Option<OsString> {
    if !cfg!(feature = "etcd") {
        return None;
    }
    if let Some(program) = std::env::var_os(VARIABLE).filter(|program| !program.is_empty()) {
        return Some(program);
    }
    let name = format!("etcd{}", std::env::consts::EXE_SUFFIX);
    let folders = std::env::var_os("PATH")?;
    let mut programs = std::env::split_paths(&folders).map(|folder| folder.join(&name));
    programs.find(|program| program.is_file()).map(PathBuf::into_os_string)
}

/// Two ports that no process uses. Both are held until both are known, so that they differ.
fn free_ports() -> io::Result<(u16, u16)> {
    let held = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let [client, peer] = held;
    let (client, peer) = (client?, peer?);
    Ok((client.local_addr()?.port(), peer.local_addr()?.port()))
}

fn away(path: &Path) -> PathBuf {
    path.with_extension("away")
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(|error| Error::Unwritable { path: to.to_owned(), error })
}

/// A stamp of the operator.
fn stamp(why: &str) -> Result<Stamp, Error> {
    let mut op = [0; 16];
    getrandom::fill(&mut op).map_err(|error| Error::Setup(io::Error::other(error)))?;
    Ok(Stamp::new(OPERATOR, why).op(op))
}

fn impossible(error: EditError) -> Error {
    Error::Step(format!("the operator's edit is refused: {error}"))
}

fn refused(error: StoreError) -> Error {
    Error::Step(format!("the operator cannot use the demo's registry: {error}"))
}

pub(in crate::demo) fn not_opened(error: LocationError) -> Error {
    Error::Step(format!("the demo's registry cannot be opened: {error}"))
}

/// A store at which nodes look more often than elsewhere.
#[derive(Debug)]
pub(in crate::demo) struct OftenRead(pub(in crate::demo) Arc<dyn Store>);

impl Store for OftenRead {
    fn location(&self) -> String {
        self.0.location()
    }

    fn poll_interval(&self) -> Duration {
        self.0.poll_interval().min(POLL_INTERVAL)
    }

    fn is_blocking(&self) -> bool {
        self.0.is_blocking()
    }

    fn head(&self) -> StoreFuture<'_, Option<FoundHead>> {
        self.0.head()
    }

    fn document(&self, version: u64, chunks: u32) -> StoreFuture<'_, Option<Vec<u8>>> {
        self.0.document(version, chunks)
    }

    fn write<'a>(&'a self, write: &'a Write) -> StoreFuture<'a, Written> {
        self.0.write(write)
    }

    fn versions(&self) -> StoreFuture<'_, Vec<u64>> {
        self.0.versions()
    }
}
