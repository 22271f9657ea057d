//! The asking side: connects, sends one line, reads one bounded line.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};

use telemetry_gossip::transport::Keyring;

use super::keys::{Change, Keys};
use super::{Answer, Reasons, Request, View};
use crate::error::Error;

/// The most bytes of an answer: a full table of 16,384 members with some KB of telemetry each.
const MAX_ANSWER: u64 = 128 << 20;

/// How long an agent may take to be connected, and to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait before a busy agent is asked again.
const AGAIN: Duration = Duration::from_millis(200);

/// What the agent at `via` knows.
pub(crate) async fn view(via: &str) -> Result<View, Error> {
    match ask(via, &Request::View, AGAIN).await? {
        Answer::View(view) => Ok(*view),
        _ => Err(another_service(via)),
    }
}

/// Why the agent at `via` holds a member to be what it is.
pub(crate) async fn reasons(via: &str, id: &str) -> Result<Reasons, Error> {
    match ask(via, &Request::Explain { id: id.to_owned() }, AGAIN).await? {
        Answer::Explanation(Some(reasons)) => Ok(*reasons),
        Answer::Explanation(None) => {
            Err(Error::UnknownMember { via: via.to_owned(), id: id.to_owned() })
        }
        _ => Err(another_service(via)),
    }
}

/// Which keys the agent at `via` has.
pub(crate) async fn keys(via: &str) -> Result<Keys, Error> {
    told_keys(via, ask(via, &Request::Keys, AGAIN).await?)
}

/// Changes the keys of the agent at `via`, as somebody who has those of `ring`; the agent's keys
/// afterwards.
pub(crate) async fn change_keys(via: &str, ring: &Keyring, change: &Change) -> Result<Keys, Error> {
    let keys = keys(via).await?;
    let mut nonce = [0; 24];
    getrandom::fill(&mut nonce).map_err(|error| Error::Setup(io::Error::other(error)))?;
    let letter = keys.order(ring, nonce, change).map_err(Error::Usage)?;
    told_keys(via, ask(via, &Request::ChangeKeys { letter }, AGAIN).await?)
}

fn told_keys(via: &str, answer: Answer) -> Result<Keys, Error> {
    match answer {
        Answer::Keys(keys) => Ok(keys),
        Answer::Refused(reason) => Err(Error::KeysRefused { via: via.to_owned(), reason }),
        _ => Err(another_service(via)),
    }
}

fn another_service(via: &str) -> Error {
    let reason = "what answers there is no tgossip agent's control address".to_owned();
    Error::NoAnswer { via: via.to_owned(), reason }
}

/// A busy agent is asked again until patience ends.
async fn ask(via: &str, request: &Request, again: Duration) -> Result<Answer, Error> {
    let no_answer = |reason: String| Error::NoAnswer { via: via.to_owned(), reason };
    let end = Instant::now() + PATIENCE;
    loop {
        let text = match timeout_at(end, talk(via, request)).await {
            Err(_) => return Err(no_answer(format!("nothing came within {PATIENCE:?}"))),
            Ok(Err(error)) => return Err(no_answer(error.to_string())),
            Ok(Ok(text)) => text,
        };
        match serde_json::from_slice(&text) {
            Ok(Answer::Error(error)) => return Err(no_answer(error)),
            Ok(Answer::Busy) if Instant::now() + again < end => sleep(again).await,
            Ok(Answer::Busy) => {
                return Err(Error::Busy { via: via.to_owned(), patience: PATIENCE });
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
    // An agent that is busy answers unasked, and may be gone before it is asked.
    let asked = stream.write_all(&request).await;
    let mut text = Vec::new();
    match asked.and(stream.take(MAX_ANSWER).read_to_end(&mut text).await) {
        Err(error) if text.is_empty() => Err(error),
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn nobody_there_is_said_so() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        drop(listener);
        let error = view(&addr).await.unwrap_err();
        assert_eq!(error.exit_code(), 4);
        assert!(error.to_string().contains(&addr), "{error}");
    }

    #[tokio::test]
    async fn an_agent_that_stays_busy_is_said_to_be() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(b"\"busy\"\n").await;
            }
        });
        let error = ask(&addr, &Request::View, PATIENCE).await.unwrap_err();
        assert_eq!(error.exit_code(), 4);
        assert!(error.to_string().contains("busy with other clients"), "{error}");
    }

    #[tokio::test]
    async fn another_service_is_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 64];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        });
        let error = view(&addr).await.unwrap_err();
        assert!(error.to_string().contains("no tgossip agent"), "{error}");
    }
}
