//! What appliance and cloud say to each other: types only, versioned.
//!
//! Two languages live here. [`device`] is what the box says to the cloud, [`local`] what the panel
//! says to the agent on the box. Requests and observations are the engine's own types
//! ([`request`], [`observation`], [`trunk`]), and so is what can be said against them before a box
//! has seen them ([`written`]): one idea, one place.

pub mod activation;
pub mod config_file;
pub mod device;
pub mod ids;
pub mod local;
pub mod settings;
pub mod token;

pub use sonde_core::plan::written;
pub use sonde_core::{observation, request, trunk};
