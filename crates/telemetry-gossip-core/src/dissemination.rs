pub(crate) const IDLE: u8 = u8::MAX;
