//! The simulated appliance.
