//! A site while parts of it fail: three gateways over one PostgreSQL and one Redis, with lines between that can be cut,
//! under light load that never stops. The answer of every request is judged, see [`traffic`].
//!
//! A gateway that was told of a revocation never lets that token in again, whatever fails. One that cannot be told does
//! for as long as the settings say and no longer; clocks are moved by hand for that. A valid token is never answered
//! 401. Each test ends with everything healed by itself, and with every token answered as it should be.
//!
//! What an attacker or a fault may try against what gateways know, and the test that stands against it:
//!
//! | try | tests |
//! |---|---|
//! | a token is used on two gateways, and revoked | `faults::changes`, `race`, `revocation`, `serve::a_token_that_is_revoked_on_the_command_line_…` |
//! | an open stream of a token that is revoked | `streams::every_way_in_which_a_token_ends_…` and all others there, `upgrade` |
//! | a revocation while a look-up is in flight | `revocation::invariant_4_…`, `shared_cache::holds::a_hold_beats_…`, `cache::memory` |
//! | a user deleted, switched off, regrouped; scopes taken | `faults::changes`, `revocation::a_cached_token_…` |
//! | a token known on one path, used on another | `faults::tokens::what_a_token_may_do_…`, `auth::a_token_without_the_scope_…` |
//! | credentials that are nearly the same | `faults::tokens::credentials_that_are_nearly_the_same_…` |
//! | a token that was refused and then made | `revocation::a_token_that_was_refused_…`, `…::without_the_change_log_…`, `faults::changes::a_token_that_was_refused_everywhere_…` |
//! | a flood of random tokens | `faults::flood`, `revocation::a_flood_of_unknown_tokens_…` |
//! | the store is away | `outage`, `faults::postgres`, `faults::both` |
//! | a revocation is told of, and the store is gone before its log is read | `faults::postgres::what_was_only_told_of_…` |
//! | Redis holds what no gateway wrote | `faults::tokens::what_somebody_else_wrote_…`, `shared_cache::entries::forged_…` |
//! | no tokens, no key file, no authority, no secret | `faults::tokens::a_store_without_a_token_…`, `stores::keys`, `config::refused::certificates_and_keys_…`, `…::stores_and_endpoints_…`, `…::what_comes_from_the_environment_…`, `cli::a_lost_key_file_…` |
//! | two rows for one token, two users for one key | `stores::faults::the_database_itself_refuses_…`, `stores::tokens::a_key_is_never_imported_for_two_users_…` |
//! | the clock is moved | `clock::steady`, `faults::clock`, `auth::an_expired_token_…`, `shared_cache::entries::an_entry_that_is_too_old_…` |

mod both;
mod changes;
mod clock;
mod flood;
mod place;
mod postgres;
mod redis;
mod tokens;
mod traffic;
