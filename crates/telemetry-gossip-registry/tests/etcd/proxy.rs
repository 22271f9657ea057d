//! A way to a member on which requests wait, and answers are lost.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A way to a member. It ends with the runtime of the test.
pub(crate) struct Proxy {
    /// `HOST:PORT`, as of an endpoint.
    pub(crate) address: String,
    state: Arc<State>,
}

struct State {
    connections: AtomicUsize,
    loses_answers: AtomicBool,
    /// After so many bytes of requests on one connection the others wait.
    limit: watch::Sender<usize>,
}

impl Proxy {
    pub(crate) async fn start(member: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State {
            connections: AtomicUsize::new(0),
            loses_answers: AtomicBool::new(false),
            limit: watch::Sender::new(usize::MAX),
        });
        let (shared, member) = (state.clone(), member.to_owned());
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let server = TcpStream::connect(&member).await.unwrap();
                let ((client_in, client_out), (server_in, server_out)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(carry_requests(client_in, server_out, shared.limit.subscribe()));
                tokio::spawn(carry_answers(server_in, client_out, shared.clone()));
            }
        });
        Self { address, state }
    }

    /// How many connections were made so far.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Sets whether all that the member says is lost.
    pub(crate) fn lose_answers(&self, loses: bool) {
        self.state.loses_answers.store(loses, Ordering::SeqCst);
    }

    /// Sets after how many bytes the requests of a connection wait.
    pub(crate) fn hold_requests_after(&self, limit: usize) {
        self.state.limit.send_replace(limit);
    }
}

async fn carry_requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut limit: watch::Receiver<usize>,
) -> io::Result<()> {
    let (mut bytes, mut carried) = ([0; 4_096], 0);
    loop {
        let len = from.read(&mut bytes).await?;
        if len == 0 {
            return Ok(());
        }
        carried += len;
        if limit.wait_for(|limit| carried <= *limit).await.is_err() {
            return Ok(());
        }
        to.write_all(&bytes[..len]).await?;
    }
}

async fn carry_answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    state: Arc<State>,
) -> io::Result<()> {
    let mut bytes = [0; 4_096];
    loop {
        let len = from.read(&mut bytes).await?;
        if len == 0 {
            return Ok(());
        }
        if !state.loses_answers.load(Ordering::SeqCst) {
            to.write_all(&bytes[..len]).await?;
        }
    }
}
