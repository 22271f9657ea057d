//! `tgossip agent`: one node as a process.
//!
//! ```text
//!   check arguments --> bind --> publish --> join --> run --- signal ---> leave --> end
//!                                                      |                    |
//!                                                 the id is lost      second signal
//! ```
//!
//! Output has a thread of its own: a reader that is slow, or has gone, stops neither the node nor
//! its leaving.

pub(crate) mod output;
mod seeds;
mod signals;

use std::sync::Arc;
use std::time::Duration;

use telemetry_gossip::core::{Config, ConfigError, Event, IdHash, Label, NodeId, SuspicionTimeout};
use telemetry_gossip::driver::{
    Agent, AgentError, Events, Notice, Options, Sealing, SpawnError, Transport, UdpTransport,
};
use telemetry_gossip::seal::OVERHEAD;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::args::{AgentArgs, MTUS, Settings};
use crate::control::keys::KeyKeeper;
use crate::control::{Answer, Reasons, Record, Request, Socket, View, server};
use crate::error::Error;
use crate::text;
use output::{Line, Output};
use signals::Signals;

/// How long the news of a leave may take to go out, by default settings a second or two.
const LEAVE_PATIENCE: Duration = Duration::from_secs(10);

/// The most characters of a refused argument in its answer.
const MAX_SHOWN: usize = 40;

/// How long the last lines may take to be read.
const LAST_LINES: Duration = Duration::from_secs(1);

pub(crate) fn run(args: &AgentArgs) -> Result<(), Error> {
    let config = config(args)?;
    check_addresses(args)?;
    let sealing = sealing(args)?;
    let seeds = seeds::of(args)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Setup)?;
    let outcome = runtime.block_on(agent(args, config, sealing, &seeds));
    // A reader of the output that has stopped reading is not waited for.
    runtime.shutdown_background();
    outcome
}

fn config(args: &AgentArgs) -> Result<Config, Error> {
    let Settings { profile, probe_interval, probe_timeout, gossip_interval, suspicion, mtu } =
        args.settings;
    let standard = profile.config();
    let config = profile
        .config()
        .label(Label::of(&args.label))
        .probe_interval(probe_interval.unwrap_or(standard.probe_interval))
        .probe_timeout(probe_timeout.unwrap_or(standard.probe_timeout))
        .gossip_interval(gossip_interval.unwrap_or(standard.gossip_interval))
        .suspicion(suspicion.map_or(standard.suspicion, SuspicionTimeout::Fixed))
        .mtu(mtu.unwrap_or(standard.mtu));
    config.validate().map_err(|error| Error::Usage(in_flags(&error)))?;
    Ok(config)
}

/// What is wrong with the settings, in the words of the command line.
fn in_flags(error: &ConfigError) -> String {
    let flag = |field: &str| format!("--{}", field.replace('_', "-"));
    let twice = |span: Duration| text::span(span.saturating_mul(2));
    match *error {
        ConfigError::Range { field, value, min, max } => {
            format!("{} is {value}: type {min} to {max}", flag(field))
        }
        ConfigError::Span { field, span } => {
            format!("{} is {}: type 1ms to 366days", flag(field), text::span(span))
        }
        ConfigError::ProbeTimeout { timeout, interval } => format!(
            "--probe-timeout {} is more than half of --probe-interval {}, and a probe takes two timeouts: type \
             --probe-timeout {} or less, or --probe-interval {} or more",
            text::span(timeout),
            text::span(interval),
            text::span(interval / 2),
            twice(timeout)
        ),
        ConfigError::Suspicion { span, gossip } => format!(
            "--suspicion {} does not fit --gossip-interval {}: type --suspicion {} (two such intervals) to 366days",
            text::span(span),
            text::span(gossip),
            twice(gossip)
        ),
        ConfigError::TooShort { field, span, least, rule } => {
            format!(
                "{} is {}: type {} or more, as {rule}",
                flag(field),
                text::span(span),
                text::span(least)
            )
        }
        ref error => error.to_string(),
    }
}

fn check_addresses(args: &AgentArgs) -> Result<(), Error> {
    let AgentArgs { bind, advertise, control, allow_remote_control, .. } = args;
    if bind.ip().is_unspecified() && advertise.is_none() {
        return Err(Error::Usage(format!(
            "nobody can reach this node at {bind}: add --advertise with the address that the others reach"
        )));
    }
    if let Some(advertise) = advertise
        && advertise.ip().is_unspecified()
    {
        return Err(Error::Usage(format!(
            "nobody can reach this node at {advertise}: advertise an address of it"
        )));
    }
    if !control.ip().is_loopback() && !allow_remote_control {
        return Err(Error::Usage(format!(
            "the control address {control} is not a loopback address, so other machines could read the membership: use \
             127.0.0.1:{}, or add --allow-remote-control if that is meant",
            control.port()
        )));
    }
    Ok(())
}

/// In plaintext on request, or where nobody else can listen.
fn sealing(args: &AgentArgs) -> Result<Sealing, Error> {
    if !args.key_file.is_empty() {
        return Ok(Sealing::from_files(Label::of(&args.label), &args.key_file)?);
    }
    if args.plaintext || args.bind.ip().is_loopback() {
        return Ok(Sealing::Plaintext);
    }
    Err(Error::Usage(format!(
        "the address {} is not a loopback address, so others on the network could read and forge what is sent: add \
         --key-file FILE (tgossip key new FILE makes one), or --plaintext if that is meant",
        args.bind
    )))
}

async fn agent(
    args: &AgentArgs,
    config: Config,
    sealing: Sealing,
    seeds: &[String],
) -> Result<(), Error> {
    let mut signals = Signals::caught().map_err(Error::Setup)?;
    let transport = bind(args, sealing).await?;
    let control = TcpListener::bind(args.control).await.map_err(|error| Error::Bind {
        what: "the control address",
        addr: args.control,
        error,
    })?;
    let control_address = control.local_addr().map_err(Error::Setup)?;

    let shared: Arc<dyn Transport> = Arc::clone(&transport) as _;
    let agent =
        spawn(Options::new(args.id).config(config).record(args.record.recording()), shared)?;
    for (key, value) in &args.entries {
        agent.publish(key, value.as_bytes()).await.map_err(|error| {
            Error::Usage(format!("--set {}: {error}", text::printable(key, MAX_SHOWN)))
        })?;
    }
    let (say, lines) = mpsc::unbounded_channel();
    // The receiver lives as long as the output can be written, and then nobody misses the lines.
    let say = move |line| drop(say.send(line));
    say(Line::udp(&args.id, transport.local_addr(), args.advertise.map(|_| args.bind)));
    say(Line::control(control_address));
    say(Line::sealing(transport.seal().map(|seal| seal.keys()).as_deref()));
    let printer = tokio::task::spawn_blocking({
        let output = Output { id: args.id, json: args.json };
        let (events, runtime) = (agent.events(), tokio::runtime::Handle::current());
        let agent = agent.clone();
        move || runtime.block_on(print(output, agent, lines, events))
    });
    tokio::spawn(server::serve(control, source(&agent, &transport), server::ASKING));
    let outcome = live(&agent, &*transport, seeds, &mut signals, &say).await;
    agent.shutdown().await;
    drop(say);
    // Lines that nobody reads are not waited for.
    let _ = tokio::time::timeout(LAST_LINES, printer).await;
    outcome
}

async fn bind(args: &AgentArgs, sealing: Sealing) -> Result<Arc<UdpTransport>, Error> {
    match args.advertise {
        Some(advertised) => UdpTransport::bind_advertised(args.bind, advertised, sealing).await,
        None => UdpTransport::bind(args.bind, sealing).await,
    }
    .map_err(|failed| Error::Bind {
        what: "the UDP address",
        addr: failed.address,
        error: failed.error,
    })
}

/// Spawns the node from a thread that ends at once, and its stack with it: a node is large while it
/// is made, and the pages that it has touched would stay for good.
fn spawn(options: Options, transport: Arc<dyn Transport>) -> Result<Agent, Error> {
    let runtime = tokio::runtime::Handle::current();
    let making = std::thread::spawn(move || {
        let _entered = runtime.enter();
        Agent::spawn(options, transport)
    });
    match making.join() {
        Ok(made) => made.map_err(not_spawned),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn not_spawned(error: SpawnError) -> Error {
    match error {
        SpawnError::Config(error) => Error::Usage(in_flags(&error)),
        SpawnError::Record { folder, error } => Error::Unwritable { path: folder, error },
        SpawnError::SealedMtu { mtu, .. } => Error::Usage(format!(
            "--mtu {mtu} is too small for sealed datagrams: type --mtu {} or more",
            MTUS.start() + OVERHEAD as u16
        )),
        error => Error::Node(error.to_string()),
    }
}

/// From the join to the end.
async fn live(
    agent: &Agent,
    transport: &dyn Transport,
    seeds: &[String],
    signals: &mut Signals,
    say: &impl Fn(Line),
) -> Result<(), Error> {
    let mut events = agent.events();
    if !seeds.is_empty() {
        join(agent, transport, seeds, say).await?;
    }
    tokio::select! {
        () = signals.recv() => {}
        end = fate(&mut events) => return Err(end),
    }
    say(Line::leaving());
    tokio::select! {
        left = agent.leave(LEAVE_PATIENCE) => left.map_err(|error| match error {
            AgentError::Timeout(span) => Error::Node(format!("the leave could not be told to others within {span:?}")),
            error => Error::Node(error.to_string()),
        }),
        () = signals.recv() => Err(Error::Interrupted),
    }
}

/// Joins, unless no seed has an address; a seed without one is told of.
async fn join(
    agent: &Agent,
    transport: &dyn Transport,
    seeds: &[String],
    say: &impl Fn(Line),
) -> Result<(), Error> {
    for seed in seeds {
        if let Err(error) = transport.resolve(seed).await {
            say(Line::warning(format!("the seed {seed} has no address: {error}")));
        }
    }
    say(Line::joining(seeds));
    agent.join(seeds).await.map_err(|error| match error {
        AgentError::Resolve(reason) => Error::Unresolved { reason },
        error => Error::Usage(error.to_string()),
    })
}

/// Waits until the node has ended by itself, and says why.
async fn fate(events: &mut Events) -> Error {
    loop {
        match events.recv().await {
            Some(Notice::Event(Event::IdentityConflict { lost: true, address, .. })) => {
                let place = address
                    .map_or_else(|| "an unknown address".to_owned(), |address| address.to_string());
                return Error::Node(format!(
                    "another process at {place} has the same id and keeps it: give each node an --id of its own"
                ));
            }
            Some(_) => {}
            None => return Error::Node("the node has stopped by itself".to_owned()),
        }
    }
}

/// Prints lines and events until both have ended, or the output is closed.
async fn print(
    output: Output,
    agent: Agent,
    mut lines: mpsc::UnboundedReceiver<Line>,
    mut events: Events,
) {
    let (mut more_lines, mut more_events) = (true, true);
    while more_lines || more_events {
        let line = tokio::select! {
            biased;
            line = lines.recv(), if more_lines => {
                more_lines = line.is_some();
                line
            }
            notice = events.recv(), if more_events => match notice {
                Some(Notice::Event(event)) => output.line_of(&event, |tag| name(&agent, tag)),
                Some(Notice::Lagged(missed)) => {
                    Some(Line::warning(format!("{missed} events are not printed: the output is read too slowly")))
                }
                None => {
                    more_events = false;
                    None
                }
            },
        };
        if line.is_some_and(|line| output.print(&line).is_err()) {
            return;
        }
    }
}

/// Who is behind a tag, of those that the agent knows.
fn name(agent: &Agent, tag: IdHash) -> Option<NodeId> {
    agent.view().iter().map(|member| member.id).find(|id| id.id_hash() == tag)
}

/// What the control socket answers.
fn source(agent: &Agent, transport: &Arc<UdpTransport>) -> server::Source {
    let (agent, transport) = (agent.clone(), Arc::clone(transport));
    let keeper = transport.seal().map(|seal| Arc::new(KeyKeeper::new(Arc::clone(seal))));
    Arc::new(move |request| {
        let (agent, transport, keeper) = (agent.clone(), Arc::clone(&transport), keeper.clone());
        Box::pin(async move {
            let has_keys = keeper.ok_or("it has no keys: it was started in plaintext");
            match request {
                Request::View => {}
                Request::Explain { id } => {
                    let explanation =
                        agent.explain(&id).await.map_err(|error| error.to_string())?;
                    let reasons =
                        |explanation| Box::new(Reasons::of(agent.id().as_str(), explanation));
                    return Ok(Answer::Explanation(explanation.as_ref().map(reasons)));
                }
                Request::Keys => {
                    let keys = has_keys.map(|keeper| Answer::Keys(keeper.keys()));
                    return Ok(keys.unwrap_or_else(|reason| Answer::Refused(reason.to_owned())));
                }
                Request::ChangeKeys { letter } => {
                    let changed =
                        has_keys.map_err(str::to_owned).and_then(|keeper| keeper.obey(&letter));
                    return Ok(changed.map_or_else(Answer::Refused, Answer::Keys));
                }
            }
            let health = agent.health().await.map_err(|error| error.to_string())?;
            let stats = agent.stats().await.map_err(|error| error.to_string())?;
            let socket = Socket {
                datagrams_received_dropped: transport.received_dropped(),
                datagrams_sent_dropped: transport.send_dropped(),
            };
            let seal = agent.seal_stats();
            let record = agent.recorded().map(Record::from);
            let view = View {
                record,
                ..View::of(agent.id().as_str(), &agent.view(), &health, stats, socket, seal)
            };
            Ok(Answer::View(Box::new(view)))
        })
    })
}
