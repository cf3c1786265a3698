//! The platform: enrolment, dispatch, results, users, API. One program, one database.
//!
//! ```text
//!   boxes  --/device/v1-->  device ---.
//!                                     +-->  storage (one boundary, one transaction a change)
//!   people --/api/v1----->  api ------'        ^
//!                                              |
//!               tick: leases and waits run out-'        dispatch: where a job may go, pure
//! ```
//!
//! [`Cloud`] is the whole state; [`server`] puts it on a socket behind TLS. A record acknowledged is in the database,
//! synced; a state changed is one transaction. Nothing of a box or a person is believed before its token is.
//!
//! Refused: a token made for another request, a body above its bound, a write without the attempt's lease, records that
//! leave a gap, half a TLS configuration.

pub mod api;
pub mod client;
pub mod clock;
mod device;
pub mod dispatch;
pub mod limits;
pub mod secrets;
pub mod server;
pub mod simulated;
mod state;
pub mod storage;
pub mod tls;

pub use state::{Cloud, CloudConfig, CloudError, FirstUser};
