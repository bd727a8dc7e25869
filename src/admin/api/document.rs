//! OpenAPI document, generated from the handlers and shapes and completed with the parts common to all operations.

use utoipa::OpenApi;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Required, Response, ResponseBuilder};

use super::problem::{FieldError, Written};
use super::{PREFIX, once};
use crate::admin::operations::SCOPE;

/// The static part of the document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "tokengate: users, tokens, traffic",
        description = "What the admin application does, for programs. Needs a token with the scope `tokengate:admin` whose \
                       owner is staff or superuser.",
        license(name = "Apache-2.0 OR MIT", identifier = "Apache-2.0 OR MIT")
    ),
    tags(
        (name = "users", description = "Users and groups"),
        (name = "tokens", description = "Tokens"),
        (name = "audit", description = "Audit entries"),
        (name = "gateway", description = "Traffic and status of the gateway")
    ),
    servers((url = "/", description = "The host that serves this document")),
    components(schemas(Written, FieldError))
)]
pub(super) struct Document;

/// Name of the security scheme.
const TOKEN: &str = "token";

/// Responses that any request may get: status, name and meaning.
const ALWAYS: [(&str, &str, &str); 6] = [
    ("400", "Malformed", "The request is malformed."),
    ("401", "Unauthenticated", "No valid token."),
    (
        "403",
        "NotAllowed",
        "The token or its owner has no permission for this, or the request is for an unknown host or comes from another site.",
    ),
    ("422", "Invalid", "The request is well-formed, but a value is not valid."),
    ("429", "Throttled", "Too many attempts, or too much at once."),
    ("503", "Unavailable", "The store is unavailable; the change may have been made."),
];
/// Responses of a request with an id in its path.
const OF_ONE: [(&str, &str, &str); 1] = [("404", "NotFound", "There is no such user or token.")];
/// Responses of a request that changes something.
const OF_CHANGE: [(&str, &str, &str); 1] = [("409", "Conflict", "The request conflicts with existing data.")];
/// Responses of a request with a body.
const OF_BODY: [(&str, &str, &str); 2] =
    [("413", "TooLarge", "The body is larger than 64 KiB."), ("415", "UnsupportedMediaType", "The body is not JSON.")];

/// Returns the whole document as JSON. `creations` are the operations that accept an `Idempotency-Key`.
pub(super) fn complete(mut document: utoipa::openapi::OpenApi, creations: &utoipa::openapi::OpenApi) -> String {
    let creations: Vec<String> = creations
        .paths
        .paths
        .values()
        .flat_map(operations)
        .filter_map(|(_, operation)| operation.operation_id.clone())
        .collect();
    for (path, item) in &mut document.paths.paths {
        for (is_read, operation) in operations_mut(item) {
            let is_creation = operation.operation_id.as_ref().is_some_and(|id| creations.contains(id));
            finish(operation, path.contains('{'), is_read, is_creation);
        }
    }
    let components = document.components.get_or_insert_default();
    for (_, name, meaning) in [ALWAYS.as_slice(), &OF_ONE, &OF_CHANGE, &OF_BODY].concat() {
        components.responses.insert(name.to_owned(), RefOr::T(problem(name, meaning)));
    }
    let described = format!("`Token <key>` (or `Bearer <key>`), of a token with the scope `{SCOPE}`.");
    let scheme =
        SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description("Authorization", described.as_str())));
    components.security_schemes.insert(TOKEN.to_owned(), RefOr::T(scheme));
    document.security = Some(vec![SecurityRequirement::new(TOKEN, Vec::<String>::new())]);
    let all = utoipa::openapi::OpenApiBuilder::new().build().nest(PREFIX, document.clone());
    document.paths = all.paths;
    // A document of texts and numbers is always JSON.
    document.to_json().unwrap_or_default()
}

fn finish(operation: &mut Operation, names_one: bool, is_read: bool, is_creation: bool) {
    let mut all = ALWAYS.to_vec();
    if names_one {
        all.extend(OF_ONE);
    }
    if !is_read {
        all.extend(OF_CHANGE);
    }
    if operation.request_body.is_some() || is_creation {
        all.extend(OF_BODY);
    }
    for (status, name, _) in all {
        let response = RefOr::Ref(Ref::from_response_name(name));
        operation.responses.responses.entry(status.to_owned()).or_insert(response);
    }
    if is_creation {
        let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[!-~]{1,255}$"));
        let described = "Identifies the request: a repeated request with the same key gets the same response and has no further effect.";
        let parameter = ParameterBuilder::new()
            .name(once::KEY.as_str())
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(described))
            .schema(Some(text));
        operation.parameters.get_or_insert_default().push(parameter.build().into());
    }
}

fn problem(name: &str, meaning: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let response = ResponseBuilder::new().description(meaning).content("application/problem+json", content);
    let text = |described: &str| {
        let schema = ObjectBuilder::new().schema_type(Type::String);
        HeaderBuilder::new().schema(Some(schema)).description(Some(described)).build()
    };
    match name {
        "Unauthenticated" => response.header("WWW-Authenticate", text("`Token`")).build(),
        "Throttled" | "Unavailable" => {
            response.header("Retry-After", text("Delay before a retry, in seconds.")).build()
        }
        _ => response.build(),
    }
}

/// Operations of a path, and whether each is read-only.
fn operations(item: &PathItem) -> impl Iterator<Item = (bool, &Operation)> {
    let PathItem { get, put, post, delete, patch, .. } = item;
    let changes = [put, post, delete, patch].into_iter().flatten().map(|operation| (false, operation));
    get.iter().map(|operation| (true, operation)).chain(changes)
}

fn operations_mut(item: &mut PathItem) -> impl Iterator<Item = (bool, &mut Operation)> {
    let PathItem { get, put, post, delete, patch, .. } = item;
    let changes = [put, post, delete, patch].into_iter().flatten().map(|operation| (false, operation));
    get.iter_mut().map(|operation| (true, operation)).chain(changes)
}
