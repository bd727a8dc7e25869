//! `tokengate user`.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::args::{Paging, PasswordSource, UserCommand, UserCreate, UserEdit};
use super::quotas::{self, Quotas};
use super::show::{Colour, Table};
use super::{check, show, store, token};
use crate::config::settings::StoreUrl;
use crate::rates::Holder;
use crate::store::{AccountError, DetailsChange, NewUser, Page, Password, Store, TokenFilter, User};
use crate::token::SubjectId;

/// Number of tokens that a question counts.
const MAX_COUNTED: u32 = 500;

/// Runs a subcommand.
pub fn run(config: &Path, command: UserCommand) -> Result<()> {
    match command {
        UserCommand::Create(order) => create(config, order),
        UserCommand::List(paging) => store::with(config, async |store| list(&store, &paging).await),
        UserCommand::Show { name, json } => {
            let quotas = Quotas::of(config)?;
            store::with(config, async |store| {
                let user = store::user(&store, &name).await?;
                let remaining = quotas.left(&store, Holder { token: None, user: user.account.id }).await?;
                if json {
                    return show::json(&quotas::with(as_json(&user), &remaining));
                }
                details(&user)?;
                quotas::tell(&remaining)
            })
        }
        UserCommand::Edit(order) => store::with(config, async |store| edit(&store, order).await),
        UserCommand::Groups { name, add, remove, clear, json } => store::with(config, async |store| {
            let user = store::user(&store, &name).await?;
            if add.is_empty() && remove.is_empty() && !clear {
                let groups = &user.account.groups;
                return if json { show::json(&json!(groups)) } else { groups.iter().try_for_each(show::line) };
            }
            let mut groups = if clear { Vec::new() } else { user.account.groups.clone() };
            if let Some(missing) = remove.iter().find(|group| !groups.contains(group)) {
                bail!("user {name} is not in the group {missing}");
            }
            groups.retain(|group| !remove.contains(group));
            groups.extend(add);
            let changed = store.accounts.set_groups(user.account.id, &groups).await?;
            tell_change(&store, &user, changed, json).await
        }),
        UserCommand::Rights { name, staff, superuser, json } => store::with(config, async |store| {
            let user = store::user(&store, &name).await?;
            if staff.is_none() && superuser.is_none() {
                let rights = json!({ "staff": user.staff, "superuser": user.superuser });
                return if json { show::json(&rights) } else { show::line(rights_of(&user)) };
            }
            let (staff, superuser) = (staff.unwrap_or(user.staff), superuser.unwrap_or(user.superuser));
            let changed = store.accounts.set_rights(user.account.id, staff, superuser).await?;
            tell_change(&store, &user, changed, json).await
        }),
        UserCommand::SetPassword { name, password, json } => {
            refuse_beside_django(config)?;
            let password = read_password(&password)?;
            store::with(config, async |store| {
                let user = store::user(&store, &name).await?;
                let fits = password.is_some();
                password.as_ref().map_or(Ok(()), |password| password.check_new(user.names()))?;
                store.accounts.set_password(user.account.id, password).await?;
                let what = if fits { "Set the password" } else { "Removed the password" };
                tell(json, &user, &format!("{what} of user {name}"))
            })
        }
        UserCommand::Activate { name, json } => store::with(config, async |store| {
            let user = store::user(&store, &name).await?;
            match store.accounts.activate(user.account.id).await? {
                true => tell(json, &user, &format!("Activated user {name}")),
                false => tell(json, &user, &format!("User {name} was already active")),
            }
        }),
        UserCommand::Deactivate { name, json } => store::with(config, async |store| {
            let user = store::user(&store, &name).await?;
            match store.accounts.deactivate(user.account.id).await? {
                true => tell(json, &user, &format!("Deactivated user {name}")),
                false => tell(json, &user, &format!("User {name} was already inactive")),
            }
        }),
        UserCommand::Delete { name, yes, json } => store::with(config, async |store| {
            let user = store::user(&store, &name).await?;
            let id = user.account.id;
            let filter = TokenFilter { owner: Some(id), live: true };
            let live = store.ledger.list(filter, Page::first(MAX_COUNTED)).await?.len();
            let tokens = format!("{live} live token{}", if live == 1 { "" } else { "s" });
            show::confirm(
                yes,
                &format!("Delete user {name} (id {id}) and all tokens of that user ({tokens})? This cannot be undone."),
            )?;
            store.accounts.delete(id).await?;
            tell(json, &user, &format!("Deleted user {name} and all tokens of that user"))
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
    new.password.as_ref().map_or(Ok(()), |password| password.check_new(new.names()))?;
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

async fn edit(store: &Store, order: UserEdit) -> Result<()> {
    let UserEdit { name, new_name, email, first_name, last_name, rate, no_rate, json } = order;
    let rate = if no_rate { Some(None) } else { rate.map(Some) };
    let change = DetailsChange { name: new_name, email, first_name, last_name, rate };
    if change == DetailsChange::default() {
        bail!("nothing to change; name at least one of --name, --email, --first-name, --last-name and --rate");
    }
    let user = store::user(store, &name).await?;
    let changed = store.accounts.edit(user.account.id, &change).await?;
    tell_change(store, &user, changed, json).await
}

/// Reports an act on a user.
fn tell(json: bool, user: &User, done: &str) -> Result<()> {
    if json { show::json(&json!({ "id": user.account.id.0, "done": done })) } else { show::line(done) }
}

/// Reports a change of a user; as JSON, with the user as it is now.
async fn tell_change(store: &Store, user: &User, changed: bool, json: bool) -> Result<()> {
    let name = &user.account.name;
    if !json {
        return show::line(if changed { format!("Changed user {name}") } else { format!("User {name} is unchanged") });
    }
    let page = Page { after: user.account.id.0 - 1, limit: 1 };
    let now = store.accounts.list(page).await?;
    show::json(&json!({ "changed": changed, "user": now.first().map(as_json) }))
}

async fn list(store: &Store, paging: &Paging) -> Result<()> {
    let read = async |page| store.accounts.list(page).await;
    let mut table = Table::new(&["ID", "USERNAME", "EMAIL", "STATE", "RIGHTS", "LAST SIGN-IN"]);
    super::list::print(paging, "user", &mut table, read, |user| (user.account.id.0, row(user)), as_json).await
}

fn row(user: &User) -> Vec<(String, Option<Colour>)> {
    let state = if user.account.active { ("active", Colour::Green) } else { ("inactive", Colour::Yellow) };
    vec![
        (user.account.id.to_string(), None),
        (user.account.name.clone(), None),
        (user.account.email.clone(), None),
        (state.0.to_owned(), Some(state.1)),
        (rights_of(user).to_owned(), None),
        (user.last_login.map(|at| at.to_string()).unwrap_or_default(), None),
    ]
}

fn rights_of(user: &User) -> &'static str {
    match (user.staff, user.superuser) {
        (_, true) => "superuser",
        (true, false) => "staff",
        (false, false) => "",
    }
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
        ("rate", user.rate.map_or_else(|| "none".to_owned(), |rate| rate.to_string())),
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
        "rate": user.rate.map(|rate| rate.to_string()),
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
