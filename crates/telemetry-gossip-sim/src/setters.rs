//! Setters of settings that can be extended later and so cannot be built as literals elsewhere.

/// Implements one setter per field, named after it: `Settings::default().nodes(10).seed(42)`.
macro_rules! setters {
    ($owner:ident { $($field:ident: $type:ty,)* }) => {
        impl $owner {
            $(
                #[doc = concat!(
                    "Sets [`", stringify!($field), "`](Self#structfield.", stringify!($field), ")."
                )]
                #[must_use]
                pub fn $field(mut self, $field: $type) -> Self {
                    self.$field = $field;
                    self
                }
            )*
        }
    };
}
pub(crate) use setters;
