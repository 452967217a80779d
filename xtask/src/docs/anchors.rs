//! The names under which a page's headings can be linked to, as GitHub makes them.

use std::collections::{HashMap, HashSet};

use super::markdown;

/// Every heading of a page, as the part of a link behind `#`.
pub(super) fn of(text: &str) -> HashSet<String> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut found = HashSet::new();
    for (_, line) in markdown::parts(text).prose {
        let title = line.trim_start_matches('#');
        let level = line.len() - title.len();
        if !(1..=6).contains(&level) || !title.starts_with(' ') {
            continue;
        }
        let slug = slug(title);
        let again = seen.entry(slug.clone()).or_default();
        found.insert(match *again {
            0 => slug,
            number => format!("{slug}-{number}"),
        });
        *again += 1;
    }
    found
}

/// Lower case, spaces as hyphens, and nothing but letters, digits, hyphens and underscores; of a link
/// its text.
pub(super) fn slug(title: &str) -> String {
    let mut text = String::new();
    let mut rest = title.trim();
    while let Some((before, link)) = rest.split_once('[') {
        text.push_str(before);
        match link.split_once("](") {
            Some((shown, target)) if !shown.contains(']') => {
                text.push_str(shown);
                rest = target.split_once(')').map_or("", |(_, after)| after);
            }
            _ => rest = link,
        }
    }
    text.push_str(rest);
    let lower = text.to_lowercase();
    let kept = lower.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || matches!(c, '-' | '_') => Some(c),
        _ => None,
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_become_names() {
        assert_eq!(slug(" What real servers say"), "what-real-servers-say");
        assert_eq!(
            slug("`listeners[].tls`: two, or more"),
            "listenerstls-two-or-more"
        );
        assert_eq!(slug("The [guide](a.md#b) here"), "the-guide-here");
        let found = of("# One\n## Two\n#no\n## Two\n```\n# Three\n```\n");
        assert_eq!(found.len(), 3);
        for name in ["one", "two", "two-1"] {
            assert!(found.contains(name), "{name}");
        }
    }
}
