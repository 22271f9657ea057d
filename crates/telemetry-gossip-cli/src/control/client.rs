//! The client: connects to an agent, sends one line and reads one line of limited size.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use telemetry_gossip::transport::{KeyText, Keyring, read_key};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};

use super::keys::{Change, Keys};
use super::place::{Via, known_token_file};
use super::{Answer, Loss, Reasons, Request, View};
use crate::args::AskArgs;
use crate::error::Error;
use crate::text;

/// The largest answer in bytes: a full table of 16,384 members with several KB of telemetry each.
const MAX_ANSWER_BYTES: u64 = 128 << 20;

/// The longest reason of an agent in an error message, in characters.
const MAX_REASON_CHARS: usize = 400;

/// How long to wait before asking a busy agent again.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// Asks one agent.
pub(crate) struct Client {
    via: Via,
    token_file: Option<PathBuf>,
    /// How long a question may take, from the connection to the answer.
    timeout: Duration,
    /// The pause before a busy agent is asked again.
    retry: Duration,
}

/// Waits for an answer, or until the user interrupts the command.
pub(crate) fn until_interrupted<T>(
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let runtime = crate::runtime::new().map_err(Error::Setup)?;
    runtime.block_on(async {
        tokio::select! {
            answer = answer => answer,
            _ = tokio::signal::ctrl_c() => Err(Error::Interrupted),
        }
    })
}

/// A request with what it presents.
#[derive(Serialize)]
struct Presenting<'a> {
    #[serde(flatten)]
    request: &'a Request,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
}

impl Client {
    /// Asks the agent that these arguments name.
    pub(crate) fn of(args: &AskArgs) -> Self {
        let AskArgs { via, control_token_file, timeout } = args.clone();
        Self::new(via, control_token_file, timeout)
    }

    pub(crate) fn new(via: Via, token_file: Option<PathBuf>, timeout: Duration) -> Self {
        Self { via, token_file, timeout, retry: RETRY_INTERVAL }
    }

    /// Asks for everything that the agent knows.
    pub(crate) async fn view(&self) -> Result<View, Error> {
        match self.ask(&Request::View).await? {
            Answer::View(view) => Ok(*view),
            _ => Err(self.another_service()),
        }
    }

    /// Asks why the agent considers a member alive, suspected or dead.
    pub(crate) async fn reasons(&self, id: &str) -> Result<Reasons, Error> {
        match self.ask(&Request::Explain { id: id.to_owned() }).await? {
            Answer::Explanation(Some(reasons)) => Ok(*reasons),
            Answer::Explanation(None) => Err(Error::UnknownMember {
                via: self.via.to_string(),
                id: text::printable(id, MAX_REASON_CHARS),
            }),
            _ => Err(self.another_service()),
        }
    }

    /// Has the agent declare the members dead that do not answer it.
    pub(crate) async fn accept_loss(&self) -> Result<Loss, Error> {
        match self.ask(&Request::AcceptLoss).await? {
            Answer::Loss(loss) => Ok(loss),
            _ => Err(self.another_service()),
        }
    }

    /// Asks for the agent's keys.
    pub(crate) async fn keys(&self) -> Result<Keys, Error> {
        self.keys_of(self.ask(&Request::Keys).await?)
    }

    /// Changes the keys of the agent with an order sealed by `ring`, if it is the one called
    /// `meant` or no id is given. Returns the agent's keys after the change.
    pub(crate) async fn change_keys(
        &self,
        ring: &Keyring,
        meant: Option<&str>,
        change: &Change,
    ) -> Result<Keys, Error> {
        let keys = self.keys().await?;
        if let Some(meant) = meant
            && keys.node != meant
        {
            return Err(Error::AnotherAgent {
                via: self.via.to_string(),
                meant: meant.to_owned(),
                node: text::printable(&keys.node, MAX_REASON_CHARS),
            });
        }
        let mut nonce = [0; 24];
        getrandom::fill(&mut nonce).map_err(|error| Error::Setup(io::Error::other(error)))?;
        let sealed_message = keys.order(ring, nonce, change).map_err(Error::Usage)?;
        self.keys_of(self.ask(&Request::ChangeKeys { sealed_message }).await?)
    }

    fn keys_of(&self, answer: Answer) -> Result<Keys, Error> {
        match answer {
            Answer::Keys(keys) => Ok(keys),
            other => Err(self.unexpected(other)),
        }
    }

    /// The error of an answer that is not the one that was asked for.
    pub(super) fn unexpected(&self, answer: Answer) -> Error {
        match answer {
            Answer::Refused(reason) => {
                let reason = text::printable(&reason, MAX_REASON_CHARS);
                Error::AgentRefused { via: self.via.to_string(), reason }
            }
            _ => self.another_service(),
        }
    }

    fn another_service(&self) -> Error {
        self.no_answer("another service answers there")
    }

    fn no_answer(&self, reason: impl AsRef<str>) -> Error {
        let reason = text::printable(reason.as_ref(), MAX_REASON_CHARS);
        Error::NoAnswer { via: self.via.to_string(), reason }
    }

    /// Sends a request. While the agent is busy, repeats it until the timeout.
    pub(super) async fn ask(&self, request: &Request) -> Result<Answer, Error> {
        let waited = self.timeout;
        let end = Instant::now() + waited;
        let token = self.token()?;
        loop {
            let text = match timeout_at(end, self.talk(request, token.as_ref())).await {
                Err(_) => {
                    return Err(self.no_answer(format!(
                        "no whole answer came within {waited:?}, so that the agent may be stopped \
                         or busy (--timeout sets how long to wait)"
                    )));
                }
                Ok(Err(error)) => return Err(self.unreached(&error)),
                Ok(Ok(text)) => text,
            };
            match serde_json::from_slice(&text) {
                Ok(Answer::Error(error)) => return Err(self.no_answer(error)),
                Ok(Answer::Denied(reason)) => {
                    let reason = text::printable(&reason, MAX_REASON_CHARS);
                    return Err(Error::Denied { via: self.via.to_string(), reason });
                }
                Ok(Answer::Busy) if Instant::now() + self.retry < end => sleep(self.retry).await,
                Ok(Answer::Busy) => {
                    return Err(Error::Busy { via: self.via.to_string(), waited });
                }
                Ok(answer) => return Ok(answer),
                Err(_) => return Err(self.another_service()),
            }
        }
    }

    fn unreached(&self, error: &io::Error) -> Error {
        match (&self.via, error.kind()) {
            (Via::Path(_), io::ErrorKind::PermissionDenied) => Error::Denied {
                via: self.via.to_string(),
                reason: "its socket belongs to another user: run this as that user or as root"
                    .to_owned(),
            },
            _ => self.no_answer(error.to_string()),
        }
    }

    /// The token for a TCP address: from the file that was named, or the one that an agent of this
    /// user has left in the folder of its user.
    fn token(&self) -> Result<Option<KeyText>, Error> {
        let known = |address: &str| known_token_file(address);
        let file = match (&self.via, &self.token_file) {
            (Via::Path(_), _) => None,
            (Via::Tcp(_), Some(file)) => Some(file.clone()),
            (Via::Tcp(address), None) => known(address).or_else(|| {
                known(&address.strip_prefix("localhost:").map(|p| format!("127.0.0.1:{p}"))?)
            }),
        };
        let read = |file: PathBuf| -> Result<KeyText, Error> { Ok(read_key(&file)?.to_text()) };
        file.map(read).transpose()
    }

    async fn talk(&self, request: &Request, token: Option<&KeyText>) -> io::Result<Vec<u8>> {
        let token = token.map(KeyText::as_str);
        let mut request = serde_json::to_vec(&Presenting { request, token })?;
        request.push(b'\n');
        match &self.via {
            Via::Tcp(address) => exchange(TcpStream::connect(address).await?, &request).await,
            Via::Path(path) => exchange(connect(path, self.retry).await?, &request).await,
        }
    }
}

/// Connects to a socket, whose queue may be full for a moment.
#[cfg(unix)]
async fn connect(path: &Path, retry: Duration) -> io::Result<tokio::net::UnixStream> {
    loop {
        match tokio::net::UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(retry).await,
            connected => return connected,
        }
    }
}

#[cfg(not(unix))]
async fn connect(_: &Path, _: Duration) -> io::Result<TcpStream> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no unix sockets"))
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &[u8],
) -> io::Result<Vec<u8>> {
    // A busy agent answers without a request, and may close the connection before this one
    // arrives: an error of the write matters only if there is no answer.
    let asked = stream.write_all(request).await;
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

    fn client(addr: &str) -> Client {
        Client::new(Via::Tcp(addr.to_owned()), None, Duration::from_millis(300))
    }

    #[tokio::test]
    async fn the_error_names_an_address_without_an_agent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        drop(listener);
        let error = client(&addr).view().await.unwrap_err();
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
        let error =
            Client { retry: client(&addr).timeout, ..client(&addr) }.view().await.unwrap_err();
        assert_eq!(error.exit_code(), 4);
        assert!(error.to_string().contains("busy with other clients"), "{error}");
    }

    /// The system completes the connection of a stopped agent, which then never answers.
    #[tokio::test]
    async fn an_agent_that_is_stopped_is_given_up_after_the_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let begun = std::time::Instant::now();
        let error = client(&addr).view().await.unwrap_err();
        assert_eq!(error.exit_code(), 4);
        let said = error.to_string();
        assert!(said.contains("within 300ms") && said.contains("--timeout"), "{said}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
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
        let error = client(&addr).view().await.unwrap_err();
        assert!(error.to_string().contains("another service answers there"), "{error}");
    }

    #[tokio::test]
    async fn the_reason_of_a_server_is_one_line_without_hidden_characters() {
        for answer in [
            Answer::Error("\x1b]0;owned\x07\n\u{202e}".into()),
            Answer::Denied("\x1b]0;owned\x07\n\u{202e}".into()),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap().to_string();
            tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(&serde_json::to_vec(&answer).unwrap()).await.unwrap();
            });
            let error = client(&addr).view().await.unwrap_err().to_string();
            assert!(error.contains(r"\u{1b}]0;owned\u{7}\u{a}\u{202e}"), "{error}");
        }
    }
}
