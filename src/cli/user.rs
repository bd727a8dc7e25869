//! `tokengate user`.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::args::{PasswordSource, UserCommand, UserCreate};
use super::{check, show, store, token};
use crate::config::settings::StoreUrl;
use crate::store::{AccountError, NewUser, Page, Password, Store, User};
use crate::token::SubjectId;

/// Number of users read from the store per query.
const PAGE: u32 = 500;

/// Runs a subcommand.
pub fn run(config: &Path, command: UserCommand) -> Result<()> {
    match command {
        UserCommand::Create(order) => create(config, order),
        UserCommand::List { json } => store::with(config, async |store| list(&store, json).await),
        UserCommand::Show { name, json } => store::with(config, async |store| {
            let user = store::user(&store, &name).await?;
            if json { show::json(&as_json(&user)) } else { details(&user) }
        }),
        UserCommand::SetPassword { name, password } => {
            refuse_beside_django(config)?;
            let password = read_password(&password)?;
            store::with(config, async |store| {
                let user = store::user(&store, &name).await?;
                let fits = password.is_some();
                store.accounts.set_password(user.account.id, password).await?;
                show::line(format!("{} of user {name}", if fits { "Set the password" } else { "Removed the password" }))
            })
        }
        UserCommand::Activate { name } => store::with(config, async |store| {
            store.accounts.activate(store::user(&store, &name).await?.account.id).await?;
            show::line(format!("Activated user {name}"))
        }),
        UserCommand::Deactivate { name } => store::with(config, async |store| {
            store.accounts.deactivate(store::user(&store, &name).await?.account.id).await?;
            show::line(format!("Deactivated user {name}"))
        }),
        UserCommand::Delete { name } => store::with(config, async |store| {
            store.accounts.delete(store::user(&store, &name).await?.account.id).await?;
            show::line(format!("Deleted user {name} and all tokens of that user"))
        }),
    }
}

fn create(config: &Path, order: UserCreate) -> Result<()> {
    refuse_beside_django(config)?;
    // Asks before opening the store: the prompt may wait for a long time.
    let password = read_password(&order.password)?;
    let new = NewUser {
        id: order.id.map(SubjectId),
        name: order.name,
        email: order.email,
        first_name: order.first_name,
        last_name: order.last_name,
        password,
        active: !order.inactive,
        staff: order.staff,
        superuser: order.superuser,
        groups: order.groups,
    };
    store::with(config, async |store| {
        let (user, issued) = store.accounts.create(new).await?;
        let name = &user.account.name;
        if order.json {
            let token = issued.as_ref().map(|issued| token::issued_as_json(issued, name));
            return show::json(&json!({ "user": as_json(&user), "token": token }));
        }
        show::line(format!("Created user {name} (id {})", user.account.id))?;
        issued.map_or(Ok(()), |issued| token::show_issued(&issued, name))
    })
}

async fn list(store: &Store, json: bool) -> Result<()> {
    let mut page = Page::first(PAGE);
    let (mut all, mut unreadable) = (Vec::new(), 0);
    loop {
        let users = store.accounts.list(page).await?;
        let Some(end) = users.end() else { break };
        page.after = end;
        unreadable += show::unreadable("user", users.unreadable());
        if json {
            all.extend(users.iter().map(as_json));
            continue;
        }
        for user in &users {
            let marks = [(user.superuser, "superuser"), (user.staff, "staff"), (!user.account.active, "inactive")];
            let marks: Vec<_> = marks.iter().filter(|(holds, _)| *holds).map(|(_, mark)| *mark).collect();
            show::line(format!(
                "{}\t{}\t{}\t{}",
                user.account.id,
                user.account.name,
                user.account.email,
                marks.join(",")
            ))?;
        }
    }
    if json {
        show::json(&Value::Array(all))?;
    }
    show::whole_list(unreadable)
}

fn details(user: &User) -> Result<()> {
    let yes = |holds: bool| if holds { "yes" } else { "no" };
    let rows = [
        ("id", user.account.id.to_string()),
        ("name", user.account.name.clone()),
        ("email", user.account.email.clone()),
        ("first name", user.first_name.clone()),
        ("last name", user.last_name.clone()),
        ("active", yes(user.account.active).to_owned()),
        ("staff", yes(user.staff).to_owned()),
        ("superuser", yes(user.superuser).to_owned()),
        ("groups", user.account.groups.join(", ")),
        ("password", yes(user.has_password).to_owned()),
        ("created", user.created.to_string()),
        ("last sign-in", user.last_login.map_or_else(|| "never".to_owned(), |at| at.to_string())),
    ];
    rows.iter().try_for_each(|(name, value)| show::line(format!("{name:<14}{value}")))
}

fn as_json(user: &User) -> Value {
    json!({
        "id": user.account.id.0,
        "name": user.account.name,
        "email": user.account.email,
        "first_name": user.first_name,
        "last_name": user.last_name,
        "active": user.account.active,
        "staff": user.staff,
        "superuser": user.superuser,
        "groups": user.account.groups,
        "has_password": user.has_password,
        "created": user.created.to_string(),
        "last_login": user.last_login.map(|at| at.to_string()),
    })
}

/// Rejects a command that would ask for a password this store cannot keep.
fn refuse_beside_django(config: &Path) -> Result<()> {
    match check::settings(config)?.store.url {
        StoreUrl::Django(_) => Err(AccountError::InDjango.into()),
        _ => Ok(()),
    }
}

/// Reads a password; `None` if the user is to have none.
pub fn read_password(source: &PasswordSource) -> Result<Option<Password>> {
    if source.no_password {
        return Ok(None);
    }
    let mut text = if source.password_stdin {
        store::secret_from_stdin("password")?
    } else {
        let ask = |prompt| {
            let typed = rpassword::prompt_password(prompt).map(Zeroizing::new);
            typed.context("no terminal to ask for a password; use --password-stdin or --no-password")
        };
        let first = ask("Password: ")?;
        if *first != *ask("Password (again): ")? {
            bail!("passwords do not match");
        }
        first
    };
    // Moved, not copied: a copy would not be wiped.
    Ok(Some(Password::parse(std::mem::take(&mut *text))?))
}
