//! The server of the agent: accepts a connection, reads one line of limited size, answers, and
//! closes the connection.
//!
//! A client can occupy one of a few places for a few seconds, and can never block the node. If all
//! places are taken, the server answers `"busy"` at once.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Answer, Request};

/// The largest request in bytes, with its line break. No valid request comes near this.
const MAX_REQUEST_BYTES: u64 = 1_024;

/// How long a client may take to send its request. `tgossip members` sends it as soon as it is
/// connected.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a client may take to read the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The number of clients served at a time.
const MAX_CLIENTS: usize = 32;

/// The pause after the system refused to accept a connection, for example because no file
/// descriptors are left. Without it, the error would cause a busy loop.
const ACCEPT_ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Produces the answer to a request, or the reason why there is none.
pub(crate) type Source = Arc<
    dyn Fn(Request) -> Pin<Box<dyn Future<Output = Result<Answer, String>> + Send>> + Send + Sync,
>;

/// Serves clients with answers from `source` until the task is aborted. Drops a client that sends
/// no request within `request_timeout`.
pub(crate) async fn serve(listener: TcpListener, source: Source, request_timeout: Duration) {
    let places = Arc::new(Semaphore::new(MAX_CLIENTS));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => {
                    let source = Arc::clone(&source);
                    tokio::spawn(async move {
                        // An error concerns only this client: it was too slow, or has gone.
                        let _ = converse(stream, source, request_timeout).await;
                        drop(place);
                    });
                }
                Err(_) => drop(turn_away(stream)),
            },
            Err(_) => tokio::time::sleep(ACCEPT_ERROR_PAUSE).await,
        }
    }
}

/// Answers `"busy"` without waiting: the answer fits the empty buffer of a new connection.
fn turn_away(stream: TcpStream) -> io::Result<()> {
    let mut stream = stream.into_std()?;
    // Read a request that has already arrived. Otherwise the close would send a reset, which can
    // overtake the answer.
    let _ = stream.read(&mut [0; MAX_REQUEST_BYTES as usize]);
    stream.write_all(&line_of(&Answer::Busy)?)?;
    stream.shutdown(std::net::Shutdown::Write)
}

fn line_of(answer: &Answer) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(answer)?;
    text.push(b'\n');
    Ok(text)
}

async fn converse(
    mut stream: TcpStream,
    source: Source,
    request_timeout: Duration,
) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut line = Vec::new();
    let mut reader = BufReader::new(reader.take(MAX_REQUEST_BYTES));
    let read = timeout(request_timeout, reader.read_until(b'\n', &mut line)).await;
    let answer = match read {
        Err(_) => Answer::Error(format!("no request came within {request_timeout:?}")),
        Ok(Err(error)) => return Err(error),
        Ok(Ok(_)) if line.last() != Some(&b'\n') => {
            Answer::Error(format!("a request is one line of at most {MAX_REQUEST_BYTES} bytes"))
        }
        Ok(Ok(_)) => match serde_json::from_slice(&line) {
            Ok(request) => source(request).await.unwrap_or_else(Answer::Error),
            Err(error) => {
                Answer::Error(format!("this is not a request ({error}): send {{\"ask\":\"view\"}}"))
            }
        },
    };
    let answer = line_of(&answer)?;
    timeout(ANSWER_TIMEOUT, writer.write_all(&answer)).await.map_err(io::Error::from)??;
    writer.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::client;
    use crate::control::tests::view;
    use std::net::SocketAddr;

    const NEVER: Duration = Duration::from_secs(3_600);

    async fn serving(request_timeout: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(serve(
            listener,
            Arc::new(|_| Box::pin(async { Ok(Answer::View(Box::new(view()))) })),
            request_timeout,
        ));
        addr
    }

    async fn answer_to(request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(serving(NEVER).await).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    #[tokio::test]
    async fn a_client_gets_the_view() {
        let addr = serving(NEVER).await;
        assert_eq!(client::view(&addr.to_string()).await.unwrap(), view());
    }

    #[tokio::test]
    async fn a_line_that_is_not_a_request_is_answered_with_an_example() {
        for request in
            [&b"GET / HTTP/1.1\n"[..], b"\n", b"{}\n", b"{\"ask\":\"leave\"}\n", b"\xff\xfe\n"]
        {
            match answer_to(request).await {
                Answer::Error(error) => assert!(error.contains(r#"{"ask":"view"}"#), "{error}"),
                other => panic!("{request:?} was answered with {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_request_without_end_is_refused() {
        match answer_to(&vec![b' '; 1_024]).await {
            Answer::Error(error) => assert!(error.contains("at most 1024 bytes"), "{error}"),
            other => panic!("it was answered with {other:?}"),
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
    async fn a_client_without_a_place_is_answered_at_once() {
        let addr = serving(NEVER).await;
        // Connections are accepted in order: all places are taken before the next one.
        let _silent = silent(addr, MAX_CLIENTS).await;
        assert_eq!(text_of(TcpStream::connect(addr).await.unwrap()).await, "\"busy\"\n");
    }

    #[tokio::test]
    async fn silent_clients_are_dropped_and_others_get_their_turn() {
        let addr = serving(Duration::from_millis(20)).await;
        let silent = silent(addr, MAX_CLIENTS).await;
        assert_eq!(client::view(&addr.to_string()).await.unwrap(), view());
        for stream in silent {
            assert!(text_of(stream).await.contains("no request came within 20ms"));
        }
    }
}
