//! The Lua scripts: look, fill, hold. Each is atomic and uses the server's clock.
//!
//! Every script touches a single key, so a cluster can run it.

use redis::{Cmd, FromRedisValue, RedisError, Script, Value};

use crate::token::TokenDigest;

/// Longest time from the start of a lookup to its fill, in milliseconds. A slower lookup is not cached.
const MAX_LOOKUP: u64 = 2_000;

/// How long a hold rejects fills, in milliseconds: far longer than any lookup that began before it.
const HOLD: u64 = 10_000;

/// Maximum size of a value that is read, in bytes. The largest record takes a few thousand.
const MAX_VALUE: u64 = 65_536;

/// A time by the clock of the Redis server: milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ServerTime(pub(super) u64);

/// The time in milliseconds; a double holds it exactly for 285,000 years.
const NOW: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local there = redis.pcall('GET', KEYS[1])
";

/// Returns the value and the time. A value that is not a string, or too long, counts as invalid.
const LOOK_UP: &str = "
if type(there) == 'table' or (there and #there > tonumber(ARGV[1])) then there = 'x' end
return {there, now}
";

/// Stores an entry, unless the lookup took too long, or a hold or a later entry exists. A lookup that began in the
/// future is rejected too: the clock was set back.
const FILL: &str = "
local began = tonumber(ARGV[1])
if began > now or now - began > tonumber(ARGV[4]) then return 0 end
if there then
  local other = type(there) == 'string' and tonumber(string.match(there, '^e(%d+):'))
  if not other or (other > began and other <= now) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
";

/// Writes a hold and publishes it, unless the hold of this change or a later one exists: then another gateway published
/// it. If the server cannot write, the script at least deletes the entry.
const HOLD_KEY: &str = "
local other = type(there) == 'string' and tonumber(string.match(there, '^h(%d+)$'))
if other and other >= tonumber(ARGV[1]) then return now end
local done = redis.pcall('SET', KEYS[1], 'h' .. ARGV[1], 'PX', ARGV[2])
if done.err then
  redis.call('DEL', KEYS[1])
  return done
end
local told = redis.pcall('PUBLISH', ARGV[3], ARGV[4])
if type(told) == 'table' then return told end
return now
";

/// The scripts with their hashes.
pub(super) struct Scripts {
    prefix: String,
    look: Named,
    keep: Named,
    hold: Named,
}

/// A script with its hash.
pub(super) struct Named {
    text: String,
    hash: String,
}

impl Named {
    fn new(body: &str) -> Named {
        Named::of(format!("{NOW}{body}"))
    }

    pub(super) fn of(text: String) -> Named {
        let hash = Script::new(&text).get_hash().to_owned();
        Named { text, hash }
    }

    pub(super) fn call(&self, key: &str) -> Call {
        let begun = |command, script: &str| {
            let mut command = redis::cmd(command);
            command.arg(script).arg(1).arg(key);
            command
        };
        Call { by_hash: begun("EVALSHA", &self.hash), by_text: begun("EVAL", &self.text) }
    }
}

/// One call: the hash of the script, and its source for a server that has not cached it.
pub(super) struct Call {
    pub(super) by_hash: Cmd,
    pub(super) by_text: Cmd,
}

impl Call {
    pub(super) fn arg(mut self, arg: impl redis::ToRedisArgs) -> Call {
        self.by_hash.arg(&arg);
        self.by_text.arg(&arg);
        self
    }
}

impl Scripts {
    /// Creates the scripts for keys that begin with `prefix`.
    pub(super) fn new(prefix: &str) -> Scripts {
        let [look, keep, hold] = [LOOK_UP, FILL, HOLD_KEY].map(Named::new);
        Scripts { prefix: prefix.to_owned(), look, keep, hold }
    }

    /// The channel that publishes changes. Each message is a digest in hexadecimal.
    pub(super) fn channel(&self) -> String {
        format!("{}changes", self.prefix)
    }

    pub(super) fn look(&self, digest: TokenDigest) -> Call {
        self.look.call(&self.key(digest)).arg(MAX_VALUE)
    }

    /// Returns 1 if the entry was stored.
    pub(super) fn keep(&self, digest: TokenDigest, began: ServerTime, value: &[u8], ttl: u64) -> Call {
        self.keep.call(&self.key(digest)).arg(began.0).arg(value).arg(ttl).arg(MAX_LOOKUP)
    }

    /// Returns the server's time.
    pub(super) fn hold(&self, digest: TokenDigest, change: i64) -> Call {
        let change = change.max(0);
        self.hold.call(&self.key(digest)).arg(change).arg(HOLD).arg(self.channel()).arg(hex(digest))
    }

    fn key(&self, digest: TokenDigest) -> String {
        format!("{}{}", self.prefix, hex(digest))
    }
}

/// Parses the answer of [`Scripts::look`].
pub(super) fn read_look(answer: Value) -> Result<(Option<Vec<u8>>, ServerTime), RedisError> {
    let (there, now) = <(Option<Vec<u8>>, u64)>::from_redis_value(answer)?;
    Ok((there, ServerTime(now)))
}

/// Parses the answer of [`Scripts::hold`].
pub(super) fn read_time(answer: Value) -> Result<ServerTime, RedisError> {
    Ok(ServerTime(u64::from_redis_value(answer)?))
}

fn hex(digest: TokenDigest) -> String {
    digest.as_bytes().iter().fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}"))
}

/// Parses a message of the channel.
pub(super) fn read_message(text: &[u8]) -> Option<TokenDigest> {
    if text.len() != 64 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? * 16 + digit(*low)?),
        _ => None,
    };
    TokenDigest::from_bytes(&text.chunks(2).map(byte).collect::<Option<Vec<u8>>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_digest() {
        let digest = TokenDigest::of(b"k");
        assert_eq!(read_message(hex(digest).as_bytes()), Some(digest));
        for bad in ["", "00", &"g".repeat(64), &"0".repeat(65)] {
            assert_eq!(read_message(bad.as_bytes()), None, "{bad}");
        }
    }
}
