//! Refusals, as the `Status` objects that every API server sends.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Why something is not done.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The HTTP status.
    pub(super) code: u16,
    /// The word for programs.
    pub(super) reason: &'static str,
    /// The sentence for people.
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn not_found(what: &str) -> Self {
        Self { code: 404, reason: "NotFound", message: format!("{what} not found") }
    }

    pub(super) fn already_exists(what: &str) -> Self {
        Self { code: 409, reason: "AlreadyExists", message: format!("{what} already exists") }
    }

    pub(super) fn conflict(what: &str) -> Self {
        let message = format!("{what} has been modified; read the newest version and try again");
        Self { code: 409, reason: "Conflict", message }
    }

    pub(super) fn bad_request(message: String) -> Self {
        Self { code: 400, reason: "BadRequest", message }
    }

    pub(super) fn gone(version: u64, oldest: u64) -> Self {
        Self {
            code: 410,
            reason: "Expired",
            message: format!("too old resource version: {version} ({oldest})"),
        }
    }

    /// A version that this server has not come to: etcd was restored from a backup.
    pub(super) fn too_large(version: u64, newest: u64) -> Self {
        let message = format!("Too large resource version: {version}, current: {newest}");
        Self { code: 504, reason: "Timeout", message }
    }

    /// The `Status` object.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Status",
            "metadata": {},
            "status": "Failure",
            "code": self.code,
            "reason": self.reason,
            "message": self.message,
        })
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = StatusCode::from_u16(self.code).expect("a refusal has an HTTP status");
        (code, Json(self.to_json())).into_response()
    }
}
