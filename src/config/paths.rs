//! How the paths of keys are written in messages.

use super::units::show_text;

/// Appends a key to a path, in quotes if TOML wants them.
pub fn join(path: &str, key: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let key = match !key.is_empty() && key.chars().all(is_bare) {
        true => key.to_owned(),
        false => show_text(key),
    };
    match path {
        "" => key,
        _ => format!("{path}.{key}"),
    }
}

/// Leaves list positions out: `sources[3].topics` becomes `sources.topics`.
pub fn without_positions(path: &str) -> String {
    let mut parts = path.split('[');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |path, part| {
        let rest = part.split_once(']').map_or(part, |(_, rest)| rest);
        path + rest
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_quoted_where_toml_quotes_them() {
        assert_eq!(join("", "kafka"), "kafka");
        assert_eq!(join("kafka.properties", "group.id"), "kafka.properties.\"group.id\"");
        assert_eq!(join("a", ""), "a.\"\"");
    }

    #[test]
    fn positions_are_left_out() {
        assert_eq!(without_positions("sources[3].topics[12]"), "sources.topics");
        assert_eq!(without_positions("kafka"), "kafka");
    }
}
