//! Tensors as nested lists.
//!
//! 1. What the shapes alone say is counted first: lists, and the shortest text that there can be.
//!    A shape is a few bytes of a request, and can ask for any number of them.
//! 2. Then the text is written, and measured behind each element and list.

use std::{borrow::Cow, collections::BTreeSet};

use tollgate_sdk_protocol::{inference::Tensor, text::quoted, types::Datatype};

use super::{Layout, Problem, element, shown};

/// Most lists of all tensors together, beside [`LISTS_OF_ELEMENT`] for each of their elements: of
/// tensors without elements nothing else bounds them.
const LISTS: u64 = 1 << 16;
const LISTS_OF_ELEMENT: u64 = 4;

/// Most dimensions.
const DEEPEST: usize = 64;

/// How tensors are to be written.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    pub layout: Layout,
    /// The values of a single tensor stand without its name.
    pub bare: bool,
    /// Longest text, with what stands before it.
    pub most: u64,
}

/// Writes tensors, whose elements are `raw`.
///
/// # Errors
/// One has no form: a value that JSON has not, a shape, a name that is another's too, by rows other
/// rows than the first. Or the text is too long.
pub fn values(
    tensors: &[Tensor],
    raw: &[Cow<'_, [u8]>],
    form: Form,
    out: &mut Vec<u8>,
) -> Result<(), Problem> {
    let mut names = BTreeSet::new();
    if let Some(again) = tensors.iter().find(|it| !names.insert(&it.name)) {
        return Err(unfit(&again.name, "another one has the same name"));
    }
    let pairs = tensors.iter().zip(raw);
    let columns = pairs.map(|(tensor, raw)| Column::new(tensor, raw));
    let mut columns: Vec<Column<'_>> = columns.collect::<Result<_, _>>()?;
    count(&columns, form.most)?;
    let mut text = Text {
        out,
        most: usize::try_from(form.most).unwrap_or(usize::MAX),
    };
    match (form.layout, &mut columns[..]) {
        (Layout::Rows, columns) => rows(columns, form.bare, &mut text),
        (Layout::Columns, [column]) if form.bare => column.part(0, &mut text),
        (Layout::Columns, columns) => object(columns, 0, &mut text),
    }
}

fn unfit(name: &str, what: &str) -> Problem {
    Problem::Unfit(format!("tensor '{}': {what}", shown(name)))
}

/// What can be told of the text before anything of it is written.
fn count(columns: &[Column<'_>], most: u64) -> Result<(), Problem> {
    let (mut lists, mut elements, mut least) = (0_u64, 0_u64, 0_u64);
    for column in columns {
        let mut parts = 1_u64;
        for size in &column.shape {
            lists = lists.saturating_add(parts);
            parts = parts.saturating_mul(*size as u64);
        }
        elements = elements.saturating_add(parts);
        least = least.saturating_add(parts.saturating_mul(match column.datatype {
            Datatype::Bytes => 2,
            _ => 1,
        }));
    }
    if least.saturating_add(lists.saturating_mul(2)) > most {
        return Err(Problem::long(most));
    }
    if lists > LISTS.saturating_add(elements.saturating_mul(LISTS_OF_ELEMENT)) {
        let what = format!("the tensors' shapes need {lists} lists for {elements} elements");
        return Err(Problem::Unfit(what));
    }
    Ok(())
}

/// A text in the making.
struct Text<'a> {
    out: &'a mut Vec<u8>,
    most: usize,
}

impl Text<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn check(&self) -> Result<(), Problem> {
        match self.out.len() > self.most {
            true => Err(Problem::long(self.most as u64)),
            false => Ok(()),
        }
    }
}

/// A tensor that is being written.
struct Column<'a> {
    name: &'a str,
    /// Its name as JSON, and a colon.
    member: Vec<u8>,
    datatype: &'a Datatype,
    shape: Vec<usize>,
    rest: &'a [u8],
    element: u64,
}

impl<'a> Column<'a> {
    fn new(tensor: &'a Tensor, raw: &'a [u8]) -> Result<Self, Problem> {
        let sizes = tensor.shape.iter().map(|size| usize::try_from(*size));
        let sizes: Option<Vec<usize>> = sizes.map(Result::ok).collect();
        let shape = sizes.filter(|sizes| sizes.len() <= DEEPEST);
        let shape = shape.ok_or_else(|| {
            let what = format!("its shape is none: {DEEPEST} sizes at most, and none below 0");
            unfit(&tensor.name, &what)
        })?;
        let mut member = quoted(&tensor.name);
        member.push(b':');
        Ok(Self {
            name: &tensor.name,
            member,
            datatype: &tensor.datatype,
            shape,
            rest: raw,
            element: 0,
        })
    }

    /// The next part of it, with this many of its dimensions gone.
    fn part(&mut self, depth: usize, text: &mut Text<'_>) -> Result<(), Problem> {
        let Some(size) = self.shape.get(depth).copied() else {
            let room = text.most.saturating_sub(text.out.len());
            let told = element::tell(self.rest, self.datatype, room, text.out);
            let told = told.map_err(|problem| {
                let (name, at) = (shown(self.name), self.element);
                problem.map(|what| format!("tensor '{name}': element {at} {what}"))
            })?;
            self.rest = told.ok_or_else(|| Problem::long(text.most as u64))?;
            self.element += 1;
            return text.check();
        };
        text.out.push(b'[');
        for at in 0..size {
            if at > 0 {
                text.out.push(b',');
            }
            self.part(depth + 1, text)?;
        }
        text.out.push(b']');
        text.check()
    }
}

fn rows(columns: &mut [Column<'_>], bare: bool, text: &mut Text<'_>) -> Result<(), Problem> {
    let mut count = None;
    for column in columns.iter() {
        let Some(rows) = column.shape.first().copied() else {
            let what = "it has no dimension, and so no rows";
            return Err(unfit(column.name, what));
        };
        if *count.get_or_insert(rows) != rows {
            let what = "it has another number of rows than the first one; by columns it need not";
            return Err(unfit(column.name, what));
        }
    }
    if let ([column], true) = (&mut *columns, bare) {
        return column.part(0, text);
    }
    text.put(b"[");
    for row in 0..count.unwrap_or(0) {
        if row > 0 {
            text.put(b",");
        }
        object(columns, 1, text)?;
    }
    text.put(b"]");
    text.check()
}

fn object(columns: &mut [Column<'_>], depth: usize, text: &mut Text<'_>) -> Result<(), Problem> {
    text.put(b"{");
    for (at, column) in columns.iter_mut().enumerate() {
        if at > 0 {
            text.put(b",");
        }
        text.put(&column.member);
        text.check()?;
        column.part(depth, text)?;
    }
    text.put(b"}");
    text.check()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_sdk_protocol::inference::TensorData;

    fn tensor(name: &str, shape: &[i64], raw: &[u8]) -> Tensor {
        Tensor {
            name: name.to_owned(),
            datatype: Datatype::Uint8,
            shape: shape.to_vec(),
            data: TensorData::Inline(raw.to_vec()),
            parameters: Vec::new(),
        }
    }

    fn text(tensors: &[Tensor], layout: Layout, most: u64) -> Result<String, Problem> {
        let raw = tensors.iter().map(|it| match &it.data {
            TensorData::Inline(raw) => Cow::Borrowed(&raw[..]),
            _ => Cow::Borrowed(&[][..]),
        });
        let form = Form {
            layout,
            bare: true,
            most,
        };
        let mut out = Vec::new();
        values(tensors, &raw.collect::<Vec<_>>(), form, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_shape_is_the_nesting() {
        let rows = |all: &[Tensor]| text(all, Layout::Rows, 100);
        let columns = |all: &[Tensor]| text(all, Layout::Columns, 100);
        let one = |shape: &[i64], raw: &[u8]| rows(&[tensor("x", shape, raw)]);
        assert_eq!(one(&[2, 2], &[1, 2, 3, 4]).unwrap(), "[[1,2],[3,4]]");
        assert_eq!(one(&[2, 0], &[]).unwrap(), "[[],[]]");
        assert_eq!(one(&[0], &[]).unwrap(), "[]");
        assert!(one(&[], &[1]).is_err(), "a scalar has no rows");
        assert_eq!(columns(&[tensor("x", &[], &[1])]).unwrap(), "1");
        let two = [tensor("a", &[2], &[1, 2]), tensor("b", &[2, 1], &[3, 4])];
        let by_rows = r#"[{"a":1,"b":[3]},{"a":2,"b":[4]}]"#;
        assert_eq!(rows(&two).unwrap(), by_rows);
        let by_columns = r#"{"a":[1,2],"b":[[3],[4]]}"#;
        assert_eq!(columns(&two).unwrap(), by_columns);
        let uneven = [tensor("a", &[2], &[1, 2]), tensor("b", &[1], &[3])];
        assert!(rows(&uneven).unwrap_err().to_string().contains("'b'"));
        let same = [tensor("a", &[1], &[1]), tensor("a", &[1], &[2])];
        for layout in [Layout::Rows, Layout::Columns] {
            let problem = text(&same, layout, 100).unwrap_err().to_string();
            assert!(problem.contains("'a': another one"), "{problem}");
        }
    }

    #[test]
    fn a_text_ends_at_its_bound() {
        let row = [tensor("x", &[10], &[1; 10])];
        assert!(text(&row, Layout::Rows, 21).is_ok());
        let long = |all: &[Tensor], layout| {
            let problem = text(all, layout, 1 << 20).unwrap_err();
            assert!(matches!(problem, Problem::Long(_)), "{problem:?}");
        };
        assert_eq!(text(&row, Layout::Rows, 20), Err(Problem::long(20)));
        // A name stands in each row.
        let (first, second) = ("a".repeat(2000), "b".repeat(2000));
        let all = [&first, &second].map(|name| tensor(name, &[1000], &[1; 1000]));
        long(&all, Layout::Rows);
        assert!(text(&all, Layout::Columns, 1 << 20).is_ok());
        let mut deep = vec![100_000];
        deep.extend([1; 62]);
        long(&[tensor("x", &deep, &vec![1; 100_000])], Layout::Rows);
        // Control characters are written in six bytes.
        let raw = [&(1_u32 << 18).to_le_bytes()[..], &vec![1; 1 << 18]].concat();
        let texts = Tensor {
            datatype: Datatype::Bytes,
            ..tensor("x", &[1], &raw)
        };
        long(&[texts], Layout::Rows);
    }

    #[test]
    fn a_shape_without_elements_is_bounded() {
        let mut deep = vec![4 << 20];
        deep.extend([1; 62]);
        deep.push(0);
        let empty = |shape: &[i64]| tensor("x", shape, &[]);
        for shape in [
            &[i64::MAX, 0][..],
            &[1 << 40, 0],
            &[-1, 1],
            &[1; 65],
            &[100_000, 0],
            &deep,
        ] {
            assert!(text(&[empty(shape)], Layout::Rows, 8 << 20).is_err());
        }
        // One count for all of them.
        let names: Vec<String> = (0..10).map(|at| at.to_string()).collect();
        let all = names.iter().map(|name| tensor(name, &[10_000, 0], &[]));
        let all: Vec<_> = all.collect();
        assert!(text(&all[..1], Layout::Columns, 8 << 20).is_ok());
        let problem = text(&all, Layout::Columns, 8 << 20).unwrap_err();
        assert!(matches!(problem, Problem::Unfit(_)), "{problem:?}");
        assert!(text(&[tensor("x", &[2], &[1])], Layout::Rows, 100).is_err());
    }
}
