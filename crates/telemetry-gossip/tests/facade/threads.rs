//! One state, many threads: no generation falls, and the order of the records does not matter.

use std::collections::HashMap;
use std::sync::Barrier;
use std::time::Instant;

use telemetry_gossip::membership::{MemberInfo, MemberStatus, MembershipState};

const THREADS: u64 = 16;
const RECORDS: u64 = 4_000;
const MEMBERS: u64 = 40;

/// The record of this number of a thread: all are different, and each thread has some of each
/// member.
fn record(thread: u64, number: u64, now: Instant) -> MemberInfo {
    // Splitmix64: every thread raises generations, in no order.
    let mut mixed = (thread << 32 | number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^= mixed >> 27;
    MemberInfo {
        node_id: format!("member-{:02}", mixed % MEMBERS),
        status: match (mixed >> 8) % 3 {
            0 => MemberStatus::Alive,
            1 => MemberStatus::Suspected,
            _ => MemberStatus::Dead,
        },
        generation: (mixed >> 16) % (number + 1),
        last_observed: now,
    }
}

fn rank(status: &MemberStatus) -> u8 {
    match status {
        MemberStatus::Alive => 0,
        MemberStatus::Suspected => 1,
        MemberStatus::Dead => 2,
    }
}

type Seen = HashMap<String, (u64, u8)>;

/// Looks at some members, none of which may be below what this thread has seen before.
fn look(members: impl IntoIterator<Item = MemberInfo>, seen: &mut Seen) {
    for member in members {
        let now = (member.generation, rank(&member.status));
        let before = seen.insert(member.node_id.clone(), now);
        assert!(
            before.is_none_or(|before| before <= now),
            "{} falls from generation and status {before:?} to {now:?}",
            member.node_id
        );
    }
}

fn held(state: &MembershipState) -> Vec<(String, u64, u8)> {
    let members = state.snapshot().into_iter();
    members.map(|it| (it.node_id, it.generation, rank(&it.status))).collect()
}

#[test]
fn on_one_state_of_sixteen_threads_no_generation_falls_and_no_record_is_lost() {
    let (state, now, begin) =
        (MembershipState::new(), Instant::now(), Barrier::new(THREADS as usize));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (state, begin) = (&state, &begin);
            scope.spawn(move || {
                let mut seen = Seen::new();
                begin.wait();
                for number in 0..RECORDS {
                    let info = record(thread, number, now);
                    let id = info.node_id.clone();
                    match number % 4 {
                        0 => state.merge(&[info]),
                        1 => drop(state.try_upsert(&info).unwrap()),
                        _ => state.upsert(info),
                    }
                    look(state.member(&id), &mut seen);
                    if number % 64 == 0 {
                        look(state.snapshot(), &mut seen);
                    }
                }
            });
        }
    });
    let alone = MembershipState::new();
    for thread in (0..THREADS).rev() {
        for number in (0..RECORDS).rev() {
            alone.upsert(record(thread, number, now));
        }
    }
    assert_eq!(held(&state), held(&alone), "the same records, one after the other");
    assert_eq!(held(&state).len(), MEMBERS as usize);
}
