//! Checks every slot in a state, wherever it is: a serializer that keeps nothing.
//!
//! It finds slots by the name of their type, so a part that is added to the state is checked
//! without a change here.

use core::fmt::{self, Display};

use serde::ser::{self, Serialize};

/// The name under which a slot is serialised.
const SLOT: &str = "Slot";

/// Whether every slot that `walk` serialises is one of the first `rows`.
pub(super) fn are_below(rows: usize, walk: impl FnOnce(Walker) -> Result<(), Stop>) -> bool {
    walk(Walker { rows, at_slot: false }).is_ok()
}

/// A serializer that compares each slot with the number of rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walker {
    rows: usize,
    /// Whether the next value is the number in a slot.
    at_slot: bool,
}

/// The error that ends a walk: a slot names a row that does not exist.
#[derive(Debug)]
pub(super) struct Stop;

impl Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a slot names a row that does not exist")
    }
}

impl core::error::Error for Stop {}

impl ser::Error for Stop {
    fn custom<T: Display>(_: T) -> Self {
        Self
    }
}

type Walked = Result<(), Stop>;

macro_rules! pass {
    ($($name:ident($($argument:ty),*);)*) => {
        $(fn $name(self $(, _: $argument)*) -> Walked {
            Ok(())
        })*
    };
}

impl ser::Serializer for Walker {
    type Ok = ();
    type Error = Stop;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    pass! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u64(u64);
        serialize_u128(u128);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
    }

    fn serialize_u32(self, place: u32) -> Walked {
        let there = !self.at_slot || usize::try_from(place).is_ok_and(|place| place < self.rows);
        if there { Ok(()) } else { Err(Stop) }
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Walked {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Walked {
        value.serialize(Self { at_slot: name == SLOT, ..self })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Walked {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Stop> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Stop> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Stop> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Stop> {
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, Stop> {
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Stop> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Stop> {
        Ok(self)
    }

    fn collect_str<T: Display + ?Sized>(self, _: &T) -> Walked {
        Ok(())
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

macro_rules! walk_parts {
    ($($kind:ident { $($step:ident($($name:ty)?);)* })*) => {
        $(impl ser::$kind for Walker {
            type Ok = ();
            type Error = Stop;

            $(fn $step<T: Serialize + ?Sized>(&mut self $(, _: $name)?, value: &T) -> Walked {
                value.serialize(*self)
            })*

            fn end(self) -> Walked {
                Ok(())
            }
        })*
    };
}

walk_parts! {
    SerializeSeq { serialize_element(); }
    SerializeTuple { serialize_element(); }
    SerializeTupleStruct { serialize_field(); }
    SerializeTupleVariant { serialize_field(); }
    SerializeMap { serialize_key(); serialize_value(); }
    SerializeStruct { serialize_field(&'static str); }
    SerializeStructVariant { serialize_field(&'static str); }
}
