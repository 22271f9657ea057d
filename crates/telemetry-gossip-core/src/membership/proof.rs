//! How a member proves that it exists and where, and how much may be sent to an address before.
//!
//! A member is **proved** once it has answered a number that was sent to its address: to this node
//! itself, or to two helpers. Who sends a datagram proves nothing, since a source address can be
//! forged, and neither does what other nodes say.
//!
//! A reply to a sender whose address is not verified carries a ping whose request id is a keyed
//! hash of the address and the time: a challenge. The ack repeats the request id, which proves that
//! the sender receives what is sent to its address. Nothing is stored per challenge, so a flood of
//! forged source addresses leaves nothing behind.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::address::{Address, MAX_ADDRESS_LEN};
use crate::id::{IdHash, RequestId, keyed_hash};
use crate::time::Instant;

/// The largest length of a reply to an unverified address, as a multiple of the bytes that it
/// sent. It keeps this node from amplifying a flood with forged source addresses.
pub(crate) const AMPLIFICATION: usize = 3;

/// The shortest time for which a challenge is valid. It is valid for at most twice as long.
const CHALLENGE_SPAN: Duration = Duration::from_secs(10);

/// How a member has answered so far, at its present address and as its present instance; whether it
/// has since it was last said to be back from the dead; and whether it answered before the seeds of
/// this node had their say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answered(u8);

impl Answered {
    pub(crate) const NEVER: Self = Self(0);
    /// The bit of a member that was dead and is said to be alive: it has not answered since.
    const REVIVED: u8 = 1 << 7;
    /// The bit of a member that answered while this node was joining, before a page of a seed had
    /// named a process of its id. The other members may know another process under that id.
    const EARLY: u8 = 1 << 6;
    /// To this node, so that its address is not that of a victim.
    pub(crate) const DIRECTLY: Self = Self(1);
    /// Never, but the host of this node says that it is a member.
    const BY_HOST: Self = Self(2);
    /// To two helpers.
    const THROUGH_TWO: Self = Self(3);
    /// To one helper: this, plus some bits of the helper's id hash.
    const THROUGH_ONE: u8 = 4;

    /// Whether its address is right: it has answered this node itself, or the host says so.
    pub(crate) const fn directly(self) -> bool {
        let kind = self.kind();
        kind == Self::DIRECTLY.0 || kind == Self::BY_HOST.0
    }

    /// Whether it counts as a member that runs, or did run: no single peer can make it up.
    pub(crate) const fn is_proof(self) -> bool {
        self.kind() != Self::NEVER.0 && self.kind() < Self::THROUGH_ONE
    }

    /// Whether it has answered in its present life, so that its silence is news.
    pub(crate) const fn is_proof_of_life(self) -> bool {
        self.is_proof() && self.0 & Self::REVIVED == 0
    }

    /// Whether it has answered a single helper, which may have made that up.
    pub(crate) const fn through_one(self) -> bool {
        self.kind() >= Self::THROUGH_ONE
    }

    /// Whether it answered before the seeds of this node had their say.
    pub(crate) const fn is_early(self) -> bool {
        self.0 & Self::EARLY != 0
    }

    /// As a member that answered before the seeds of this node had their say.
    pub(crate) const fn early(self) -> Self {
        Self(self.0 | Self::EARLY)
    }

    /// After an answer to this node itself.
    pub(crate) const fn again(self) -> Self {
        Self(Self::DIRECTLY.0 | self.0 & Self::EARLY)
    }

    const fn kind(self) -> u8 {
        self.0 & !(Self::REVIVED | Self::EARLY)
    }

    /// After a peer has said that the dead member is alive.
    pub(crate) const fn revived(self) -> Self {
        Self(self.0 | Self::REVIVED)
    }

    /// After another process was said to be the member, at the same address. If the member has
    /// answered from there, the address is no victim's; whether the process runs is open.
    pub(crate) const fn as_other_process(self) -> Self {
        if self.kind() == Self::DIRECTLY.0 { Self::DIRECTLY.revived() } else { Self::NEVER }
    }

    /// After an answer that `helper` has passed on.
    pub(crate) fn through(self, helper: IdHash) -> Self {
        /// The number of helpers that can be told apart.
        const HELPERS: u32 = (Answered::EARLY - Answered::THROUGH_ONE) as u32;
        let bits = u8::try_from(helper.0 % HELPERS).unwrap_or(0);
        let one = Self(Self::THROUGH_ONE + bits);
        match self {
            // Of a member that is said to be back, one helper alone proves nothing, and takes
            // nothing away: only proved members are accused.
            _ if self.is_proof() || self == one => self,
            _ if self.kind() == Self::NEVER.0 => one,
            _ => Self::THROUGH_TWO,
        }
    }

    /// After answers that two helpers have passed on: it runs, and its address is as right as it
    /// was.
    pub(crate) const fn through_two(self) -> Self {
        if self.is_proof() { Self(self.kind()) } else { Self::THROUGH_TWO }
    }

    /// After the host has vouched for the member.
    pub(crate) const fn by_host(self) -> Self {
        if self.is_proof() { self } else { Self::BY_HOST }
    }
}

/// Makes challenges and recognises their answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Proof {
    /// The key of the challenges. No peer learns it.
    secret: u64,
}

impl Proof {
    pub(crate) const fn new(secret: u64) -> Self {
        Self { secret }
    }

    /// Returns the request id of the ping that challenges `address` at `now`.
    pub(crate) fn challenge<A: Address>(&self, address: A, now: Instant) -> Option<RequestId> {
        self.made_in_span(address, now, 0)
    }

    /// Whether `request_id` is that of a challenge to `address` that is still valid.
    pub(crate) fn is_answer<A: Address>(
        &self,
        address: A,
        request_id: RequestId,
        now: Instant,
    ) -> bool {
        [0, 1].into_iter().any(|ago| self.made_in_span(address, now, ago) == Some(request_id))
    }

    /// Returns the challenge of the span that began `ago` spans before the one of `now`.
    fn made_in_span<A: Address>(&self, address: A, now: Instant, ago: u64) -> Option<RequestId> {
        let micros = u64::try_from(CHALLENGE_SPAN.as_micros()).unwrap_or(u64::MAX);
        let span = (now.as_micros() / micros).checked_sub(ago)?;
        let mut bytes = [0; MAX_ADDRESS_LEN];
        let len = address.encode(&mut bytes).min(MAX_ADDRESS_LEN);
        Some(RequestId(keyed_hash([self.secret, span], &bytes[..len])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_helper_proves_nothing_and_takes_no_proof_away() {
        let (one, other) = (IdHash(1), IdHash(2));
        let asked = Answered::NEVER.through(one);
        assert!(!asked.is_proof() && asked.through_one());
        assert!(!asked.through(one).is_proof(), "the same helper twice");
        assert!(asked.through(other).is_proof_of_life());
        // Dead, and said to be back: it goes on being accused, and counts for no roll call.
        let back = Answered::DIRECTLY.revived();
        for back in [back, back.through(one), back.through(one).through(other)] {
            assert!(back.is_proof() && back.directly() && !back.is_proof_of_life());
        }
        assert_eq!(back.through_two(), Answered::DIRECTLY);
        assert!(Answered::NEVER.revived().through_two().is_proof_of_life());
        assert!(!Answered::NEVER.revived().through(one).is_proof());
    }

    #[test]
    fn a_challenge_may_be_answered_for_ten_seconds_whenever_it_is_made() {
        let (proof, at) = (Proof::new(7), Instant::from_millis);
        for made in [0, 5_000, 9_999, 10_000, 25_001] {
            let number = proof.challenge(5_u32, at(made)).unwrap();
            for answered in [made, made + 5_000, made + 10_000] {
                assert!(proof.is_answer(5, number, at(answered)), "{made} to {answered}");
            }
            assert!(!proof.is_answer(5, number, at(made + 20_000)), "{made}");
            assert!(!proof.is_answer(6, number, at(made)), "of another address");
        }
    }

    #[test]
    fn another_process_at_a_proved_address_has_to_answer_but_may_be_contacted() {
        let other = Answered::DIRECTLY.as_other_process();
        assert!(other.is_proof() && other.directly() && !other.is_proof_of_life());
        for unproved in [Answered::NEVER, Answered::THROUGH_TWO, Answered::BY_HOST] {
            assert_eq!(unproved.as_other_process(), Answered::NEVER);
        }
    }
}
