//! The request: from its head to its answer, as one line.
//!
//! Start reading at [`answer`](Gateway): it is the request function. Around it, [`Gateway::serve`] does bookkeeping only:
//! opens the [`Exchange`], turns a [`Refusal`] into a response, and hands the exchange to the response's body, whose end
//! settles everything exactly once. A gateway belongs to one worker and is deliberately not `Send`.

mod answer;
mod body;
mod door;
mod exchange;
pub mod fields;
mod forward;
pub mod framing;
mod login;
mod outgoing;
mod pulse;
mod refusal;
mod reply;
mod timer;

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;

use crate::auth::Authenticator;
use crate::cache::ExposedTokens;
use crate::clock::Clock;
use crate::config::settings::Limits;
use crate::route::RouteTable;
use crate::telemetry::{AccessLog, Recorder, RequestIds};
use crate::upstream::Pools;

pub use answer::HeadFault;
pub use body::Body;
pub(crate) use door::REFUSED_METHOD;
pub use door::{ClientConnection, Door, Plaintext};
pub use exchange::Exchange;
pub use login::LoginDesk;
pub use pulse::{Ending, Pulse, Roll};
pub use refusal::Refusal;

/// The request pipeline of one worker.
pub struct Gateway {
    /// Which requests go where; shared by all workers.
    pub routes: Arc<RouteTable>,
    /// What is taken from and added to requests.
    pub fields: fields::FieldPolicy,
    /// Forward the client's `Authorization` too.
    pub forward_authorization: bool,
    /// Connections to endpoints.
    pub pools: Pools,
    /// Tokens for passwords; `None`: switched off.
    pub login: Option<LoginDesk>,
    /// Who is calling.
    pub authenticator: Authenticator,
    /// Where tokens that were sent in clear are reported.
    pub exposed: ExposedTokens,
    /// Limits that hold before a route is known.
    pub limits: Limits,
    /// Wall time, for the log.
    pub clock: Clock,
    /// Counters of this worker.
    pub recorder: Arc<Recorder>,
    /// `None`: no line for each request.
    pub access_log: Option<AccessLog>,
    /// Ids for requests.
    pub ids: RequestIds,
}

impl Gateway {
    /// Serves one request of a client.
    ///
    /// Never fails: what goes wrong is an answer too. Dropping the future (the client left) ends the exchange. A plain
    /// function in front of the future, which then has no room for the request as it came.
    ///
    /// # Errors
    /// None; the type is what the HTTP library asks for.
    pub fn serve(
        self: Rc<Self>,
        client: &Rc<ClientConnection>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + use<> {
        let (head, body) = request.into_parts();
        let mut exchange = Exchange::open(&self, client, &head);
        let unread_body = !http_body::Body::is_end_stream(&body);
        async move {
            Ok(match self.answer(head, body, &mut exchange).await {
                Ok(response) => response.map(|body| body.settling(exchange)),
                Err(refusal) => refusal.respond(exchange, unread_body, self.authenticator.challenge()),
            })
        }
    }
}
