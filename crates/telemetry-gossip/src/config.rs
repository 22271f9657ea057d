//! The settings of a node. [`Config`] has the protocol's, [`Options`] and [`Recording`] the rest.
//!
//! ```
//! use std::time::Duration;
//! use telemetry_gossip::config::{Config, Label, SuspicionTimeout};
//!
//! let config = Config::lan()
//!     .label(Label::of("production"))
//!     .suspicion(SuspicionTimeout::Fixed(Duration::from_secs(5)));
//! assert_eq!(config.validate(), Ok(()));
//! ```

pub use telemetry_gossip_core::{
    CommandError, Config, ConfigError, DetectorFeatures, Generation, IdError, Instance, Label,
    Mode, Network, NetworkError, Networks, NodeId, Plan, PlanError, PlanRule, Prediction,
    SuspicionTimeout,
};
pub use telemetry_gossip_tokio::{Options, Recording, StateError, StateStatus};
