//! The client: connects to an agent, sends one line and reads one line of limited size.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};

use telemetry_gossip::transport::Keyring;

use super::keys::{Change, Keys};
use super::{Answer, Reasons, Request, View};
use crate::error::Error;

/// The largest answer in bytes: a full table of 16,384 members with several KB of telemetry each.
const MAX_ANSWER_BYTES: u64 = 128 << 20;

/// How long a question may take, from the connection to the answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait before asking a busy agent again.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// Asks the agent at `via` for everything that it knows.
pub(crate) async fn view(via: &str) -> Result<View, Error> {
    match ask(via, &Request::View, RETRY_INTERVAL).await? {
        Answer::View(view) => Ok(*view),
        _ => Err(another_service(via)),
    }
}

/// Asks the agent at `via` why it considers a member alive, suspected or dead.
pub(crate) async fn reasons(via: &str, id: &str) -> Result<Reasons, Error> {
    match ask(via, &Request::Explain { id: id.to_owned() }, RETRY_INTERVAL).await? {
        Answer::Explanation(Some(reasons)) => Ok(*reasons),
        Answer::Explanation(None) => {
            Err(Error::UnknownMember { via: via.to_owned(), id: id.to_owned() })
        }
        _ => Err(another_service(via)),
    }
}

/// Asks the agent at `via` for the ids of its keys.
pub(crate) async fn keys(via: &str) -> Result<Keys, Error> {
    keys_of(via, ask(via, &Request::Keys, RETRY_INTERVAL).await?)
}

/// Changes the keys of the agent at `via` with an order sealed by `ring`. Returns the agent's keys
/// after the change.
pub(crate) async fn change_keys(via: &str, ring: &Keyring, change: &Change) -> Result<Keys, Error> {
    let keys = keys(via).await?;
    let mut nonce = [0; 24];
    getrandom::fill(&mut nonce).map_err(|error| Error::Setup(io::Error::other(error)))?;
    let sealed_message = keys.order(ring, nonce, change).map_err(Error::Usage)?;
    keys_of(via, ask(via, &Request::ChangeKeys { sealed_message }, RETRY_INTERVAL).await?)
}

fn keys_of(via: &str, answer: Answer) -> Result<Keys, Error> {
    match answer {
        Answer::Keys(keys) => Ok(keys),
        Answer::Refused(reason) => Err(Error::KeysRefused { via: via.to_owned(), reason }),
        _ => Err(another_service(via)),
    }
}

fn another_service(via: &str) -> Error {
    let reason = "another service answers there".to_owned();
    Error::NoAnswer { via: via.to_owned(), reason }
}

/// Sends a request. While the agent is busy, repeats it every `retry` until the timeout.
async fn ask(via: &str, request: &Request, retry: Duration) -> Result<Answer, Error> {
    let no_answer = |reason: String| Error::NoAnswer { via: via.to_owned(), reason };
    let end = Instant::now() + ASK_TIMEOUT;
    loop {
        let text = match timeout_at(end, talk(via, request)).await {
            Err(_) => return Err(no_answer(format!("it sent nothing within {ASK_TIMEOUT:?}"))),
            Ok(Err(error)) => return Err(no_answer(error.to_string())),
            Ok(Ok(text)) => text,
        };
        match serde_json::from_slice(&text) {
            Ok(Answer::Error(error)) => return Err(no_answer(error)),
            Ok(Answer::Busy) if Instant::now() + retry < end => sleep(retry).await,
            Ok(Answer::Busy) => {
                return Err(Error::Busy { via: via.to_owned(), waited: ASK_TIMEOUT });
            }
            Ok(answer) => return Ok(answer),
            Err(_) => return Err(another_service(via)),
        }
    }
}

async fn talk(via: &str, request: &Request) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(via).await?;
    let mut request = serde_json::to_vec(request)?;
    request.push(b'\n');
    // A busy agent answers without a request, and may close the connection before this one
    // arrives: an error of the write matters only if there is no answer.
    let asked = stream.write_all(&request).await;
    let mut text = Vec::new();
    match asked.and(stream.take(MAX_ANSWER_BYTES).read_to_end(&mut text).await) {
        Err(error) if text.is_empty() => Err(error),
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn the_error_names_an_address_without_an_agent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        drop(listener);
        let error = view(&addr).await.unwrap_err();
        assert_eq!(error.exit_code(), 4);
        assert!(error.to_string().contains(&addr), "{error}");
    }

    #[tokio::test]
    async fn the_error_says_that_an_agent_stays_busy() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(b"\"busy\"\n").await;
            }
        });
        let error = ask(&addr, &Request::View, ASK_TIMEOUT).await.unwrap_err();
        assert_eq!(error.exit_code(), 4);
        assert!(error.to_string().contains("busy with other clients"), "{error}");
    }

    #[tokio::test]
    async fn the_error_says_that_another_service_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 64];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        });
        let error = view(&addr).await.unwrap_err();
        assert!(error.to_string().contains("another service answers there"), "{error}");
    }
}
