//! The appliance's network: plan, apply, confirm or revert.
