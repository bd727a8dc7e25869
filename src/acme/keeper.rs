//! The task that keeps certificates valid.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use instant_acme::Error;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::folder::Folder;
use super::schedule::{self, ASK_AGAIN, Window};
use super::{AcmeError, Challenges, client, order};
use crate::clock::{Clock, Timestamp};
use crate::config::Settings;
use crate::config::settings::{Acme, AcmeCertificate};
use crate::telemetry::{AcmeState, Outage, ProcessCounters};
use crate::tls::Certificate;

/// How often pending challenges are read, and due certificates looked for.
const TICK: Duration = Duration::from_secs(1);
/// How soon a certificate is looked at again while another gateway requests certificates.
const BUSY: Duration = Duration::from_secs(5);
/// Bounds for the pause that the CA asks for between questions about renewal.
const ASK_BOUNDS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(86_400));

/// Keeps the certificates of the configuration in use valid.
pub struct Keeper {
    clock: Clock,
    challenges: Arc<Challenges>,
    counts: Arc<ProcessCounters>,
    random: StdRng,
    known: HashMap<String, Known>,
    /// The certificate that is being seen to.
    work: Option<(String, JoinHandle<Seen>)>,
    /// The CA cannot be asked when to renew.
    unasked: Outage,
}

/// What is known about a certificate.
struct Known {
    wanted: AcmeCertificate,
    /// When it is looked at again.
    next: Timestamp,
    failures: u32,
    /// The window of the CA, and the certificate that it is for.
    window: Option<(Vec<u8>, Window)>,
    /// Where in a window it is renewed; from 0 to 1.
    spot: f64,
}

/// What a look at a certificate found.
enum Seen {
    /// It is not due.
    Fine { certificate: Box<Certificate>, asked: Asked },
    /// It was issued.
    Issued(Box<Certificate>),
    /// Another gateway requests certificates.
    Busy,
    /// It was not issued.
    Failed(AcmeError),
}

/// What the CA says to the question when to renew a certificate.
enum Asked {
    /// Its window, and when to ask again; `None`: it leaves the time to us.
    Answered(Option<(Window, Duration)>),
    /// It was not asked.
    Not,
    /// It did not answer.
    Failed(AcmeError),
}

impl Keeper {
    /// A keeper that answers through `challenges` and counts in `counts`.
    pub fn new(clock: Clock, challenges: Arc<Challenges>, counts: Arc<ProcessCounters>, random: StdRng) -> Keeper {
        Keeper { clock, challenges, counts, random, known: HashMap::new(), work: None, unasked: Outage::default() }
    }

    /// Runs until dropped. `settings` returns the configuration in use.
    pub async fn run(mut self, settings: impl Fn() -> Arc<Settings>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let settings = settings();
            match &settings.acme {
                Some(acme) => self.step(acme).await,
                None => {
                    self.challenges.set(Vec::new(), self.clock.now());
                    self.known.clear();
                }
            }
            self.tell(settings.acme.as_ref());
        }
    }

    async fn step(&mut self, acme: &Acme) {
        let folder = Folder::at(&acme.folder);
        if let Ok(pending) = tokio::task::spawn_blocking(move || folder.pending()).await {
            self.challenges.set(pending, self.clock.now());
        }
        self.known.retain(|name, _| acme.certificates.iter().any(|one| one.name == *name));
        if self.work.as_ref().is_some_and(|(_, work)| !work.is_finished()) {
            return;
        }
        if let Some((name, work)) = self.work.take()
            && let Ok(seen) = work.await
        {
            self.note(acme, &name, seen);
        }
        let now = self.clock.now();
        for wanted in &acme.certificates {
            let spot = self.random.random::<f64>();
            let fresh = || Known { wanted: wanted.clone(), next: now, failures: 0, window: None, spot };
            let known = self.known.entry(wanted.name.clone()).or_insert_with(fresh);
            if known.wanted != *wanted {
                *known = fresh();
            }
            if known.next <= now {
                let window = known.window.clone();
                let look = look(acme.clone(), wanted.clone(), window, known.spot, self.clock.clone());
                self.work = Some((wanted.name.clone(), tokio::spawn(look)));
                return;
            }
        }
    }

    fn note(&mut self, acme: &Acme, name: &str, seen: Seen) {
        let (now, spot) = (self.clock.now(), self.random.random::<f64>());
        let Some(known) = self.known.get_mut(name) else { return };
        let mut states = self.counts.acme.lock().unwrap_or_else(PoisonError::into_inner);
        let state = states.entry(name.to_owned()).or_default();
        match seen {
            Seen::Busy => known.next = now.after(BUSY),
            Seen::Fine { certificate, asked } => {
                known.failures = 0;
                let (first, last) = ASK_BOUNDS;
                let pause = match asked {
                    Asked::Answered(answer) => {
                        has_answered(&self.unasked);
                        state.unreachable = None;
                        answer.map_or(ASK_AGAIN, |(window, pause)| {
                            known.window = Some((id(&certificate), window));
                            pause.clamp(first, last)
                        })
                    }
                    Asked::Not => ASK_AGAIN,
                    Asked::Failed(error) => {
                        if self.unasked.failed() {
                            tracing::warn!(
                                code = "acme_unreachable",
                                certificate = name,
                                "the CA cannot be asked when it wants the certificate renewed; it is renewed after two \
                                 thirds of its validity: {}",
                                error.line()
                            );
                        }
                        state.unanswered += 1;
                        state.unreachable = Some(error.line());
                        schedule::pause(acme.retry_after, 3, spot)
                    }
                };
                let due = due(&certificate, known.window.as_ref(), known.spot);
                known.next = due.min(now.after(pause));
                (state.renewal, state.failure) = (Some(due), None);
            }
            Seen::Issued(certificate) => {
                has_answered(&self.unasked);
                state.unreachable = None;
                (known.failures, known.window, known.spot) = (0, None, spot);
                known.next = now.after(TICK);
                let until = time(certificate.not_after);
                tracing::info!(code = "acme_issued", certificate = name, %until, "the CA has issued a certificate");
                state.issued += 1;
                (state.renewal, state.failure) = (Some(due(&certificate, None, spot)), None);
            }
            Seen::Failed(error) => {
                known.failures = known.failures.saturating_add(1);
                known.next = now.after(schedule::pause(acme.retry_after, known.failures, spot));
                let (failures, next) = (known.failures, known.next);
                tracing::warn!(
                    code = "acme_failed",
                    certificate = name,
                    failures,
                    %next,
                    "no certificate was issued, the one in use stays: {}",
                    error.line()
                );
                state.failures += 1;
                state.failure = Some(error.line());
            }
        }
    }

    /// Drops the states of certificates that are not configured any more.
    fn tell(&self, acme: Option<&Acme>) {
        let mut states = self.counts.acme.lock().unwrap_or_else(PoisonError::into_inner);
        states.retain(|name, _| acme.is_some_and(|acme| acme.certificates.iter().any(|one| one.name == *name)));
        for name in acme.into_iter().flat_map(|acme| &acme.certificates).map(|one| &one.name) {
            if !states.contains_key(name) {
                states.insert(name.clone(), AcmeState::default());
            }
        }
    }
}

/// Looks at a certificate: asks when to renew it, or renews it.
async fn look(acme: Acme, wanted: AcmeCertificate, window: Option<(Vec<u8>, Window)>, spot: f64, clock: Clock) -> Seen {
    let current = current(&acme, &wanted).await;
    if let Some(certificate) = &current
        && clock.now() < due(certificate, window.as_ref(), spot)
    {
        let asked = ask(&acme, certificate).await;
        let told = match &asked {
            Asked::Answered(Some((window, _))) => Some((id(certificate), *window)),
            _ => window,
        };
        if clock.now() < due(certificate, told.as_ref(), spot) {
            return Seen::Fine { certificate: Box::new(certificate.clone()), asked };
        }
    }
    let lock = match Folder::at(&acme.folder).try_lock() {
        Ok(Some(lock)) => lock,
        Ok(None) => return Seen::Busy,
        Err(error) => return Seen::Failed(error),
    };
    // Another gateway may have renewed it before this one had the lock.
    let now_there = self::current(&acme, &wanted).await;
    if let Some(certificate) = now_there.filter(|there| current.as_ref() != Some(there)) {
        return Seen::Fine { certificate: Box::new(certificate), asked: Asked::Not };
    }
    match order::issue(&acme, &wanted, current.as_ref(), &lock).await {
        Ok(certificate) => Seen::Issued(Box::new(certificate)),
        Err(error) => Seen::Failed(error),
    }
}

/// The certificate in its file, if it has all names that are wanted.
async fn current(acme: &Acme, wanted: &AcmeCertificate) -> Option<Certificate> {
    let (path, name): (PathBuf, String) = (acme.file(&wanted.name), wanted.name.clone());
    let read = tokio::task::spawn_blocking(move || Certificate::read(&name, &path, &path)).await;
    read.ok()?.ok().filter(|read| wanted.names.iter().all(|name| read.names.contains(name)))
}

/// Notes an answer of the CA, and logs the end of an outage.
fn has_answered(unasked: &Outage) {
    if let Some(ended) = unasked.succeeded() {
        let (failures, lasted_ms) = (ended.failures, ended.lasted_ms());
        tracing::info!(code = "acme_reachable", failures, lasted_ms, "the CA answers again");
    }
}

/// Asks the CA when it wants a certificate renewed.
async fn ask(acme: &Acme, certificate: &Certificate) -> Asked {
    let account = match client::known_account(acme, &Folder::at(&acme.folder)).await {
        Ok(Some(account)) => account,
        Ok(None) => return Asked::Not,
        Err(error) => return Asked::Failed(error),
    };
    let Some(identifier) = order::identifier(certificate) else { return Asked::Not };
    match account.renewal_info(&identifier).await {
        Ok((info, pause)) => {
            let micros = |nanos: i128| Timestamp::from_micros(i64::try_from(nanos / 1_000).unwrap_or(i64::MAX));
            let window = &info.suggested_window;
            let (start, end) = (micros(window.start.unix_timestamp_nanos()), micros(window.end.unix_timestamp_nanos()));
            Asked::Answered(Some((Window { start, end }, pause)))
        }
        Err(Error::Unsupported(_)) => Asked::Answered(None),
        Err(error) => Asked::Failed(error.into()),
    }
}

fn due(certificate: &Certificate, window: Option<&(Vec<u8>, Window)>, spot: f64) -> Timestamp {
    let window = window.filter(|(of, _)| *of == id(certificate)).map(|(_, window)| *window);
    schedule::renewal(time(certificate.not_before), time(certificate.not_after), window, spot)
}

/// What distinguishes a certificate from the one before it.
fn id(certificate: &Certificate) -> Vec<u8> {
    certificate.key.cert.first().map(|der| der.to_vec()).unwrap_or_default()
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds.saturating_mul(1_000_000))
}
