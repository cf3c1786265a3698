//! What the panel shows, put together from what the parts know.

use sonde_protocol::local::{Phase, Status};
use tokio::sync::watch;

use crate::machines::activation::Stage;

/// What is known of the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Contact {
    /// Nothing was answered or refused yet.
    #[default]
    Unknown,
    /// The last poll was answered.
    Answered,
    /// The last poll was not.
    Failed,
}

/// How the scans are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Scans {
    /// In progress.
    pub running: u32,
    /// Of these, without contact for longer than their lease.
    pub out_of_contact: u32,
}

/// Where the box is with its cloud. A failed poll is a failure at once while nothing is scanned; scans in
/// progress go on for as long as their leases do, and the panel stays as it is.
pub fn phase(stage: &Stage, contact: Contact, scans: Scans) -> Phase {
    let failed = contact == Contact::Failed && scans.running <= scans.out_of_contact;
    match stage {
        _ if failed => Phase::CommunicationFailure,
        Stage::Enrolling => Phase::Contacting,
        Stage::Showing { code, check_number } => Phase::Activation {
            code: code.clone(),
            check_number: check_number.clone(),
        },
        Stage::Active { .. } if contact == Contact::Unknown => Phase::Contacting,
        Stage::Active { .. } => Phase::Ready,
    }
}

/// The status everybody on the local API sees.
#[derive(Clone)]
pub struct Board {
    status: watch::Sender<Status>,
}

impl Default for Board {
    fn default() -> Self {
        let starting = Status {
            phase: Phase::Starting,
            name: String::new(),
            lan_address: None,
            lan_mac: None,
            errors: Vec::new(),
            scans_running: 0,
            updating: false,
        };
        Self {
            status: watch::Sender::new(starting),
        }
    }
}

impl Board {
    /// Changes it; whoever looks is told only if it is another one then.
    pub fn change(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            *status != before
        });
    }

    /// Looks at it, now and whenever it changes.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use sonde_protocol::ids::ApplianceId;

    use super::*;

    fn active() -> Stage {
        Stage::Active {
            appliance: ApplianceId::generate(),
            name: "box".to_owned(),
        }
    }

    #[test]
    fn communication_failure_waits_for_running_scans() {
        let scans = |running, out_of_contact| Scans {
            running,
            out_of_contact,
        };
        let show = |contact, scans| phase(&active(), contact, scans);
        assert_eq!(show(Contact::Unknown, scans(0, 0)), Phase::Contacting);
        assert_eq!(show(Contact::Answered, scans(0, 0)), Phase::Ready);
        assert_eq!(
            show(Contact::Failed, scans(0, 0)),
            Phase::CommunicationFailure
        );
        assert_eq!(show(Contact::Failed, scans(2, 0)), Phase::Ready);
        assert_eq!(show(Contact::Failed, scans(2, 1)), Phase::Ready);
        assert_eq!(
            show(Contact::Failed, scans(2, 2)),
            Phase::CommunicationFailure
        );
        assert_eq!(show(Contact::Answered, scans(2, 2)), Phase::Ready);
    }

    #[test]
    fn the_code_is_shown_while_the_cloud_answers() {
        let stage = Stage::Showing {
            code: "B".to_owned(),
            check_number: "1".to_owned(),
        };
        let shown = phase(&stage, Contact::Answered, Scans::default());
        assert!(matches!(shown, Phase::Activation { .. }));
        assert_eq!(
            phase(&stage, Contact::Failed, Scans::default()),
            Phase::CommunicationFailure
        );
        assert_eq!(
            phase(&Stage::Enrolling, Contact::Unknown, Scans::default()),
            Phase::Contacting
        );
    }

    #[test]
    fn no_change_is_not_told() {
        let board = Board::default();
        let mut watch = board.watch();
        watch.mark_unchanged();
        board.change(|status| status.scans_running = 0);
        assert!(!watch.has_changed().unwrap());
        board.change(|status| status.scans_running = 1);
        assert!(watch.has_changed().unwrap());
    }
}
