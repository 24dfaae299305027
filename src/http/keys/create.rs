//! Making keys, and taking in keys that were made elsewhere.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::input::{self, NewKeyBody};
use super::shapes::{ImportAnswer, Imported, Secret, SecretAnswer};
use crate::http::app::App;
use crate::http::body::Fields;
use crate::http::error::{ApiError, Common};
use crate::http::operation::{Caller, CreateKey, ImportKey, May};
use crate::keys::{ApiKey, KeyDigest, NewKey, SecretMark, now_ms};

/// Make a key. Its secret is in the answer, and nowhere else ever.
#[utoipa::path(
    post, path = "/api/v1/api_keys", tag = "API keys", operation_id = "createApiKey",
    security(("bearer" = ["create:api_keys"])), request_body = NewKeyBody,
    responses((status = 201, description = "The key was made", body = SecretAnswer), Common)
)]
pub(super) async fn create(
    May { caller, .. }: May<CreateKey>,
    State(app): State<App>,
    body: Result<Fields, ApiError>,
) -> Result<(StatusCode, Json<SecretAnswer>), ApiError> {
    app.audited(&caller, None, async {
        let fields = body?;
        let key = ApiKey::generate(&app.settings().keys.prefix)
            .map_err(|error| ApiError::Internal(error.to_string().into()))?;
        let id = store(&app, &caller, &fields, SecretMark::of(&key), false).await?;
        Ok((
            StatusCode::CREATED,
            Json(SecretAnswer {
                message: "API key created",
                code: "API_KEY_CREATED",
                api_key: Secret {
                    id,
                    key: key.expose().to_owned(),
                    old_key_valid_until: None,
                },
            }),
        ))
    })
    .await
}

/// A key whose secret was made elsewhere.
#[derive(Deserialize, ToSchema)]
#[schema(as = ImportedApiKey)]
#[expect(dead_code, reason = "describes the body for the document; `Fields` reads it")]
struct ImportBody {
    #[serde(flatten)]
    key: NewKeyBody,
    /// SHA-256 of the secret, in 64 hexadecimal digits.
    #[schema(min_length = 64, max_length = 64, pattern = "^[0-9a-fA-F]{64}$")]
    digest: String,
    /// The first 3 to 16 characters of the secret. Presented keys of foreign shape are looked up only if they begin like an imported one.
    #[schema(min_length = 3, max_length = 16, example = "k_live_")]
    key_prefix: String,
    /// The last characters of the secret, at most four.
    #[schema(max_length = 4)]
    key_suffix: Option<String>,
}

/// Take in a key that was made elsewhere, by the SHA-256 of its secret.
#[utoipa::path(
    post, path = "/api/v1/api_keys/import", tag = "API keys", operation_id = "importApiKey",
    security(("bearer" = ["create:api_keys"])), request_body = ImportBody,
    responses((status = 201, description = "The key was taken in", body = ImportAnswer), Common)
)]
pub(super) async fn import(
    May { caller, .. }: May<ImportKey>,
    State(app): State<App>,
    body: Result<Fields, ApiError>,
) -> Result<(StatusCode, Json<ImportAnswer>), ApiError> {
    app.audited(&caller, None, async {
        let fields = body?;
        let digest = digest(fields.required_text("digest")?).ok_or_else(|| {
            ApiError::invalid("digest must be 64 hexadecimal digits, the SHA-256 of the secret")
        })?;
        let mark = SecretMark {
            digest,
            prefix: fields.required_text("key_prefix")?.into(),
            suffix: fields.text("key_suffix")?.unwrap_or_default().into(),
        };
        let id = store(&app, &caller, &fields, mark, true).await?;
        Ok((
            StatusCode::CREATED,
            Json(ImportAnswer {
                message: "API key imported",
                code: "API_KEY_IMPORTED",
                api_key: Imported { id },
            }),
        ))
    })
    .await
}

/// Stores the key that the fields describe, and says its id.
async fn store(
    app: &App,
    caller: &Caller,
    fields: &Fields,
    secret: SecretMark,
    imported: bool,
) -> Result<String, ApiError> {
    let now_ms = now_ms();
    let (record, metadata) = input::new_key(fields, &app.settings(), caller, now_ms)?;
    let id = record.id.to_string();
    let key = NewKey {
        record,
        secret,
        imported,
        created_at_ms: now_ms,
        created_by: caller.name().map(Into::into),
        metadata,
    };
    let event = caller.done(&id);
    app.store.create(&key, &event).await?;
    // It may have been asked for already, and is then known as unknown.
    app.keys.forget(&key.secret.digest);
    app.audit.done(&event);
    Ok(id)
}

fn digest(hex: &str) -> Option<KeyDigest> {
    let mut bytes = [0; 32];
    if hex.len() != 64 || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()?;
    }
    Some(KeyDigest::from_bytes(bytes))
}
