//! What the agent answers on its control socket.
//!
//! This runs on the thread of the control socket. It reads what the node publishes, and asks the
//! node itself only for its counters and explanations, at a limited rate whatever the number of
//! clients. The node's thread never makes a text for a client.

use std::sync::Arc;
use std::time::Duration;

use telemetry_gossip_core::{Health, Stats};
use telemetry_gossip_registry::host::Following;
use telemetry_gossip_tokio::{Agent, AgentError, Transport as _, UdpTransport};
use tokio::sync::Mutex;

use crate::control::keys::KeyKeeper;
use crate::control::registry::{Knocked, RegistryAnswer, RegistryView};
use crate::control::server::{Counters, Reply, Source};
use crate::control::{
    Answer, HealthView, IsolationView, Loss, Pace, Reasons, Record, Request, Shared, Socket, View,
    pages,
};

/// How often the node and its seal are asked on behalf of single clients: so often at once, and
/// then once per interval.
const BURST: u32 = 8;
const INTERVAL: Duration = Duration::from_millis(10);

/// Answers the requests of the control socket.
pub(super) fn source(
    agent: &Agent,
    transport: &Arc<UdpTransport>,
    clients: &Arc<Counters>,
    has_seeds: bool,
    following: Option<Following>,
) -> Source {
    let instance = agent.member(agent.id().as_str()).map_or(0, |member| member.instance.0);
    let keeper = |seal| KeyKeeper::new(agent.id().to_string(), instance, seal);
    let answers = Arc::new(Answers {
        agent: agent.clone(),
        transport: Arc::clone(transport),
        clients: Arc::clone(clients),
        has_seeds,
        following,
        keeper: transport.seal().cloned().map(keeper),
        node: Shared::new(),
        pace: Mutex::new(Pace::new(INTERVAL, BURST)),
    });
    Arc::new(move |request| {
        let answers = Arc::clone(&answers);
        Box::pin(async move { answers.answer(request).await })
    })
}

struct Answers {
    agent: Agent,
    transport: Arc<UdpTransport>,
    clients: Arc<Counters>,
    has_seeds: bool,
    /// `None` if the node follows no registry.
    following: Option<Following>,
    /// `None` if the node does not seal.
    keeper: Option<KeyKeeper>,
    /// What the node says of itself.
    node: Shared<(Health, Stats)>,
    /// The turns of clients whose request needs the node.
    pace: Mutex<Pace>,
}

impl Answers {
    async fn answer(&self, request: Request) -> Result<Reply, String> {
        match request {
            Request::View => return self.view().await,
            Request::Registry => return self.registry(),
            Request::RegistryDocument | Request::RegistryPending | Request::ReadRegistry => {
                return self.of_following(&request);
            }
            _ => {}
        }
        self.pace.lock().await.turn().await;
        self.whole(request).await.map(Reply::Whole)
    }

    async fn whole(&self, request: Request) -> Result<Answer, String> {
        let node = || self.agent.id().to_string();
        Ok(match request {
            Request::Explain { id } => {
                let explanation = self.agent.explain(&id).await.map_err(said)?;
                let since = self.agent.member(&id).map(|member| member.since.elapsed());
                let reasons = |explanation| Box::new(Reasons::of(&node(), explanation, since));
                Answer::Explanation(explanation.as_ref().map(reasons))
            }
            Request::AcceptLoss => {
                let silent =
                    IsolationView::of(&self.agent.view()).map(|isolation| isolation.silent);
                self.agent.accept_loss().await.map_err(said)?;
                Answer::Loss(Loss { node: node(), silent })
            }
            Request::Keys => match self.keeper() {
                Ok(keeper) => Answer::Keys(keeper.keys()),
                Err(reason) => Answer::Refused(reason),
            },
            Request::ChangeKeys { sealed_message } => {
                let changed = self.keeper().and_then(|keeper| keeper.obey(&sealed_message));
                changed.map_or_else(Answer::Refused, Answer::Keys)
            }
            _ => return Err("this request is answered elsewhere".to_owned()),
        })
    }

    /// What the agent makes of its registry, and what the members publish. The node is not asked.
    fn registry(&self) -> Result<Reply, String> {
        let answer = RegistryAnswer {
            node: self.agent.id().to_string(),
            registry: self.following.as_ref().map(RegistryView::of),
            published: Vec::new(),
        };
        let agent = self.agent.clone();
        pages::of_registry(answer, move || agent.view())
    }

    /// Answers what only an agent that follows a registry can do. The node is not asked.
    fn of_following(&self, request: &Request) -> Result<Reply, String> {
        let Some(following) = &self.following else {
            let reason = "it follows no registry, as it was started without --registry";
            return Ok(Reply::Whole(Answer::Refused(reason.to_owned())));
        };
        Ok(Reply::Whole(match request {
            Request::RegistryDocument => match following.document() {
                Some(document) => return pages::of_document(document),
                None => Answer::RegistryDocument(None),
            },
            Request::RegistryPending => {
                Answer::RegistryPending(following.pending().iter().map(Knocked::from).collect())
            }
            _ => {
                following.read_now();
                Answer::Reading
            }
        }))
    }

    fn keeper(&self) -> Result<&KeyKeeper, String> {
        let no_keys = || "it has no keys, as it was started in plaintext".to_owned();
        self.keeper.as_ref().ok_or_else(no_keys)
    }

    async fn view(&self) -> Result<Reply, String> {
        let read = async { Ok((self.agent.health().await?, self.agent.stats().await?)) };
        let (health, stats) = self.node.get(read).await.map_err(said)?;
        let isolation = IsolationView::of(&self.agent.view());
        let sends = self.agent.send_stats();
        let view = View {
            node: self.agent.id().to_string(),
            health: HealthView::of(&health, isolation.as_ref(), self.has_seeds),
            isolation,
            members: Vec::new(),
            stats,
            socket: Socket {
                datagrams_received_dropped: self.transport.received_dropped(),
                datagrams_sent_dropped: self.transport.send_dropped(),
                datagrams_not_permitted: sends.not_permitted,
                datagrams_unreachable: sends.unreachable,
                datagrams_not_sent: sends.closed + sends.other,
            },
            record: self.agent.recorded().map(Record::from),
            seal: self.agent.seal_stats(),
            control: self.clients.read(),
            registry: self.following.as_ref().map(RegistryView::of),
        };
        let agent = self.agent.clone();
        pages::of(view, move || agent.view())
    }
}

fn said(error: AgentError) -> String {
    error.to_string()
}
