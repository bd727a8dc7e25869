//! Arguments of `tokengate user`.

use clap::{Args, Subcommand};

use super::{Paging, numbers};
use crate::token::OwnRate;

/// The commands on users.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Create a user; asks twice for a password on a terminal
    Create(UserCreate),
    /// List users by id
    List(Paging),
    /// Show one user, with the id that upstreams see
    Show {
        /// Username
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Change the name, the e-mail address or the personal names of a user
    Edit(UserEdit),
    /// Print the groups of a user, or change them
    Groups {
        /// Username
        name: String,
        /// Add the user to this group, which is created if missing; can be repeated
        #[arg(long, value_name = "GROUP")]
        add: Vec<String>,
        /// Remove the user from this group; can be repeated
        #[arg(long, value_name = "GROUP")]
        remove: Vec<String>,
        /// Remove the user from all groups first
        #[arg(long, conflicts_with = "remove")]
        clear: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the permissions of a user, or change them
    Rights {
        /// Username
        name: String,
        /// Whether the user is staff: may manage ordinary users' tokens
        #[arg(long, value_name = "true|false")]
        staff: Option<bool>,
        /// Whether the user is a superuser
        #[arg(long, value_name = "true|false")]
        superuser: Option<bool>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Set a password; asks twice on a terminal
    SetPassword {
        /// Username
        name: String,
        /// Where the password comes from.
        #[command(flatten)]
        password: PasswordSource,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Reactivate a user
    Activate {
        /// Username
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Deactivate a user: their tokens stop working
    Deactivate {
        /// Username
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Delete a user and all their tokens; asks first on a terminal
    Delete {
        /// Username
        name: String,
        /// Answer the question of a terminal with yes
        #[arg(long)]
        yes: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Arguments of `user edit`; what is not named stays.
#[derive(Debug, Args)]
pub struct UserEdit {
    /// Username
    pub name: String,
    /// New username
    #[arg(long = "name", value_name = "NEW_NAME", id = "new_name")]
    pub new_name: Option<String>,
    /// E-mail address; '' removes it
    #[arg(long)]
    pub email: Option<String>,
    /// First name; '' removes it
    #[arg(long)]
    pub first_name: Option<String>,
    /// Last name; '' removes it
    #[arg(long)]
    pub last_name: Option<String>,
    /// How often the user may send requests, such as 600/min or '600/min burst 100'
    #[arg(long, conflicts_with = "no_rate")]
    pub rate: Option<OwnRate>,
    /// Only the rates of routes and tokens apply to the user
    #[arg(long)]
    pub no_rate: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `user create`.
#[derive(Debug, Args)]
pub struct UserCreate {
    /// Username; case-sensitive
    pub name: String,
    /// The id that upstreams see; default: the next free id
    #[arg(long, value_parser = numbers::id)]
    pub id: Option<i64>,
    /// E-mail address
    #[arg(long, default_value = "")]
    pub email: String,
    /// First name
    #[arg(long, default_value = "")]
    pub first_name: String,
    /// Last name
    #[arg(long, default_value = "")]
    pub last_name: String,
    /// Make the user staff: may manage ordinary users' tokens
    #[arg(long)]
    pub staff: bool,
    /// Make the user a superuser
    #[arg(long)]
    pub superuser: bool,
    /// Create the user deactivated; tokens work after `user activate`
    #[arg(long)]
    pub inactive: bool,
    /// A group; can be repeated
    #[arg(long = "group", value_name = "GROUP")]
    pub groups: Vec<String>,
    /// Where the password comes from.
    #[command(flatten)]
    pub password: PasswordSource,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Where a password comes from: a terminal, unless one of these is given.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct PasswordSource {
    /// Read the password from the first line of standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// No password: the user can only use tokens
    #[arg(long)]
    pub no_password: bool,
}
