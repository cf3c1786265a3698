//! How an unknown box becomes one the cloud knows; [`crate::machines::activation`] decides, this does.

use sonde_pinning::{Trust, parse_fingerprint};
use sonde_protocol::device::{EnrollRequest, RefusalReason};
use sonde_protocol::token::{encode_key, hex};

use super::{Agent, AgentError};
use crate::clock;
use crate::cloud_client::{ClientError, CloudClient, SetupError};
use crate::ledger::Appliance;
use crate::machines::activation::{Action, Activation, Stage};
use crate::status::Contact;
use crate::store;
use crate::worker::chain;

impl Agent {
    /// Whom to believe at enrolment: what is configured, or what an earlier activation pinned.
    pub(super) fn trust(&self, pinned: Option<&str>) -> Result<Trust, AgentError> {
        let cloud = &self.config.cloud;
        if let Some(path) = &cloud.ca_file {
            return Ok(Trust::Authorities(path.clone()));
        }
        let pin = cloud
            .fingerprint
            .as_deref()
            .or(pinned)
            .map(parse_fingerprint)
            .transpose();
        Ok(pin
            .map_err(SetupError::Fingerprint)?
            .map_or(Trust::FirstSeen, Trust::Pinned))
    }

    pub(super) fn client(&self, trust: Trust) -> Result<CloudClient, AgentError> {
        Ok(CloudClient::new(&self.url, trust, self.identity.clone())?)
    }

    /// Shows a code until a person has typed it.
    pub(super) async fn activate(&mut self) -> Result<Appliance, AgentError> {
        let key = self.identity.public().to_bytes();
        let mut activation = Activation::new(key, self.clock.now(), clock::seed());
        self.contact = Contact::Unknown;
        let mut client = None;
        loop {
            self.stage = activation.stage().clone();
            self.show();
            if let Stage::Active { appliance, name } = activation.stage() {
                let pinned: Option<&(CloudClient, Option<[u8; 32]>)> = client.as_ref();
                let pinned = pinned.and_then(|(_, pin)| pin.map(|pin| hex(&pin)));
                let (id, name) = (*appliance, name.clone());
                let appliance = Appliance {
                    url: self.url.clone(),
                    id,
                    name,
                    pinned,
                };
                store::write_json(&self.paths.appliance(), &appliance)?;
                tracing::info!(appliance = %appliance.id, name = %appliance.name, "activated");
                return Ok(appliance);
            }
            let Some(action) = activation.poll_action(self.clock.now()) else {
                self.clock.sleep_until(activation.poll_timeout()).await;
                continue;
            };
            let outcome = match action {
                Action::Enroll => self.enroll(&mut client, &mut activation).await,
                Action::Ask => match &client {
                    Some((client, _)) => client.enroll_status().await.map(|status| {
                        activation.handle_status(self.clock.now(), status);
                    }),
                    None => continue,
                },
            };
            self.heard(outcome.as_ref().err());
            if let Err(error) = outcome {
                let unknown = error.reason() == Some(RefusalReason::Unknown);
                match action {
                    Action::Ask if unknown => activation.handle_unknown(self.clock.now()),
                    _ => activation.handle_failed(self.clock.now()),
                }
            }
        }
    }

    /// Asks for a code. Without a configured trust the certificate is looked at first, and only that one is
    /// believed from then on; the check number on the panel binds it.
    async fn enroll(
        &self,
        client: &mut Option<(CloudClient, Option<[u8; 32]>)>,
        activation: &mut Activation,
    ) -> Result<(), ClientError> {
        let made = self.enrolling_client().await?;
        let (cloud, pinned) = client.insert(made);
        let lan =
            sonde_netd::lan::observe(self.config.lan.interface.as_deref()).unwrap_or_default();
        let reply = cloud
            .enroll(&EnrollRequest {
                public_key: encode_key(&self.identity.public()),
                serial: serial(),
                mac: lan.mac.unwrap_or_default(),
                software: env!("CARGO_PKG_VERSION").to_owned(),
                pinned: pinned.map(|pin| hex(&pin)),
            })
            .await?;
        activation.handle_enrolled(self.clock.now(), reply, pinned.as_ref());
        Ok(())
    }

    async fn enrolling_client(&self) -> Result<(CloudClient, Option<[u8; 32]>), ClientError> {
        let refused = |error: AgentError| ClientError::Refused {
            path: "enroll".to_owned(),
            status: 0,
            reason: None,
            message: chain(&error),
        };
        let old: Option<Appliance> = store::read_json(&self.paths.appliance()).unwrap_or_default();
        let pinned = old
            .filter(|old| old.url == self.url)
            .and_then(|old| old.pinned);
        let trust = self.trust(pinned.as_deref()).map_err(refused)?;
        let client = self.client(trust.clone()).map_err(refused)?;
        match trust {
            Trust::Authorities(_) => Ok((client, None)),
            Trust::Pinned(pin) => Ok((client, Some(pin))),
            Trust::FirstSeen => {
                client.look().await?;
                // Over plain http to this very machine there is none.
                let Some(seen) = client.fingerprint() else {
                    return Ok((client, None));
                };
                tracing::info!(fingerprint = %hex(&seen), "first contact: this certificate is pinned");
                Ok((
                    self.client(Trust::Pinned(seen)).map_err(refused)?,
                    Some(seen),
                ))
            }
        }
    }
}

/// What is printed on the box, or else the host's name.
fn serial() -> String {
    let printed = std::fs::read_to_string("/sys/class/dmi/id/product_serial").unwrap_or_default();
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let plausible = |text: &str| text.chars().any(|c| c.is_ascii_alphanumeric() && c != '0');
    let text = if plausible(&printed) { printed } else { name };
    text.trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(64)
        .collect()
}
