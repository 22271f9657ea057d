//! The server of the agent: accepts a connection, reads one line of limited size, answers, and
//! closes the connection.
//!
//! ```text
//!   pace --> user of the peer --> a place --> request line --> token --> answer, page by page
//!     |          |                  |             |              |
//!   waits     closed             "busy"        "error"       "denied"
//! ```
//!
//! The server runs on a thread and a runtime of its own. What clients cost, down to the writing of
//! an answer, is therefore no work of the node's thread, and the system shares the processor
//! between the two. A client can occupy one of a few places for a limited time. If all places are
//! taken, the server answers `"busy"` at once.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::listen::{Connection, Listener};
use super::pace::Pace;
use super::{Answer, Clients, Request};

/// The largest request in bytes, with its line break. No valid request comes near this.
const MAX_REQUEST_BYTES: usize = 1_024;

/// How long a client may take to send its request. `tgossip members` sends it as soon as it is
/// connected.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a client may take to read a page of the answer.
const PAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client may take to read the whole answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The number of clients served at a time.
const MAX_CLIENTS: usize = 32;

/// The connections that are accepted: so many at once, and then one per interval. Others wait in
/// the queue of the system, which costs the agent nothing.
const BURST: u32 = 64;
const INTERVAL: Duration = Duration::from_millis(5);

/// The pause after the system refused to accept a connection, for example because no file
/// descriptors are left. Without it, the error would cause a busy loop.
const ACCEPT_ERROR_PAUSE: Duration = Duration::from_millis(100);

/// The stack of the server's thread. It has no deep calls.
const STACK_BYTES: usize = 256 << 10;

/// Appends the next page of an answer, and says whether there is another.
pub(crate) type Pages = Box<dyn FnMut(&mut Vec<u8>) -> bool + Send>;

/// What is sent to a client.
pub(crate) enum Reply {
    /// A short answer.
    Whole(Answer),
    /// An answer in pages.
    Pages(Pages),
}

/// Produces the reply to a request, or the reason why there is none.
pub(crate) type Source = Arc<
    dyn Fn(Request) -> Pin<Box<dyn Future<Output = Result<Reply, String>> + Send>> + Send + Sync,
>;

/// Counts clients by what became of them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    served: AtomicU64,
    other_user: AtomicU64,
    without_token: AtomicU64,
    malformed: AtomicU64,
    busy: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self) -> Clients {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Clients {
            clients_served: read(&self.served),
            clients_other_user: read(&self.other_user),
            clients_without_token: read(&self.without_token),
            clients_malformed: read(&self.malformed),
            clients_busy: read(&self.busy),
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Serves clients on a thread of its own, until the process ends.
pub(crate) fn spawn(listener: Listener, source: Source, counters: Arc<Counters>) -> io::Result<()> {
    let listener = listener.detach()?;
    let serve = move || {
        let runtime = crate::runtime::new()?;
        runtime.block_on(async {
            serve(listener.enter()?, source, counters, REQUEST_TIMEOUT).await;
            io::Result::Ok(())
        })
    };
    let thread = std::thread::Builder::new().name("control".to_owned()).stack_size(STACK_BYTES);
    thread.spawn(move || {
        if let Err(error) = serve() {
            eprintln!("tgossip: the control socket cannot be served: {error}");
        }
    })?;
    Ok(())
}

/// Serves clients with answers from `source` until the task is aborted. Drops a client that sends
/// no request within `request_timeout`.
pub(crate) async fn serve(
    listener: Listener,
    source: Source,
    counters: Arc<Counters>,
    request_timeout: Duration,
) {
    let places = Arc::new(Semaphore::new(MAX_CLIENTS));
    let listener = Arc::new(listener);
    let mut pace = Pace::new(INTERVAL, BURST);
    loop {
        pace.turn().await;
        let Ok(connection) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_ERROR_PAUSE).await;
            continue;
        };
        if connection.is_of_another_user() {
            count(&counters.other_user);
            continue;
        }
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            count(&counters.busy);
            if let Ok(line) = line_of(&Answer::Busy) {
                let _ = connection.turn_away(&line, MAX_REQUEST_BYTES);
            }
            continue;
        };
        let (listener, source) = (Arc::clone(&listener), Arc::clone(&source));
        let counters = Arc::clone(&counters);
        tokio::spawn(async move {
            let client = Client { listener: &listener, source: &source, counters: &counters };
            // An error concerns only this client: it was too slow, or has gone.
            let _ = match connection {
                #[cfg(unix)]
                Connection::Unix(stream) => client.converse(stream, request_timeout).await,
                Connection::Tcp(stream) => client.converse(stream, request_timeout).await,
            };
            drop(place);
        });
    }
}

fn line_of(answer: &Answer) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(answer)?;
    text.push(b'\n');
    Ok(text)
}

/// What a request presents beside its question.
#[derive(Deserialize)]
struct Presented<'a> {
    #[serde(borrow, default)]
    token: Option<&'a str>,
}

/// A client that has a place.
struct Client<'a> {
    listener: &'a Listener,
    source: &'a Source,
    counters: &'a Counters,
}

impl Client<'_> {
    async fn converse(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        request_timeout: Duration,
    ) -> io::Result<()> {
        let mut line = Vec::with_capacity(MAX_REQUEST_BYTES);
        let mut reader = BufReader::with_capacity(
            MAX_REQUEST_BYTES,
            (&mut stream).take(MAX_REQUEST_BYTES as u64),
        );
        let read = timeout(request_timeout, reader.read_until(b'\n', &mut line)).await;
        let reply = match read {
            Err(_) => self.malformed(format!("no request came within {request_timeout:?}")),
            Ok(Err(error)) => return Err(error),
            Ok(Ok(_)) if line.last() != Some(&b'\n') => self
                .malformed(format!("a request is one line of at most {MAX_REQUEST_BYTES} bytes")),
            Ok(Ok(_)) => self.reply_to(&line).await,
        };
        timeout(ANSWER_TIMEOUT, send(&mut stream, reply)).await.map_err(io::Error::from)?
    }

    fn malformed(&self, reason: String) -> Reply {
        count(&self.counters.malformed);
        Reply::Whole(Answer::Error(reason))
    }

    async fn reply_to(&self, line: &[u8]) -> Reply {
        if let Some(token) = self.listener.token() {
            let presented: Option<Presented<'_>> = serde_json::from_slice(line).ok();
            if !presented.and_then(|presented| presented.token).is_some_and(|text| token.is(text)) {
                count(&self.counters.without_token);
                return Reply::Whole(Answer::Denied(
                    "a request at this address presents the token of the agent: name its file \
                     with --control-token-file"
                        .to_owned(),
                ));
            }
        }
        match serde_json::from_slice(line) {
            Ok(request) => {
                count(&self.counters.served);
                let reply = (self.source)(request).await;
                reply.unwrap_or_else(|reason| Reply::Whole(Answer::Error(reason)))
            }
            Err(error) => self
                .malformed(format!("this is not a request ({error}): send {{\"ask\":\"view\"}}")),
        }
    }
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), reply: Reply) -> io::Result<()> {
    let mut pages = match reply {
        Reply::Whole(answer) => {
            let line = line_of(&answer)?;
            timeout(PAGE_TIMEOUT, stream.write_all(&line)).await.map_err(io::Error::from)??;
            return stream.shutdown().await;
        }
        Reply::Pages(pages) => pages,
    };
    let mut page = Vec::new();
    loop {
        page.clear();
        let more = pages(&mut page);
        timeout(PAGE_TIMEOUT, stream.write_all(&page)).await.map_err(io::Error::from)??;
        if !more {
            return stream.shutdown().await;
        }
        // Other clients have their turn, even if this one reads as fast as pages are made.
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
