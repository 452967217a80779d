//! Links that stay within the repository.

use std::path::{Path, PathBuf};

use super::{Document, anchors, markdown};

/// Line numbers, from 1, and which links lead nowhere.
pub(super) fn problems(document: &Document, all: &[Document]) -> Vec<(usize, String)> {
    let folder = document.path.parent().unwrap_or(Path::new(""));
    let mut problems = Vec::new();
    for (line, text) in markdown::parts(&document.text).prose {
        for rest in text.split("](").skip(1) {
            let Some((link, _)) = rest.split_once(')') else {
                continue;
            };
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => document.path.clone(),
                path => normal(&folder.join(path)),
            };
            if !target.exists() {
                problems.push((line, format!("the link `{link}` leads nowhere")));
            } else if !anchor.is_empty()
                && let Some(page) = all.iter().find(|it| it.path == target)
                && !anchors::of(&page.text).contains(anchor)
            {
                problems.push((line, format!("`{}` has no heading `#{anchor}`", page.name)));
            }
        }
    }
    problems
}

/// Without `.` and `..`, as far as they can be taken out of the path alone.
fn normal(path: &Path) -> PathBuf {
    use std::path::Component;

    let mut made = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                made.pop();
            }
            part => made.push(part),
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn links_to_missing_files_and_headings_are_told_by_line() {
        let root = std::env::temp_dir().join(format!("tollgate-links-{}", std::process::id()));
        fs::create_dir_all(root.join("docs")).unwrap();
        let page = |name: &str, text: &str| {
            let path = root.join(name);
            fs::write(&path, text).unwrap();
            Document {
                name: name.to_owned(),
                path,
                text: text.to_owned(),
            }
        };
        let all = [
            page("one.md", "# Top\n## A `part`\n"),
            page(
                "docs/two.md",
                "[a](../one.md) [b](gone.md#x)\n[c](../one.md#a-part) [d](../one.md#b-part)\n\
                 ```\n[e](gone.md)\n```\n[f](https://example.com/#g) [h](#here)\n## Here\n",
            ),
        ];
        let found = problems(&all[1], &all);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(
            found,
            [
                (1, "the link `gone.md#x` leads nowhere".to_owned()),
                (2, "`one.md` has no heading `#b-part`".to_owned()),
            ]
        );
    }
}
