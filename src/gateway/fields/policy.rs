//! Which fields a client may send.
//!
//! Compiled once from the settings; [`FieldPolicy::sift`] and [`FieldPolicy::add`] work by it. Names are compared
//! *folded* to lower-case letters and digits, since upstreams differ in which spellings they take for the same field:
//! `X_User_Id`, `X-User-Id` and `x-userid` are one name here.

use smallvec::SmallVec;

use super::hop_by_hop::HOP_BY_HOP;
use crate::config::settings::IdentityFields;

/// Reserved whatever the settings say: names that the gateway itself can give an upstream, names under which other
/// gateways do, and names that tell an upstream where a request came from or what it is for.
const RESERVED: [&str; 27] = [
    "x-user-id",
    "x-user-name",
    "x-user-email",
    "x-user-groups",
    "x-token-id",
    "x-token-scopes",
    "x-auth-method",
    "x-request-id",
    "remote-user",
    "remote-name",
    "remote-email",
    "remote-groups",
    "x-credential-identifier",
    "x-anonymous-consumer",
    "forwarded",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-originating-ip",
    "x-remote-ip",
    "x-remote-addr",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    "x-method-override",
    "transfer-encoding",
    "expect",
];

/// Folded beginnings of names that are reserved as a family, such as `X-Forwarded-*`.
const FAMILIES: [&[u8]; 7] =
    [b"xforwarded", b"xoriginal", b"xrewrite", b"xhttpmethod", b"xauthrequest", b"xconsumer", b"xtokengate"];

/// What the message itself is: these stay, and `Connection` may not name them.
const MESSAGE: [&str; 2] = ["host", "content-length"];

const CREDENTIALS: &str = "authorization";

/// What may happen to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Passes.
    Ordinary,
    /// Passes, and `Connection` may not name it.
    Message,
    /// Passes where the route says so; `Connection` may not name it.
    Credentials,
    /// Ends here.
    HopByHop,
    /// Is not a client's to send; `Connection` may not name it either.
    Reserved,
    /// Has characters in its name that some servers take for others. Ends here.
    Odd,
}

/// Which fields a client may send, and under which names the gateway says who is calling.
#[derive(Clone, Debug)]
pub struct FieldPolicy {
    pub(super) identity: IdentityFields,
    /// Folded, in order.
    names: Vec<(Box<[u8]>, Kind)>,
    /// For each first byte of a folded name, one bit for each length that [`FieldPolicy::names`] or a family has:
    /// settles most names without a look at their other bytes.
    lengths: Box<[u64; 256]>,
}

impl FieldPolicy {
    /// Compiles the policy for these names of identity fields.
    pub fn compile(identity: &IdentityFields) -> FieldPolicy {
        let IdentityFields { user_id, user_name, user_email, user_groups, token_id, scopes, method, .. } = identity;
        let optional = [user_id, user_name, user_email, user_groups, token_id, scopes].into_iter().flatten();
        let ours = optional.chain([method]).map(|name| (name.as_str(), Kind::Reserved));
        let mut names: Vec<(Box<[u8]>, Kind)> = ours
            .chain(RESERVED.map(|name| (name, Kind::Reserved)))
            .chain(HOP_BY_HOP.map(|name| (name, Kind::HopByHop)))
            .chain(MESSAGE.map(|name| (name, Kind::Message)))
            .chain([(CREDENTIALS, Kind::Credentials)])
            .map(|(name, kind)| (fold(name.as_bytes()).into_vec().into(), kind))
            .collect();
        // Stable, so that of equal names the first stays: reserved comes before hop-by-hop.
        names.sort_by(|(one, _), (other, _)| one.cmp(other));
        names.dedup_by(|(one, _), (other, _)| one == other);
        let lengths = lengths(&names);
        FieldPolicy { identity: identity.clone(), names, lengths }
    }

    /// What may happen to a field of this name.
    pub(super) fn kind_of(&self, name: &[u8]) -> Kind {
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
            Some(kind) => kind,
            None if odd => Kind::Odd,
            None => Kind::Ordinary,
        }
    }

    fn look_up(&self, name: &[u8]) -> Option<Kind> {
        let folded = fold(name);
        if FAMILIES.iter().any(|family| folded.starts_with(family)) {
            return Some(Kind::Reserved);
        }
        let at = self.names.binary_search_by(|(known, _)| known.as_ref().cmp(&folded)).ok()?;
        let kind = self.names.get(at).map(|(_, kind)| *kind)?;
        // `Content_Length` is not `Content-Length`, but an upstream may think so.
        let passes = matches!(kind, Kind::Message | Kind::Credentials);
        let is_alias = !MESSAGE.iter().chain([&CREDENTIALS]).any(|known| known.as_bytes().eq_ignore_ascii_case(name));
        if passes && is_alias { Some(Kind::Reserved) } else { Some(kind) }
    }
}

/// Lower-case letters and digits of a name.
fn fold(name: &[u8]) -> SmallVec<[u8; 64]> {
    name.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase).collect()
}

/// One bit for each length; all from 63 on share one.
fn bit(length: u32) -> u64 {
    1 << length.min(63)
}

fn lengths(names: &[(Box<[u8]>, Kind)]) -> Box<[u64; 256]> {
    let mut lengths = Box::new([0; 256]);
    let mut mark = |name: &[u8], and_longer: bool| {
        let own = bit(u32::try_from(name.len()).unwrap_or(u32::MAX));
        let bits = if and_longer { !(own - 1) } else { own };
        if let Some(set) = name.first().and_then(|first| lengths.get_mut(usize::from(*first))) {
            *set |= bits;
        }
    };
    names.iter().for_each(|(name, _)| mark(name, false));
    FAMILIES.iter().for_each(|family| mark(family, true));
    lengths
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    #[test]
    fn every_name_is_of_one_kind_in_every_spelling() {
        let long = format!("x-{}", "long-".repeat(30));
        let renamed = IdentityFields {
            user_id: Some(HeaderName::from_static("remote-login")),
            user_email: Some(HeaderName::try_from(long.as_str()).unwrap()),
            ..IdentityFields::default()
        };
        let policy = FieldPolicy::compile(&renamed);
        let table: [(Kind, &[&str]); 6] = [
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
                    "x-user",
                    "x-user-idx",
                    "authorizations",
                    "te2",
                    "x-real-ipv6",
                    "via",
                    "xx-forwarded-for",
                    "remote-users",
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
                    "remote-user",
                    "remote-groups",
                    "x-consumer-username",
                    "x-consumer-custom-id",
                    "x-credential-identifier",
                    "x-anonymous-consumer",
                    "x-auth-request-user",
                    "x-forwarded-user",
                    "x-forwarded-preferred-username",
                    "x-tokengate-assertion",
                    "x-forwarded-for",
                    "x-forwarded-proto",
                    "x_forwarded_for",
                    "x-forwarded",
                    "forwarded",
                    "x-real-ip",
                    "true-client-ip",
                    "x-client-ip",
                    "x-cluster-client-ip",
                    "cf-connecting-ip",
                    "x-original-url",
                    "x-original-forwarded-for",
                    "x-rewrite-url",
                    "x-forwarded-uri",
                    "x-forwarded-prefix",
                    "x-http-method-override",
                    "x-http-method",
                    "x-method-override",
                    "transfer-encoding",
                    "transfer_encoding",
                    "expect",
                    "content_length",
                    "content.length",
                    "author-ization",
                ],
            ),
            (Kind::Odd, &["x_y", "x.y", "http_authorization", "x%2duser%2did", "a!", "_", "."]),
        ];
        for (kind, names) in table {
            for name in names {
                assert_eq!(policy.kind_of(name.as_bytes()), kind, "{name}");
            }
        }
    }
}
