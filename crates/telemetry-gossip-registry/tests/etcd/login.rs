//! Users and passwords: what a store says that may not do what it is asked.

use std::fs;
use std::time::{Duration, Instant};

use etcdrs::Permission;
use telemetry_gossip_registry::{StoreError, Written};

use crate::cluster::Cluster;
use crate::support::{edition, open, raw, read, write, write_next};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_may_not_do_is_said_in_plain_words() {
    let Some(cluster) = start() else { return };
    let endpoints = cluster.endpoints();
    let root = raw(&endpoints).credentials("root", "root-pw").build().unwrap();
    set_up(&endpoints).await;
    let [operator, node] = ["operator", "node"].map(|user| open_as(&cluster, user, user));
    write_next(&*operator, |version| edition(version, &["a"])).await;
    let (found, _) = read(&*node).await;

    let refused = refusal(write(&*node, &edition(2, &["b"]), Some(&found)).await);
    assert!(refused.contains("does not let the user `node` do that"), "{refused}");
    assert!(refused.contains("--prefix /tgossip/prod/"), "{refused}");
    let refused = refusal(open(&endpoints, "prod", "").head().await);
    assert!(refused.contains("add user= and password-file="), "{refused}");

    root.role_revoke_permission("reader", etcdrs::Prefix("/tgossip/prod/")).await.unwrap();
    let refused = refusal(node.head().await);
    assert!(refused.contains("does not let the user `node` do that"), "{refused}");
    grant(&root, "reader", Permission::read(etcdrs::Prefix("/tgossip/prod/"))).await;
    assert_eq!(read(&*node).await.0.head.version, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_named_and_not_checked_again_at_once() {
    let Some(cluster) = start() else { return };
    set_up(&cluster.endpoints()).await;
    for (user, password) in [("node", "wrong"), ("nobody", "node")] {
        let store = open_as(&cluster, user, password);
        let refused = refusal(store.head().await);
        assert!(refused.contains(&format!("the user `{user}` with the password")), "{refused}");
        assert!(refused.contains("password-file="), "{refused}");
        assert!(!refused.contains("wrong:"), "without the password: {refused}");
        // With no etcd there, it still says the same: it does not ask.
        cluster.freeze(0);
        let start = Instant::now();
        assert_eq!(refusal(store.head().await), refused);
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        cluster.thaw(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_etcd_has_forgotten_is_renewed() {
    let Some(mut cluster) = start() else { return };
    let endpoints = cluster.endpoints();
    set_up(&endpoints).await;
    let store = open_as(&cluster, "operator", "operator");
    write_next(&*store, |version| edition(version, &["a"])).await;
    // The logins of a member are in its memory.
    cluster.restart();
    let (found, _) = read(&*store).await;
    // A change of any user makes the logins older than what etcd asks for.
    let root = raw(&endpoints).credentials("root", "root-pw").build().unwrap();
    root.user_add("other").password("other").await.unwrap();
    let written = write(&*store, &edition(2, &["b"]), Some(&found)).await;
    assert_eq!(written, Ok(Written::Done));
}

/// One member whose logins end after 1 s without a use, and which checks passwords quickly.
fn start() -> Option<Cluster> {
    let options = ["--auth-token-ttl", "1", "--bcrypt-cost", "4"];
    Cluster::start(1, &options.map(str::to_owned))
}

fn open_as(
    cluster: &Cluster,
    user: &str,
    password: &str,
) -> std::sync::Arc<dyn telemetry_gossip_registry::Store> {
    let file = cluster.folder.path().join(format!("password of {user}"));
    fs::write(&file, format!("{password}\n")).unwrap();
    let file = file.display().to_string().replace(' ', "%20");
    open(&cluster.endpoints(), "prod", &format!("?user={user}&password-file={file}"))
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
    match answer {
        Err(error @ StoreError::Refused(_)) => error.to_string(),
        other => panic!("{other:?} is no refusal"),
    }
}

/// Makes the users `operator`, who may write, and `node`, who may read; the password of each is its
/// name.
async fn set_up(endpoints: &str) {
    let client = raw(endpoints).build().unwrap();
    let prefix = || etcdrs::Prefix("/tgossip/prod/");
    for (role, permission) in
        [("reader", Permission::read(prefix())), ("writer", Permission::read_write(prefix()))]
    {
        client.role_add(role).await.unwrap();
        grant(&client, role, permission).await;
    }
    client.role_add("root").await.unwrap();
    for (user, password, role) in [
        ("root", "root-pw", "root"),
        ("operator", "operator", "writer"),
        ("node", "node", "reader"),
    ] {
        client.user_add(user).password(password).await.unwrap();
        client.user_grant_role(user, role).await.unwrap();
    }
    client.auth_enable().await.unwrap();
}

async fn grant(client: &etcdrs::Client, role: &str, permission: Permission) {
    client.role_grant_permission(role, permission).await.unwrap();
}
