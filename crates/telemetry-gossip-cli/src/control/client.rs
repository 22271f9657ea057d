//! The asking side: connects, sends one line, reads one bounded line.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Answer, Request, View};
use crate::error::Error;

/// The most bytes of an answer: a full table of 16,384 members with some KB of telemetry each.
const MAX_ANSWER: u64 = 128 << 20;

/// How long an agent may take to be connected, and to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the agent at `via` knows.
pub(crate) async fn ask(via: &str) -> Result<View, Error> {
    let no_answer = |reason: String| Error::NoAnswer { via: via.to_owned(), reason };
    let talk = timeout(PATIENCE, async {
        let mut stream = TcpStream::connect(via).await?;
        let mut request = serde_json::to_vec(&Request::View)?;
        request.push(b'\n');
        stream.write_all(&request).await?;
        let mut text = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut text).await?;
        Ok::<_, std::io::Error>(text)
    });
    let text = match talk.await {
        Err(_) => return Err(no_answer(format!("nothing came within {PATIENCE:?}"))),
        Ok(Err(error)) => return Err(no_answer(error.to_string())),
        Ok(Ok(text)) => text,
    };
    match serde_json::from_slice(&text) {
        Ok(Answer::View(view)) => Ok(*view),
        Ok(Answer::Error(error)) => Err(no_answer(error)),
        Err(_) => Err(no_answer("what answers there is no tgossip agent's control address".to_owned())),
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
        let error = ask(&addr).await.unwrap_err();
        assert_eq!(error.exit_code(), 4);
        assert!(error.to_string().contains(&addr), "{error}");
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
        let error = ask(&addr).await.unwrap_err();
        assert!(error.to_string().contains("no tgossip agent"), "{error}");
    }
}
