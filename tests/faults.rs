//! Faults of a site: three gateways with one PostgreSQL and one Redis, and proxies between them that a test can interrupt.
//! Light load runs all the time, and every response is checked, see [`traffic`].
//!
//! A gateway that was notified of a revocation never accepts the token again, whatever fails. A gateway that cannot be
//! notified accepts it only as long as the settings allow; the tests set its clock for that. A valid token never gets a
//! 401. At the end of each test everything has recovered by itself, and every token gets the right response.
//!
//! Attacks and faults against the gateway's knowledge of tokens, and the tests that cover them:
//!
//! | attack or fault | tests |
//! |---|---|
//! | a token is used on two gateways, and revoked | `faults::changes`, `race`, `revocation`, `serve::a_token_that_is_revoked_on_the_command_line_…` |
//! | an open stream of a token that is revoked | `streams::every_way_in_which_a_token_ends_…` and all others there, `upgrade` |
//! | a revocation during a lookup | `revocation::invariant_4_…`, `shared_cache::holds::a_hold_replaces_…`, `cache::memory` |
//! | a user is deleted or deactivated, changes groups; a token loses scopes | `faults::changes`, `revocation::a_cached_token_…` |
//! | a token is cached for one path, and used on another | `faults::tokens::permissions_of_a_token_…`, `auth::a_token_without_the_scope_…` |
//! | similar credentials | `faults::tokens::similar_credentials_…` |
//! | a token that was refused and then issued | `revocation::a_token_that_was_refused_…`, `…::without_the_change_log_…`, `faults::changes::a_token_that_was_refused_everywhere_…` |
//! | a flood of random tokens | `faults::flood`, `revocation::a_flood_of_unknown_tokens_…` |
//! | an outage of the store | `outage`, `faults::postgres`, `faults::both` |
//! | a revocation is notified, and the store fails before its log is read | `faults::postgres::a_notified_revocation_…` |
//! | forged entries in Redis | `faults::tokens::forged_entries_…`, `shared_cache::entries::forged_…` |
//! | no tokens, no key file, no CA, no secret | `faults::tokens::a_store_without_tokens_…`, `stores::keys`, `config::refused::certificates_and_keys_…`, `…::unsupported_stores_…`, `…::values_of_the_environment_…`, `cli::a_lost_key_file_…` |
//! | two rows for one token, two users for one key | `stores::faults::the_database_itself_refuses_…`, `stores::tokens::a_key_is_never_imported_for_two_users_…` |
//! | the clock is set | `clock::steady`, `faults::clock`, `auth::an_expired_token_…`, `shared_cache::entries::an_entry_that_is_too_old_…` |

mod both;
mod changes;
mod clock;
mod flood;
mod place;
mod postgres;
mod redis;
mod tokens;
mod traffic;
