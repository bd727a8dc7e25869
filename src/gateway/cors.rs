//! Cross-origin requests of programs in browsers (CORS, the Fetch standard).
//!
//! A preflight has no credentials: browsers send none. So the gateway answers it from the rules of the route, without a
//! token and without the upstream. Every other request is authenticated as usual, and its response tells the browser
//! whether the program may read it; refusals do so too.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, request};

use crate::config::settings::{self, Cors, CorsOrigins};
use crate::route::STANDARD_METHODS;

const REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// The headers of an upstream that the rules of a route replace.
const REPLACED: [HeaderName; 7] = [
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
    ALLOW_PRIVATE_NETWORK,
];

/// The values of the headers of one route, prepared when the configuration is loaded.
pub struct CorsFields {
    origins: CorsOrigins,
    credentials: bool,
    expose: Option<HeaderValue>,
    methods: Vec<Method>,
    allow_methods: HeaderValue,
    allow_headers: Option<HeaderValue>,
    max_age: HeaderValue,
    private_network: bool,
}

/// What the response to one request says about its origin.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// `Access-Control-Allow-Origin`; `None`: the origin is not admitted, or the request has none.
    origin: Option<HeaderValue>,
    credentials: bool,
    expose: Option<HeaderValue>,
}

impl CorsFields {
    /// The values for a route; `None`: it has no rules.
    pub(super) fn of(route: &settings::Route) -> Option<CorsFields> {
        let Cors { origins, methods, headers, expose, credentials, max_age, private_network } = route.cors.as_ref()?;
        let methods = match (methods.as_slice(), route.methods.as_slice()) {
            ([], []) => STANDARD_METHODS.into_iter().filter(|method| *method != Method::OPTIONS).collect(),
            ([], of_route) => of_route.to_vec(),
            (own, _) => own.to_vec(),
        };
        let list = |names: Vec<&str>| Some(names.join(", ")).filter(|list| !list.is_empty());
        let value = |list: Option<String>| list.and_then(|list| HeaderValue::try_from(list).ok());
        let allow_methods = value(list(methods.iter().map(Method::as_str).collect()));
        Some(CorsFields {
            origins: origins.clone(),
            credentials: *credentials,
            expose: value(list(expose.iter().map(HeaderName::as_str).collect())),
            allow_methods: allow_methods.unwrap_or_else(|| HeaderValue::from_static("GET")),
            methods,
            allow_headers: value(list(headers.iter().map(HeaderName::as_str).collect())),
            max_age: HeaderValue::from(max_age.as_secs()),
            private_network: *private_network,
        })
    }

    /// What the response to this request says.
    pub(super) fn say(&self, fields: &HeaderMap) -> Said {
        let mut lines = fields.get_all(ORIGIN).iter();
        let origin = lines.next().filter(|_| lines.next().is_none());
        let admitted = origin.filter(|origin| self.origins.admit(origin.as_bytes()));
        let origin = admitted.map(|origin| match self.origins {
            CorsOrigins::Any => HeaderValue::from_static("*"),
            CorsOrigins::Listed(_) => origin.clone(),
        });
        Said { origin, credentials: self.credentials, expose: self.expose.clone() }
    }

    /// The headers that answer a preflight; `None`: its origin or method is not admitted.
    pub(super) fn answer(&self, fields: &HeaderMap, asked: &Method) -> Option<HeaderMap> {
        self.say(fields).origin.filter(|_| self.methods.contains(asked))?;
        let mut out = HeaderMap::new();
        out.insert(ACCESS_CONTROL_ALLOW_METHODS, self.allow_methods.clone());
        if let Some(headers) = &self.allow_headers {
            out.insert(ACCESS_CONTROL_ALLOW_HEADERS, headers.clone());
        }
        out.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        if self.private_network && fields.get(REQUEST_PRIVATE_NETWORK).is_some_and(|value| value == "true") {
            out.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
        }
        let vary = "Access-Control-Request-Method, Access-Control-Request-Headers";
        out.insert(VARY, HeaderValue::from_static(vary));
        Some(out)
    }
}

impl Said {
    /// Adds the headers to those of a response.
    pub(super) fn add_to(&self, fields: &mut HeaderMap) {
        REPLACED.iter().for_each(|name| drop(fields.remove(name)));
        fields.append(VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = &self.origin else { return };
        fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if self.credentials {
            fields.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Some(expose) = &self.expose {
            fields.insert(ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
    }
}

/// The method that a preflight asks for; `None`: the request is not a preflight.
pub(super) fn preflight(head: &request::Parts) -> Option<Method> {
    let asked = head.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
    if head.method != Method::OPTIONS || !head.headers.contains_key(ORIGIN) {
        return None;
    }
    let method = Method::from_bytes(asked.as_bytes()).ok()?;
    (method != Method::CONNECT && method != Method::TRACE).then_some(method)
}
