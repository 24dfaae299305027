//! `/api/v1/apis`: the APIs that the configuration declares, and their scopes. They are read here, and changed there.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::MANAGEMENT_API;
use super::app::App;
use super::error::{ApiError, Common, CommonAndNotFound};
use super::operation::{Caller, CreateApi, CreateScope, ListApis, ListScopes, May, ShowApi, ShowScope};
use super::query::QueryPairs;
use crate::config::{ALL_PERMISSIONS, Api, Scope};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show))
        .routes(routes!(list_scopes, create_scope))
        .routes(routes!(show_scope))
}

/// The id of a scope: as stable as the names that it is made of.
pub(crate) fn scope_id(api: &str, scope: &Scope) -> String {
    use std::fmt::Write as _;

    let digest = Sha256::digest(format!("{api}\n{scope}"));
    digest[..16].iter().fold("api_scope_".to_owned(), |mut id, byte| {
        write!(id, "{byte:02x}").expect("a String takes every text");
        id
    })
}

/// APIs.
#[derive(Serialize, ToSchema)]
struct ApisAnswer {
    #[schema(example = "OK")]
    code: &'static str,
    message: &'static str,
    /// Always null: all of them are in one answer.
    next_token: Option<String>,
    apis: Vec<ApiItem>,
}

/// An API.
#[derive(Serialize, ToSchema)]
struct ApiItem {
    id: String,
    name: String,
    audience: String,
    is_management_api: bool,
    /// With `expand=scopes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    scopes: Option<Vec<ScopeKey>>,
}

/// The id and the name of a scope.
#[derive(Serialize, ToSchema)]
struct ScopeKey {
    id: String,
    #[schema(example = "read:ai_chats")]
    key: String,
}

#[derive(Serialize, ToSchema)]
struct ApiAnswer {
    #[schema(example = "OK")]
    code: &'static str,
    message: &'static str,
    api: ApiDetail,
}

/// An API with everything that belongs to it.
#[derive(Serialize, ToSchema)]
struct ApiDetail {
    id: String,
    name: String,
    audience: String,
    is_management_api: bool,
    scopes: Vec<ScopeKey>,
    /// Always empty: applications are not known here.
    applications: Vec<Application>,
}

/// An application; there are none here.
#[derive(Serialize, ToSchema)]
struct Application {
    id: String,
    name: String,
}

#[derive(Serialize, ToSchema)]
struct ScopesAnswer {
    #[schema(example = "OK")]
    code: &'static str,
    message: &'static str,
    scopes: Vec<ScopeItem>,
}

#[derive(Serialize, ToSchema)]
struct ScopeAnswer {
    #[schema(example = "OK")]
    code: &'static str,
    message: &'static str,
    scope: ScopeItem,
}

/// A scope.
#[derive(Serialize, ToSchema)]
struct ScopeItem {
    id: String,
    key: String,
    /// Always empty: scopes are declared by their names alone.
    description: &'static str,
}

/// The APIs that keys can be made for: the declared ones, and that of Latchkey itself if it has keys.
fn apis(app: &App) -> Vec<Api> {
    let settings = app.settings();
    let mut apis = settings.apis.clone();
    if settings.management.environment_keys {
        let jwt = settings.management.jwt.as_ref();
        apis.push(Api {
            id: MANAGEMENT_API.into(),
            name: "Latchkey management API".into(),
            audience: jwt.map_or_else(|| MANAGEMENT_API.into(), |jwt| jwt.audience.clone()),
            scopes: ALL_PERMISSIONS
                .iter()
                .filter_map(|scope| scope.parse().ok())
                .collect(),
        });
    }
    apis
}

impl ApiItem {
    fn of(api: &Api, with_scopes: bool) -> Self {
        Self {
            id: api.id.to_string(),
            name: api.name.to_string(),
            audience: api.audience.to_string(),
            is_management_api: *api.id == *MANAGEMENT_API,
            scopes: with_scopes.then(|| scope_keys(api)),
        }
    }
}

impl ScopeItem {
    fn of(api: &Api, scope: &Scope) -> Self {
        Self {
            id: scope_id(&api.id, scope),
            key: scope.to_string(),
            description: "",
        }
    }
}

fn scope_keys(api: &Api) -> Vec<ScopeKey> {
    let key = |scope: &Scope| ScopeKey {
        id: scope_id(&api.id, scope),
        key: scope.to_string(),
    };
    api.scopes.iter().map(key).collect()
}

/// The API that a path names.
fn named<'a>(apis: &'a [Api], id: &str) -> Result<&'a Api, ApiError> {
    apis.iter().find(|api| *api.id == *id).ok_or(ApiError::NotFound {
        code: "API_NOT_FOUND",
        message: "No API has this id",
    })
}

/// What a list of APIs may show beside them.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "describes the query for the document; QueryPairs reads it"
)]
struct Expand {
    /// `scopes` shows the scopes of each API; anything else shows nothing more.
    #[param(nullable = false)]
    expand: Option<String>,
}

/// List APIs, by name.
#[utoipa::path(
    get, path = "/api/v1/apis", tag = "APIs", operation_id = "getAPIs", security(("bearer" = ["read:apis"])), params(Expand),
    responses((status = 200, description = "The APIs", body = ApisAnswer), Common)
)]
async fn list(
    _: May<ListApis>,
    State(app): State<App>,
    query: QueryPairs,
) -> Result<Json<ApisAnswer>, ApiError> {
    let with_scopes = query
        .get("expand")?
        .is_some_and(|parts| parts.split(',').any(|part| part.trim() == "scopes"));
    let mut apis: Vec<ApiItem> = apis(&app)
        .iter()
        .map(|api| ApiItem::of(api, with_scopes))
        .collect();
    apis.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    Ok(Json(ApisAnswer {
        code: "OK",
        message: "Success",
        next_token: None,
        apis,
    }))
}

/// Refused: APIs are declared in the configuration.
#[utoipa::path(
    post, path = "/api/v1/apis", tag = "APIs", operation_id = "addAPIs", security(("bearer" = ["create:apis"])),
    responses(Common)
)]
async fn create(May { caller, .. }: May<CreateApi>, State(app): State<App>) -> ApiError {
    declared_elsewhere(&app, &caller)
}

/// Show one API.
#[utoipa::path(
    get, path = "/api/v1/apis/{api_id}", tag = "APIs", operation_id = "getAPI", security(("bearer" = ["read:apis"])),
    params(("api_id" = String, Path, description = "Id of the API")),
    responses((status = 200, description = "The API", body = ApiAnswer), CommonAndNotFound)
)]
async fn show(
    _: May<ShowApi>,
    State(app): State<App>,
    Path(api_id): Path<String>,
) -> Result<Json<ApiAnswer>, ApiError> {
    let apis = apis(&app);
    let api = named(&apis, &api_id)?;
    Ok(Json(ApiAnswer {
        code: "OK",
        message: "Success",
        api: ApiDetail {
            id: api.id.to_string(),
            name: api.name.to_string(),
            audience: api.audience.to_string(),
            is_management_api: *api.id == *MANAGEMENT_API,
            scopes: scope_keys(api),
            applications: Vec::new(),
        },
    }))
}

/// List the scopes of an API.
#[utoipa::path(
    get, path = "/api/v1/apis/{api_id}/scopes", tag = "APIs", operation_id = "getAPIScopes",
    security(("bearer" = ["read:api_scopes"])), params(("api_id" = String, Path, description = "Id of the API")),
    responses((status = 200, description = "Its scopes", body = ScopesAnswer), CommonAndNotFound)
)]
async fn list_scopes(
    _: May<ListScopes>,
    State(app): State<App>,
    Path(api_id): Path<String>,
) -> Result<Json<ScopesAnswer>, ApiError> {
    let apis = apis(&app);
    let api = named(&apis, &api_id)?;
    Ok(Json(ScopesAnswer {
        code: "OK",
        message: "Success",
        scopes: api.scopes.iter().map(|scope| ScopeItem::of(api, scope)).collect(),
    }))
}

/// Refused: scopes are declared in the configuration.
#[utoipa::path(
    post, path = "/api/v1/apis/{api_id}/scopes", tag = "APIs", operation_id = "addAPIScope",
    security(("bearer" = ["create:api_scopes"])), params(("api_id" = String, Path, description = "Id of the API")),
    responses(CommonAndNotFound)
)]
async fn create_scope(May { caller, .. }: May<CreateScope>, State(app): State<App>) -> ApiError {
    declared_elsewhere(&app, &caller)
}

/// Show one scope of an API.
#[utoipa::path(
    get, path = "/api/v1/apis/{api_id}/scopes/{scope_id}", tag = "APIs", operation_id = "getAPIScope",
    security(("bearer" = ["read:api_scopes"])),
    params(("api_id" = String, Path, description = "Id of the API"), ("scope_id" = String, Path, description = "Id or name of the scope")),
    responses((status = 200, description = "The scope", body = ScopeAnswer), CommonAndNotFound)
)]
async fn show_scope(
    _: May<ShowScope>,
    State(app): State<App>,
    Path((api_id, wanted)): Path<(String, String)>,
) -> Result<Json<ScopeAnswer>, ApiError> {
    let apis = apis(&app);
    let api = named(&apis, &api_id)?;
    let is_wanted = |scope: &&Scope| scope.as_str() == wanted || scope_id(&api.id, scope) == wanted;
    let scope = api.scopes.iter().find(is_wanted).ok_or(ApiError::NotFound {
        code: "SCOPE_NOT_FOUND",
        message: "The API has no such scope",
    })?;
    Ok(Json(ScopeAnswer {
        code: "OK",
        message: "Success",
        scope: ScopeItem::of(api, scope),
    }))
}

fn declared_elsewhere(app: &App, caller: &Caller) -> ApiError {
    let error = ApiError::Forbidden {
        code: "DECLARED_IN_CONFIGURATION",
        message: "APIs and their scopes are declared in Latchkey's configuration (`apis`), not over HTTP"
            .into(),
    };
    app.audit.refused(caller, None, &error);
    error
}
