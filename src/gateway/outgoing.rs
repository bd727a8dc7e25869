//! Builds the request for the endpoint.
//!
//! The order matters (docs/ARCHITECTURE.md, "A request"): first the headers that a client may not send are removed,
//! then those of the gateway are added, and nothing is removed afterwards. The client's own `HeaderMap` is changed in
//! place and moved on.

use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderValue, Request, Uri, Version, request};
use http_body::Body as _;

use super::fields::forwarded;
use super::websocket::WebSocketHandshake;
use super::{Exchange, Gateway, Refusal};
use crate::auth::{Permit, cookies};
use crate::client::ClientBody;
use crate::config::settings::{ForwardAuthorization, PathPattern};
use crate::route::{NoRoute, Route, Target};
use crate::upstream::{OutgoingBody, Spool};

impl Gateway {
    /// Builds the request for the endpoint, still with the client's `Host`. `below` is the target without the prefix,
    /// if the route strips it.
    pub(super) fn prepare(
        &self,
        head: Box<request::Parts>,
        body: OutgoingBody,
        below: Option<Uri>,
        handshake: Option<&WebSocketHandshake>,
        permit: &Permit<'_>,
        exchange: &Exchange,
    ) -> Result<Request<OutgoingBody>, Refusal> {
        let request::Parts { method, uri, headers: mut fields, .. } = *head;

        let host = match fields.get(HOST) {
            Some(host) => host.clone(),
            // HTTP/2 has the host in the target.
            None => uri.authority().and_then(|a| HeaderValue::try_from(a.as_str()).ok()).ok_or(Refusal::Internal)?,
        };
        let route = permit.route();
        let credentials = match route.settings.forward_authorization {
            ForwardAuthorization::Never => false,
            ForwardAuthorization::Foreign => {
                !self.worker.authenticator.shows_own(&self.generation.credentials, &fields)
            }
            ForwardAuthorization::Always => true,
        };
        self.generation.fields.sift(&mut fields, &route.settings.pass_headers, credentials)?;
        cookies::gather(&mut fields, self.generation.pages.is_some());
        forwarded::set(&mut fields, exchange.peer(), host.clone(), route.cut_prefix.as_ref(), exchange.id().clone());
        if let Some(certificate) = exchange.certificate() {
            forwarded::set_certificate(&mut fields, certificate, route.settings.forward_certificate);
        }
        self.generation.fields.add(&mut fields, permit.caller().map(|identity| &**identity));
        if let Some(consent) = permit.consent() {
            self.generation.fields.add_consent(&mut fields, consent);
        }
        fields.insert(HOST, host);

        if let Some(handshake) = handshake {
            handshake.ask(&mut fields);
        }
        if let Some(length) = body.gathered() {
            fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = below.map_or_else(|| origin_form(uri), Ok)?;
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = fields;
        Ok(request)
    }
}

/// The client's body, within the limits of the route. On a streaming route a gRPC client may be silent as long as it
/// likes: it sends messages when it has some.
pub(super) fn body(body: ClientBody, route: &Route, is_grpc: bool) -> OutgoingBody {
    let settings = &route.settings;
    if body.is_end_stream() {
        return OutgoingBody::empty();
    }
    let silence = if is_grpc && settings.streaming { Duration::MAX } else { settings.request_body_timeout };
    OutgoingBody::streaming(body, settings.body_limit, silence, settings.body_rate)
}

/// Reads the whole body, unless the caller's token ends before.
pub(super) async fn gather(body: OutgoingBody, spool: &Spool, exchange: &Exchange) -> Result<OutgoingBody, Refusal> {
    if body.is_empty() {
        return Ok(body);
    }
    // Checked before the first byte is read, so that a client which waits for a 100 sends none.
    let mut gathered = spool.begin(body.size_hint().lower())?;
    let mut body = std::pin::pin!(body);
    let mut next = |cx: &mut Context<'_>| match exchange.poll_token_end(cx) {
        true => Poll::Ready(Some(Err(Refusal::TokenEnded))),
        false => body.as_mut().poll_frame(cx).map_err(Refusal::Body),
    };
    while let Some(frame) = std::future::poll_fn(&mut next).await {
        if let Ok(data) = frame?.into_data() {
            gathered = gathered.push(&data).await?;
        }
    }
    Ok(gathered.finish().await?)
}

/// The target for the endpoint of a route with `strip_prefix`: without the prefix, otherwise unchanged.
pub(super) fn below_prefix(target: &Target<'_>, pattern: &PathPattern) -> Result<Uri, Refusal> {
    let path = match pattern {
        PathPattern::Prefix(prefix) => target.path_below(prefix).ok_or(Refusal::Internal)?,
        PathPattern::Exact(_) => target.path(),
    };
    // Some servers read `//host` at the start of a target as an authority.
    if Target::has_authority(path) {
        return Err(NoRoute::EmptySegment.into());
    }
    let query = target.query().map(|query| format!("?{query}")).unwrap_or_default();
    Uri::try_from(format!("{path}{query}")).map_err(|_| Refusal::Internal)
}

/// Unchanged path and query only: HTTP/2 and the absolute form also have scheme and authority.
fn origin_form(uri: Uri) -> Result<Uri, Refusal> {
    if uri.scheme().is_none() && uri.authority().is_none() {
        return Ok(uri);
    }
    uri.into_parts().path_and_query.map(Uri::from).ok_or(Refusal::Internal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Peer;

    #[test]
    fn a_prefix_is_cut_off_by_whole_segments_of_the_raw_path() {
        let local = "127.0.0.1:1".parse().unwrap();
        let peer = Peer::plain(local, local);
        for (uri, prefix, left) in [
            ("/api/x?q=1", "/api/", Ok("/x?q=1")),
            ("/api/", "/api/", Ok("/")),
            ("/%61pi/x%20y/", "/api/", Ok("/x%20y/")),
            ("/api/v1/x", "/api/v1", Ok("/x")),
            ("/api/v1", "/api/v1", Ok("/")),
            ("/api/v1?q", "/api/v1", Ok("/?q")),
            ("/api/%2Fevil/x", "/api/", Err(Refusal::NoRoute(NoRoute::EmptySegment))),
            ("/api/%252Fevil/x", "/api/", Err(Refusal::NoRoute(NoRoute::EmptySegment))),
            ("/api//evil/x", "/api/", Err(Refusal::NoRoute(NoRoute::EmptySegment))),
        ] {
            let (head, ()) = Request::builder().uri(uri).header(HOST, "h").body(()).unwrap().into_parts();
            let target = Target::read(&head, 1024, &peer).unwrap();
            let below = below_prefix(&target, &PathPattern::Prefix(prefix.to_owned()));
            assert_eq!(below.map(|uri| uri.to_string()), left.map(str::to_owned), "{uri}");
        }
    }

    #[test]
    fn path_and_query_are_forwarded_unchanged() {
        for (uri, asked) in [("/a%2Bb?x=%26", "/a%2Bb?x=%26"), ("https://h/a%2Bb?x=%26", "/a%2Bb?x=%26")] {
            assert_eq!(origin_form(uri.parse().unwrap()).unwrap().to_string(), asked);
        }
    }
}
