//! Checks every slot in a state, wherever it is: a serializer that keeps nothing.
//!
//! It finds slots by the name of their type, so a part that is added to the state is checked
//! without a change here. A part that may name a member that is gone serialises the number alone,
//! and checks it by itself.

use core::fmt::{self, Display};

use serde::ser::{self, Serialize};

use crate::membership::Slot;

/// The name under which a slot is serialised.
const SLOT: &str = "Slot";

/// Whether every slot that `walk` serialises is `in_use`.
pub(super) fn are_in_use<F: Fn(Slot) -> bool>(
    in_use: F,
    walk: impl FnOnce(Walker<'_, F>) -> Result<(), Stop>,
) -> bool {
    walk(Walker { in_use: &in_use, at_slot: false }).is_ok()
}

/// A serializer that asks of each slot whether it is in use.
#[derive(Debug)]
pub(super) struct Walker<'a, F> {
    in_use: &'a F,
    /// Whether the next value is the number in a slot.
    at_slot: bool,
}

impl<F> Clone for Walker<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Walker<'_, F> {}

/// The error that ends a walk: a slot names no member.
#[derive(Debug)]
pub(super) struct Stop;

impl Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a slot names no member")
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

impl<F: Fn(Slot) -> bool> ser::Serializer for Walker<'_, F> {
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
        if !self.at_slot || (self.in_use)(Slot(place)) { Ok(()) } else { Err(Stop) }
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
        $(impl<F: Fn(Slot) -> bool> ser::$kind for Walker<'_, F> {
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
