//! The panel on a display that LCDproc's LCDd drives.

pub mod front;
pub mod keys;
pub mod session;
