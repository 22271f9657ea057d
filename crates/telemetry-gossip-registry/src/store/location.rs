#![allow(missing_docs)]
#[derive(Debug)]
pub struct Location;
#[derive(Debug)]
pub struct LocationError;
