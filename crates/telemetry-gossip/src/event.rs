//! What a node reports: events, the evidence for each verdict, counters.
//!
//! ```
//! use telemetry_gossip::event::{Event, RecvError};
//! # use telemetry_gossip::{GossipNode, MemoryNetwork};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let transport = MemoryNetwork::new(1).transport("a")?;
//! # let node = GossipNode::builder("a")?.start(transport).await?;
//! let mut events = node.events();
//! # node.shutdown().await;
//! loop {
//!     match events.recv().await {
//!         Ok(Event::Dead { id, .. }) => println!("{id} is dead"),
//!         Ok(_) => {}
//!         Err(RecvError::Lagged(missed)) => println!("missed {missed}: {:?}", node.members()),
//!         Err(RecvError::Closed) => break,
//!     }
//! }
//! # Ok(())
//! # }
//! ```

pub use telemetry_gossip_core::{
    DropReason, Dropped, Evidence, ExchangeOutcome, Explanation, Health, HelperReport,
    HelperReports, IdHash, Incident, Instant, IsolationEnd, OpenSuspicion, ProbeOutcome,
    RemovalReason, Stats, Status,
};
#[cfg(feature = "stream")]
pub use telemetry_gossip_tokio::EventStream;
pub use telemetry_gossip_tokio::{Event, Events, HostStatus, RecordStats, RecvError, SendStats};
