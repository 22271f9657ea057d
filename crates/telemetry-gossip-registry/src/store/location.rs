//! Where a registry is kept, as an operator writes it: `file:PATH` or `etcd://HOST:PORT/CLUSTER`.
//!
//! A location is parsed without IO; [`Location::open`] reads the files that it names. A password
//! has no place in it: locations show in lists of processes, in logs and in shell histories.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use thiserror::Error;

use super::{FileStore, Store};

/// The most endpoints of a location. A cluster of etcd has 3 to 7 members.
const MAX_ENDPOINTS: usize = 16;

/// The longest name of a cluster, in bytes.
const MAX_CLUSTER: usize = 64;

/// What `Display` writes as it is in a parameter.
const KEPT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_').remove(b'~').remove(b':');

/// Where a registry is kept.
///
/// | location | store |
/// |---|---|
/// | `file:/etc/tgossip/cluster.toml` | a file; a path without a slash at its start is relative |
/// | `etcd://h1:2379,h2:2379/prod` | the cluster `prod` in etcd, whose members are at these addresses |
///
/// Parameters of `etcd:` follow a `?` and are separated by `&`, with `%20` for a space and so on:
///
/// | parameter | what it is |
/// |---|---|
/// | `user`, `password-file` | a user of etcd, and the file that has the password |
/// | `ca` | the file of the certificates (PEM) that sign those of etcd; turns on TLS |
/// | `cert`, `key` | the files of a client certificate and of its private key (PEM); turn on TLS |
/// | `tls=true` | TLS with the certificates that the system trusts, if `ca` names no others |
///
/// ```
/// use telemetry_gossip_registry::Location;
///
/// let location: Location = "etcd://h1:2379,h2:2379/prod?ca=/etc/tgossip/ca.pem".parse()?;
/// assert_eq!(location.to_string(), "etcd://h1:2379,h2:2379/prod?ca=/etc/tgossip/ca.pem");
/// assert!("etcd://h1:2379/prod?password=secret".parse::<Location>().is_err());
/// # Ok::<(), telemetry_gossip_registry::LocationError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    File(PathBuf),
    Etcd(EtcdPlace),
}

/// Where a registry is kept in etcd, and how to get there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct EtcdPlace {
    /// `HOST:PORT` of each member, one at least.
    pub(super) endpoints: Vec<String>,
    /// The name of the cluster, a part of the keys.
    pub(super) cluster: String,
    pub(super) user: Option<String>,
    /// There is one if there is a user.
    pub(super) password_file: Option<PathBuf>,
    pub(super) tls: bool,
    pub(super) ca: Option<PathBuf>,
    /// There is one if there is a key, and the other way round.
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

/// Why a text is no location of a registry, or why the registry there cannot be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LocationError {
    /// The text begins with neither `file:` nor `etcd://`.
    #[error(
        "a location of a registry begins with `file:` or `etcd://`, and not with `{found}`: write \
         file:PATH or etcd://HOST:PORT/CLUSTER"
    )]
    #[non_exhaustive]
    Scheme {
        /// What it begins with.
        found: String,
    },
    /// `file:` has no path.
    #[error("`file:` has no path: write file:PATH, such as file:/etc/tgossip/cluster.toml")]
    Path,
    /// An endpoint is not `HOST:PORT`.
    #[error(
        "`{endpoint}` is no endpoint of etcd: write HOST:PORT, with an IPv6 address in brackets, \
         and a comma between two endpoints"
    )]
    #[non_exhaustive]
    Endpoint {
        /// The endpoint.
        endpoint: String,
    },
    /// There are too many endpoints.
    #[error("{count} endpoints are too many: at most {MAX_ENDPOINTS} are tried: name some of them")]
    #[non_exhaustive]
    TooManyEndpoints {
        /// How many there are.
        count: usize,
    },
    /// The name of the cluster is missing or cannot be one.
    #[error(
        "`{cluster}` is no name of a cluster: 1 to {MAX_CLUSTER} letters, digits, `-`, `_` and `.` \
         are allowed: write etcd://HOST:PORT/CLUSTER"
    )]
    #[non_exhaustive]
    Cluster {
        /// The name.
        cluster: String,
    },
    /// The location has a password.
    #[error(
        "a location must not have a password, since others can read it: write the password to a \
         file that only this user can read, and name the file by password-file=FILE"
    )]
    Password,
    /// No parameter has this name.
    #[error(
        "`{name}` is no parameter of etcd: the parameters are user, password-file, ca, cert, key \
         and tls"
    )]
    #[non_exhaustive]
    Parameter {
        /// The name.
        name: String,
    },
    /// A parameter is given twice.
    #[error("`{name}` is given twice: give it once")]
    #[non_exhaustive]
    Twice {
        /// The name.
        name: String,
    },
    /// A parameter has a value that it cannot have.
    #[error("`{name}` has a value that it cannot have: {rule}")]
    #[non_exhaustive]
    Value {
        /// The name of the parameter.
        name: String,
        /// The rule that the value breaks.
        rule: &'static str,
    },
    /// One of two parameters that belong together is missing.
    #[error("`{given}` is given without `{missing}`: give both")]
    #[non_exhaustive]
    Alone {
        /// The parameter that is given.
        given: &'static str,
        /// The one that is missing.
        missing: &'static str,
    },
    /// The program is built without etcd.
    #[error(
        "this program is built without etcd: use one that has it, such as `tgossip agent`, or a \
         location file:PATH"
    )]
    WithoutEtcd,
    /// A file that a parameter names cannot be used.
    #[error("{parameter}={} cannot be used: {why}", path.display())]
    #[non_exhaustive]
    File {
        /// The parameter.
        parameter: &'static str,
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        why: String,
    },
}

impl Location {
    /// Makes a store of this location. The files that it names are read now; nothing is sent.
    ///
    /// # Errors
    /// A file that the location names cannot be used, or the program is built without etcd.
    pub fn open(&self) -> Result<Arc<dyn Store>, LocationError> {
        match &self.place {
            Place::File(path) => Ok(Arc::new(FileStore::new(path))),
            #[cfg(feature = "etcd")]
            Place::Etcd(place) => Ok(Arc::new(super::EtcdStore::open(place)?)),
            #[cfg(not(feature = "etcd"))]
            Place::Etcd(_) => Err(LocationError::WithoutEtcd),
        }
    }

    /// Makes a store of a location that is a file. A small program calls this in place of
    /// [`Location::open`], so that etcd and TLS are not linked into it, even if another program
    /// turns on the feature `etcd` in the same build.
    ///
    /// # Errors
    /// [`LocationError::WithoutEtcd`] if the location is not a file.
    pub fn open_file(&self) -> Result<Arc<dyn Store>, LocationError> {
        match &self.place {
            Place::File(path) => Ok(Arc::new(FileStore::new(path))),
            Place::Etcd(_) => Err(LocationError::WithoutEtcd),
        }
    }
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let place = if let Some(path) = text.strip_prefix("file:") {
            // `file:///PATH` is how a URL says it.
            let path = path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path);
            if path.is_empty() || path.contains('\0') {
                return Err(LocationError::Path);
            }
            Place::File(path.into())
        } else if let Some(rest) = text.strip_prefix("etcd://") {
            Place::Etcd(EtcdPlace::parse(rest)?)
        } else {
            // The rest of another URL may have a password.
            let scheme = text.split(':').next().unwrap_or_default();
            return Err(LocationError::Scheme { found: brief(scheme) });
        };
        Ok(Self { place })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File(path) => write!(f, "file:{}", path.display()),
            Place::Etcd(place) => place.fmt(f),
        }
    }
}

impl EtcdPlace {
    fn parse(text: &str) -> Result<Self, LocationError> {
        // `USER:PASSWORD@HOST` of other URLs, whose password may have any mark before the `@`.
        let begins_with_login =
            |marks: &[char]| text.split(marks).next().is_some_and(|begin| begin.contains('@'));
        // The values of parameters may have an `@`.
        if begins_with_login(&['&', '=']) || begins_with_login(&['?']) {
            return Err(LocationError::Password);
        }
        let (place, parameters) = text.split_once('?').unwrap_or((text, ""));
        let (endpoints, cluster) = place.split_once('/').unwrap_or((place, ""));
        let mut parsed = Self { cluster: cluster.to_owned(), ..Self::default() };
        for endpoint in endpoints.split(',') {
            if !is_endpoint(endpoint) {
                return Err(LocationError::Endpoint { endpoint: brief(endpoint) });
            }
            parsed.endpoints.push(endpoint.to_owned());
        }
        if parsed.endpoints.len() > MAX_ENDPOINTS {
            return Err(LocationError::TooManyEndpoints { count: parsed.endpoints.len() });
        }
        if !is_cluster(cluster) {
            return Err(LocationError::Cluster { cluster: brief(cluster) });
        }
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            parsed.set(name, value)?;
        }
        parsed.check()
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), LocationError> {
        let file = match name {
            "password-file" => &mut self.password_file,
            "ca" => &mut self.ca,
            "cert" => &mut self.cert,
            "key" => &mut self.key,
            "user" => {
                let user = decoded(name, value)?;
                return set_once(&mut self.user, user, name);
            }
            "tls" if value == "true" => {
                self.tls = true;
                return Ok(());
            }
            "tls" => {
                let rule = "`tls=true` is allowed; without `tls`, `ca` and `cert` there is no TLS";
                return Err(LocationError::Value { name: name.to_owned(), rule });
            }
            "password" => return Err(LocationError::Password),
            _ => return Err(LocationError::Parameter { name: brief(name) }),
        };
        let path = decoded(name, value)?.into();
        set_once(file, path, name)
    }

    /// Checks the rules that several parameters have together.
    fn check(mut self) -> Result<Self, LocationError> {
        for (given, missing, is_broken) in [
            ("user", "password-file", self.user.is_some() && self.password_file.is_none()),
            ("password-file", "user", self.user.is_none() && self.password_file.is_some()),
            ("cert", "key", self.cert.is_some() && self.key.is_none()),
            ("key", "cert", self.cert.is_none() && self.key.is_some()),
        ] {
            if is_broken {
                return Err(LocationError::Alone { given, missing });
            }
        }
        self.tls |= self.ca.is_some() || self.cert.is_some();
        Ok(self)
    }
}

impl fmt::Display for EtcdPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoints, cluster, user, password_file, tls, ca, cert, key } = self;
        write!(f, "etcd://{}/{cluster}", endpoints.join(","))?;
        let mut mark = '?';
        let mut parameter = |name: &str, value: &str| {
            let value = utf8_percent_encode(value, KEPT);
            write!(f, "{}{name}={value}", std::mem::replace(&mut mark, '&'))
        };
        if let Some(user) = user {
            parameter("user", user)?;
        }
        let files = [("password-file", password_file), ("ca", ca), ("cert", cert), ("key", key)];
        for (name, path) in files {
            if let Some(path) = path {
                parameter(name, &path.to_string_lossy())?;
            }
        }
        let is_said = ca.is_some() || cert.is_some();
        if *tls && !is_said { parameter("tls", "true") } else { Ok(()) }
    }
}

fn set_once<T>(field: &mut Option<T>, value: T, name: &str) -> Result<(), LocationError> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(LocationError::Twice { name: name.to_owned() }),
    }
}

/// The value of a parameter, with `%20` and the like decoded.
fn decoded(name: &str, value: &str) -> Result<String, LocationError> {
    let wrong = |rule| LocationError::Value { name: name.to_owned(), rule };
    let value = percent_decode_str(value)
        .decode_utf8()
        .map_err(|_| wrong("what is written with `%` must be UTF-8"))?;
    if value.is_empty() || value.chars().any(char::is_control) {
        return Err(wrong("it must not be empty or have control characters"));
    }
    Ok(value.into_owned())
}

/// Whether a text is `HOST:PORT`.
fn is_endpoint(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
        }
    };
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
    is_host && is_port && port.parse::<u16>().is_ok_and(|port| port > 0) && text.len() <= 255
}

fn is_cluster(name: &str) -> bool {
    (1..=MAX_CLUSTER).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// The first characters of a text that may be long or hostile, on one line.
fn brief(text: &str) -> String {
    text.chars().take(64).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> LocationError {
        text.parse::<Location>().expect_err(text)
    }

    #[test]
    fn a_location_is_displayed_as_it_is_written() {
        for text in [
            "file:/etc/tgossip/cluster.toml",
            "file:cluster.toml",
            "etcd://h1:2379/prod",
            "etcd://10.0.0.1:2379,[::1]:2379/prod.eu-1?user=ana&password-file=/run/secret",
            "etcd://h:1/p?ca=/a/ca.pem&cert=/a%20b/c.pem&key=/k%26%25.pem",
            "etcd://h:1/p?tls=true",
        ] {
            let location: Location = text.parse().expect(text);
            assert_eq!(location.to_string(), text);
        }
        let absolute: Location = "file:///etc/x".parse().unwrap();
        assert_eq!(absolute.to_string(), "file:/etc/x");
    }

    #[test]
    fn each_rule_that_is_broken_is_named() {
        use LocationError as E;

        assert!(matches!(error("consul://h/x"), E::Scheme { .. }));
        assert!(matches!(error(""), E::Scheme { .. }));
        assert!(matches!(error("file:"), E::Path));
        for endpoint in ["", "h", "h:", "h:0", "h:65536", "h:+1", ":1", "::1:1", "[x]:1", "h h:1"] {
            assert!(matches!(error(&format!("etcd://{endpoint}/p")), E::Endpoint { .. }));
        }
        assert!(matches!(error("etcd://h:1,/p"), E::Endpoint { .. }));
        let many = vec!["h:1"; 17].join(",");
        assert!(matches!(error(&format!("etcd://{many}/p")), E::TooManyEndpoints { count: 17 }));
        for cluster in ["", "/", "/a/b", "/a b", "/%61"] {
            assert!(matches!(error(&format!("etcd://h:1{cluster}")), E::Cluster { .. }));
        }
        let long = "x".repeat(65);
        assert!(matches!(error(&format!("etcd://h:1/{long}")), E::Cluster { .. }));
        assert!(
            matches!(error("etcd://h:1/p?colour=red"), E::Parameter { name } if name == "colour")
        );
        assert!(matches!(error("etcd://h:1/p?ca=a&ca=b"), E::Twice { name } if name == "ca"));
        for value in ["tls=false", "ca=", "ca=%ff", "user=a%0ab&password-file=x"] {
            assert!(matches!(error(&format!("etcd://h:1/p?{value}")), E::Value { .. }), "{value}");
        }
        for (parameter, missing) in
            [("user=a", "password-file"), ("password-file=a", "user"), ("cert=a", "key")]
        {
            let alone = error(&format!("etcd://h:1/p?{parameter}"));
            assert!(matches!(alone, E::Alone { missing: found, .. } if found == missing));
        }
    }

    #[test]
    fn a_password_is_refused_and_never_repeated() {
        for text in [
            "etcd://ana:secret@h:1/p",
            "etcd://ana:secret/@h:1/p",
            "etcd://ana:secret?@h:1/p",
            "etcd://ana:sec=ret&@h:1/p",
            "etcd://h:1/p?password=secret",
        ] {
            let refused = error(text);
            assert!(matches!(refused, LocationError::Password));
            assert!(!refused.to_string().contains("secret"), "{refused}");
            assert!(refused.to_string().contains("password-file=FILE"), "{refused}");
        }
        let other = error("https://ana:secret@h:1/p").to_string();
        assert!(other.contains("not with `https`") && !other.contains("secret"), "{other}");
    }

    #[test]
    fn a_program_that_opens_files_alone_refuses_etcd() {
        let file: Location = "file:x.toml".parse().unwrap();
        assert_eq!(file.open().unwrap().location(), "file:x.toml");
        assert_eq!(file.open_file().unwrap().location(), "file:x.toml");
        let etcd: Location = "etcd://h:1/p".parse().unwrap();
        assert!(matches!(etcd.open_file(), Err(LocationError::WithoutEtcd)));
    }
}
