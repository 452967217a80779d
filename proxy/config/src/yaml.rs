//! YAML as a tree whose every node knows where it was written.
//!
//! The parser is saphyr-parser's; here its events become nodes. What a scalar means is left to
//! the type that is wanted, so that `name: 8` is a name and `slots: 8` a number. Refused, because
//! each has hidden a mistake in somebody's configuration: a key written twice, tags, more than one
//! document. Anchors and aliases work; nodes and depth are bounded, aliases counted as often as used.

use std::collections::HashMap;
use std::path::Path;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use crate::problem::{Position, Problem};

/// Deeper than any section, and shallow enough for recursion.
const MAX_DEPTH: usize = 48;
/// Scalars, lists and maps together.
const MAX_NODES: usize = 1 << 18;
/// Characters of a value that a message repeats.
const MAX_SHOWN: usize = 48;

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) kind: Kind,
    /// What is written, where the text is what a reference in it stands for.
    pub(crate) written: Option<Box<str>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// `plain` is false when quotes say that it is a text.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) at: Position,
    pub(crate) text: String,
}

/// A step from a node to one below.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl Node {
    fn new(at: Position, kind: Kind) -> Self {
        Self {
            at,
            kind,
            written: None,
        }
    }

    /// True for nothing, `~` and `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null"))
    }

    /// The position of the node at the end of `path`, or of the last one on the way that exists.
    pub(crate) fn locate(&self, path: &[Step<'_>]) -> Position {
        let mut node = self;
        for step in path {
            let below = match (step, &node.kind) {
                (Step::Key(key), Kind::Map(entries)) => {
                    entries.iter().find(|(k, _)| k.text == *key).map(|(_, n)| n)
                }
                (Step::Index(index), Kind::List(items)) => items.get(*index),
                _ => None,
            };
            match below {
                Some(below) => node = below,
                None => break,
            }
        }
        node.at
    }

    /// For messages: what stands here.
    pub(crate) fn describe(&self) -> String {
        match &self.kind {
            _ if self.is_null() && self.written.is_none() => "nothing".to_owned(),
            Kind::Scalar { text, plain } => {
                let text = self.written.as_deref().unwrap_or(text);
                let quote = if *plain { "`" } else { "\"" };
                let short: String = text.chars().take(MAX_SHOWN).collect();
                let rest = if short.len() < text.len() { "…" } else { "" };
                format!("{quote}{short}{rest}{quote}")
            }
            Kind::List(_) => "a list".to_owned(),
            Kind::Map(_) => "a mapping".to_owned(),
        }
    }

    fn size(&self) -> usize {
        match &self.kind {
            Kind::Scalar { .. } => 1,
            Kind::List(items) => 1 + items.iter().map(Node::size).sum::<usize>(),
            Kind::Map(entries) => 1 + entries.iter().map(|(_, n)| 1 + n.size()).sum::<usize>(),
        }
    }

    fn depth(&self) -> usize {
        1 + match &self.kind {
            Kind::Scalar { .. } => 0,
            Kind::List(items) => items.iter().map(Node::depth).max().unwrap_or(0),
            Kind::Map(entries) => entries.iter().map(|(_, n)| n.depth()).max().unwrap_or(0),
        }
    }
}

/// Reads one document. An empty text is a null.
pub(crate) fn parse(text: &str, file: &Path) -> Result<Node, Problem> {
    let mut loader = Loader {
        file,
        open: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        root: None,
    };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let at = position(error.marker());
            Problem::new(
                file,
                Some(at),
                format!("this is not YAML: {}", error.info()),
            )
        })?;
        loader.event(event, span)?;
    }
    let nothing = Kind::Scalar {
        text: String::new(),
        plain: true,
    };
    let at = Position { line: 1, column: 1 };
    Ok(loader.root.unwrap_or(Node::new(at, nothing)))
}

struct Loader<'a> {
    file: &'a Path,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
}

/// A list or map whose end has not come.
struct Open {
    node: Node,
    anchor: usize,
    /// The key whose value comes next.
    key: Option<Key>,
    /// A map's keys so far, with their lines.
    keys: HashMap<String, usize>,
}

impl Loader<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        let at = position(&span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), at)?;
                let kind = Kind::Scalar {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain,
                };
                self.add(Node::new(at, kind), anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), at)?;
                self.begin(Node::new(at, Kind::List(Vec::new())), anchor)
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), at)?;
                self.begin(Node::new(at, Kind::Map(Vec::new())), anchor)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(done) => self.add(done.node, done.anchor),
                None => Ok(()),
            },
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) if node.depth() + self.open.len() <= MAX_DEPTH => {
                    self.count(node.size(), at)?;
                    self.add(node, 0)
                }
                Some(_) => Err(self.problem(at, "this alias nests too deeply")),
                None => Err(self.problem(at, "this alias names what encloses it")),
            },
            Event::DocumentStart(_) if self.root.is_some() => Err(self.problem(
                at,
                "a second document begins here; one file is one document",
            )),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        if self.open.len() >= MAX_DEPTH {
            return Err(self.problem(node.at, format!("nested more than {MAX_DEPTH} deep")));
        }
        self.open.push(Open {
            node,
            anchor,
            key: None,
            keys: HashMap::new(),
        });
        Ok(())
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        self.count(1, node.at)?;
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut parent.node.kind {
            Kind::List(items) => items.push(node),
            Kind::Map(entries) => match parent.key.take() {
                Some(key) => entries.push((key, node)),
                None => {
                    let Kind::Scalar { text, .. } = node.kind else {
                        return Err(self.problem(node.at, "a key must be a plain word"));
                    };
                    if let Some(first) = parent.keys.insert(text.clone(), node.at.line) {
                        let what = format!("`{text}` stands twice; first on line {first}");
                        return Err(self.problem(node.at, what));
                    }
                    parent.key = Some(Key { at: node.at, text });
                }
            },
            Kind::Scalar { .. } => {}
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, at: Position) -> Result<(), Problem> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(self.problem(at, format!("more than {MAX_NODES} values in one file")));
        }
        Ok(())
    }

    fn refuse_tag(&self, tagged: bool, at: Position) -> Result<(), Problem> {
        match tagged {
            true => Err(self.problem(at, "tags (`!name`) have no meaning here")),
            false => Ok(()),
        }
    }

    fn problem(&self, at: Position, what: impl Into<String>) -> Problem {
        Problem::new(self.file, Some(at), what)
    }
}

fn position(marker: &saphyr_parser::Marker) -> Position {
    Position {
        line: marker.line(),
        column: marker.col() + 1,
    }
}

impl<'a> From<&'a str> for Step<'a> {
    fn from(key: &'a str) -> Self {
        Self::Key(key)
    }
}

impl From<usize> for Step<'_> {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// A path: `steps!["routes", 0, "workers"]`.
macro_rules! steps {
    ($($step:expr),+ $(,)?) => {
        &[$(crate::yaml::Step::from($step)),+]
    };
}
pub(crate) use steps;
