//! The API as an OpenAPI 3.1 document, made from the annotations of the handlers.
//!
//! Only the binary that serves the document links it.

mod finish;
pub(crate) mod problems;

pub(crate) use crate::views::shapes;

use serde_json::Value;
use utoipa::{
    OpenApi,
    openapi::{
        self, HttpMethod,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

/// Makes both the router and the description of a module's handlers, each with its
/// `#[utoipa::path]`: no route can be in one and not in the other.
///
/// `routes!(State: one, two)` defines `fn routes() -> Router<State>` and `fn described() -> OpenApi`.
macro_rules! routes {
    ($state:ty: $($handler:ident),+ $(,)?) => { pastey::paste! {
        fn routes() -> axum::Router<$state> {
            use utoipa::Path;
            axum::Router::new()$(.route(
                &[<__path_ $handler>]::path(),
                axum::routing::on(
                    $crate::openapi::methods([<__path_ $handler>]::methods()),
                    $handler,
                ),
            ))+
        }

        /// The description of these routes.
        pub(crate) fn described() -> utoipa::openapi::OpenApi {
            #[derive(utoipa::OpenApi)]
            #[openapi(paths($($handler),+))]
            struct Described;
            <Described as utoipa::OpenApi>::openapi()
        }
    } };
}
pub(crate) use routes;

/// The methods of a handler's annotation as axum's filter.
pub(crate) fn methods(methods: Vec<HttpMethod>) -> axum::routing::MethodFilter {
    use axum::routing::MethodFilter;
    let filter = |method| match method {
        HttpMethod::Get => MethodFilter::GET,
        HttpMethod::Put => MethodFilter::PUT,
        HttpMethod::Post => MethodFilter::POST,
        HttpMethod::Head => MethodFilter::HEAD,
        HttpMethod::Patch => MethodFilter::PATCH,
        HttpMethod::Trace => MethodFilter::TRACE,
        HttpMethod::Delete => MethodFilter::DELETE,
        HttpMethod::Options => MethodFilter::OPTIONS,
    };
    // A handler is annotated with one method or more.
    methods.into_iter().map(filter).reduce(MethodFilter::or).unwrap_or(MethodFilter::OPTIONS)
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Kinline",
        description = include_str!("about.md"),
        contact(name = "Kinline"),
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "The server of this document")),
    tags(
        (name = "Threads", description = "Threads of a family, and a member's settings in them."),
        (name = "Messages", description = "Post and read messages, and see how far each one got."),
        (name = "Links", description = "Exchange links from SMS for browser sessions, and request new links."),
        (name = "Provisioning", description = "For the host application: families, users, audit, export."),
        (name = "Pages", description = "HTML pages for family members."),
        (name = "Operations", description = "Health check and API description."),
    ),
    components(schemas(crate::error::ProblemBody)),
)]
struct Kinline;

/// The document of these modules of routes, as JSON.
pub fn document(modules: impl IntoIterator<Item = openapi::OpenApi>) -> Value {
    let mut document = Kinline::openapi();
    for module in modules {
        document.merge(module);
    }
    let components = document.components.get_or_insert_default();
    for (name, scheme) in security_schemes() {
        components.add_security_scheme(name, scheme);
    }
    // It is made of maps and strings.
    let mut document = serde_json::to_value(document).unwrap_or_default();
    finish::finish(&mut document);
    document
}

fn security_schemes() -> [(&'static str, SecurityScheme); 3] {
    let bearer = |description: &str| {
        SecurityScheme::Http(
            HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .bearer_format("JWT")
                .description(Some(description))
                .build(),
        )
    };
    [
        (
            "member",
            bearer(
                "A member's token, from the host application's identity provider. Claims: \
                 `sub`, `familyId`, `exp`.",
            ),
        ),
        (
            "service",
            bearer(
                "The host application's own token. Claims: `role` (`service`), `exp`. With \
                 `familyId` it is limited to that family.",
            ),
        ),
        (
            "session",
            SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(
                "__Host-kin",
                "A browser's session. Exchanging a link sets the cookie. It reaches the threads \
                 whose links were exchanged in that browser. On http://localhost the cookie is \
                 `kin`: browsers refuse the prefix there.",
            ))),
        ),
    ]
}
