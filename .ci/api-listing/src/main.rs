//! Prints the public items of a library, one per line, from the rustdoc JSON file named by the
//! first argument. Blanket, auto trait and derived implementations are left out.
#![forbid(unsafe_code)]
#![deny(warnings)]

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let json = std::env::args().nth(1).ok_or("usage: api-listing FILE.json")?;
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()?;
    print!("{api}");
    Ok(())
}
