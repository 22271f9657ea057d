//! The agent's side: accepts, reads one bounded line, answers, closes.
//!
//! Whatever a client does, it holds one of a few places for a few seconds at most, and never the
//! node. Who finds no place is told so at once.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Answer, Request};

/// The most bytes of a request, its line break included. No request comes near.
const MAX_REQUEST: u64 = 1_024;

/// How long a client may take to ask. `tgossip members` asks as soon as it is connected.
pub(crate) const ASKING: Duration = Duration::from_secs(1);

/// How long a client may take to take the answer.
const TAKING: Duration = Duration::from_secs(5);

/// Clients served at a time.
const MAX_CLIENTS: usize = 32;

/// A rest after the system refused to accept (it has run out of files, say), so that the error is
/// no busy loop.
const REST: Duration = Duration::from_millis(100);

/// Where the answers come from: the node, or why it has none.
pub(crate) type Source = Arc<
    dyn Fn(Request) -> Pin<Box<dyn Future<Output = Result<Answer, String>> + Send>> + Send + Sync,
>;

/// Answers with what `source` gives, until the task is aborted. A client that has not asked within
/// `asking` is dropped.
pub(crate) async fn serve(listener: TcpListener, source: Source, asking: Duration) {
    let places = Arc::new(Semaphore::new(MAX_CLIENTS));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => {
                    let source = Arc::clone(&source);
                    tokio::spawn(async move {
                        // A client that went away or was too slow is its own business.
                        let _ = converse(stream, source, asking).await;
                        drop(place);
                    });
                }
                // The same for one that is gone before it is told.
                Err(_) => drop(turn_away(stream)),
            },
            Err(_) => tokio::time::sleep(REST).await,
        }
    }
}

/// Says that there is no place, and waits for nothing: the answer fits the empty buffer of a new
/// connection.
fn turn_away(stream: TcpStream) -> io::Result<()> {
    let mut stream = stream.into_std()?;
    // A request that has come is read, or the close would be a reset, which can overtake the
    // answer.
    let _ = stream.read(&mut [0; MAX_REQUEST as usize]);
    stream.write_all(&line_of(&Answer::Busy)?)?;
    stream.shutdown(std::net::Shutdown::Write)
}

fn line_of(answer: &Answer) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(answer)?;
    text.push(b'\n');
    Ok(text)
}

async fn converse(mut stream: TcpStream, source: Source, asking: Duration) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut line = Vec::new();
    let mut reader = BufReader::new(reader.take(MAX_REQUEST));
    let read = timeout(asking, reader.read_until(b'\n', &mut line)).await;
    let answer = match read {
        Err(_) => Answer::Error(format!("no request came within {asking:?}")),
        Ok(Err(error)) => return Err(error),
        Ok(Ok(_)) if line.last() != Some(&b'\n') => {
            Answer::Error(format!("a request is one line of at most {MAX_REQUEST} bytes"))
        }
        Ok(Ok(_)) => match serde_json::from_slice(&line) {
            Ok(request) => source(request).await.unwrap_or_else(Answer::Error),
            Err(error) => {
                Answer::Error(format!("not a request ({error}): send {{\"ask\":\"view\"}}"))
            }
        },
    };
    timeout(TAKING, writer.write_all(&line_of(&answer)?)).await.map_err(io::Error::from)??;
    writer.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::client;
    use crate::control::tests::view;
    use std::net::SocketAddr;

    const NEVER: Duration = Duration::from_secs(3_600);

    async fn serving(asking: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(serve(
            listener,
            Arc::new(|_| Box::pin(async { Ok(Answer::View(Box::new(view()))) })),
            asking,
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
    async fn what_is_no_request_is_told_what_one_is() {
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
    async fn a_request_without_end_is_cut_short() {
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
    async fn who_finds_no_place_is_told_so_at_once() {
        let addr = serving(NEVER).await;
        // Accepted in order: all places are taken when the next one comes.
        let _silent = silent(addr, MAX_CLIENTS).await;
        assert_eq!(text_of(TcpStream::connect(addr).await.unwrap()).await, "\"busy\"\n");
    }

    #[tokio::test]
    async fn clients_that_say_nothing_are_dropped_and_others_get_their_turn() {
        let addr = serving(Duration::from_millis(20)).await;
        let silent = silent(addr, MAX_CLIENTS).await;
        assert_eq!(client::view(&addr.to_string()).await.unwrap(), view());
        for stream in silent {
            assert!(text_of(stream).await.contains("no request came within 20ms"));
        }
    }
}
