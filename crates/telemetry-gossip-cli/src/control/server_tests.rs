//! Clients that ask, and clients that do not.

use super::*;
use crate::control::client::Client;
use crate::control::listen::{self, Control};
use crate::control::place::{Listen, Via};
use crate::control::tests::view;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::net::TcpStream;

const NEVER: Duration = Duration::from_secs(3_600);

/// Longer than any answer takes.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A server at a TCP address, and what its clients need.
struct Served {
    addr: SocketAddr,
    token_file: PathBuf,
    counters: Arc<Counters>,
    _folder: tempfile::TempDir,
}

async fn serving(request_timeout: Duration) -> Served {
    let source: Source =
        Arc::new(|_| Box::pin(async { Ok(Reply::Whole(Answer::View(Box::new(view())))) }));
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("control.token");
    let any = Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    let Control { listener, address, .. } =
        listen::open("n1", Some(&any), Some(&token_file)).await.unwrap();
    let counters = Arc::<Counters>::default();
    tokio::spawn(serve(listener, source, Arc::clone(&counters), request_timeout));
    Served { addr: address.parse().unwrap(), token_file, counters, _folder: folder }
}

impl Served {
    fn client(&self) -> Client {
        Client::new(Via::Tcp(self.addr.to_string()), Some(self.token_file.clone()), TIMEOUT)
    }

    /// Adds the token to a request.
    fn presenting(&self, request: &str) -> Vec<u8> {
        let token = std::fs::read_to_string(&self.token_file).unwrap();
        let rest = request.strip_prefix('{').unwrap();
        format!("{{\"token\":\"{}\",{rest}\n", token.trim()).into_bytes()
    }

    async fn answer_to(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        stream.write_all(request).await.unwrap();
        serde_json::from_str(&text_of(stream).await).unwrap()
    }
}

async fn text_of(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

async fn silent(addr: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut silent = Vec::new();
    for _ in 0..count {
        silent.push(TcpStream::connect(addr).await.unwrap());
    }
    silent
}

#[tokio::test]
async fn a_client_with_the_token_gets_the_view() {
    let served = serving(NEVER).await;
    assert_eq!(served.client().view().await.unwrap(), view());
    assert_eq!(served.counters.read().clients_served, 1);
}

#[tokio::test]
async fn a_request_by_tcp_without_the_token_gets_one_line_and_is_counted() {
    let served = serving(NEVER).await;
    let wrong = format!("{{\"ask\":\"view\",\"token\":\"{}\"}}\n", "0".repeat(64));
    let requests = ["{\"ask\":\"view\"}\n", "{\"ask\":\"accept-loss\"}\n", "GET /\n", &wrong];
    for request in requests {
        match served.answer_to(request.as_bytes()).await {
            Answer::Denied(reason) => assert!(reason.contains("--control-token-file"), "{reason}"),
            other => panic!("{request} was answered with {other:?}"),
        }
    }
    let counters = served.counters.read();
    assert_eq!((counters.clients_without_token, counters.clients_served), (4, 0));
}

#[tokio::test]
async fn a_line_that_is_not_a_request_is_answered_with_an_example() {
    let served = serving(NEVER).await;
    for request in ["{\"x\":1}", "{\"ask\":\"leave\"}"] {
        match served.answer_to(&served.presenting(request)).await {
            Answer::Error(error) => assert!(error.contains(r#"{"ask":"view"}"#), "{error}"),
            other => panic!("{request:?} was answered with {other:?}"),
        }
    }
    assert_eq!(served.counters.read().clients_malformed, 2);
}

#[tokio::test]
async fn a_request_without_end_is_refused() {
    match serving(NEVER).await.answer_to(&vec![b' '; 1_024]).await {
        Answer::Error(error) => assert!(error.contains("at most 1024 bytes"), "{error}"),
        other => panic!("it was answered with {other:?}"),
    }
}

#[tokio::test]
async fn a_client_without_a_place_is_answered_at_once() {
    let served = serving(NEVER).await;
    // Connections are accepted in order: all places are taken before the next one.
    let _silent = silent(served.addr, MAX_CLIENTS).await;
    assert_eq!(text_of(TcpStream::connect(served.addr).await.unwrap()).await, "\"busy\"\n");
    assert_eq!(served.counters.read().clients_busy, 1);
}

#[tokio::test]
async fn silent_clients_are_dropped_and_others_get_their_turn() {
    let served = serving(Duration::from_millis(20)).await;
    let silent = silent(served.addr, MAX_CLIENTS).await;
    assert_eq!(served.client().view().await.unwrap(), view());
    for stream in silent {
        assert!(text_of(stream).await.contains("no request came within 20ms"));
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_socket_of_this_user_needs_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("n1.sock");
    let control = listen::open("n1", Some(&Listen::Path(path.clone())), None).await.unwrap();
    let source: Source =
        Arc::new(|_| Box::pin(async { Ok(Reply::Whole(Answer::View(Box::new(view())))) }));
    spawn(control.listener, source, Arc::default()).unwrap();
    assert_eq!(Client::new(Via::Path(path), None, TIMEOUT).view().await.unwrap(), view());
}
