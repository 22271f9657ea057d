//! An etcd of three members with TLS and users, set up as docs/registry.md says.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::authority::{Authority, Role, Valid};
use super::cluster::{Cluster, etcdctl};

/// The members of etcd.
const MEMBERS: usize = 3;

/// How often the requests are counted, and over which time a rate is taken.
const COUNT_EVERY: Duration = Duration::from_millis(200);
const RATE_OVER: Duration = Duration::from_secs(1);

/// The keys of the registry.
const PREFIX: &str = "/tgossip/prod/";

pub(crate) struct Etcd {
    pub(crate) cluster: Cluster,
    /// Certificates, passwords and snapshots.
    folder: PathBuf,
}

impl Etcd {
    /// Starts it and makes its users; `None` if this host has no etcd.
    pub(crate) fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let ca = Authority::new(&path, "ca");
        ca.sign(&path, "server", Role::Server, Valid::Now);
        for user in ["root", "operator", "node"] {
            ca.sign(&path, user, Role::Client, Valid::Now);
        }
        let file = |name: &str| path.join(name).display().to_string();
        let arguments = [
            "--client-cert-auth".to_owned(),
            format!("--trusted-ca-file={}", file("ca.pem")),
            format!("--cert-file={}", file("server.pem")),
            format!("--key-file={}", file("server.key")),
        ];
        let cluster = Cluster::start_in(folder, "https", MEMBERS, &arguments)?;
        let etcd = Self { cluster, folder: path };
        etcd.make_users();
        Some(etcd)
    }

    /// Makes `operator` and `node`. Their login is a certificate, or a password, which is their
    /// name.
    fn make_users(&self) {
        for (role, right) in [("writer", "readwrite"), ("reader", "read")] {
            self.etcdctl(&["role", "add", role]);
            self.etcdctl(&["role", "grant-permission", role, "--prefix=true", right, PREFIX]);
        }
        self.etcdctl(&["role", "add", "root"]);
        self.etcdctl(&["user", "add", "root", "--no-password"]);
        self.etcdctl(&["user", "grant-role", "root", "root"]);
        for (user, role) in [("operator", "writer"), ("node", "reader")] {
            self.etcdctl(&["user", "add", &format!("{user}:{user}")]);
            self.etcdctl(&["user", "grant-role", user, role]);
            std::fs::write(self.folder.join(user), user).unwrap();
        }
        self.etcdctl(&["auth", "enable"]);
    }

    /// Where the registry is for one who has the certificate of this user.
    pub(crate) fn url(&self, user: &str) -> String {
        let file = |name: &str| self.folder.join(name).display().to_string();
        let endpoints = self.cluster.endpoints();
        let (ca, cert, key) =
            (file("ca.pem"), file(&format!("{user}.pem")), file(&format!("{user}.key")));
        format!("etcd://{endpoints}/prod?ca={ca}&cert={cert}&key={key}")
    }

    /// Where it is for a user that has a password and no certificate.
    pub(crate) fn url_with_password(&self, user: &str) -> String {
        let file = |name: &str| self.folder.join(name).display().to_string();
        let endpoints = self.cluster.endpoints();
        let (ca, password) = (file("ca.pem"), file(user));
        format!("etcd://{endpoints}/prod?ca={ca}&user={user}&password-file={password}")
    }

    /// Starts it again so that it asks for no certificates.
    pub(crate) fn restart_without_certificates(&mut self) {
        self.cluster.add_arguments(&["--client-cert-auth=false", "--trusted-ca-file="]);
        self.cluster.restart();
    }

    fn etcdctl(&self, arguments: &[&str]) {
        let endpoints = self.cluster.endpoints();
        // A snapshot is taken of one member.
        let endpoints = if arguments[0] == "snapshot" {
            endpoints.split(',').next().unwrap_or_default()
        } else {
            &endpoints
        };
        let file = |name: &str| self.folder.join(name);
        let output = etcdctl()
            .args(["--endpoints", endpoints])
            .arg("--cacert")
            .arg(file("ca.pem"))
            .arg("--cert")
            .arg(file("root.pem"))
            .arg("--key")
            .arg(file("root.key"))
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "etcdctl {arguments:?}: {said}");
    }

    /// Saves a backup.
    pub(crate) fn save(&self) -> PathBuf {
        let file = self.folder.join("backup");
        self.etcdctl(&["snapshot", "save", &file.display().to_string()]);
        file
    }

    /// Restores a backup.
    pub(crate) fn restore(&mut self, backup: &Path) {
        self.cluster.restore(backup);
    }

    /// Does something, and says how many requests all members answered in its busiest second.
    pub(crate) fn busiest_second<T>(&self, act: impl FnOnce() -> T) -> (T, f64) {
        let (done, is_done) = channel::<()>();
        std::thread::scope(|scope| {
            let counting = scope.spawn(move || {
                let mut counts = vec![(Instant::now(), self.requests())];
                while is_done.recv_timeout(COUNT_EVERY) == Err(RecvTimeoutError::Timeout) {
                    counts.push((Instant::now(), self.requests()));
                }
                counts.push((Instant::now(), self.requests()));
                busiest(&counts)
            });
            let outcome = act();
            drop(done);
            (outcome, counting.join().unwrap())
        })
    }

    /// The requests that the members which run have answered.
    fn requests(&self) -> u64 {
        let answered = |at| self.cluster.metric(at, "grpc_server_handled_total");
        (0..MEMBERS).filter_map(answered).sum()
    }
}

/// The highest rate over a second, or over all if that is shorter.
fn busiest(counts: &[(Instant, u64)]) -> f64 {
    let rate = |(from, before): (Instant, u64)| {
        let after = counts.iter().find(|(at, _)| *at - from >= RATE_OVER).or(counts.last())?;
        let span = (after.0 - from).max(RATE_OVER);
        Some(after.1.saturating_sub(before) as f64 / span.as_secs_f64())
    };
    counts.iter().filter_map(|count| rate(*count)).fold(0.0, f64::max)
}
