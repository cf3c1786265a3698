//! The appliance's network: plan, apply, confirm or revert.
//!
//! This room will own every change to links, addresses, routes, DHCP and clock, as the only process with
//! `CAP_NET_ADMIN`: a desired state becomes a plan (a pure difference), the plan is applied by rtnetlink, and
//! what the cloud does not confirm is reverted. On a host that is not a dedicated box nothing here runs.
//!
//! What is here changes nothing: [`lan`] only looks at what the kernel has.

pub mod lan;
