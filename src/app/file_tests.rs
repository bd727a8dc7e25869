//! Runs the `[[tests]]` of a configuration: on every load, before anything uses it.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use http::HeaderMap;

use super::StartError;
use super::explain::{Caller, Explained, Explainer};
use crate::clock::{Clock, Timestamp};
use crate::config::settings::{Expected, FileTest};
use crate::config::{Problem, Settings};
use crate::gateway::explanation::End;

/// Runs the tests of these settings. Needs no store and no runtime.
///
/// # Errors
/// [`StartError::Tests`] has every test that fails; or as [`Explainer::new`].
pub fn run(settings: &Settings) -> Result<(), StartError> {
    if settings.tests.is_empty() {
        return Ok(());
    }
    let now = Clock::system().now();
    let explainer = Explainer::new(settings, now)?;
    let failed: Vec<Problem> =
        settings.tests.iter().filter_map(|test| failure(&explainer, test, settings, now)).collect();
    if failed.is_empty() { Ok(()) } else { Err(StartError::Tests(failed)) }
}

/// The sender of a test's request.
pub fn caller(test: &FileTest, now: Timestamp) -> Caller {
    test.caller.as_ref().map_or(Caller::Bare, |sample| Caller::made_up(sample, now))
}

/// What is wrong with a test; `None`: it passes.
fn failure(explainer: &Explainer, test: &FileTest, settings: &Settings, now: Timestamp) -> Option<Problem> {
    let caller = caller(test, now);
    let happened = match at_once(explainer.explain(&test.request, &caller, async |_| Ok(None))) {
        Some(Ok(explained)) => {
            let wrong = differences(&test.expected, &explained, settings);
            if wrong.is_empty() {
                return None;
            }
            format!("expected {}, but {}", wrong.join(" and "), told(&explained))
        }
        Some(Err(none)) => none.to_string(),
        // A decision about known callers waits for nothing.
        None => "the gateway could not decide".to_owned(),
    };
    Some(Problem {
        file: test.file.clone(),
        line: Some(test.line),
        key: Some("tests".to_owned()),
        what: format!("the test `{}` fails: {happened}", test.name),
        mend: Some(format!("to see why: tokengate explain --test {}{}", quoted(&test.name), option(settings))),
    })
}

/// The option that names the file, unless it has the name that commands look for.
fn option(settings: &Settings) -> String {
    let file = settings.files.first().filter(|file| file.as_os_str() != "gateway.toml");
    file.map(|file| format!(" --config {}", quoted(&file.display().to_string()))).unwrap_or_default()
}

/// A word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Everything that was expected and did not happen.
fn differences(expected: &Expected, explained: &Explained, settings: &Settings) -> Vec<String> {
    let end = &explained.explanation.end;
    let mut wrong = Vec::new();
    if let Some(status) = expected.status
        && !matches!(end, End::Refused(refused) if refused.status.as_u16() == status)
    {
        wrong.push(format!("status {status}"));
    }
    if let Some(route) = &expected.route
        && explained.explanation.route.as_deref() != Some(route)
    {
        wrong.push(format!("route `{route}`"));
    }
    if let Some(upstream) = &expected.upstream
        && !matches!(end, End::Forwarded(forwarded) if forwarded.upstream == *upstream)
    {
        wrong.push(format!("upstream `{upstream}`"));
    }
    let sent = match end {
        End::Forwarded(forwarded) => Some(forwarded.request.headers()),
        End::Answered | End::Asked(_) | End::Refused(_) => None,
    };
    let missing = expected.headers.iter().filter(|line| !sent.is_some_and(|fields| has(fields, line)));
    let shown = |line: &String| settings.identity.header_shown(line);
    wrong.extend(missing.map(|line| format!("the header `{}` for the upstream", shown(line))));
    wrong
}

/// Whether the upstream gets this header line.
fn has(fields: &HeaderMap, line: &str) -> bool {
    let Some((name, value)) = line.split_once(':') else { return false };
    fields.get_all(name.trim()).iter().any(|sent| sent.as_bytes() == value.trim().as_bytes())
}

/// What happens to a request, in words.
fn told(explained: &Explained) -> String {
    let explanation = &explained.explanation;
    let route = explanation.route.as_ref().map_or("no route".to_owned(), |route| format!("route `{route}`"));
    match &explanation.end {
        End::Forwarded(forwarded) => {
            format!("the request is forwarded to upstream `{}` by {route}", forwarded.upstream)
        }
        End::Answered => format!("the gateway answers the request itself ({route})"),
        End::Asked(portal) => format!("the portal `{portal}` decides ({route})"),
        End::Refused(refused) => format!(
            "the gateway answers {} ({}: {}; {route})",
            refused.status.as_u16(),
            refused.outcome.code(),
            refused.detail
        ),
    }
}

/// The output of a future that does not wait.
fn at_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
