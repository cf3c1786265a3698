//! What boxes ask, as `sonde_protocol::device` has it: enrol, poll, hold a job, deliver its results, commit.

mod batch;
mod enrol;
mod job;
mod poll;
mod signed;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::Cloud;

/// The routes of boxes.
pub(crate) fn routes() -> OpenApiRouter<Cloud> {
    OpenApiRouter::new()
        .routes(routes!(enrol::enroll, enrol::enroll_status))
        .routes(routes!(poll::poll))
        .routes(routes!(job::accept))
        .routes(routes!(job::renew))
        .routes(routes!(job::results))
        .routes(routes!(job::commit))
}
