//! `tgossip agent`: one node as a process.
//!
//! ```text
//!   check arguments --> bind --> publish --> join --> run --- signal ---> leave --> end
//!                                                      |                    |
//!                                            another process has      second signal
//!                                            the id: --on-conflict
//! ```
//!
//! Output runs on a thread of its own, so that a reader that is slow or has closed the output
//! delays neither the node nor its leave.

mod answers;
mod event_line;
#[cfg(test)]
mod examples;
mod line;
pub(crate) mod output;
mod registry;
mod seeds;
pub(crate) mod signals;
mod systemd;
pub(crate) mod telemetry;
mod warnings;

use std::sync::Arc;
use std::time::Duration;

use telemetry_gossip_core::{
    Config, ConfigError, Event, IdHash, Label, Networks, NodeId, SuspicionTimeout,
};
use telemetry_gossip_registry::host::{Following, Registry};
use telemetry_gossip_seal::OVERHEAD;
use telemetry_gossip_tokio::{
    Agent, AgentError, Events, Options, RecvError, Sealing, SpawnError, Transport, UdpTransport,
};
use tokio::sync::mpsc;

use crate::args::{AgentArgs, Conflict, MTUS, Settings};
use crate::control::listen::{self, Control};
use crate::control::place::Listen;
use crate::control::server;
use crate::error::Error;
use crate::text;
use line::Line;
use output::Output;
pub(crate) use registry::Open;
use signals::Signals;
use systemd::ServiceManager;
use telemetry::Held;

/// How long the agent may take to tell other nodes that it leaves. With the default settings, this
/// takes a second or two.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest part of a refused argument in an error message, in characters.
const MAX_SHOWN_CHARS: usize = 40;

/// How long the agent waits at its end until its last lines are read.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs the agent of these arguments to its end. `open` is how this program opens registries.
pub(crate) fn run(args: &AgentArgs, open: Open) -> Result<(), Error> {
    let config = config(args)?;
    check_addresses(args)?;
    check_entries(&args.entries)?;
    let sealing = sealing(args)?;
    let seeds = seeds::of(args)?;
    let registry = registry::of(args, open)?;
    let runtime = crate::runtime::new().map_err(Error::Setup)?;
    let outcome = runtime.block_on(agent(args, config, sealing, &seeds, registry));
    // Do not wait for a reader of the output that has stopped reading.
    runtime.shutdown_background();
    outcome
}

fn config(args: &AgentArgs) -> Result<Config, Error> {
    let Settings {
        profile,
        probe_interval,
        probe_timeout,
        gossip_interval,
        suspicion,
        isolation_limit,
        mtu,
    } = args.settings;
    let standard = profile.config();
    let config = profile
        .config()
        .label(Label::of(&args.label))
        .probe_interval(probe_interval.unwrap_or(standard.probe_interval))
        .probe_timeout(probe_timeout.unwrap_or(standard.probe_timeout))
        .gossip_interval(gossip_interval.unwrap_or(standard.gossip_interval))
        .suspicion(suspicion.map_or(standard.suspicion, SuspicionTimeout::Fixed))
        .isolation_limit(isolation_limit.or(standard.isolation_limit))
        .mtu(mtu.unwrap_or(standard.mtu));
    config.validate().map_err(|error| Error::Usage(in_options(&error)))?;
    Ok(config)
}

/// Describes what is wrong with the settings, in terms of the options of the command line.
fn in_options(error: &ConfigError) -> String {
    let option = |field: &str| format!("--{}", field.replace('_', "-"));
    let twice = |span: Duration| text::span(span.saturating_mul(2));
    match *error {
        ConfigError::Range { field, value, min, max, .. } => {
            format!("{} is {value}: type {min} to {max}", option(field))
        }
        ConfigError::Span { field, span, .. } => {
            format!("{} is {}: type 1ms to 366days", option(field), text::span(span))
        }
        ConfigError::ProbeTimeout { timeout, interval, .. } => format!(
            "--probe-timeout {} is more than half of --probe-interval {}, and a probe takes two \
             timeouts: type --probe-timeout {} or less, or --probe-interval {} or more",
            text::span(timeout),
            text::span(interval),
            text::span(interval / 2),
            twice(timeout)
        ),
        ConfigError::Suspicion { span, gossip, .. } => format!(
            "--suspicion {} does not fit --gossip-interval {}: type --suspicion {} (two gossip \
             intervals) to 366days",
            text::span(span),
            text::span(gossip),
            twice(gossip)
        ),
        ConfigError::TooShort { field, span, least, rule, .. } => {
            format!(
                "{} is {}: type {} or more, as {rule}",
                option(field),
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
            "other nodes cannot reach this node at {bind}: add --advertise with an address of \
             this machine that they can reach"
        )));
    }
    if let Some(advertise) = advertise
        && advertise.ip().is_unspecified()
    {
        return Err(Error::Usage(format!(
            "other nodes cannot reach this node at {advertise}: type --advertise with an address \
             of this machine that they can reach"
        )));
    }
    match control {
        Some(Listen::Tcp(control)) if !control.ip().is_loopback() && !allow_remote_control => {
            Err(Error::Usage(format!(
                "the control address {control} is not a loopback address, so other machines could \
                 reach it: use 127.0.0.1:{}, or add --allow-remote-control to permit that",
                control.port()
            )))
        }
        Some(Listen::Tcp(_)) => Ok(()),
        _ if cfg!(unix) && args.control_token_file.is_some() => Err(Error::Usage(
            "--control-token-file is for a TCP address, and the control socket is a file that only \
             this user can use: leave it out, or add --control 127.0.0.1:7201"
                .to_owned(),
        )),
        _ => Ok(()),
    }
}

/// Refuses a key that several entries of telemetry have: only one of them could be published.
fn check_entries(entries: &[(String, String)]) -> Result<(), Error> {
    for (place, (key, value)) in entries.iter().enumerate() {
        if let Some((_, first)) = entries.iter().take(place).find(|(other, _)| other == key) {
            let [key, first, value] =
                [key, first, value].map(|text| text::printable(text, MAX_SHOWN_CHARS));
            return Err(Error::Usage(format!(
                "--set has the key `{key}` twice, with the values `{first}` and `{value}`: give \
                 each key once"
            )));
        }
    }
    Ok(())
}

/// Chooses plaintext if the arguments request it, or if the node is reached by loopback only and
/// has no keys.
fn sealing(args: &AgentArgs) -> Result<Sealing, Error> {
    if !args.key_file.is_empty() {
        return Ok(Sealing::from_files(Label::of(&args.label), &args.key_file)?);
    }
    // An address that is advertised is reached from outside even if the node is bound to loopback:
    // something forwards to it.
    let addresses = [Some(args.bind), args.advertise];
    let open = addresses.into_iter().flatten().find(|address| !address.ip().is_loopback());
    match open {
        Some(address) if !args.plaintext => Err(Error::Usage(format!(
            "the address {address} is not a loopback address, so others on the network could read \
             and forge datagrams: add --key-file FILE (tgossip key new FILE makes one), or \
             --plaintext to permit that"
        ))),
        _ => Ok(Sealing::Plaintext),
    }
}

async fn agent(
    args: &AgentArgs,
    config: Config,
    sealing: Sealing,
    seeds: &[String],
    registry: Option<Registry>,
) -> Result<(), Error> {
    let mut signals = Signals::caught().map_err(Error::Setup)?;
    let transport = bind(args, sealing).await?;
    let token_file = args.control_token_file.as_deref();
    let control = listen::open(args.id.as_str(), args.control.as_ref(), token_file).await?;
    // They stay until this function returns.
    let Control { listener, address: control_address, token_file, files: _files } = control;

    let shared: Arc<dyn Transport> = Arc::clone(&transport) as _;
    let networks = Networks::new(args.allow_network.iter().copied())
        .map_err(|error| Error::Usage(format!("--allow-network: {error}")))?;
    for seed in seeds {
        transport.check_name(seed).map_err(|error| Error::Usage(format!("--join {error}")))?;
    }
    let mut options = Options::new(args.id)
        .config(config)
        .seeds(seeds)
        .allowed_networks(networks)
        .record(args.record.recording());
    options.state_dir = args.state.clone();
    let prepared = registry.map(|registry| registry.prepare(&mut options));
    let not_used = prepared.as_ref().and_then(|prepared| prepared.set_aside().map(str::to_owned));
    let agent = spawn(options, shared)?;
    let following = prepared.map(|prepared| prepared.follow(&agent));
    // The node runs from the next await on, and may join before the first line is printed.
    let (printed, mut watched) = (agent.events(), agent.events());
    for (key, value) in &args.entries {
        agent.publish(key, value.as_bytes()).await.map_err(|error| {
            Error::Usage(format!("--set {}: {error}", text::printable(key, MAX_SHOWN_CHARS)))
        })?;
    }
    let (say, lines) = mpsc::unbounded_channel();
    // The receiver ends once the output cannot be written; lines after that are dropped.
    let say = move |line| drop(say.send(line));
    say(Line::udp(&args.id, transport.local_addr(), args.advertise.map(|_| args.bind)));
    say(Line::control(&control_address, token_file.as_deref()));
    say(Line::sealing(transport.seal().map(|seal| seal.keys()).as_deref()));
    if !seeds.is_empty() {
        say(Line::joining(seeds));
    }
    let remembered = agent.state_status().map_or(0, |status| status.borrow().peers);
    if let Some(folder) = &args.state {
        say(Line::state(folder, remembered));
    } else if following.is_some() {
        say(Line::warning(registry::WITHOUT_STATE.to_owned()));
    }
    not_used.into_iter().map(Line::warning).for_each(&say);
    let printer = tokio::task::spawn_blocking({
        let output = Output { id: args.id, json: args.json, control: Some(control_address) };
        let runtime = tokio::runtime::Handle::current();
        let agent = agent.clone();
        move || runtime.block_on(print(output, agent, lines, printed))
    });
    let clients = Arc::default();
    // The list of a registry has addresses to try.
    let has_seeds = !seeds.is_empty() || remembered > 0 || following.is_some();
    let source = answers::source(&agent, &transport, &clients, has_seeds, following.clone());
    server::spawn(listener, source, clients).map_err(Error::Setup)?;
    let manager = ServiceManager::of_environment(say.clone());
    let node = Running {
        agent: &agent,
        following: following.as_ref(),
        manager: manager.as_ref(),
        exits_on_conflict: args.on_conflict == Conflict::Exit,
    };
    let telling = systemd::tell(manager.as_ref(), &agent, following.as_ref(), has_seeds);
    let outcome = tokio::select! {
        outcome = node.until_signal(&mut watched, &mut signals, &say) => outcome,
        never = telling => match never {},
    };
    agent.shutdown().await;
    if let Some(manager) = manager {
        manager.end(outcome.as_ref().err()).await;
    }
    if let Some(why) = agent.state_status().and_then(|status| status.borrow().failing.clone()) {
        say(Line::warning(warnings::not_kept(&why)));
    }
    drop(say);
    // A reader that has stopped reading must not keep the process alive.
    let _ = tokio::time::timeout(LAST_LINES_TIMEOUT, printer).await;
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

/// Spawns the node from a thread of its own. The construction of a node needs a large stack, and
/// the pages that it touches would stay resident on the main thread. This stack is freed when the
/// thread ends.
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
        SpawnError::Config(error) => Error::Usage(in_options(&error)),
        SpawnError::State(error) => Error::State(error),
        SpawnError::Record { folder, error, .. } => Error::Unwritable { path: folder, error },
        SpawnError::SealedMtu { mtu, .. } => Error::Usage(format!(
            "--mtu {mtu} is too small for sealed datagrams: type --mtu {} or more",
            MTUS.start() + OVERHEAD as u16
        )),
        error => Error::Node(error.to_string()),
    }
}

/// A node that runs.
struct Running<'a> {
    agent: &'a Agent,
    following: Option<&'a Following>,
    /// `None` if no service manager wants to be told of the agent.
    manager: Option<&'a ServiceManager>,
    exits_on_conflict: bool,
}

impl Running<'_> {
    /// Runs the node until a signal, and lets it leave.
    async fn until_signal(
        &self,
        events: &mut Events,
        signals: &mut Signals,
        say: &impl Fn(Line),
    ) -> Result<(), Error> {
        tokio::select! {
            () = signals.recv() => {}
            () = warnings::of_seeds(self.agent, say) => {}
            () = warnings::of_state(self.agent, say) => {}
            () = warnings::of_host(self.agent, say) => {}
            error = registry::end(self.following, say) => {
                if matches!(error, Error::OtherRegistry(_)) {
                    // It may have joined already. The reason to end matters more than this one.
                    let _ = self.leave(signals).await;
                }
                return Err(error);
            }
            error = self.failure(events) => return Err(error),
        }
        say(Line::leaving());
        self.leave(signals).await
    }

    async fn leave(&self, signals: &mut Signals) -> Result<(), Error> {
        if let Some(manager) = self.manager {
            manager.stopping();
        }
        tokio::select! {
            left = self.agent.leave(LEAVE_TIMEOUT) => left.map_err(|error| {
                // It may have been about to leave already.
                registry::gone(self.following).unwrap_or_else(|| not_left(error))
            }),
            () = signals.recv_again() => Err(Error::Interrupted),
        }
    }

    /// Waits until the node stops on its own, and returns the reason.
    async fn failure(&self, events: &mut Events) -> Error {
        loop {
            match events.recv().await {
                Ok(Event::IdentityConflict { lost: true, address, .. })
                    if self.exits_on_conflict =>
                {
                    let place = address.map_or_else(
                        || "an unknown address".to_owned(),
                        |address| address.to_string(),
                    );
                    return Error::Node(format!(
                        "another process at {place} has the same id and keeps it: start each node \
                         with an --id of its own"
                    ));
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => {
                    if let Some(following) = self.following
                        && following.gone().await.is_some()
                    {
                        // `registry::end` tells that.
                        std::future::pending::<()>().await;
                    }
                    return Error::Node("the node stopped unexpectedly".to_owned());
                }
            }
        }
    }
}

fn not_left(error: AgentError) -> Error {
    match error {
        AgentError::Timeout(span) => Error::Node(format!(
            "the node ended, but its leave was not complete within {span:?}: nodes that do not \
             know of it declare this node dead"
        )),
        error => Error::Node(error.to_string()),
    }
}

/// Prints lines and events until both end, or until the output is closed.
async fn print(
    output: Output,
    agent: Agent,
    mut own_lines: mpsc::UnboundedReceiver<Line>,
    mut events: Events,
) {
    let (mut more_lines, mut more_events) = (true, true);
    while more_lines || more_events {
        let lines = tokio::select! {
            biased;
            line = own_lines.recv(), if more_lines => {
                more_lines = line.is_some();
                line.into_iter().collect()
            }
            event = events.recv(), if more_events => match event {
                Ok(event) => output.lines_of(&event, |hash| name(&agent, hash), |id| {
                    let member = agent.member(id.as_str());
                    member.map(|member| Held::of_view(&member)).unwrap_or_default()
                }),
                Err(RecvError::Lagged(missed)) => vec![Line::missed_events(missed)],
                Err(RecvError::Closed) => {
                    more_events = false;
                    Vec::new()
                }
            },
        };
        if lines.iter().any(|line| output.print(line).is_err()) {
            return;
        }
    }
}

/// The id with this hash, if it belongs to a member that the agent knows.
fn name(agent: &Agent, hash: IdHash) -> Option<NodeId> {
    agent.view().iter().map(|member| member.id).find(|id| id.id_hash() == hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_telemetry_key_may_be_given_once() {
        let entries = |texts: &[(&str, &str)]| -> Vec<(String, String)> {
            texts.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        assert!(check_entries(&entries(&[("a", "1"), ("b", "1")])).is_ok());
        let error = check_entries(&entries(&[("b", "0"), ("a", "1"), ("a", "2")])).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(
            error.to_string().contains("the key `a` twice, with the values `1` and `2`"),
            "{error}"
        );
    }
}
