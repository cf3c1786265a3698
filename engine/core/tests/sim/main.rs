//! Whole scans of networks that live in memory, on a clock that jumps: loss, duplicates, overtaking, forgery, leaks,
//! crashes. SONDE_SIM_SEED repeats one run.

mod driver;
mod driving;
mod network;
mod random;
mod scans;
mod world;
