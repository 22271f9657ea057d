//! A node without tokio: this program drives the state machine of the core with a std socket. A
//! second thread reads lines, each of which is published as the load.
//!
//! `cargo run --example threads -- 127.0.0.1:7946 [SEED...]`

use std::io::stdin;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::time::{Duration, Instant as Clock};
use telemetry_gossip_core::{Config, Identity, Input, Instant, Node};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let socket = UdpSocket::bind(args.next().unwrap_or("127.0.0.1:7946".into()))?;
    let address = socket.local_addr()?;
    let seeds = args.map(|seed| seed.parse()).collect::<Result<Vec<SocketAddr>, _>>()?;
    let mut rng_seed = [0; 32];
    getrandom::fill(&mut rng_seed)?;
    let (start, identity) = (Clock::now(), Identity::new(address.into(), address));
    let now = || Instant::ORIGIN + start.elapsed();
    let mut node = Node::new(Config::lan(), identity, rng_seed, now())?;
    let _ = node.handle(now(), Input::join(seeds)); // refused without seeds
    let (tx, lines) = mpsc::channel();
    std::thread::spawn(move || stdin().lines().map_while(Result::ok).try_for_each(|l| tx.send(l)));
    let (mut buf, mut datagram) = ([0; 65_536], [0; 1_400]);
    loop {
        // Take all outputs of the node after each input.
        while let Some(transmit) = node.poll_transmit(&mut datagram) {
            let _ = socket.send_to(&datagram[..transmit.len], transmit.to); // may get lost
        }
        while let Some(event) = node.poll_event() {
            println!("{event:?}");
        }
        // Sleep until the node wants to be called again, or a datagram arrives.
        let wait = node.poll_timeout().map_or(Duration::from_secs(1), |at| at.since(now()));
        socket.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
        let input = if wait.is_zero() {
            Input::Tick // first, so that a flood of datagrams does not hold up the timers
        } else if let Ok(line) = lines.try_recv() {
            Input::publish("load", line.into_bytes())
        } else if let Ok((len, from)) = socket.recv_from(&mut buf) {
            Input::datagram(from, &buf[..len])
        } else {
            Input::Tick
        };
        // A refused input changes nothing.
        node.handle(now(), input).unwrap_or_else(|error| eprintln!("refused: {error}"));
    }
}
