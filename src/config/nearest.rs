//! Suggestions for misspelt names.

/// "did you mean …?", if one of `known` is similar enough.
pub(super) fn nearest(text: &str, known: &[&str]) -> Option<String> {
    nearest_name(text, known).map(did_you_mean)
}

/// The most similar one of `known`, if it is similar enough.
pub(super) fn nearest_name<'k>(text: &str, known: &[&'k str]) -> Option<&'k str> {
    let distance = |name: &&str| strsim::damerau_levenshtein(text, name);
    let name = known.iter().copied().min_by_key(|name| distance(name))?;
    (distance(&name) <= (text.chars().count() / 3).max(1)).then_some(name)
}

pub(super) fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn only_a_similar_name_is_suggested() {
        let known = ["upstream", "path", "path_prefix", "host"];
        assert_eq!(nearest("upsteam", &known).as_deref(), Some("did you mean `upstream`?"));
        assert_eq!(nearest("pathprefix", &known).as_deref(), Some("did you mean `path_prefix`?"));
        assert_eq!(nearest("hsot", &known).as_deref(), Some("did you mean `host`?"));
        assert_eq!(nearest("cors", &known), None);
        assert_eq!(nearest("x", &[]), None);
    }
}
