//! The text forms of shares and spans of time: `"2.5%"` and `"1m 30s"` in scenario files, numbers
//! of seconds in reports.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// A share of a whole, in parts per million. Its text form is `"1%"` or `"0.05%"`.
///
/// ```
/// use telemetry_gossip_sim::Share;
///
/// let loss: Share = "2.5%".parse()?;
/// assert_eq!(loss, Share::ppm(25_000));
/// assert_eq!(loss.to_string(), "2.5%");
/// # Ok::<(), telemetry_gossip_sim::ShareError>(())
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Share(u32);

impl Share {
    /// No share: 0 %.
    pub const NONE: Self = Self(0);
    /// The whole: 100 %.
    pub const ALL: Self = Self(1_000_000);

    /// A share in parts per million; a larger number than a million is the whole.
    #[must_use]
    pub const fn ppm(ppm: u32) -> Self {
        Self(if ppm > 1_000_000 { 1_000_000 } else { ppm })
    }

    /// A share in percent; a larger number than 100 is the whole.
    #[must_use]
    pub const fn percent(percent: u32) -> Self {
        Self::ppm(percent.saturating_mul(10_000))
    }

    /// The share in parts per million.
    #[must_use]
    pub const fn as_ppm(self) -> u32 {
        self.0
    }

    /// This share of `count`, rounded to the nearest integer.
    #[must_use]
    pub fn of(self, count: usize) -> usize {
        let parts = count as u128 * u128::from(self.0) + 500_000;
        usize::try_from(parts / 1_000_000).unwrap_or(count)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 10_000, self.0 % 10_000);
        if rest == 0 {
            f.pad(&format!("{whole}%"))
        } else {
            f.pad(format!("{whole}.{rest:04}").trim_end_matches('0'))?;
            f.write_str("%")
        }
    }
}

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, ShareError> {
        let refused = || ShareError { text: text.to_owned() };
        let number = text.trim().strip_suffix('%').ok_or_else(refused)?.trim_end();
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        if decimals.len() > 4 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refused());
        }
        let whole: u32 = whole.parse().ok().filter(|&whole| whole <= 100).ok_or_else(refused)?;
        let parts: u32 = format!("{decimals:0<4}").parse().map_err(|_| refused())?;
        let ppm = whole * 10_000 + parts;
        if ppm > 1_000_000 { Err(refused()) } else { Ok(Self(ppm)) }
    }
}

impl TryFrom<String> for Share {
    type Error = ShareError;

    fn try_from(text: String) -> Result<Self, ShareError> {
        text.parse()
    }
}

impl From<Share> for String {
    fn from(share: Share) -> Self {
        share.to_string()
    }
}

/// A text is not a [`Share`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{text}` is not a share: write 0% to 100%, with up to 4 decimals")]
pub struct ShareError {
    text: String,
}

/// `#[serde(with = "span")]`: a `Duration` as a text like `"1m 30s"`.
pub(crate) mod span {
    use super::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(crate) fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(*span))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_duration(&text).map_err(|error| {
            serde::de::Error::custom(format_args!(
                "`{text}` is not a span of time such as \"1m 30s\": {error}"
            ))
        })
    }
}

/// `#[serde(with = "in_seconds")]`: a `Duration` as a number of seconds. Names of such fields end
/// in `_s`.
pub(crate) mod in_seconds {
    use super::{Deserialize, Deserializer, Serialize, Serializer};
    use std::time::Duration;

    pub(crate) fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        span.as_secs_f64().serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

/// `#[serde(with = "hex")]`: a hash as 16 hexadecimal digits. Readers that store numbers as floats
/// would round a number.
pub(crate) mod hex {
    use super::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(hash: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{hash:016x}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        u64::from_str_radix(&String::deserialize(from)?, 16).map_err(serde::de::Error::custom)
    }
}

/// The same for an `Option<Duration>`.
macro_rules! maybe {
    ($maybe:ident, $form:ident, $name:literal) => {
        pub(crate) mod $maybe {
            use super::{Deserialize, Deserializer, Serialize, Serializer, $form};
            use std::time::Duration;

            #[derive(Serialize, Deserialize)]
            #[serde(transparent)]
            struct Span(#[serde(with = $name)] Duration);

            pub(crate) fn serialize<S: Serializer>(
                span: &Option<Duration>,
                to: S,
            ) -> Result<S::Ok, S::Error> {
                span.map(Span).serialize(to)
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
                from: D,
            ) -> Result<Option<Duration>, D::Error> {
                Ok(Option::<Span>::deserialize(from)?.map(|Span(span)| span))
            }
        }
    };
}

maybe!(maybe_span, span, "span");
maybe!(maybe_in_seconds, in_seconds, "in_seconds");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_survives_being_written_and_read() {
        for (text, ppm) in
            [("0%", 0), ("100%", 1_000_000), ("1%", 10_000), ("0.5%", 5_000), ("12.0625%", 120_625)]
        {
            let share: Share = text.parse().unwrap();
            assert_eq!((share.as_ppm(), share.to_string().as_str()), (ppm, text));
        }
    }

    #[test]
    fn invalid_shares_are_refused() {
        for text in ["", "%", "5", "-1%", "100.1%", "0.12345%", "1.+5%", "one%"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_of_a_count_is_rounded_to_the_nearest() {
        assert_eq!(Share::percent(70).of(10), 7);
        assert_eq!(Share::percent(30).of(250), 75);
        assert_eq!(Share::percent(1).of(20), 0);
        assert_eq!(Share::ALL.of(7), 7);
    }
}
