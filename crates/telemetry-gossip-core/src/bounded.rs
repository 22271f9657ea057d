//! Lists of bounded length, as they are read back from bytes.
//!
//! A list may take far more memory than its bytes: an item of two bytes can become a hundred. A
//! list with a bound is therefore refused while it is read, and not once it is in memory.

use core::fmt;
use core::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};

/// Reads a list of at most `MOST` items; use it with `#[serde(deserialize_with)]`.
pub fn list<'de, D, T, C, const MOST: usize>(deserializer: D) -> Result<C, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
    C: Default + Extend<T> + IntoIterator<Item = T>,
{
    deserializer.deserialize_seq(Bounded::<T, C, MOST>(PhantomData))
}

struct Bounded<T, C, const MOST: usize>(PhantomData<(T, C)>);

impl<'de, T, C, const MOST: usize> Visitor<'de> for Bounded<T, C, MOST>
where
    T: Deserialize<'de>,
    C: Default + Extend<T>,
{
    type Value = C;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MOST} items")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<C, S::Error> {
        let mut list = C::default();
        for _ in 0..MOST {
            let Some(item) = items.next_element()? else { return Ok(list) };
            list.extend(Some(item));
        }
        match items.next_element::<T>()? {
            Some(_) => Err(S::Error::custom("a list is longer than its bound")),
            None => Ok(list),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[derive(Debug, PartialEq, Eq, serde::Deserialize)]
    struct Two(#[serde(deserialize_with = "list::<_, _, _, 2>")] Vec<u8>);

    #[test]
    fn a_list_is_read_up_to_its_bound_and_refused_beyond() {
        for (bytes, expected) in [
            (&[0][..], Some(Two(Vec::new()))),
            (&[2, 7, 8], Some(Two(alloc::vec![7, 8]))),
            (&[3, 7, 8, 9], None),
            (&[2, 7], None),
        ] {
            assert_eq!(postcard::from_bytes(bytes).ok(), expected, "{bytes:?}");
        }
    }
}
