//! A box reports and asks for work. With nothing to say the answer is held until there is.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use sonde_protocol::device::{PollReply, PollRequest, Refusal, RefusalReason};
use tokio::time::Instant;

use super::signed::{Known, Refused, json};
use crate::state::{CANCEL_EVERY, Cloud};
use crate::storage::{Presence, Work};

/// Most jobs a box reports: far more than one can run.
const JOBS_MAX: usize = 256;
/// Longest version of its software.
const SOFTWARE_MAX: usize = 128;

/// Reports, and waits for work.
#[utoipa::path(post, path = "/device/v1/poll", tag = "device", operation_id = "device_poll",
    request_body = PollRequest, security(("device" = [])),
    responses((status = 200, body = PollReply), (status = "4XX", body = Refusal)))]
pub(super) async fn poll(
    State(cloud): State<Cloud>,
    Known {
        device,
        source,
        body,
        ..
    }: Known,
) -> Result<Json<PollReply>, Refused> {
    let request: PollRequest = json(&body)?;
    if request.jobs.len() > JOBS_MAX || request.software.len() > SOFTWARE_MAX {
        return Err(Refused::new(
            RefusalReason::Malformed,
            format!("a poll reports at most {JOBS_MAX} jobs and {SOFTWARE_MAX} bytes of version"),
        ));
    }
    let timing = &cloud.config().timing;
    let strange = cloud
        .store()
        .note_reports(device.id, &request.jobs, timing, cloud.now())
        .await?;

    let hold = Duration::from_secs(request.wait_s.into()).min(cloud.config().poll_hold_max);
    let mut until = Instant::now() + hold;
    let waiter = cloud.poll_of(device.id);
    // Listen first, look then: what comes in between wakes us.
    let woken = waiter.notified();
    tokio::pin!(woken);
    woken.as_mut().enable();
    // Who is seen from here on is woken.
    let presence = Presence {
        last_poll: cloud.now(),
        source,
        software: request.software,
        generation: request.settings_generation,
    };
    cloud.saw(device.id, presence);
    let look = async || -> Result<Work, Refused> {
        let (capacity, generation) = (request.capacity, request.settings_generation);
        let mut work = cloud
            .store()
            .work(
                device.id,
                &request.jobs,
                capacity,
                generation,
                timing,
                cloud.now(),
            )
            .await?;
        work.cancels.extend(&strange);
        Ok(work)
    };
    let mut work = look().await?;
    // A box that is stopping a scan already would otherwise be answered at once, again and again.
    let is_stopping = !work.cancels.is_empty();
    work.cancels.retain(|job| cloud.may_tell_cancel(*job));
    if is_stopping {
        until = until.min(Instant::now() + CANCEL_EVERY);
    }
    if work.is_empty() {
        tokio::select! {
            // Answered even if there is nothing for what the box said when it asked: it may have more room by now.
            () = woken => work = look().await?,
            () = tokio::time::sleep_until(until) => {}
            () = cloud.stopping() => {}
        }
    }
    Ok(Json(PollReply {
        server_time: cloud.now().to_datetime(),
        settings: work.settings,
        jobs: work.offers,
        cancels: work.cancels,
    }))
}
