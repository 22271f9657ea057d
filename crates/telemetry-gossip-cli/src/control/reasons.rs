//! Why a member is held to be what it is, in the words of the control protocol: names in place of
//! tags, and ages in place of instants, which mean nothing outside of the agent.

use serde::{Deserialize, Serialize};
use telemetry_gossip::core::{Evidence, Explanation, Generation, IdHash, Incident, Status};

use super::status_word;

/// [`Explanation`], as an agent gives it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reasons {
    /// The agent's id.
    pub(crate) node: String,
    /// The member's.
    pub(crate) id: String,
    #[serde(with = "status_word")]
    pub(crate) status: Status,
    pub(crate) generation: u64,
    pub(crate) last_heard_s: f64,
    pub(crate) round_trip_s: Option<f64>,
    /// How often it has refuted of late.
    pub(crate) flaps: u8,
    /// Whether the agent's own node is cut off from most of the members.
    pub(crate) isolated: bool,
    pub(crate) suspicion: Option<Suspicion>,
    /// Oldest first.
    pub(crate) history: Vec<Reason>,
    /// All of it in words.
    pub(crate) text: String,
}

/// A suspicion that runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Suspicion {
    pub(crate) since_s: f64,
    pub(crate) left_s: f64,
    /// Those of them that the agent knows.
    pub(crate) accusers: Vec<String>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reason {
    pub(crate) age_s: f64,
    #[serde(flatten)]
    pub(crate) finding: Finding,
}

/// [`Evidence`]; also a line of the agent's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// A word for programs.
    pub(crate) kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) generation: Option<u64>,
    /// Who accuses, or got the answer; absent if the agent does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<String>,
    /// Through whom the member was probed in vain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) helpers: Vec<Helper>,
    /// All of it in words.
    pub(crate) text: String,
}

/// A helper of a probe that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Helper {
    /// `None` if the agent does not know it.
    pub(crate) id: Option<String>,
    /// Whether it said that the member is silent to it, too; otherwise it said nothing.
    pub(crate) nacked: bool,
}

impl Reasons {
    /// What the agent called `node` knows.
    pub(crate) fn of(node: &str, explanation: &Explanation) -> Self {
        let age = |at| explanation.now.since(at).as_secs_f64();
        let suspicion = explanation.suspicion.as_ref().map(|suspicion| Suspicion {
            since_s: age(suspicion.since),
            left_s: suspicion.until.since(explanation.now).as_secs_f64(),
            accusers: suspicion
                .accusers
                .iter()
                .filter_map(|&tag| explanation.name(tag))
                .map(Into::into)
                .collect(),
        });
        let reason = |incident: &Incident| Reason {
            age_s: age(incident.at),
            finding: Finding::of(&incident.evidence, |tag| explanation.name(tag)),
        };
        Self {
            node: node.to_owned(),
            id: explanation.id.to_string(),
            status: explanation.status,
            generation: explanation.generation.0,
            last_heard_s: age(explanation.last_observed),
            round_trip_s: explanation.round_trip.map(|round_trip| round_trip.as_secs_f64()),
            flaps: explanation.flaps,
            isolated: explanation.isolated,
            suspicion,
            history: explanation.history.iter().map(reason).collect(),
            text: explanation.to_string(),
        }
    }
}

impl Finding {
    /// `name` knows who is behind a tag.
    pub(crate) fn of<'n>(evidence: &Evidence, name: impl Fn(IdHash) -> Option<&'n str>) -> Self {
        let known = |tag| name(tag).map(ToOwned::to_owned);
        let (generation, by) = match *evidence {
            Evidence::Suspected { by, generation } => (Some(generation), by),
            Evidence::Alive { generation, .. }
            | Evidence::Dead { generation, .. }
            | Evidence::Left { generation } => (Some(generation), None),
            Evidence::Confirmed { by } | Evidence::AnsweredThrough { helper: by } => {
                (None, Some(by))
            }
            _ => (None, None),
        };
        let helpers = match *evidence {
            Evidence::ProbeFailed { helpers } => helpers,
            _ => Default::default(),
        };
        let helpers = helpers.into_iter().flatten();
        Self {
            kind: evidence.kind().to_owned(),
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
    use telemetry_gossip::core::{HelperReport, HelperReports};

    /// A probe that failed through a helper with a word, one without, and one that nobody knows.
    pub(crate) fn probe_failed() -> Evidence {
        let mut helpers = HelperReports::default();
        for (at, (tag, nacked)) in [(3, true), (9, false), (404, true)].into_iter().enumerate() {
            helpers[at] = Some(HelperReport { helper: IdHash(tag), nacked });
        }
        Evidence::ProbeFailed { helpers }
    }

    pub(crate) fn name(tag: IdHash) -> Option<&'static str> {
        match tag {
            IdHash(3) => Some("n3"),
            IdHash(9) => Some("n9"),
            _ => None,
        }
    }

    #[test]
    fn a_finding_has_names_for_programs_and_words_for_people() {
        for (evidence, expected) in [
            (
                probe_failed(),
                json!({ "kind": "probe-failed", "text": "did not answer this node's probe; asked through n3 (silent to \
                     it, too), n9 (no word from it in time), an unknown member (silent to it, too)",
                    "helpers": [{ "id": "n3", "nacked": true }, { "id": "n9", "nacked": false },
                        { "id": null, "nacked": true }] }),
            ),
            (
                Evidence::AnsweredThrough { helper: IdHash(3) },
                json!({ "kind": "answered-through", "by": "n3", "text": "did not answer directly but through n3" }),
            ),
            (
                Evidence::Suspected { by: Some(IdHash(9)), generation: Generation(5) },
                json!({ "kind": "suspected", "by": "n9", "generation": 5,
                    "text": "was suspected by n9 at generation 5" }),
            ),
            (
                Evidence::Confirmed { by: IdHash(404) },
                json!({ "kind": "confirmed", "text": "was accused by an unknown member, too" }),
            ),
            (
                Evidence::Dead { generation: Generation(5), here: true },
                json!({ "kind": "dead", "generation": 5, "text": "was declared dead by this node at generation 5" }),
            ),
        ] {
            let finding = Finding::of(&evidence, name);
            let value = serde_json::to_value(&finding).unwrap();
            assert_eq!(value, expected);
            assert_eq!(serde_json::from_value::<Finding>(value).unwrap(), finding);
        }
    }
}
