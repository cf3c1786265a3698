//! What people and their programs ask, under `/api/v1/`. The OpenAPI document is made from this code.

mod activations;
mod appliances;
mod caller;
mod people;
mod problem;
mod results;
mod scans;

use std::error::Error;
use std::fmt::Write as _;

use axum::extract::DefaultBodyLimit;
use axum::{Json, Router};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::device;
use crate::state::Cloud;

pub use activations::{ActivationView, Confirm, Lookup};
pub use appliances::{ApplianceChange, ApplianceStatus, ApplianceView, SettingsChange};
pub use people::{LoggedIn, Login, Me, NewPassword, NewToken, NewUser, TokenMade};
pub use problem::Problem;
pub use results::{HostPage, PortPage};
pub use scans::{CreateScan, ScanList, ScanView};

/// Everything the cloud answers.
pub fn router(cloud: Cloud) -> Router {
    let (router, document) = described().split_for_parts();
    router
        .route(
            "/api/v1/openapi.json",
            axum::routing::get(|| async { Json(document) }),
        )
        .route("/health", axum::routing::get(|| async { "ok\n" }))
        .fallback(|| async {
            Problem::not_found("there is nothing here: see /api/v1/openapi.json")
        })
        .layer(DefaultBodyLimit::max(caller::BODY_MAX))
        .with_state(cloud)
}

/// The document that describes it.
pub fn document() -> OpenApi {
    described().into_openapi()
}

/// An error with all its causes, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string can not fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

fn described() -> OpenApiRouter<Cloud> {
    let info = InfoBuilder::new()
        .title("Sonde cloud")
        .version("1")
        .description(Some(
            "People and their programs ask under /api/v1 with an API token, boxes under /device/v1 with a token \
             signed by their key for each request.",
        ))
        .build();
    let mut document = OpenApiBuilder::new().info(info).build();
    let schemes = &mut document.components.get_or_insert_default().security_schemes;
    schemes.insert(
        "token".to_owned(),
        SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()).into(),
    );
    schemes.insert(
        "device".to_owned(),
        SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(
            "Authorization",
            "Sonde, a blank, and a compact EdDSA signature over method, path and body",
        )))
        .into(),
    );
    OpenApiRouter::with_openapi(document)
        .routes(routes!(people::login))
        .routes(routes!(people::logout))
        .routes(routes!(people::me))
        .routes(routes!(people::tokens, people::make_token))
        .routes(routes!(people::end_token))
        .routes(routes!(people::users, people::add_user))
        .routes(routes!(people::remove_user))
        .routes(routes!(people::set_password))
        .routes(routes!(activations::lookup))
        .routes(routes!(activations::confirm))
        .routes(routes!(appliances::appliances))
        .routes(routes!(appliances::appliance, appliances::change))
        .routes(routes!(appliances::settings, appliances::change_settings))
        .routes(routes!(scans::scans, scans::create))
        .routes(routes!(scans::scan))
        .routes(routes!(scans::cancel))
        .routes(routes!(results::results))
        .routes(routes!(results::records))
        .routes(routes!(results::hosts))
        .routes(routes!(results::ports))
        .routes(routes!(results::leaks))
        .merge(device::routes())
}
