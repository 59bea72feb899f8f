//! Guesses which known key an unknown one was meant to be.

use std::collections::BTreeSet;

/// The longest key that is worth a guess, in bytes; it bounds the work.
const KEY_MAX: usize = 64;

/// The known key that `path` was most likely meant to be: the name of one beside it that is spelt nearly the same, or the
/// whole path of one with the same name in another table. Both are paths without list positions.
pub fn hint<'k>(path: &str, known: &'k BTreeSet<String>) -> Option<&'k str> {
    let (table, name) = split(path);
    if name.len() > KEY_MAX {
        return None;
    }
    let beside = known
        .iter()
        .filter(|known| split(known).0 == table)
        .map(|known| (distance(name, split(known).1), known))
        .filter(|(distance, _)| *distance <= name.len().div_ceil(4))
        .min();
    let elsewhere = || known.iter().find(|known| split(known).1 == name);
    beside.map(|(_, known)| split(known).1).or_else(|| elsewhere().map(String::as_str))
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

/// How many characters must be inserted, removed or replaced to make `left` into `right` (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.chars().enumerate() {
            let replaced = diagonal + usize::from(l != r);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.chars().count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: Option<&str>) {
        let known = [
            "delivery",
            "delivery.timeout",
            "delivery.max_body",
            "ledger",
            "ledger.commit_interval",
        ];
        let known = known.map(str::to_owned).into();
        assert_eq!(hint(path, &known), expected, "{path}");
    }

    #[test]
    fn a_misspelt_key_is_recognized() {
        check("delivery.timout", Some("timeout"));
        check("delivry", Some("delivery"));
        check("delivery.max-body", Some("max_body"));
    }

    #[test]
    fn a_key_in_the_wrong_table_is_recognized() {
        check("delivery.commit_interval", Some("ledger.commit_interval"));
        check("timeout", Some("delivery.timeout"));
    }

    #[test]
    fn a_stranger_gets_no_guess() {
        check("delivery.colour", None);
        check("delivery.t", None);
        check(&"x".repeat(10_000), None);
    }

    #[test]
    fn distances_count_single_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
