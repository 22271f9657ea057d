//! The listening side of the control protocol: sockets that no other user of the machine can use.
//!
//! A unix socket is made with mode 0600, and each peer is held against its user id as the system
//! reports it. A TCP socket has no such thing, so each request presents a token from a file that
//! only this user can read.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use telemetry_gossip::transport::{Key, create_key, read_key};
use tokio::net::{TcpListener, TcpStream};

use super::place::{self, Listen};
use crate::error::Error;

/// A socket on which an agent is asked, and the files that belong to it.
pub(crate) struct Control {
    pub(crate) listener: Listener,
    /// The address or the path, for clients.
    pub(crate) address: String,
    /// The file of the token, if one is needed.
    pub(crate) token_file: Option<PathBuf>,
    /// Removes the files of this run when dropped.
    pub(crate) files: Files,
}

/// Opens the control socket: at `wanted`, or as a unix socket in the folder of this user. A token
/// is read from `token_file`, which is made if it is missing.
pub(crate) async fn open(
    id: &str,
    wanted: Option<&Listen>,
    token_file: Option<&Path>,
) -> Result<Control, Error> {
    let own_folder = || {
        place::private_folder().map_err(|error| Error::ControlSocket {
            path: place::folders().pop().unwrap_or_default(),
            reason: format!("no folder can be made for it ({error}): name a path with --control"),
        })
    };
    match wanted {
        Some(Listen::Tcp(addr)) => open_tcp(*addr, token_file, own_folder).await,
        #[cfg(unix)]
        Some(Listen::Path(path)) => unix::open(path).await,
        #[cfg(unix)]
        None => unix::open_in(&own_folder()?, id).await,
        #[cfg(not(unix))]
        Some(Listen::Path(path)) => Err(Error::ControlSocket {
            path: path.clone(),
            reason: "this system has no unix sockets: type an address".to_owned(),
        }),
        #[cfg(not(unix))]
        None => {
            let _ = id;
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            open_tcp(any, token_file, own_folder).await
        }
    }
}

async fn open_tcp(
    addr: SocketAddr,
    token_file: Option<&Path>,
    own_folder: impl FnOnce() -> Result<PathBuf, Error>,
) -> Result<Control, Error> {
    let listener = TcpListener::bind(addr).await.map_err(|error| Error::Bind {
        what: "the control address",
        addr,
        error,
    })?;
    let address = listener.local_addr().map_err(Error::Setup)?.to_string();
    let mut files = Files::default();
    let (file, token) = match token_file {
        Some(file) => {
            let token = if file.exists() { read_key(file) } else { create_key(file) }?;
            (file.to_owned(), token)
        }
        None => {
            // A token of an earlier run, whose port another program may have had since.
            let file = place::token_file(&own_folder()?, &address);
            let _ = std::fs::remove_file(&file);
            let token = create_key(&file)?;
            files.add(&file);
            (file, token)
        }
    };
    let listener = Listener::Tcp(listener, Token(token));
    Ok(Control { listener, address, token_file: Some(file), files })
}

/// What clients of a TCP address present.
pub(crate) struct Token(Key);

impl Token {
    /// Compares in a time that does not depend on where the texts differ.
    pub(crate) fn is(&self, presented: &str) -> bool {
        let text = self.0.to_text();
        let (own, presented) = (text.as_str().as_bytes(), presented.as_bytes());
        own.len() == presented.len()
            && own.iter().zip(presented).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

/// Accepts connections.
pub(crate) enum Listener {
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
    Tcp(TcpListener, Token),
}

/// A connection that was accepted.
pub(crate) enum Connection {
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
    Tcp(TcpStream),
}

impl Listener {
    pub(crate) async fn accept(&self) -> io::Result<Connection> {
        Ok(match self {
            #[cfg(unix)]
            Self::Unix(listener) => Connection::Unix(listener.accept().await?.0),
            Self::Tcp(listener, _) => Connection::Tcp(listener.accept().await?.0),
        })
    }

    /// The token that each request must present.
    pub(crate) fn token(&self) -> Option<&Token> {
        match self {
            #[cfg(unix)]
            Self::Unix(_) => None,
            Self::Tcp(_, token) => Some(token),
        }
    }

    /// Takes the socket from the runtime that it was opened on to the one of the caller, which
    /// `enter` then gives it to.
    pub(crate) fn detach(self) -> io::Result<Detached> {
        Ok(match self {
            #[cfg(unix)]
            Self::Unix(listener) => Detached::Unix(listener.into_std()?),
            Self::Tcp(listener, token) => Detached::Tcp(listener.into_std()?, token),
        })
    }
}

/// A listener between two runtimes.
pub(crate) enum Detached {
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener),
    Tcp(std::net::TcpListener, Token),
}

impl Detached {
    pub(crate) fn enter(self) -> io::Result<Listener> {
        Ok(match self {
            #[cfg(unix)]
            Self::Unix(listener) => Listener::Unix(tokio::net::UnixListener::from_std(listener)?),
            Self::Tcp(listener, token) => Listener::Tcp(TcpListener::from_std(listener)?, token),
        })
    }
}

impl Connection {
    /// Whether the peer may be another user than this one and root. A peer over TCP may be anyone,
    /// and is told apart by its token.
    pub(crate) fn is_of_another_user(&self) -> bool {
        match self {
            #[cfg(unix)]
            Self::Unix(stream) => {
                let peer = stream.peer_cred().ok().map(|peer| peer.uid());
                !is_served(peer, rustix::process::geteuid().as_raw())
            }
            Self::Tcp(_) => false,
        }
    }

    /// Sends a short line and closes the connection without waiting: the line fits the empty buffer
    /// of a new connection. A request of at most `max_request` bytes may have arrived; if it were
    /// not read, the close would send a reset, which can overtake the line.
    pub(crate) fn turn_away(self, line: &[u8], max_request: usize) -> io::Result<()> {
        let mut request = vec![0; max_request];
        match self {
            #[cfg(unix)]
            Self::Unix(stream) => {
                let mut stream = stream.into_std()?;
                let _ = stream.read(&mut request);
                stream.write_all(line)?;
                stream.shutdown(std::net::Shutdown::Write)
            }
            Self::Tcp(stream) => {
                let mut stream = stream.into_std()?;
                let _ = stream.read(&mut request);
                stream.write_all(line)?;
                stream.shutdown(std::net::Shutdown::Write)
            }
        }
    }
}

/// Whether this user is served by an agent of the user `own`: itself, and root, who could do all
/// the agent can. A peer whose user the system does not tell is not.
#[cfg(unix)]
fn is_served(peer: Option<u32>, own: u32) -> bool {
    peer.is_some_and(|peer| peer == own || peer == 0)
}

/// Files of a running agent, each removed when this is dropped unless it was replaced since.
#[derive(Debug, Default)]
pub(crate) struct Files(Vec<(PathBuf, Option<FileId>)>);

/// Tells a file from a later one of the same name.
type FileId = (u64, u64);

impl Files {
    fn add(&mut self, path: &Path) {
        self.0.push((path.to_owned(), file_id(path)));
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for (path, id) in &self.0 {
            if file_id(path) == *id {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

#[cfg(unix)]
fn file_id(path: &Path) -> Option<FileId> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn file_id(path: &Path) -> Option<FileId> {
    std::fs::symlink_metadata(path).ok().map(|_| (0, 0))
}

/// Unix sockets: made so that a live one is never replaced, and a dead one always is.
#[cfg(unix)]
mod unix {
    use std::fs::{File, Permissions, symlink_metadata};
    use std::io;
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use rustix::fs::{FlockOperation, flock};
    use rustix::io::Errno;
    use rustix::process::{Pid, test_kill_process};
    use tokio::net::{UnixListener, UnixStream};
    use tokio::time::{sleep, timeout};

    use super::{Control, Files, Listener};
    use crate::error::Error;

    /// How long a process that listens may take to accept a connection.
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

    /// How often, and after which pause, an agent tries to lock the folder of its socket. Others
    /// hold that lock for some milliseconds; a process that holds it longer must not stop a start.
    const LOCK_TRIES: (u32, Duration) = (50, Duration::from_millis(20));

    /// The characters of an id in the name of its socket. Paths of sockets are short.
    const ID_CHARS: usize = 24;

    /// The sockets of dead agents that one start removes.
    const MAX_REMOVED: usize = 64;

    /// Opens a socket in the folder of this user.
    pub(super) async fn open_in(folder: &Path, id: &str) -> Result<Control, Error> {
        let kept = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let id: String = id.chars().map(|c| if kept(c) { c } else { '_' }).take(ID_CHARS).collect();
        let path = folder.join(format!("{id}-{}.sock", std::process::id()));
        let lock = lock(folder).await;
        remove_dead(folder).await;
        bind(path, lock).await
    }

    /// Opens a socket at a path of the user's choice.
    pub(super) async fn open(path: &Path) -> Result<Control, Error> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        check_folder(folder).map_err(|reason| refused(path, reason))?;
        bind(path.to_owned(), lock(folder).await).await
    }

    fn refused(path: &Path, reason: impl Into<String>) -> Error {
        Error::ControlSocket { path: path.to_owned(), reason: reason.into() }
    }

    /// Those who can write to a folder can put a socket of their own in the place of the agent's.
    fn check_folder(folder: &Path) -> Result<(), String> {
        let shown = folder.display();
        let metadata = std::fs::metadata(folder)
            .map_err(|error| format!("its folder {shown} cannot be read: {error}"))?;
        let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
        if !metadata.is_dir() {
            Err(format!("{shown} is not a folder"))
        } else if owner != 0 && owner != own_user() {
            Err(format!(
                "its folder {shown} belongs to another user (id {owner}): type a path in a \
                         folder of your own"
            ))
        } else if mode & 0o022 != 0 && mode & 0o1000 == 0 {
            Err(format!(
                "others can write to its folder {shown} (mode {mode:03o}): make that private by \
                 chmod 700"
            ))
        } else {
            Ok(())
        }
    }

    fn own_user() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    /// Keeps other agents from making or removing sockets in this folder, until it is dropped.
    async fn lock(folder: &Path) -> Option<File> {
        let folder = File::open(folder).ok()?;
        for _ in 0..LOCK_TRIES.0 {
            if flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok() {
                return Some(folder);
            }
            sleep(LOCK_TRIES.1).await;
        }
        None
    }

    /// Whether no process listens at this socket.
    async fn is_dead(path: &Path) -> bool {
        matches!(
            timeout(CONNECT_TIMEOUT, UnixStream::connect(path)).await,
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused
        )
    }

    /// Whether the process runs that made this socket, by the name of the socket. A running agent
    /// is then not bothered with a connection.
    fn has_process(socket: &Path) -> bool {
        let name = socket.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let pid = name.rsplit_once('-').and_then(|(_, pid)| pid.parse().ok());
        pid.and_then(Pid::from_raw).is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
    }

    /// Removes sockets of agents that ended without removing theirs.
    async fn remove_dead(folder: &Path) {
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let sockets: Vec<PathBuf> = files
            .filter(|file| file.file_type().is_ok_and(|kind| kind.is_socket()))
            .map(|file| file.path())
            .filter(|path| !has_process(path))
            .take(MAX_REMOVED)
            .collect();
        for socket in sockets {
            if is_dead(&socket).await {
                let _ = std::fs::remove_file(&socket);
            }
        }
    }

    async fn bind(path: PathBuf, lock: Option<File>) -> Result<Control, Error> {
        match symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(refused(&path, error.to_string())),
            Ok(metadata) if !metadata.file_type().is_socket() => {
                return Err(refused(&path, "it is a file of another kind: type another path"));
            }
            Ok(metadata) if metadata.uid() != own_user() && own_user() != 0 => {
                return Err(refused(&path, "another user made it: type another path"));
            }
            Ok(_) if is_dead(&path).await => {
                std::fs::remove_file(&path).map_err(|error| refused(&path, error.to_string()))?;
            }
            Ok(_) => {
                return Err(refused(&path, "another process answers there: type another path"));
            }
        }
        let failed = |error: io::Error| refused(&path, error.to_string());
        let listener = UnixListener::bind(&path).map_err(failed)?;
        // A peer that connects before this is refused by its user id.
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(failed)?;
        drop(lock);
        let mut files = Files::default();
        files.add(&path);
        // Clients may run in another folder.
        let address = std::path::absolute(&path).map_err(failed)?.display().to_string();
        Ok(Control { listener: Listener::Unix(listener), address, token_file: None, files })
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    async fn open_at(path: &Path) -> Result<Control, String> {
        open("n1", Some(&Listen::Path(path.to_owned())), None)
            .await
            .map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn only_its_owner_may_use_a_control_socket_and_it_ends_with_the_agent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n1.sock");
        let control = open_at(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(control.address, path.to_str().unwrap());
        drop(control);
        assert!(!path.exists());
    }

    #[test]
    fn a_peer_of_another_user_is_not_served() {
        for (peer, served) in
            [(Some(1_000), true), (Some(0), true), (Some(1_001), false), (None, false)]
        {
            assert_eq!(is_served(peer, 1_000), served, "{peer:?}");
        }
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_never() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n1.sock");
        let live = open_at(&path).await.unwrap();
        let refused = open_at(&path).await.err().unwrap();
        assert!(refused.contains("another process answers there"), "{refused}");
        assert!(path.exists());

        // An agent that is killed leaves its socket behind.
        let Control { listener, files, .. } = live;
        std::mem::forget(files);
        drop(listener);
        assert!(path.exists());
        let second = open_at(&path).await.unwrap();

        // One that ends later does not take the socket of its successor away.
        std::fs::remove_file(&path).unwrap();
        let third = open_at(&path).await.unwrap();
        drop(second);
        assert!(path.exists());
        drop(third);
    }

    #[tokio::test]
    async fn an_agent_removes_the_sockets_of_dead_agents_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        // The second number is no process, the third file is no socket.
        let (live, dead, notes) = (at("n1-1.sock"), at("n2-2147483647.sock"), at("n3-notes.sock"));
        let control = open_at(&live).await.unwrap();
        drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
        std::fs::write(&notes, "").unwrap();
        let own = unix::open_in(folder.path(), "n4/..").await.unwrap();
        assert!(live.exists() && !dead.exists() && notes.exists());
        let name = format!("n4_..-{}.sock", std::process::id());
        assert_eq!(own.address, at(&name).to_str().unwrap());
        drop(control);
    }

    #[tokio::test]
    async fn a_path_where_others_can_interfere_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n1.sock");
        std::fs::write(&path, "notes").unwrap();
        assert!(open_at(&path).await.err().unwrap().contains("a file of another kind"));
        assert_eq!(std::fs::read(&path).unwrap(), b"notes");

        let open = folder.path().join("open");
        std::fs::create_dir(&open).unwrap();
        let mode = |mode| std::fs::set_permissions(&open, Permissions::from_mode(mode)).unwrap();
        mode(0o777);
        let refused = open_at(&open.join("n1.sock")).await.err().unwrap();
        assert!(refused.contains("chmod 700"), "{refused}");
        mode(0o1777);
        assert!(open_at(&open.join("n1.sock")).await.is_ok(), "as in /tmp");
    }

    #[tokio::test]
    async fn a_token_is_made_once_and_kept_if_its_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("control.token");
        let mut tokens = Vec::new();
        for _ in 0..2 {
            let any = Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
            let control = open("n1", Some(&any), Some(&file)).await.unwrap();
            tokens.push(std::fs::read_to_string(&file).unwrap());
            let token = control.listener.token().unwrap();
            let text = tokens[0].trim();
            assert!(token.is(text));
            assert!(!token.is("") && !token.is(&text[1..]) && !token.is(&"0".repeat(64)));
        }
        assert_eq!(tokens[0], tokens[1]);
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    }
}
