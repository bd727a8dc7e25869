//! What this process remembers of tokens, and who asks the store when it does not know.
