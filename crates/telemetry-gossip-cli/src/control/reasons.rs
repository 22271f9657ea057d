//! An explanation of a member's status in the form of the control protocol: with ids in place of
//! id hashes, and ages in place of instants, which have no meaning outside the agent.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemetry_gossip_core::{Evidence, Explanation, Generation, IdHash, Incident, Status};

use super::status_word;

/// [`Explanation`] in the form of the control protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reasons {
    /// Id of the agent.
    pub(crate) node: String,
    /// Id of the member.
    pub(crate) id: String,
    #[serde(with = "status_word")]
    pub(crate) status: Status,
    pub(crate) generation: u64,
    /// Time since the member has its status for the agent; `None` if a replay does not know it.
    #[serde(default)]
    pub(crate) status_since_s: Option<f64>,
    /// Time since the agent last heard from the member itself; `None` if it never has, and of the
    /// agent itself.
    #[serde(default)]
    pub(crate) last_heard_s: Option<f64>,
    pub(crate) round_trip_s: Option<f64>,
    /// How often the member refuted or came back recently.
    pub(crate) flaps: u8,
    /// Whether the agent cannot reach more than half of the members, so that it declares none dead.
    pub(crate) isolated: bool,
    pub(crate) suspicion: Option<Suspicion>,
    /// The incidents, oldest first.
    pub(crate) history: Vec<Reason>,
    /// The whole explanation in words.
    pub(crate) text: String,
}

/// An open suspicion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Suspicion {
    pub(crate) since_s: f64,
    /// Time until the agent declares the member dead.
    pub(crate) remaining_s: f64,
    /// The accusers, as far as the agent knows them.
    pub(crate) accusers: Vec<String>,
}

/// One incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reason {
    pub(crate) age_s: f64,
    #[serde(flatten)]
    pub(crate) finding: Finding,
}

/// [`Evidence`], which is also a line in the output of an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// The kind of evidence, for programs.
    pub(crate) kind: String,
    /// What the agent that explains itself was called by others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) generation: Option<u64>,
    /// The accuser, or the helper that got the answer; absent if the agent does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<String>,
    /// How long the node was paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) paused_s: Option<f64>,
    /// The helpers of a failed probe.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) helpers: Vec<Helper>,
    /// The whole finding in words.
    pub(crate) text: String,
}

/// A helper of a failed probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Helper {
    /// `None` if the agent does not know it.
    pub(crate) id: Option<String>,
    /// Whether the helper reported that the member does not answer it either. Otherwise the helper
    /// itself did not answer.
    pub(crate) nacked: bool,
}

impl Reasons {
    /// Converts the explanation of the agent called `node`. The member has had its status for
    /// `since`, if that is known.
    pub(crate) fn of(node: &str, explanation: &Explanation, since: Option<Duration>) -> Self {
        let age = |at| explanation.now.since(at).as_secs_f64();
        let suspicion = explanation.suspicion.as_ref().map(|suspicion| Suspicion {
            since_s: age(suspicion.since),
            remaining_s: suspicion.until.since(explanation.now).as_secs_f64(),
            accusers: suspicion
                .accusers
                .iter()
                .filter_map(|&hash| explanation.name(hash))
                .map(Into::into)
                .collect(),
        });
        let reason = |incident: &Incident| Reason {
            age_s: age(incident.at),
            finding: Finding::of(&incident.evidence, |hash| explanation.name(hash)),
        };
        Self {
            node: node.to_owned(),
            id: explanation.id.to_string(),
            status: explanation.status,
            generation: explanation.generation.0,
            status_since_s: since.map(|since| since.as_secs_f64()),
            last_heard_s: explanation.last_heard.filter(|_| !explanation.itself).map(age),
            round_trip_s: explanation.round_trip.map(|round_trip| round_trip.as_secs_f64()),
            flaps: explanation.flaps,
            isolated: explanation.isolated,
            suspicion,
            history: explanation.history.iter().map(reason).collect(),
            text: in_words(explanation, since),
        }
    }
}

/// Returns the explanation in words, and says behind its first line since when the status holds.
fn in_words(explanation: &Explanation, since: Option<Duration>) -> String {
    let text = explanation.to_string();
    match (since, text.split_once('\n')) {
        (Some(since), Some((first, rest))) => {
            let status = explanation.status;
            format!("{first}\n  has been {status} here for {:.1} s\n{rest}", since.as_secs_f64())
        }
        _ => text,
    }
}

impl Finding {
    /// Converts evidence; `name` maps id hashes to ids.
    pub(crate) fn of<'n>(evidence: &Evidence, name: impl Fn(IdHash) -> Option<&'n str>) -> Self {
        let known = |hash| name(hash).map(ToOwned::to_owned);
        let (generation, by) = match *evidence {
            Evidence::Suspected { by, generation } => (Some(generation), by),
            Evidence::Alive { generation, .. }
            | Evidence::Dead { generation, .. }
            | Evidence::Left { generation }
            | Evidence::Refuted { generation } => (Some(generation), None),
            Evidence::Accused { by, generation, .. } => (Some(generation), by),
            Evidence::Confirmed { by } | Evidence::AnsweredThrough { helper: by } => {
                (None, Some(by))
            }
            _ => (None, None),
        };
        let (status, paused_s) = match *evidence {
            Evidence::Accused { status, .. } => (Some(status.to_string()), None),
            Evidence::Paused { late } => (None, Some(late.as_secs_f64())),
            _ => (None, None),
        };
        let helpers = match *evidence {
            Evidence::ProbeFailed { helpers } => helpers,
            _ => Default::default(),
        };
        let helpers = helpers.into_iter().flatten();
        Self {
            kind: evidence.kind().to_owned(),
            status,
            paused_s,
            generation: generation.map(|Generation(number)| number),
            by: by.and_then(known),
            helpers: helpers
                .map(|asked| Helper { id: known(asked.helper), nacked: asked.nacked })
                .collect(),
            text: evidence.describe(&name),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;
    use telemetry_gossip_core::{HelperReport, HelperReports};

    /// A probe that failed through three helpers: one reported a failure, one did not answer, and
    /// one is unknown.
    pub(crate) fn probe_failed() -> Evidence {
        let mut helpers = HelperReports::default();
        for (at, (hash, nacked)) in [(3, true), (9, false), (404, true)].into_iter().enumerate() {
            helpers[at] = Some(HelperReport { helper: IdHash(hash), nacked });
        }
        Evidence::ProbeFailed { helpers }
    }

    pub(crate) fn name(hash: IdHash) -> Option<&'static str> {
        match hash {
            IdHash(3) => Some("n3"),
            IdHash(9) => Some("n9"),
            _ => None,
        }
    }

    #[test]
    fn a_finding_has_ids_for_programs_and_a_text_for_people() {
        for (evidence, expected) in [
            (
                probe_failed(),
                json!({
                    "kind": "probe-failed",
                    "helpers": [
                        { "id": "n3", "nacked": true },
                        { "id": "n9", "nacked": false },
                        { "id": null, "nacked": true },
                    ],
                }),
            ),
            (
                Evidence::AnsweredThrough { helper: IdHash(3) },
                json!({ "kind": "answered-through", "by": "n3" }),
            ),
            (
                Evidence::Suspected { by: Some(IdHash(9)), generation: Generation(5) },
                json!({ "kind": "suspected", "by": "n9", "generation": 5 }),
            ),
            (Evidence::Confirmed { by: IdHash(404) }, json!({ "kind": "confirmed" })),
            (
                Evidence::Dead { generation: Generation(5), here: true },
                json!({ "kind": "dead", "generation": 5 }),
            ),
        ] {
            let mut expected = expected;
            expected["text"] = evidence.describe(name).into();
            let finding = Finding::of(&evidence, name);
            let value = serde_json::to_value(&finding).unwrap();
            assert_eq!(value, expected);
            assert_eq!(serde_json::from_value::<Finding>(value).unwrap(), finding);
        }
        let text = Finding::of(&probe_failed(), name).text;
        assert!(text.contains("n3 (") && text.contains("n9 ("), "{text}");
    }
}
