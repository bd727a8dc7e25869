//! The command line.
//!
//! [`run`] parses the arguments, runs one command and returns the exit code: 0 success, 1 failure (reason on standard
//! error), 2 bad usage. Each group of commands has its own file; all use the store's public functions.

mod acme;
mod args;
mod audit;
mod backup;
mod cert;
mod check;
mod config;
mod control;
mod demo;
mod django;
mod explain;
mod explain_report;
mod health;
mod import;
mod import_report;
mod import_source;
mod init;
mod list;
mod live;
mod progress;
mod quotas;
mod rotate_key;
mod runtime;
mod serve;
mod show;
mod store;
mod token;
mod user;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser};

use args::{Cli, Command, ControlTarget};

/// Runs the command of this process.
pub fn run() -> ExitCode {
    // Exits with 2 on bad usage.
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Check { against_running, live, json } => {
            return ended(check::run(&cli.config, against_running, live, json));
        }
        Command::Reload { force_partial, target } => {
            return ended(control::reload(&found(&cli.config, &target), force_partial, target.json));
        }
        Command::Explain(args) => return explain::run(&cli.config, args),
        Command::Status(target) => control::status(&found(&cli.config, &target), target.json),
        Command::Upgrade(target) => return ended(control::upgrade(&found(&cli.config, &target), target.json)),
        Command::Drain(target) => control::drain(&found(&cli.config, &target), target.json),
        Command::Serve { take_over } => serve::run(&cli.config, take_over.map(serve::TakeOver::from)),
        Command::Config { effective: _, json } => config::run(&cli.config, json),
        Command::Schema => config::schema(),
        Command::Migrate { new_key, dry_run, yes, json } => {
            store::migrate(&cli.config, &store::Wish { new_key, dry_run, yes }, json)
        }
        Command::RotateKey { only_add, json } => rotate_key::run(&cli.config, only_add, json),
        Command::Backup { file, json } => backup::back_up(&cli.config, &file, json),
        Command::Restore { file, json } => backup::restore(&cli.config, &file, json),
        Command::Init(args) => init::run(&cli.config, args),
        Command::Health { live, json } => health::run(&cli.config, live, json),
        Command::Cert(args) => cert::run(&args),
        Command::Acme(command) => acme::run(&cli.config, command),
        Command::Demo(args) => demo::run(&args),
        Command::User(command) => user::run(&cli.config, command),
        Command::Token(command) => token::run(&cli.config, command),
        Command::Audit(command) => audit::run(&cli.config, command),
        Command::Import(command) => return ended(import::run(&cli.config, command)),
        Command::Django(command) => django::run(&cli.config, &command),
        Command::Completions { shell } => completions(shell),
        Command::Manual { folder } => clap_mangen::generate_to(Cli::command(), folder).map_err(Into::into),
    };
    ended(done.map(|()| ExitCode::SUCCESS))
}

fn found<'a>(file: &'a Path, target: &'a ControlTarget) -> control::Target<'a> {
    control::Target { file, socket: target.socket.as_deref() }
}

fn ended(done: Result<ExitCode>) -> ExitCode {
    match done {
        Ok(code) => code,
        // The reader closed the pipe, as in `tokengate user list | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            show::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn completions(shell: clap_complete::Shell) -> Result<()> {
    // Written to memory first: clap_complete panics if a write fails.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tokengate", &mut script);
    Ok(io::stdout().write_all(&script)?)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
