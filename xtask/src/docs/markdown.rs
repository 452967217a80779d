//! As much of Markdown as the checks need: which lines are code, in which language, and which are prose.

/// A block between fences.
pub(super) struct Block<'a> {
    /// Number of its first line, from 1.
    pub(super) line: usize,
    /// What stands behind the fence, as `sh`; empty when nothing does.
    pub(super) language: &'a str,
    pub(super) lines: Vec<&'a str>,
}

/// A text taken apart.
pub(super) struct Parts<'a> {
    pub(super) blocks: Vec<Block<'a>>,
    /// Lines outside of blocks, with their numbers.
    pub(super) prose: Vec<(usize, &'a str)>,
}

/// Takes a text apart.
pub(super) fn parts(text: &str) -> Parts<'_> {
    let mut parts = Parts {
        blocks: Vec::new(),
        prose: Vec::new(),
    };
    let mut open: Option<Block<'_>> = None;
    for (at, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (fence, open.is_some()) {
            (Some(_), true) => parts.blocks.extend(open.take()),
            (Some(language), false) => {
                open = Some(Block {
                    line: at + 2,
                    language: language.trim(),
                    lines: Vec::new(),
                });
            }
            (None, _) => match &mut open {
                Some(block) => block.lines.push(line),
                None => parts.prose.push((at + 1, line)),
            },
        }
    }
    parts.blocks.extend(open);
    parts
}

/// Code within a line of prose: what stands between single backticks.
pub(super) fn spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_prose_are_told_apart() {
        let parts = parts("one `a` and `b c`\n```sh\nls\n```\ntwo\n  ```\nopen");
        assert_eq!(parts.prose, [(1, "one `a` and `b c`"), (5, "two")]);
        let [first, second] = parts.blocks.as_slice() else {
            panic!("two blocks")
        };
        assert_eq!((first.line, first.language), (3, "sh"));
        assert_eq!(first.lines, ["ls"]);
        assert_eq!(
            (second.language, second.lines.as_slice()),
            ("", &["open"][..])
        );
        assert!(spans(parts.prose[0].1).eq(["a", "b c"]));
    }
}
