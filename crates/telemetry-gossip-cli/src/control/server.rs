//! The agent's side: accepts, reads one bounded line, answers, closes.
//!
//! Whatever a client does, it holds one of a few places for a few seconds at most, and never the node.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Answer, Request, View};

/// The most bytes of a request, its line break included. No request comes near.
const MAX_REQUEST: u64 = 1_024;

/// How long a client may take to ask, and then to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Clients served at a time; more wait in the listener's queue.
const MAX_CLIENTS: usize = 8;

/// A rest after the system refused to accept (it has run out of files, say), so that the error is no busy
/// loop.
const REST: Duration = Duration::from_millis(100);

/// Where the answers come from: the node, or why it has none.
pub(crate) type Source =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<View, String>> + Send>> + Send + Sync>;

/// Answers with what `view` gives, until the task is aborted.
pub(crate) async fn serve(listener: TcpListener, view: Source) {
    let places = Arc::new(Semaphore::new(MAX_CLIENTS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let view = Arc::clone(&view);
                tokio::spawn(async move {
                    // A client that went away or was too slow is its own business.
                    let _ = timeout(PATIENCE * 2, converse(stream, view)).await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(REST).await,
        }
    }
}

async fn converse(mut stream: TcpStream, view: Source) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut line = Vec::new();
    let mut reader = BufReader::new(reader.take(MAX_REQUEST));
    let read = timeout(PATIENCE, reader.read_until(b'\n', &mut line)).await;
    let answer = match read {
        Err(_) => Answer::Error(format!("no request came within {PATIENCE:?}")),
        Ok(Err(error)) => return Err(error),
        Ok(Ok(_)) if line.last() != Some(&b'\n') => {
            Answer::Error(format!("a request is one line of at most {MAX_REQUEST} bytes"))
        }
        Ok(Ok(_)) => match serde_json::from_slice(&line) {
            Ok(Request::View) => match view().await {
                Ok(view) => Answer::View(Box::new(view)),
                Err(reason) => Answer::Error(reason),
            },
            Err(error) => Answer::Error(format!("not a request ({error}): send {{\"ask\":\"view\"}}")),
        },
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    timeout(PATIENCE, writer.write_all(&text)).await.map_err(io::Error::from)??;
    writer.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::client;
    use crate::control::tests::view;
    use std::net::SocketAddr;

    async fn serving() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, Arc::new(|| Box::pin(async { Ok(view()) }))));
        addr
    }

    async fn answer_to(request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(serving().await).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    #[tokio::test]
    async fn a_client_gets_the_view() {
        let addr = serving().await;
        assert_eq!(client::ask(&addr.to_string()).await.unwrap(), view());
    }

    #[tokio::test]
    async fn what_is_no_request_is_told_what_one_is() {
        for request in [&b"GET / HTTP/1.1\n"[..], b"\n", b"{}\n", b"{\"ask\":\"leave\"}\n", b"\xff\xfe\n"] {
            match answer_to(request).await {
                Answer::Error(error) => assert!(error.contains(r#"{"ask":"view"}"#), "{error}"),
                Answer::View(_) => panic!("{request:?} was answered"),
            }
        }
    }

    #[tokio::test]
    async fn a_request_without_end_is_cut_short() {
        match answer_to(&vec![b' '; 1_024]).await {
            Answer::Error(error) => assert!(error.contains("at most 1024 bytes"), "{error}"),
            Answer::View(_) => panic!("it was answered"),
        }
    }

    #[tokio::test]
    async fn clients_that_say_nothing_leave_room_for_others() {
        let addr = serving().await;
        let mut silent = Vec::new();
        for _ in 0..MAX_CLIENTS - 1 {
            silent.push(TcpStream::connect(addr).await.unwrap());
        }
        assert_eq!(client::ask(&addr.to_string()).await.unwrap(), view());
    }
}
