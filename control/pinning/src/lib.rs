//! Whom a TLS client believes: authorities, one pinned certificate, or the first it sees.
//!
//! ```text
//!  Trust --client_config--> rustls::ClientConfig --handshake--> believed, or PinMismatch
//!                                                     '--> Seen: the SHA-256 of what was shown
//! ```
//!
//! A certificate is pinned by the SHA-256 of its DER form, whatever names and dates are in it: that it is this
//! one says more than they do. Refused, pinned or not: a handshake whose signature the shown certificate's key did
//! not make (RFC 8446 §4.4.3).

mod config;
mod fingerprint;
mod verifier;

pub use config::{PinningError, Trust, client_config, install_provider};
pub use fingerprint::{FingerprintError, parse_fingerprint};
pub use verifier::{PinMismatch, Seen};
