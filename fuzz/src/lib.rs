//! What several fuzz targets share: bytes read as choices, and the small network that sweeps are fuzzed in.

pub mod choices;
pub mod network;
pub mod reply;
