//! Opens the socket of the admin application and serves it.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::StartError;
use super::inherited::Inherited;
use super::worker::Phase;
use crate::admin::api::Api;
use crate::admin::monitor::Monitor;
use crate::admin::operations::Operations;
use crate::admin::server::{AdminListener, Bounds, Stop};
use crate::admin::{Application, Records};
use crate::auth::WrongKeys;
use crate::cache::Uses;
use crate::clock::Clock;
use crate::config::Settings;
use crate::config::settings::{Admin, Auth, HostPattern, ListenerRole, PathPattern};
use crate::limits::TurnedAway;
use crate::login::Issuer;
use crate::store::{Store, Via};

/// Opens the socket.
pub(super) fn open(admin: &Admin, inherited: &mut Inherited) -> Result<TcpListener, StartError> {
    let failed = |source| StartError::Listen { key: Admin::NAME.to_owned(), address: admin.address, source };
    let opened = inherited.open(Admin::NAME, admin.address, 1, false).map_err(failed)?;
    opened.into_iter().next().ok_or_else(|| failed(io::ErrorKind::AddrNotAvailable.into()))
}

/// Serves the admin application until shutdown, then finishes requests in flight.
/// It has its own rate limits, so load on the public listeners cannot lock operators out. The API records token use.
pub(super) fn serve(
    settings: &Settings,
    (socket, acceptor, turned_away): (TcpListener, watch::Receiver<TlsAcceptor>, Arc<TurnedAway>),
    addresses: &HashMap<String, SocketAddr>,
    (store, clock, uses, records): (&Store, &Clock, Uses, Records),
    monitor: Arc<Monitor>,
    phases: &watch::Receiver<Phase>,
    control: &mut JoinSet<()>,
) -> Option<JoinHandle<()>> {
    let admin = settings.admin.clone()?;
    let login = settings.login.clone().unwrap_or_default();
    let (issuer, handle) = Issuer::new(store.clone(), Via::Admin, &login, clock.clone());
    let operations = Operations::new(store.clone(), handle, clock.clone())?;
    control.spawn(issuer.run());
    control.spawn(tell_first_start(operations.clone()));
    let api = Api::new(operations.clone(), Arc::clone(&monitor), WrongKeys::new(settings.limits.wrong_keys), uses);
    let example = example(settings, addresses);
    let router = Application::new(admin, settings.tokens.clone(), operations, monitor, example).router(api, records);
    let listener = AdminListener {
        acceptor: Some(acceptor),
        router,
        bounds: Bounds::new(settings.timeouts.handshake),
        turned_away,
    };
    let mut phases = phases.clone();
    Some(tokio::spawn(async move {
        let stop = async move {
            match phases.wait_for(|phase| *phase > Phase::Leaving).await.as_deref() {
                Ok(Phase::HandedOver) => Stop::AfterNextResponse,
                // Fails only when the whole process exits.
                Ok(_) | Err(_) => Stop::AfterThisResponse,
            }
        };
        match tokio::net::TcpListener::from_std(socket) {
            Ok(socket) => listener.serve(socket, stop).await,
            Err(error) => tracing::error!(%error, "the admin application cannot listen"),
        }
    }))
}

/// Logs how to create the first superuser, if there is none. The sign-in page says the same.
async fn tell_first_start(operations: Operations) {
    if operations.lacks_superuser().await {
        tracing::warn!(
            code = "no_superuser",
            "there is no superuser with a password who could sign in to the admin application; create one: tokengate user \
             create NAME --superuser"
        );
    }
}

/// Builds a URL that the token may open, as a client on this machine would write it.
fn example(settings: &Settings, addresses: &HashMap<String, SocketAddr>) -> String {
    let listener = settings.listeners.iter().find(|listener| matches!(listener.role, ListenerRole::Tls(_)));
    let address = listener.and_then(|listener| addresses.get(&listener.name));
    let route = settings.routes.iter().find(|route| route.auth == Auth::Required);
    let port = address.map_or(443, SocketAddr::port);
    let host = match (route.map(|route| &route.host), address) {
        (Some(HostPattern::Exact(host)), _) => format!("{host}:{port}"),
        (_, Some(address)) if !address.ip().is_unspecified() => address.to_string(),
        _ => format!("localhost:{port}"),
    };
    let path = route.map_or("/", |route| match &route.path {
        PathPattern::Exact(path) | PathPattern::Prefix(path) => path,
    });
    format!("https://{host}{path}")
}
