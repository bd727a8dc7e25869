//! The request: from its head to its answer, as one line.
//!
//! Start reading at [`answer`](Gateway): it is the request function. Around it, [`Gateway::serve`] does bookkeeping
//! only: opens the [`Exchange`], turns a [`Refusal`] into a response, and hands the exchange to the response's body,
//! whose end settles everything exactly once. A gateway belongs to one worker and is deliberately not `Send`.

mod admit;
mod answer;
mod body;
mod callers;
mod exchange;
pub mod fields;
mod forms;
mod forward;
pub mod generation;
mod handle;
mod login;
mod outgoing;
mod pages;
mod refusal;
mod reply;
mod shares;
mod timer;
mod tunnel;
mod websocket;

use std::cell::Cell;
use std::rc::Rc;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};

use crate::client::{ClientBody, ClientConnection};
use crate::telemetry::Outcome;

pub use body::Body;
pub use callers::Callers;
pub use exchange::Exchange;
pub use forms::Forms;
pub use generation::{Current, Gateway, Generation, ListenerTls, Member, ServedListener, UpstreamSpec, Worker};
pub use handle::Tunnels;
pub use login::LoginEndpoint;
pub use pages::PagesEndpoint;
pub use refusal::Refusal;
pub use shares::Share;
pub use timer::Timer;
pub use tunnel::Tunnel;

/// The caller's token ended while the request was under way. What its endpoint has made of it is not known, so that
/// every answer would say too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the caller's token has ended")]
pub struct Unanswered;

impl Gateway {
    /// Serves one request of a client. An answer that switches to WebSocket leaves its tunnel in `opened`.
    ///
    /// What goes wrong is an answer too. Dropping the future (the client left) ends the exchange. A plain function in
    /// front of the future, which then has no room for the request as it came.
    ///
    /// # Errors
    /// [`Unanswered`]: the connection, or the stream of HTTP/2, has to end without an answer.
    pub fn serve(
        self: Rc<Self>,
        client: &Rc<ClientConnection>,
        opened: &Rc<Cell<Option<Tunnel>>>,
        request: Request<ClientBody>,
    ) -> impl Future<Output = Result<Response<Body>, Unanswered>> + use<> {
        let (head, body) = request.into_parts();
        let mut exchange = Exchange::open(&self, client, &head);
        // What comes behind it is not read as a request, so that there is no other one.
        let is_last = client.held.get() && websocket::is_asked_for(&head);
        let has_body = !http_body::Body::is_end_stream(&body);
        let opened = Rc::clone(opened);
        async move {
            Ok(match self.answer(head, body, &mut exchange).await {
                Ok(mut response) => {
                    if let Some(far_end) = exchange.far_end() {
                        opened.set(Some(Tunnel::new(far_end, exchange)));
                        return Ok(response);
                    }
                    if is_last {
                        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                    }
                    response.map(|body| body.settling(exchange))
                }
                Err(Refusal::TokenEnded) => {
                    exchange.breaks_off(Outcome::TokenEnded);
                    return Err(Unanswered);
                }
                Err(refusal) => {
                    let close = is_last || (has_body && !exchange.is_read_whole());
                    refusal.respond(exchange, close, self.generation.credentials.challenge())
                }
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of what a function gives whose future is not named.
    fn size<F>(
        _: impl Fn(Rc<Gateway>, &Rc<ClientConnection>, &Rc<Cell<Option<Tunnel>>>, Request<ClientBody>) -> F,
    ) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_future_of_a_request_and_what_it_moves_stay_small() {
        // Each is moved several times for each request.
        let sizes = (size(Gateway::serve), size_of::<Body>(), size_of::<crate::upstream::Lease>());
        assert!(sizes.0 <= 2_560 && sizes.1 <= 160 && sizes.2 <= 32, "{sizes:?}");
    }
}
