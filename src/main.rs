//! The command `sonde`.
fn main() {}
