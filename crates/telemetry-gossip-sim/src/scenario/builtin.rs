//! The built-in scenarios: the files in the folder `scenarios`.

const FILES: [(&str, &str); 12] = [
    ("quiet", include_str!("../../scenarios/quiet.toml")),
    ("join", include_str!("../../scenarios/join.toml")),
    ("crash", include_str!("../../scenarios/crash.toml")),
    ("restart", include_str!("../../scenarios/restart.toml")),
    ("leave", include_str!("../../scenarios/leave.toml")),
    ("pause", include_str!("../../scenarios/pause.toml")),
    ("block", include_str!("../../scenarios/block.toml")),
    ("loss", include_str!("../../scenarios/loss.toml")),
    ("split", include_str!("../../scenarios/split.toml")),
    ("partition", include_str!("../../scenarios/partition.toml")),
    ("churn", include_str!("../../scenarios/churn.toml")),
    ("mixed", include_str!("../../scenarios/mixed.toml")),
];

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name)
}

pub(super) fn text(name: &str) -> Option<&'static str> {
    FILES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
