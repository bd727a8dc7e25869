//! Which headers a client may send.
//!
//! Compiled once from the settings, for [`FieldPolicy::sift`] and [`FieldPolicy::add`]. Names are compared *folded* to
//! lower-case letters and digits, since upstreams differ in which spellings they treat as the same header: `X_User_Id`,
//! `X-User-Id` and `x-userid` are one name here.

use http::HeaderName;
use smallvec::SmallVec;

use super::foreign;
use super::hop_by_hop::HOP_BY_HOP;
use crate::config::settings::{CLIENT_CERT, IdentityFields, RESERVED_FIELDS, fold};

/// The prefix of names that are reserved for this gateway, folded.
const OURS: &[u8] = b"xtokengate";

/// Headers of the message itself: they pass, and `Connection` may not name them.
const MESSAGE: [&str; 2] = ["host", "content-length"];

const CREDENTIALS: &str = "authorization";

/// How a header is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It passes.
    Ordinary,
    /// It passes, and `Connection` may not name it.
    Message,
    /// It passes if the route allows it; `Connection` may not name it.
    Credentials,
    /// It is removed.
    HopByHop,
    /// A client may not send it: it is removed, and `Connection` may not name it.
    Reserved,
    /// A header of another system. Treated as [`Kind::Reserved`], unless the route allows it.
    Foreign,
    /// Its name has characters that some servers replace. It is removed.
    Odd,
}

/// Which headers a client may send, and the names of the identity headers.
#[derive(Clone, Debug)]
pub struct FieldPolicy {
    pub(super) identity: IdentityFields,
    /// Headers of portals.
    pub(super) of_portals: Vec<HeaderName>,
    /// Folded and sorted.
    names: Vec<(Box<[u8]>, Kind)>,
    /// Folded prefixes of foreign names, sorted; none is a prefix of another one.
    families: Vec<Box<[u8]>>,
    /// For each first byte of a folded name, one bit per length of a name or family: decides most names without
    /// comparing their other bytes.
    lengths: Box<[u64; 256]>,
    /// The length of the longest name or family.
    longest: usize,
}

impl FieldPolicy {
    /// Compiles the policy for these names of identity headers.
    pub fn compile(identity: &IdentityFields) -> FieldPolicy {
        FieldPolicy::with_portals(identity, [])
    }

    /// The same, with headers of portals, which no client may send either.
    pub fn with_portals<'a>(
        identity: &IdentityFields,
        of_portals: impl IntoIterator<Item = &'a HeaderName>,
    ) -> FieldPolicy {
        let ours = identity.names().map(|name| (name.as_str(), Kind::Reserved));
        let of_portals: Vec<HeaderName> = of_portals.into_iter().cloned().collect();
        let mut names: Vec<(Box<[u8]>, Kind)> = ours
            .chain(of_portals.iter().map(|name| (name.as_str(), Kind::Reserved)))
            .chain(RESERVED_FIELDS.map(|name| (name, Kind::Reserved)))
            .chain(HOP_BY_HOP.map(|name| (name, Kind::HopByHop)))
            .chain(MESSAGE.map(|name| (name, Kind::Message)))
            .chain([(CREDENTIALS, Kind::Credentials)])
            .chain(foreign::HARMLESS.iter().map(|name| (*name, Kind::Ordinary)))
            .chain(foreign::NAMES.iter().map(|name| (*name, Kind::Foreign)))
            .map(|(name, kind)| (fold(name.as_bytes()).collect(), kind))
            .collect();
        // A stable sort, so that of equal names the first one, a reserved one, is kept.
        names.sort_by(|(one, _), (other, _)| one.cmp(other));
        names.dedup_by(|(one, _), (other, _)| one == other);
        let families = families();
        let lengths = lengths(&names, &families);
        let of_names = names.iter().map(|(name, _)| name.len());
        let longest = families.iter().map(|family| family.len()).chain(of_names).max().unwrap_or(0);
        FieldPolicy { identity: identity.clone(), of_portals, names, families, lengths, longest }
    }

    /// How a header with this name is treated.
    pub(super) fn kind_of(&self, name: &[u8]) -> Kind {
        // Most requests have these.
        match name {
            b"host" => return Kind::Message,
            b"authorization" => return Kind::Credentials,
            _ => {}
        }
        let mut first = None;
        let (mut length, mut odd) = (0, false);
        for byte in name {
            if byte.is_ascii_alphanumeric() {
                length += 1;
                first = first.or(Some(byte.to_ascii_lowercase()));
            } else {
                odd |= *byte != b'-';
            }
        }
        let known =
            first.and_then(|first| self.lengths.get(usize::from(first))).is_some_and(|set| set & bit(length) != 0);
        match known.then(|| self.look_up(name)).flatten() {
            None | Some(Kind::Ordinary) if odd => Kind::Odd,
            Some(kind) => kind,
            None => Kind::Ordinary,
        }
    }

    fn look_up(&self, name: &[u8]) -> Option<Kind> {
        // Further characters do not affect the decision.
        let folded: SmallVec<[u8; 64]> = fold(name).take(self.longest + 1).collect();
        let Ok(at) = self.names.binary_search_by(|(known, _)| known.as_ref().cmp(&folded)) else {
            return self.family_of(&folded);
        };
        let kind = self.names.get(at).map(|(_, kind)| *kind)?;
        // `Content_Length` is not `Content-Length`, but an upstream may treat it as such.
        let passes = matches!(kind, Kind::Message | Kind::Credentials);
        let is_alias = !MESSAGE.iter().chain([&CREDENTIALS]).any(|known| known.as_bytes().eq_ignore_ascii_case(name));
        if passes && is_alias { Some(Kind::Reserved) } else { Some(kind) }
    }

    fn family_of(&self, folded: &[u8]) -> Option<Kind> {
        if folded.starts_with(OURS) || folded.starts_with(CLIENT_CERT) {
            return Some(Kind::Reserved);
        }
        // No family is a prefix of another one, so only the last one that sorts before the name can match.
        let behind = self.families.partition_point(|family| family.as_ref() <= folded);
        let family = behind.checked_sub(1).and_then(|last| self.families.get(last))?;
        folded.starts_with(family).then_some(Kind::Foreign)
    }
}

/// The families of [`foreign::FAMILIES`], folded and sorted, without those that have another one as a prefix.
fn families() -> Vec<Box<[u8]>> {
    let mut families: Vec<Box<[u8]>> = foreign::FAMILIES.iter().map(|name| fold(name.as_bytes()).collect()).collect();
    families.sort_unstable();
    families.dedup_by(|longer, shorter| longer.starts_with(shorter));
    families
}

/// One bit per length; all from 63 on share one.
fn bit(length: u32) -> u64 {
    1 << length.min(63)
}

fn lengths(names: &[(Box<[u8]>, Kind)], families: &[Box<[u8]>]) -> Box<[u64; 256]> {
    let mut lengths = Box::new([0; 256]);
    let mut mark = |name: &[u8], and_longer: bool| {
        let own = bit(u32::try_from(name.len()).unwrap_or(u32::MAX));
        let bits = if and_longer { !(own - 1) } else { own };
        if let Some(set) = name.first().and_then(|first| lengths.get_mut(usize::from(*first))) {
            *set |= bits;
        }
    };
    names.iter().for_each(|(name, _)| mark(name, false));
    families.iter().for_each(|family| mark(family, true));
    mark(OURS, true);
    mark(CLIENT_CERT, true);
    lengths
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    #[test]
    fn every_name_has_the_same_kind_in_every_spelling() {
        let long = format!("x-{}", "long-".repeat(30));
        let renamed = IdentityFields {
            user_id: Some(HeaderName::from_static("remote-login")),
            user_email: Some(HeaderName::try_from(long.as_str()).unwrap()),
            ..IdentityFields::default()
        };
        let policy = FieldPolicy::compile(&renamed);
        let forged = format!("x-goog-{}", "long-".repeat(40));
        let table: [(Kind, &[&str]); 7] = [
            (
                Kind::Ordinary,
                &[
                    "accept",
                    "content-type",
                    "cookie",
                    "origin",
                    "x-requested-with",
                    "x-trace-id",
                    "sec-fetch-mode",
                    "x-user-idx",
                    "x-auth-token",
                    "x-token",
                    "x-realm",
                    "proxyx",
                    "authorizations",
                    "te2",
                    "via",
                    "xx-forwarded-for",
                    "a",
                ],
            ),
            (Kind::Message, &["host", "content-length", "Host", "Content-Length"]),
            (Kind::Credentials, &["authorization", "Authorization"]),
            (
                Kind::HopByHop,
                &[
                    "connection",
                    "keep-alive",
                    "proxy-connection",
                    "te",
                    "trailer",
                    "upgrade",
                    "proxy-authorization",
                    "proxy-authenticate",
                    "http2-settings",
                    "KeepAlive",
                    "keep_alive",
                    "TE",
                ],
            ),
            (
                Kind::Reserved,
                &[
                    "x-user-id",
                    "X-USER-ID",
                    "x_user_id",
                    "x.user.id",
                    "x-user_id",
                    "xuserid",
                    "x-userid",
                    "x!user!id",
                    "x-user-id-",
                    "x-user-name",
                    "x-user-email",
                    "x-user-groups",
                    "x-token-id",
                    "x-token-scopes",
                    "x-auth-method",
                    "x-request-id",
                    "remote-login",
                    "remote_login",
                    &long,
                    "x-tokengate-assertion",
                    "x_tokengate_assertion",
                    "client-cert",
                    "Client_Cert",
                    "client.cert.chain",
                    "clientcertx",
                    "x-forwarded-for",
                    "x-forwarded-proto",
                    "x_forwarded_for",
                    "x-forwarded-prefix",
                    "x-forwarded",
                    "forwarded",
                    "x-real-ip",
                    "transfer-encoding",
                    "transfer_encoding",
                    "expect",
                    "content_length",
                    "content.length",
                    "author-ization",
                ],
            ),
            (
                Kind::Foreign,
                &[
                    "remote-user",
                    "remote-users",
                    "remote-groups",
                    "x-real-ipv6",
                    "x-user",
                    "x-consumer-username",
                    "x-consumer-custom-id",
                    "x-credential-identifier",
                    "x-anonymous-consumer",
                    "x-auth-request-user",
                    "x-forwarded-user",
                    "x-forwarded-uri",
                    "x-forwarded-preferred-username",
                    "true-client-ip",
                    "x-client-ip",
                    "x-cluster-client-ip",
                    "cf-connecting-ip",
                    "x-original-url",
                    "x-original-forwarded-for",
                    "x-rewrite-url",
                    "x-http-method-override",
                    "x-http-method",
                    "x-method-override",
                    "proxy",
                    "PROXY",
                    "x-goog-iap-jwt-assertion",
                    "X_GOOG_IAP",
                    "x.goog.x",
                    "xgoog",
                    &forged,
                    "x-token-claim-sub",
                    "x-tokens",
                    "ssl_client_s_dn",
                ],
            ),
            (Kind::Odd, &["x_y", "x.y", "x_auth_token", "http_authorization", "x%2duser%2did", "a!", "_", "."]),
        ];
        for (kind, names) in table {
            for name in names {
                assert_eq!(policy.kind_of(name.as_bytes()), kind, "{name}");
            }
        }
    }
}
