//! Where an agent answers: a unix socket or a TCP address, and the folder in which agents of one
//! user keep their sockets and tokens.
//!
//! ```text
//! no --control                  FOLDER/edge-1-4711.sock     mode 0600
//! --control /run/edge.sock      that path                   mode 0600
//! --control 127.0.0.1:7201      TCP                         FOLDER/127.0.0.1:7201.token, mode 0600
//! ```
//!
//! FOLDER belongs to the user, has mode 0700, and is the first usable one of
//! `$XDG_RUNTIME_DIR/tgossip`, `/run/tgossip` (for root) and `/tmp/tgossip-UID`.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::args::host_port;

/// Where an agent listens for requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// A unix socket at this path.
    Path(PathBuf),
    /// A TCP address, where clients present a token.
    Tcp(SocketAddr),
}

/// Where a client connects to: what an agent printed as its control address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// The path of a unix socket.
    Path(PathBuf),
    /// A host and a port.
    Tcp(String),
}

/// Paths have a separator, and addresses have none.
fn is_path(text: &str) -> bool {
    text.contains(std::path::is_separator)
}

impl FromStr for Via {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if is_path(text) {
            return Ok(Self::Path(text.into()));
        }
        let tcp = host_port(text).map(Self::Tcp);
        tcp.map_err(|rule| format!("{rule}; or the path of the agent's socket, as it printed it"))
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Tcp(address) => f.write_str(address),
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if is_path(text) {
            return Ok(Self::Path(text.into()));
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            "type the path of a socket to create, such as /run/tgossip/edge-1.sock, or an IP \
             address and a port, such as 127.0.0.1:7201"
                .to_owned()
        })
    }
}

/// The file in which an agent at this TCP address keeps its token if no other is named.
pub(crate) fn token_file(folder: &Path, address: &str) -> PathBuf {
    folder.join(format!("{address}.token"))
}

/// The token file that a client of this user presents if it names none: the first that exists.
pub(crate) fn known_token_file(address: &str) -> Option<PathBuf> {
    folders().into_iter().map(|folder| token_file(&folder, address)).find(|file| file.is_file())
}

/// The folders of this user for sockets and tokens, the preferred one first.
#[cfg(unix)]
pub(crate) fn folders() -> Vec<PathBuf> {
    let user = rustix::process::geteuid();
    let mut folders = Vec::new();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    // `sudo` may leave the folder of another user in the environment.
    folders.extend(runtime.filter(|folder| folder.is_absolute() && private::is_private(folder)));
    if user.is_root() {
        folders.push("/run".into());
    }
    for folder in &mut folders {
        folder.push("tgossip");
    }
    folders.push(std::env::temp_dir().join(format!("tgossip-{}", user.as_raw())));
    folders
}

/// The folder of this user for tokens.
#[cfg(not(unix))]
pub(crate) fn folders() -> Vec<PathBuf> {
    vec![std::env::temp_dir().join("tgossip")]
}

/// Makes the folder of this user, or finds it.
#[cfg(not(unix))]
pub(crate) fn private_folder() -> std::io::Result<PathBuf> {
    let folder = std::env::temp_dir().join("tgossip");
    std::fs::create_dir_all(&folder).map(|()| folder)
}

#[cfg(unix)]
pub(crate) use private::private_folder;

#[cfg(unix)]
mod private {
    use std::fs::{DirBuilder, symlink_metadata};
    use std::io;
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
    use std::path::{Path, PathBuf};

    /// Whether this is a folder, and no link to one, that its owner alone can use, and the owner is
    /// this user.
    pub(super) fn is_private(folder: &Path) -> bool {
        symlink_metadata(folder).is_ok_and(|metadata| {
            metadata.is_dir()
                && metadata.uid() == rustix::process::geteuid().as_raw()
                && metadata.mode() & 0o077 == 0
        })
    }

    /// Makes the folder of this user, or finds it. In a folder that is open to all, another user
    /// may have taken the name: then a random name is used.
    pub(crate) fn private_folder() -> io::Result<PathBuf> {
        private_folder_of(&super::folders())
    }

    pub(super) fn private_folder_of(folders: &[PathBuf]) -> io::Result<PathBuf> {
        let make = |folder: &Path| DirBuilder::new().mode(0o700).create(folder);
        for folder in folders {
            let _ = make(folder);
            if is_private(folder) {
                return Ok(folder.clone());
            }
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let mut folder = folders.last().cloned().unwrap_or_default().into_os_string();
        folder.push(format!("-{:016x}", u64::from_be_bytes(random)));
        let folder = PathBuf::from(folder);
        make(&folder).map(|()| folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_with_a_separator_is_a_path_and_any_other_is_an_address() {
        assert_eq!("/run/a.sock".parse(), Ok(Via::Path("/run/a.sock".into())));
        assert_eq!("./a.sock".parse(), Ok(Listen::Path("./a.sock".into())));
        assert_eq!("localhost:7201".parse(), Ok(Via::Tcp("localhost:7201".into())));
        assert_eq!("127.0.0.1:0".parse(), Ok(Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))));
        assert!("a.sock".parse::<Listen>().unwrap_err().contains("/run/tgossip/edge-1.sock"));
        assert!("a.sock".parse::<Via>().unwrap_err().contains("the path of the agent's socket"));
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_others_made_or_can_enter_is_not_used() {
        use std::os::unix::fs::{DirBuilderExt as _, symlink};
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(at("mine")).unwrap();
        std::fs::DirBuilder::new().mode(0o755).create(at("open")).unwrap();
        symlink(at("mine"), at("link")).unwrap();
        std::fs::write(at("file"), "").unwrap();
        let taken = [at("open"), at("link"), at("file")];
        let used = private::private_folder_of(&taken).unwrap();
        assert!(!taken.contains(&used) && private::is_private(&used), "{used:?}");
        let with_mine = [&taken[..], &[at("mine")]].concat();
        assert_eq!(private::private_folder_of(&with_mine).unwrap(), at("mine"));
        assert_eq!(private::private_folder_of(&[at("new")]).unwrap(), at("new"));
        assert!(private::is_private(&at("new")));
    }
}
