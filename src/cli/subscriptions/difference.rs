//! What `apply` changes in a definition, told without its secrets.

use serde_json::{Map, Value};

use super::document::redact;

/// Tells a line for each field that differs: `+` for one that is new, `-` for one that goes, `~` for one that changes.
/// A secret is told by its field only.
pub(super) fn difference(before: &Value, after: &Value) -> Vec<String> {
    let (before, after) = (fields(before), fields(after));
    let (shown_before, shown_after) = (redact(before.clone()), redact(after.clone()));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let line = |name: &String| match (before.get(name), after.get(name)) {
        (Some(old), Some(new)) if old == new => None,
        (Some(_), Some(_)) if shown_before[name] == shown_after[name] => {
            Some(format!("~ {name}: another secret"))
        }
        (Some(_), Some(_)) => {
            Some(format!("~ {name}: {} -> {}", shown_before[name], shown_after[name]))
        }
        (None, Some(_)) => Some(format!("+ {name}: {}", shown_after[name])),
        _ => Some(format!("- {name}: {}", shown_before[name])),
    };
    names.into_iter().filter_map(line).collect()
}

fn fields(document: &Value) -> Map<String, Value> {
    document.as_object().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_is_told_and_no_secret() {
        let before =
            json!({"url": "https://a", "secret": "hunter2", "events": ["a"], "tenant": "x"});
        let after =
            json!({"url": "https://b", "secret": "hunter3", "events": ["a"], "timeout": "5s"});
        assert_eq!(
            difference(&before, &after),
            [
                "~ secret: another secret",
                "- tenant: \"x\"",
                "+ timeout: \"5s\"",
                "~ url: \"https://a/\" -> \"https://b/\"",
            ]
        );
    }
}
