//! Setters for structs that grow.

/// One setter per field, so that a program names only what it changes and still compiles when a
/// later version adds a field.
macro_rules! setters {
    ($owner:ident { $($field:ident: $type:ty,)* }) => {
        impl $owner {
            $(
                #[doc = concat!(
                    "Sets [`",
                    stringify!($field),
                    "`](Self#structfield.",
                    stringify!($field),
                    ")."
                )]
                #[must_use]
                pub const fn $field(mut self, $field: $type) -> Self {
                    self.$field = $field;
                    self
                }
            )*
        }
    };
}
pub(crate) use setters;
