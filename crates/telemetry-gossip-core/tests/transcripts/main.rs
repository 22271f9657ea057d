//! Compares the example transcripts in `docs/transcripts` with what nodes say today.
//!
//! Each transcript shows what real nodes say to each other in a deterministic run of one of the
//! protocol's basic exchanges. After an intended change, write the files anew, read the difference,
//! and commit it:
//!
//! ```sh
//! UPDATE=1 cargo test -p telemetry-gossip-core --test transcripts
//! ```

extern crate alloc;

#[allow(dead_code, reason = "the wire tests use the rest")]
#[path = "../wire/meaning.rs"]
mod meaning;
#[allow(dead_code, reason = "the wire tests use the rest")]
#[path = "../wire/reader.rs"]
mod reader;

mod net;
mod words;

use std::path::PathBuf;
use std::time::Duration;

use net::{Line, Net, address, id};
use telemetry_gossip_core::{Generation, Input};

const SECOND: Duration = Duration::from_secs(1);

/// How a transcript is to be read; the first lines of each file.
const LEGEND: &str = "\
One datagram a line: when it was sent, from where to where, and its frames, separated by |.
Each takes 1 ms, or is lost. \"n3 suspected@4 by n1\" is a claim: status, generation, accusers.
#1, #2, ... stand for request ids, a, b, ... for instances. Lines with \"reports\" are events
for the host.
";

/// Compares the transcript with its file, or writes the file if `UPDATE` is set.
#[expect(clippy::disallowed_methods, reason = "the test reads files; the core does no IO")]
fn check(name: &str, intro: &str, (lines, others): (Vec<String>, usize)) {
    let left_out = match others {
        0 => String::new(),
        others => format!("({others} other lines of the same time are left out.)\n"),
    };
    let text = format!("{intro}\n{LEGEND}{left_out}\n{}\n", lines.join("\n"));
    assert!(!lines.is_empty(), "{name}: nothing was said");
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/transcripts").join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, text).expect("docs/transcripts can be written");
        return;
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default().replace("\r\n", "\n");
    let differs = kept.lines().zip(text.lines()).find(|(kept, new)| kept != new);
    assert!(
        kept == text,
        "docs/transcripts/{name} is not what the nodes say; first difference: {differs:?}. If the \
         change is meant, write the files anew with UPDATE=1 and commit them"
    );
}

fn all(_: &Line) -> bool {
    true
}

/// Lines of one node, or of another.
fn involves(nodes: &'static [usize]) -> impl Fn(&Line) -> bool {
    move |line| nodes.contains(&line.from) || line.to.is_some_and(|to| nodes.contains(&to))
}

#[test]
fn a_ping_is_answered_by_an_ack() {
    let mut net = Net::cluster(2);
    net.begin();
    net.run_for(SECOND * 2);
    let intro = "\
1. Ping and ack

Two nodes at rest. In each probe interval of one second each node pings the other once; the
ack repeats the request id and names the instance, the random number of the process that
answers.
";
    check("1-ping-and-ack.txt", intro, net.transcript(all));
}

#[test]
fn a_newcomer_joins_through_a_seed() {
    let mut net = Net::new(3);
    net.tell(2, Input::Join { seeds: vec![address(1)].into() });
    net.run_for(SECOND * 10);
    net.begin();
    net.tell(3, Input::Join { seeds: vec![address(1)].into() });
    net.run_for(SECOND);
    assert!((1..=3).all(|node| net.member_count(node) == 3), "all know all");
    let intro = "\
2. Joining through a seed

n1 and n2 are a cluster; n3 starts and knows the address of n1. It introduces itself and asks
for the members, page by page; one page is enough here. n1 has not heard of n3 before, so it
adds a ping, whose ack proves that n3 is at the address it writes from. Then n1 spreads the
claim of n3 as a rumor, and n3 compares its table with that of another member until it finds
no difference.
";
    check("2-join.txt", intro, net.transcript(all));
}

#[test]
fn a_crashed_member_is_probed_through_helpers_suspected_and_declared_dead() {
    let mut net = Net::cluster(4);
    net.begin();
    net.crash(4);
    net.run_until(SECOND * 10, |line| line.text.contains("reports: n4 is Dead"));
    net.run_for(SECOND / 500);
    let intro = "\
3. A probe fails

n4 of four nodes has crashed. n3, whose turn it is, pings it, then asks the other two to ping
it as well (ping-req), and at last pings it once more. The helpers answer with a nack: they
are there, n4 does not answer. Before n3 accuses n4 it pings all members to prove that it is
itself in touch (a roll call, at 0.975 s). While the suspicion runs, n3 tells n4 of it again
and again, so that n4 could refute it. Before n3 declares n4 dead, it makes another roll call
(at 1.427 s).
";
    check("3-failed-probe.txt", intro, net.transcript(all));
}

#[test]
fn a_member_that_was_deaf_refutes_its_suspicion() {
    let mut net = Net::cluster(4);
    net.begin();
    net.lose(|from, to, _| from == 4 || to == 4);
    net.run_until(SECOND * 10, |line| line.text.contains("reports: n4 is Suspected"));
    net.lose(|_, _, _| false);
    net.run_for(SECOND / 4);
    let intro = "\
4. A suspicion is refuted

All datagrams from and to n4 are lost until it is suspected; then the network works again.
Every datagram to a suspected member says so, and so the next one tells n4. It answers Alive
one generation higher, which outranks the suspicion everywhere: to its accuser at once, and to
all as a rumor.
";
    check("4-refutation.txt", intro, net.transcript(all));
}

#[test]
fn two_tables_that_differ_in_a_row_are_made_equal() {
    let mut net = Net::cluster(2);
    let introduce = |generation| Input::Introduce {
        id: id(9),
        address: None,
        instance: None,
        generation: Generation(generation),
    };
    net.tell(1, introduce(2));
    net.tell(2, introduce(2));
    net.run_for(SECOND);
    net.name_tables();
    net.begin();
    net.tell(1, introduce(3));
    net.run_for(SECOND);
    assert_eq!(net.generation(2, "n9"), Some(Generation(3)), "n2 has learned of it");
    let intro = "\
5. Anti-entropy

Both nodes know a member n9 (whose address is not known, so nothing is sent to it). The host of
n1 tells it of a higher generation of n9. Such knowledge is no rumor. But each datagram carries
a fingerprint of the sender's table, shown here as \"table A\", \"table B\". Once the tables have
differed for longer than a rumor takes, one node lists the versions of its rows, the other
answers with what it has newer or wants what it lacks.
";
    check("5-anti-entropy.txt", intro, net.transcript(all));
}

#[test]
fn large_tables_are_compared_by_a_digest_first() {
    let mut net = Net::cluster(2);
    let introduce = |net: &mut Net, node, member, generation| {
        let (address, instance, generation) = (None, None, Generation(generation));
        net.tell(node, Input::Introduce { id: id(member), address, instance, generation });
    };
    for (node, member) in (1..=2).flat_map(|node| (11..=50).map(move |member| (node, member))) {
        introduce(&mut net, node, member, 3);
    }
    net.run_for(SECOND * 10);
    net.name_tables();
    net.begin();
    introduce(&mut net, 1, 11, 4);
    net.run_for(SECOND / 2);
    assert_eq!(net.generation(2, "n11"), Some(Generation(4)), "n2 has learned of it");
    let intro = "\
5b. Anti-entropy between large tables

As before, but both nodes know 40 members, and the generation of n11 is new. Tables of more than
32 rows are not listed row by row: the first datagram has a digest, one sum for each of 16 equal
ranges of id hashes, and the answer lists the rows of those ranges only whose sums differ.
";
    check("5b-digest.txt", intro, net.transcript(all));
}

#[test]
fn telemetry_goes_along_a_tree_and_a_lost_datagram_is_sent_again() {
    let mut net = Net::cluster(6);
    net.begin();
    let mut left = 1;
    net.lose(move |from, _, text| {
        let lost = left > 0 && from == 1 && text.starts_with("tree #");
        left -= i32::from(lost);
        lost
    });
    net.tell(
        1,
        Input::Publish { key: "load".into(), value: b"0.7".as_slice().into(), urgent: false },
    );
    net.run_for(SECOND);
    let intro = "\
6. Telemetry along a tree

n1 of six nodes publishes load=0.7. It sends the value to the members 1, 2 and 4 places after
it in the order of id hashes, each with the end of the stretch of members that the receiver
passes it on to. Each datagram is acknowledged; the first one is lost here, and sent again.
";
    let show = |line: &Line| line.text.contains("tree ");
    check("6-telemetry.txt", intro, net.transcript(show));
}

#[test]
fn a_member_leaves() {
    let mut net = Net::cluster(3);
    net.begin();
    net.tell(3, Input::Leave);
    net.run_until(SECOND * 10, |line| line.text.contains("reports: leave completed"));
    let intro = "\
7. Leaving

n3 says Left one generation above its own, to all members of a small cluster at once and as a
rumor, and stops when it has said so often enough. No suspicion under way outranks that, and
the others no longer ping it.
";
    check("7-leave.txt", intro, net.transcript(involves(&[3])));
}
