//! Where a scan is, small enough to write more than once a second.

use serde::{Deserialize, Serialize};

/// Enough to go on with a scan after a crash, repeating at most what the last checkpoint did not
/// cover. Opaque to everybody but the sweep; `plan` tells whether it belongs to the same request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Version of this form.
    pub version: u32,
    /// Digest of the plan it belongs to; another plan refuses it.
    pub plan: u64,
    /// The seed in use, so that the order is the same.
    pub seed: u64,
    /// The sweep's own state, base64 of its zstd-compressed binary form.
    pub state: String,
}
