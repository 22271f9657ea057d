//! The client of etcd: endpoints, time-outs, logins. What the keys mean is up to
//! [`EtcdStore`](super::EtcdStore).
//!
//! ```text
//!   call --> endpoint --(no answer, no connection)--> next endpoint --> failure
//!                |
//!                +--(not logged in)--> log in --> once more
//! ```
//!
//! The retries of `etcdrs` are off: they have no pause, so that a store that is down would cost a
//! whole core. It has one client per endpoint, and this file chooses: the library's own balance
//! sends each request to any member, and with one of three frozen, half of the reads fail.

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use etcdrs::OperationError;
use etcdrs::client::{ClientBuilder, TransactionCheck, TransactionCheckOp};
use etcdrs::{Client as Connection, Revision};
use tokio::task::JoinSet;
use tonic::transport::Endpoint;
use tonic::{Code, Status};

use super::words::{Asker, Cause, Failure};
use crate::store::StoreError;

/// How long an endpoint may take for one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long it may take if it may have to check a password first: etcd makes that slow on purpose,
/// and after a restart a whole fleet logs in at once. 240 logins took three members on two cores
/// 7 s; with a shorter limit none of them would come to its end, and all would begin again.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How many endpoints a call tries.
const TRIES: usize = 2;

/// For how long a wrong password is not tried again: each check costs etcd some 60 ms of a core,
/// and after a change of the password all nodes have the wrong one.
const LOGIN_PAUSE: Duration = Duration::from_secs(30);

/// The longest answer that is read, in bytes. A chunk has at most half of it, and a list of keys a
/// tenth.
const MAX_ANSWER: usize = 2 << 20;

/// A value with the revision of the store that wrote it.
pub(super) struct Value {
    pub(super) bytes: Vec<u8>,
    pub(super) revision: u64,
}

/// A condition of a [`Client::swap`]: the key was last written at this revision; `None` if there
/// must be no such key.
pub(super) struct Unchanged<'a> {
    pub(super) key: &'a str,
    pub(super) revision: Option<u64>,
}

/// A user of etcd.
#[derive(Clone)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

/// A client of all endpoints of one etcd.
pub(super) struct Client {
    endpoints: Vec<Member>,
    /// The one that is asked: the last that answered.
    current: AtomicUsize,
    login: Option<Login>,
    /// What the failures name.
    asker: Asker,
    /// The login that failed last, and when.
    refused: Mutex<Option<(Instant, StoreError)>>,
}

/// One endpoint.
struct Member {
    address: String,
    endpoint: Endpoint,
    session: Mutex<Option<Session>>,
}

#[derive(Clone)]
struct Session {
    connection: Connection,
    /// Whether its last call was answered, and so a connection and a login are behind it.
    has_answered: bool,
}

impl Client {
    /// A client of these endpoints. Connections are made by the first call.
    pub(super) fn new(
        endpoints: Vec<(String, Endpoint)>,
        login: Option<Login>,
        asker: Asker,
    ) -> Self {
        // The nodes of a fleet begin at different members.
        let first = RandomState::new().hash_one(0) as usize % endpoints.len().max(1);
        let member = |(address, endpoint): (String, Endpoint)| Member {
            address,
            endpoint: endpoint.connect_timeout(CONNECT_TIMEOUT),
            session: Mutex::default(),
        };
        let endpoints = endpoints.into_iter().map(member).collect();
        let current = AtomicUsize::new(first);
        Self { endpoints, current, login, asker, refused: Mutex::default() }
    }

    /// Reads a key. The answer is never older than the call: etcd asks a majority of its members.
    pub(super) async fn get(&self, key: &str) -> Result<Option<Value>, StoreError> {
        let found = self
            .call(|to| {
                let get = to.get(key);
                async move { get.await.map_err(status) }
            })
            .await?;
        Ok(found.into_record().map(|record| {
            let revision = record.metadata().modified_revision.get();
            Value { bytes: record.value().to_vec(), revision: revision.unsigned_abs() }
        }))
    }

    /// Writes keys in one step, if the others are unchanged. Returns the revision that wrote them;
    /// `None` if the others have changed, and nothing was written.
    ///
    /// If an endpoint does not answer, another one is asked. The condition keeps the second write
    /// from undoing what others wrote since the first.
    pub(super) async fn swap(
        &self,
        unchanged: &[Unchanged<'_>],
        values: &[(&str, &[u8])],
    ) -> Result<Option<u64>, StoreError> {
        let answer = self
            .call(|to| {
                let checks: Vec<_> = unchanged.iter().map(Unchanged::check).collect();
                let puts = values.iter().map(|(key, bytes)| to.put(*key).value(*bytes).into());
                let transaction = to.transaction().when(checks).and_then(puts);
                async move { transaction.commit().await.map_err(status) }
            })
            .await?;
        Ok(answer.succeeded().then(|| answer.revision().get().unsigned_abs()))
    }

    /// The keys that begin with `prefix`, without their values.
    pub(super) async fn keys(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.call(|to| {
            let list = to.list_prefix(prefix).keys_only();
            async move {
                let mut found = list.await.map_err(status)?.into_stream();
                let mut keys = Vec::new();
                while let Some(key) = next(&mut found).await {
                    let key = key.map_err(status)?;
                    keys.push(String::from_utf8_lossy(key.key()).into_owned());
                }
                Ok(keys)
            }
        })
        .await
    }

    /// Deletes the keys that begin with `prefix`.
    pub(super) async fn delete(&self, prefix: &str) -> Result<(), StoreError> {
        self.call(|to| {
            let delete = to.delete_prefix(prefix);
            async move { delete.await.map(|_| ()).map_err(status) }
        })
        .await
    }

    /// Asks one endpoint, and another one if that does not answer.
    async fn call<T, F>(&self, ask: impl Fn(&Connection) -> F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Status>> + Send + 'static,
    {
        if let Some(refused) = self.recent_refusal() {
            return Err(refused);
        }
        let mut failures = Vec::new();
        for _ in 0..TRIES {
            let at = self.current.load(Ordering::Relaxed);
            let Some(member) = self.endpoints.get(at) else { break };
            match self.ask(member, &ask).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => {
                    let is_final = !failure.cause.is_of_endpoint();
                    failures.push(failure);
                    if is_final {
                        break;
                    }
                    self.leave(at);
                }
            }
        }
        let error = self.asker.explain(&failures);
        if failures.iter().any(|failure| matches!(failure.cause, Cause::Login(_))) {
            *held(&self.refused) = Some((Instant::now(), error.clone()));
        }
        Err(error)
    }

    /// Asks the next endpoint from now on, unless another call has changed that already.
    fn leave(&self, at: usize) {
        let next = (at + 1) % self.endpoints.len().max(1);
        let _ = self.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn recent_refusal(&self) -> Option<StoreError> {
        let refused = held(&self.refused);
        refused.as_ref().filter(|(at, _)| at.elapsed() < LOGIN_PAUSE).map(|(_, why)| why.clone())
    }

    /// Asks one endpoint. If etcd does not accept the login, logs in once more, which either helps
    /// or tells why.
    async fn ask<T, F>(
        &self,
        member: &Member,
        ask: &impl Fn(&Connection) -> F,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Status>> + Send + 'static,
    {
        let fail = |is_new, cause| Failure { endpoint: member.address.clone(), is_new, cause };
        let session = self.session(member).map_err(|cause| fail(true, cause))?;
        let is_new = !session.has_answered;
        let patience = match &self.login {
            Some(_) if is_new => LOGIN_TIMEOUT,
            _ => CALL_TIMEOUT,
        };
        let connection = session.connection;
        let mut answer = bounded(patience, ask(&connection)).await;
        if self.login.is_some() && answer.as_ref().is_err_and(Cause::is_about_login) {
            let login = connection.authenticate();
            match bounded(LOGIN_TIMEOUT, async move { login.await.map_err(status) }).await {
                Ok(_) => answer = bounded(LOGIN_TIMEOUT, ask(&connection)).await,
                Err(cause) if cause.is_of_endpoint() => answer = Err(cause),
                Err(cause) => return Err(fail(is_new, cause.of_login())),
            }
        }
        member.remember(answer.as_ref().err());
        answer.map_err(|cause| fail(is_new, cause))
    }

    /// The connection to an endpoint. It is made here and not when the store is opened, since it
    /// needs a runtime.
    fn session(&self, member: &Member) -> Result<Session, Cause> {
        let mut session = held(&member.session);
        if let Some(session) = &*session {
            return Ok(session.clone());
        }
        let mut builder = ClientBuilder::default()
            .add_endpoint(member.endpoint.clone())
            .retry_never()
            .max_response_size(MAX_ANSWER);
        if let Some(Login { user, password }) = &self.login {
            builder = builder.credentials(user, password);
        }
        let connection = builder.build().map_err(|error| Cause::Broken(error.to_string()))?;
        let made = Session { connection, has_answered: false };
        *session = Some(made.clone());
        Ok(made)
    }
}

impl Member {
    /// Keeps the session after a call, or gives it up. A login costs etcd more than all else.
    fn remember(&self, failure: Option<&Cause>) {
        let mut session = held(&self.session);
        match failure {
            // A connection to a host that is gone would be used until the system gives it up, after
            // many minutes.
            Some(Cause::TimedOut(_)) => *session = None,
            // The next call makes another connection, if this one is broken.
            Some(cause) if cause.is_of_endpoint() => {
                session.iter_mut().for_each(|session| session.has_answered = false);
            }
            _ => session.iter_mut().for_each(|session| session.has_answered = true),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the password.
        f.debug_struct("Client").field("asker", &self.asker).finish_non_exhaustive()
    }
}

impl Unchanged<'_> {
    fn check(&self) -> TransactionCheck {
        let revision = self.revision.and_then(|revision| i64::try_from(revision).ok());
        match revision.and_then(Revision::new) {
            None => TransactionCheck::not_present(self.key),
            Some(revision) => {
                TransactionCheck::modified_revision(self.key, TransactionCheckOp::Equal, revision)
            }
        }
    }
}

/// Runs a call for at most so long, on a task of its own: `etcdrs` panics on answers without a
/// header, and what a server says must not stop a node.
async fn bounded<T, F>(patience: Duration, call: F) -> Result<T, Cause>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Status>> + Send + 'static,
{
    // Dropped with this future, it stops the task.
    let mut task = JoinSet::new();
    task.spawn(call);
    match tokio::time::timeout(patience, task.join_next()).await {
        Err(_) => Err(Cause::TimedOut(patience)),
        Ok(Some(Ok(answer))) => answer.map_err(Cause::Status),
        Ok(Some(Err(_)) | None) => Err(Cause::Broken("its answer is not one of etcd".to_owned())),
    }
}

fn status(error: impl OperationError) -> Status {
    let found = error.grpc_status().cloned();
    found.unwrap_or_else(|| Status::new(Code::Internal, error.to_string()))
}

async fn next<S: futures_core::Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    std::future::poll_fn(|cx| std::pin::Pin::new(&mut *stream).poll_next(cx)).await
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a lock holds is right at any time.
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
