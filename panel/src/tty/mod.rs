//! The panel on a VT100 at a serial line.

pub mod front;
pub mod gate;
pub mod line;
