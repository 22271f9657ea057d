//! TLS: certificates that are accepted, and what a store says of those that are not.

use std::fs;
use std::path::Path;

use etcdrs::Permission;
use telemetry_gossip_registry::{StoreError, Written};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::authority::{Authority, Role, Valid};
use crate::cluster::Cluster;
use crate::support::{edition, open, read, write};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_a_login_and_each_certificate_that_is_not_accepted_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().to_owned();
    let ca = Authority::new(&at, "ca");
    let stranger = Authority::new(&at, "strangers");
    ca.sign(&at, "server", Role::Server, Valid::Now);
    for user in ["root", "operator", "node"] {
        ca.sign(&at, user, Role::Client, Valid::Now);
    }
    ca.sign(&at, "late", Role::Client, Valid::Past);
    stranger.sign(&at, "foreign", Role::Client, Valid::Now);

    let Some(cluster) = start(folder, "server") else { return };
    set_up(&cluster, &at).await;
    let file = |name: &str| at.join(name).display().to_string();
    let endpoints = cluster.endpoints();
    let open_with = |endpoints: &str, ca: &str, user: Option<&str>| {
        let ca = file(ca);
        let identity = user.map(|user| format!("&cert={0}.pem&key={0}.key", file(user)));
        open(endpoints, "prod", &format!("?ca={ca}.pem{}", identity.unwrap_or_default()))
    };

    // The certificate of the server is for servers only: etcd's own JSON gateway fails with it.
    let operator = open_with(&endpoints, "ca", Some("operator"));
    assert_eq!(write(&*operator, &edition(1, &["a"]), None).await, Ok(Written::Done));
    let node = open_with(&endpoints, "ca", Some("node"));
    let (found, _) = read(&*node).await;
    let refused = write(&*node, &edition(2, &["b"]), Some(&found)).await.unwrap_err();
    assert!(refused.to_string().contains("the user of this certificate"), "{refused}");

    let named = endpoints.replace("127.0.0.1", "localhost");
    for (endpoints, ca, user, words) in [
        (&endpoints, "strangers", Some("node"), "no trusted CA has signed"),
        (&named, "ca", Some("node"), "for other names than `localhost`"),
        (&endpoints, "ca", None, "add cert=FILE and key=FILE"),
        (&endpoints, "ca", Some("late"), "check that the certificate of cert="),
        (&endpoints, "ca", Some("foreign"), "check that the certificate of cert="),
    ] {
        let error = open_with(endpoints, ca, user).head().await.unwrap_err();
        assert!(matches!(&error, StoreError::Refused(_)), "{user:?}: {error}");
        assert!(error.to_string().contains(words), "{user:?}: {error}");
    }
    let error = open(&endpoints, "prod", "").head().await.unwrap_err();
    assert!(matches!(&error, StoreError::Unreachable(_)), "{error}");
    assert!(error.to_string().contains("add ca=FILE"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_of_etcd_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().to_owned();
    let ca = Authority::new(&at, "ca");
    ca.sign(&at, "expired", Role::Server, Valid::Past);
    ca.sign(&at, "node", Role::Client, Valid::Now);
    let Some(cluster) = start(folder, "expired") else { return };
    let file = |name: &str| at.join(name).display().to_string();
    let parameters =
        format!("?ca={}&cert={}&key={}", file("ca.pem"), file("node.pem"), file("node.key"));
    let error = open(&cluster.endpoints(), "prod", &parameters).head().await.unwrap_err();
    assert!(matches!(&error, StoreError::Refused(_)), "{error}");
    assert!(error.to_string().contains("a certificate that has expired: renew it"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_without_tls_is_named() {
    let folder = tempfile::tempdir().unwrap();
    Authority::new(folder.path(), "ca");
    let Some(cluster) = Cluster::shared() else { return };
    let ca = folder.path().join("ca.pem");
    let store = open(&cluster.endpoints(), "prod", &format!("?ca={}", ca.display()));
    let error = store.head().await.unwrap_err();
    assert!(matches!(&error, StoreError::Unreachable(_)), "{error}");
    assert!(error.to_string().contains("does not speak TLS on this port"), "{error}");
}

/// One member that wants client certificates and has this certificate itself.
fn start(folder: tempfile::TempDir, server: &str) -> Option<Cluster> {
    let file = |name: &str| folder.path().join(name).display().to_string();
    let arguments = [
        "--client-cert-auth".to_owned(),
        format!("--trusted-ca-file={}", file("ca.pem")),
        format!("--cert-file={}", file(&format!("{server}.pem"))),
        format!("--key-file={}", file(&format!("{server}.key"))),
        "--bcrypt-cost=4".to_owned(),
    ];
    Cluster::start_in(folder, "https", 1, &arguments)
}

/// Makes the users `operator`, who may write, and `node`, who may read, without passwords: a client
/// certificate is their login.
async fn set_up(cluster: &Cluster, at: &Path) {
    let pem = |name: &str| fs::read(at.join(name)).unwrap();
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(pem("ca.pem")))
        .identity(Identity::from_pem(pem("root.pem"), pem("root.key")));
    let root = etcdrs::Client::builder()
        .add_connection(format!("https://{}", cluster.endpoints()))
        .unwrap()
        .configure_endpoint(move |endpoint| Ok(endpoint.tls_config(tls.clone())?))
        .build()
        .unwrap();
    let prefix = || etcdrs::Prefix("/tgossip/prod/");
    for (user, permission) in [
        ("root", None),
        ("operator", Some(Permission::read_write(prefix()))),
        ("node", Some(Permission::read(prefix()))),
    ] {
        root.role_add(user).await.unwrap();
        if let Some(permission) = permission {
            root.role_grant_permission(user, permission).await.unwrap();
        }
        root.user_add(user).no_password().await.unwrap();
        root.user_grant_role(user, user).await.unwrap();
    }
    root.auth_enable().await.unwrap();
}
