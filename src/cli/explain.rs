//! `tokengate explain`: tells what would happen to a request, and why.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use super::args::ExplainArgs;
use super::explain_report::{self, Subject};
use super::{check, runtime, show, store};
use crate::app::explain::{Caller, Explainer};
use crate::app::file_tests;
use crate::auth::cookies::SESSION_COOKIE;
use crate::cache::StoreUnavailable;
use crate::clock::Clock;
use crate::config::settings::{BadSample, SampleCaller, SampleRequest};
use crate::config::{Settings, request_shown};
use crate::gateway::explanation::End;
use crate::store::{Store, open_prepared};
use crate::token::{Scope, ScopeSet, TokenKey};

/// Exit code if there is nothing to explain: wrong arguments, an invalid configuration, an unreachable store.
const NO_ANSWER: u8 = 2;

/// A request, its sender, and where its keys are looked up.
struct Question {
    request: SampleRequest,
    caller: Caller,
    store: Option<Store>,
}

/// Explains a request. Returns 0 if it is forwarded or answered by the gateway itself, and 1 if it is refused.
pub fn run(config: &Path, args: ExplainArgs) -> ExitCode {
    match explain(config, args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            show::error(&error);
            ExitCode::from(NO_ANSWER)
        }
    }
}

fn explain(config: &Path, args: ExplainArgs) -> Result<bool> {
    let settings = check::settings(config)?;
    let json = args.json;
    runtime::for_command()?.block_on(async {
        let clock = Clock::system();
        let Question { request, caller, store } = question(&settings, args, &clock).await?;
        let explainer = Explainer::new(&settings, clock.now())?;
        let look_up = async |key: &TokenKey| match &store {
            Some(store) => store.tokens.find(key).await.map_err(|error| {
                show::note(format_args!("The store did not answer: {error}"));
                StoreUnavailable
            }),
            None => Ok(None),
        };
        let explained = explainer.explain(&request, &caller, look_up).await?;
        let subject = Subject { settings: &settings, request: &request, caller: &caller, explained: &explained };
        if json {
            show::json(&explain_report::json(&subject))?;
        } else {
            show::line(explain_report::text(&subject).trim_end())?;
        }
        Ok(!matches!(explained.explanation.end, End::Refused(_)))
    })
}

async fn question(settings: &Settings, args: ExplainArgs, clock: &Clock) -> Result<Question> {
    if let Some(name) = &args.test {
        let test = settings.tests.iter().find(|test| test.name == *name);
        let test = test.with_context(|| format!("no test of the configuration is called `{name}`"))?;
        let caller = file_tests::caller(test, clock.now());
        return Ok(Question { request: test.request.clone(), caller, store: None });
    }
    let (method, url) = args.method.zip(args.url).context("name a method and a URL, or a test with --test")?;
    let mut request =
        SampleRequest::new(&method, &url).map_err(|bad| not_sent(&format!("{method} {}", request_shown(&url)), bad))?;
    for line in &args.headers {
        let header = SampleRequest::header(line);
        request.headers.push(header.map_err(|bad| not_sent(&settings.identity.header_shown(line), bad))?);
    }
    request.from = args.from.unwrap_or(request.from);
    request.listener = args.listener;
    let scopes = args.scopes.iter().map(|scope| Scope::parse(scope)).collect::<Result<Vec<_>, _>>()?;
    let sample = SampleCaller {
        user: "somebody".to_owned(),
        scopes: ScopeSet::new(scopes),
        session: args.session,
        certificate: args.certificate,
        ..SampleCaller::default()
    };
    let carries_keys = |line: &String| {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        name.eq_ignore_ascii_case("authorization") || value.contains(SESSION_COOKIE)
    };
    let needs_store = args.user.is_some() || args.token_stdin || args.headers.iter().any(carries_keys);
    let store = match needs_store {
        true => Some(open_prepared(&settings.store, &settings.tokens, clock.clone()).await?),
        false => None,
    };
    let caller = match (&args.user, &store) {
        (Some(name), Some(store)) => Caller::of_user(store::user(store, name).await?.account, &sample, clock.now()),
        _ if args.token_stdin => Caller::Key(TokenKey::parse(&store::secret_from_stdin("key")?)?),
        _ if args.session || args.certificate || !args.scopes.is_empty() => Caller::made_up(&sample, clock.now()),
        _ => Caller::Bare,
    };
    if !matches!(caller, Caller::Bare) && args.headers.iter().any(carries_keys) {
        bail!(
            "the request has credentials twice: remove the header, or --as, --scope, --session, --certificate or --token-stdin"
        );
    }
    Ok(Question { request, caller, store })
}

/// Why a text of the command line is no part of a request.
fn not_sent(shown: &str, bad: BadSample) -> anyhow::Error {
    anyhow::anyhow!("`{shown}` {bad}; {}", bad.mend())
}
