//! `tgossip demo` with few nodes: it passes, and prints every step.

mod common;

use common::{text, tgossip};

fn passes(nodes: &str) {
    let output = tgossip(&["demo", "--nodes", nodes, "--seed", "3"]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}\n{said}{}", output.status, text(&output.stderr));
    for step in [
        "views are complete",
        "publishes",
        "is killed",
        "suspected",
        "held dead",
        "starts again",
        "left",
        "PASS",
    ] {
        assert!(said.contains(step), "`{step}` is missing in:\n{said}");
    }
    assert!(!said.contains('\u{1b}'), "escape sequences in a pipe:\n{said}");
}

#[test]
fn a_demo_of_two_nodes_passes() {
    passes("2");
}

#[test]
fn a_demo_of_five_nodes_passes() {
    passes("5");
}
