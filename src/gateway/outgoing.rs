//! Makes the request that an endpoint gets.
//!
//! The order is law (ARCHITECTURE §7): what a client may not say is taken away first, then ours is added, and nothing
//! removes afterwards. The client's own `HeaderMap` is changed in place and moved on.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Uri, Version, request};
use http_body::Body as _;
use hyper::body::Incoming;

use super::fields::forwarded;
use super::{Exchange, Gateway, Refusal};
use crate::auth::Permit;
use crate::config::settings::PathPattern;
use crate::upstream::{BodyFault, OutgoingBody};

/// Longest body that a route with `request_body = "buffer"` gathers; more is refused, whatever the route's own limit.
const MOST_GATHERED: u64 = 1 << 20;

impl Gateway {
    /// Makes the request that an endpoint gets, `Host` still the client's.
    pub(super) async fn prepare(
        &self,
        head: request::Parts,
        body: Incoming,
        permit: &Permit<'_>,
        exchange: &Exchange,
    ) -> Result<Request<OutgoingBody>, Refusal> {
        let route = &permit.route().settings;
        let request::Parts { method, uri, headers: mut fields, .. } = head;

        let host = match fields.get(HOST) {
            Some(host) => host.clone(),
            // HTTP/2 has it in the target.
            None => uri.authority().and_then(|a| HeaderValue::try_from(a.as_str()).ok()).ok_or(Refusal::Internal)?,
        };
        self.fields.sift(&mut fields, self.forward_authorization)?;
        forwarded::set(&mut fields, exchange.peer(), host.clone(), exchange.id().clone());
        self.fields.add(&mut fields, permit.caller().map(|identity| &**identity));
        fields.insert(HOST, host);

        let body = if body.is_end_stream() {
            OutgoingBody::empty()
        } else {
            if declared_length(&fields).is_some_and(|length| length > route.body_limit) {
                return Err(BodyFault::TooLarge.into());
            }
            if route.buffer_request {
                let body = OutgoingBody::streaming(
                    body,
                    route.body_limit.min(MOST_GATHERED),
                    route.request_body_timeout,
                );
                let gathered = gather(body).await?;
                fields.remove(TRANSFER_ENCODING);
                fields.insert(CONTENT_LENGTH, HeaderValue::from(gathered.len()));
                OutgoingBody::full(gathered)
            } else {
                OutgoingBody::streaming(body, route.body_limit, route.request_body_timeout)
            }
        };

        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = origin_form(uri, route.strip_prefix.then_some(&route.path))?;
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = fields;
        Ok(request)
    }
}

fn declared_length(fields: &http::HeaderMap) -> Option<u64> {
    fields.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn gather(body: OutgoingBody) -> Result<Bytes, BodyFault> {
    let mut body = std::pin::pin!(body);
    let mut gathered = BytesMut::new();
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        if let Ok(data) = frame?.into_data() {
            gathered.extend_from_slice(&data);
        }
    }
    Ok(gathered.freeze())
}

/// Path and query only, as they came; without the route's prefix where it is cut off.
fn origin_form(uri: Uri, strip: Option<&PathPattern>) -> Result<Uri, Refusal> {
    let cut = match strip {
        Some(PathPattern::Prefix(prefix)) => prefix.trim_end_matches('/').matches('/').count(),
        Some(PathPattern::Exact(_)) | None => 0,
    };
    if cut == 0 && uri.scheme().is_none() && uri.authority().is_none() {
        return Ok(uri);
    }
    let target = uri.into_parts().path_and_query.ok_or(Refusal::Internal)?;
    let target = if cut == 0 { target } else { without_segments(&target, cut)? };
    Ok(Uri::from(target))
}

/// Cuts whole segments off the raw path. The prefix was matched on the decoded path; no escape there decodes to a slash,
/// so the segments are the same ones.
fn without_segments(target: &PathAndQuery, count: usize) -> Result<PathAndQuery, Refusal> {
    let path = target.path();
    let end = path.match_indices('/').nth(count).map_or(path.len(), |(at, _)| at);
    let rest = path.get(end..).unwrap_or_default();
    let rest = if rest.is_empty() { "/" } else { rest };
    let query = target.query().map(|query| format!("?{query}")).unwrap_or_default();
    PathAndQuery::try_from(format!("{rest}{query}")).map_err(|_| Refusal::Internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_cut_off_by_whole_segments_of_the_raw_path() {
        let api = PathPattern::Prefix("/api/".to_owned());
        let bare = PathPattern::Prefix("/api/v1".to_owned());
        for (uri, strip, left) in [
            ("/api/x?q=1", &api, "/x?q=1"),
            ("/api/", &api, "/"),
            ("/%61pi/x%20y/", &api, "/x%20y/"),
            ("https://h/api/v1/x", &bare, "/x"),
            ("/api/v1", &bare, "/"),
            ("/api/v1?q", &bare, "/?q"),
        ] {
            let uri: Uri = uri.parse().unwrap();
            assert_eq!(origin_form(uri.clone(), Some(strip)).unwrap().to_string(), left, "{uri}");
        }
        assert_eq!(origin_form("https://h/a%2Bb?x=%26".parse().unwrap(), None).unwrap().to_string(), "/a%2Bb?x=%26");
    }
}
