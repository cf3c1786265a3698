//! Networks to scan that fit in one machine: namespaces, a VLAN switch, real small services.

pub mod world;
