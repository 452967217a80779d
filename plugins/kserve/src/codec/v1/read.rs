//! Tensors of nested lists. The shape is what the nesting says; lists that are not all as long, or
//! not all as deep, have none.

use tollgate_sdk_protocol::{
    inference::{Tensor, TensorData},
    types::Datatype,
};

use super::{
    Layout, Problem, element,
    scan::{Kind, Scan},
    shown,
};

/// Most dimensions of a tensor.
const DEEPEST: usize = 32;

/// Which tensors a body may have: name and datatype. Values without a name are the only one's.
pub type Names = Vec<(String, Datatype)>;

/// The tensors of a body's member. `noun`: what one of them is, in words.
///
/// # Errors
/// Says which tensor is wrong, and why.
pub fn tensors(
    text: &[u8],
    layout: Layout,
    names: &Names,
    noun: &str,
) -> Result<Vec<Tensor>, Problem> {
    let mut scan = Scan::new(text);
    let all = match (scan.kind()?, layout) {
        (Kind::Object, Layout::Columns) if scan.base64()?.is_none() => {
            columns(&mut scan, names, noun)?
        }
        (Kind::List, Layout::Rows) if is_named(scan)? => rows(&mut scan, names, noun)?,
        (Kind::List, _) => vec![single(text, names, noun)?],
        (_, Layout::Rows) => return Err(unfit(format!("rows of {noun}s must be a list"))),
        (_, Layout::Columns) => vec![single(text, names, noun)?],
    };
    Ok(all)
}

/// The elements of a list, whatever its nesting.
///
/// # Errors
/// One is no value of the datatype.
pub fn flat(text: &[u8], datatype: &Datatype) -> Result<Vec<u8>, Problem> {
    let mut scan = Scan::new(text);
    let (mut open, mut first, mut raw) = (0_usize, true, Vec::new());
    loop {
        if open > 0 && !scan.more(first, b']')? {
            open -= 1;
            first = false;
            if open == 0 {
                return Ok(raw);
            }
            continue;
        }
        if scan.kind()? == Kind::List {
            scan.open();
            open += 1;
            first = true;
        } else {
            element::put(&mut scan, datatype, &mut raw)?;
            first = false;
            if open == 0 {
                return Ok(raw);
            }
        }
    }
}

/// Whether the rows of a list are objects of named values, as the first one is.
fn is_named(mut scan: Scan<'_>) -> Result<bool, Problem> {
    scan.open();
    Ok(scan.more(true, b']')? && scan.kind()? == Kind::Object && scan.base64()?.is_none())
}

/// Values without a name.
fn single(text: &[u8], names: &Names, noun: &str) -> Result<Tensor, Problem> {
    let [(name, datatype)] = names.as_slice() else {
        let known = listed(names);
        return Err(unfit(format!(
            "the model has several {noun}s: values must be named, of {known}"
        )));
    };
    let mut scan = Scan::new(text);
    let mut building = Building::new(name, datatype, noun);
    building.take(&mut scan, 0)?;
    if !scan.is_over() {
        return Err(Problem::Malformed("it is not valid JSON".to_owned()));
    }
    Ok(building.tensor())
}

fn unfit(what: String) -> Problem {
    Problem::Unfit(what)
}

fn listed(names: &Names) -> String {
    let names: Vec<String> = names.iter().map(|it| format!("'{}'", it.0)).collect();
    names.join(", ")
}

/// All that may come, of which nothing has.
fn buildings<'a>(names: &'a Names, noun: &'a str) -> Vec<Building<'a>> {
    let all = names.iter();
    all.map(|(name, datatype)| Building::new(name, datatype, noun))
        .collect()
}

/// Those that came.
fn came(buildings: Vec<Building<'_>>, noun: &str) -> Result<Vec<Tensor>, Problem> {
    let all = buildings.into_iter().filter(|it| it.parts > 0);
    let all: Vec<Tensor> = all.map(Building::tensor).collect();
    match all.is_empty() {
        true => Err(unfit(format!("there is no {noun}"))),
        false => Ok(all),
    }
}

/// The values of one object, each behind those of the same name.
fn object(
    scan: &mut Scan<'_>,
    buildings: &mut [Building<'_>],
    names: &Names,
    depth: usize,
    noun: &str,
) -> Result<(), Problem> {
    let before: Vec<usize> = buildings.iter().map(|it| it.parts).collect();
    scan.open();
    let mut first = true;
    while scan.more(first, b'}')? {
        first = false;
        let key = scan.key()?;
        let at = names.iter().position(|it| it.0 == key).ok_or_else(|| {
            let (key, known) = (shown(&key), listed(names));
            unfit(format!("{noun} '{key}' is not known here; known: {known}"))
        })?;
        let building = &mut buildings[at];
        if building.parts > before[at] {
            return Err(building.problem("it stands twice in one object"));
        }
        building.take(scan, depth)?;
        building.parts += 1;
    }
    Ok(())
}

fn columns(scan: &mut Scan<'_>, names: &Names, noun: &str) -> Result<Vec<Tensor>, Problem> {
    let mut all = buildings(names, noun);
    object(scan, &mut all, names, 0, noun)?;
    came(all, noun)
}

fn rows(scan: &mut Scan<'_>, names: &Names, noun: &str) -> Result<Vec<Tensor>, Problem> {
    let mut all = buildings(names, noun);
    scan.open();
    let mut rows = 0;
    while scan.more(rows == 0, b']')? {
        if scan.kind()? != Kind::Object {
            return Err(unfit(format!(
                "row {rows} is not an object of named values, as the first one is"
            )));
        }
        object(scan, &mut all, names, 1, noun)?;
        rows += 1;
        let part = |it: &&Building<'_>| it.parts > 0 && it.parts != rows;
        if let Some(building) = all.iter().find(part) {
            return Err(building.problem("not every row has it"));
        }
    }
    for building in &mut all {
        if building.parts > 0 {
            building.size(0, rows)?;
        }
    }
    came(all, noun)
}

/// A tensor in the making.
struct Building<'a> {
    name: &'a str,
    datatype: &'a Datatype,
    noun: &'a str,
    /// Sizes of the dimensions that are known.
    sizes: Vec<Option<usize>>,
    /// How deep elements stand.
    rank: Option<usize>,
    raw: Vec<u8>,
    elements: u64,
    /// How many values of its name have come.
    parts: usize,
}

impl<'a> Building<'a> {
    fn new(name: &'a str, datatype: &'a Datatype, noun: &'a str) -> Self {
        Self {
            name,
            datatype,
            noun,
            sizes: Vec::new(),
            rank: None,
            raw: Vec::new(),
            elements: 0,
            parts: 0,
        }
    }

    fn problem(&self, what: &str) -> Problem {
        unfit(format!("{} '{}': {what}", self.noun, self.name))
    }

    /// Takes the value that comes, which stands this deep.
    fn take(&mut self, scan: &mut Scan<'_>, depth: usize) -> Result<(), Problem> {
        if scan.kind()? != Kind::List {
            self.ends(depth)?;
            element::put(scan, self.datatype, &mut self.raw).map_err(|problem| {
                let (noun, name, at) = (self.noun, self.name, self.elements);
                problem.map(|what| format!("{noun} '{name}': element {at}: {what}"))
            })?;
            self.elements += 1;
            return Ok(());
        }
        if depth >= DEEPEST {
            let what = format!("it has more than {DEEPEST} dimensions");
            return Err(self.problem(&what));
        }
        scan.open();
        let mut size = 0;
        while scan.more(size == 0, b']')? {
            self.take(scan, depth + 1)?;
            size += 1;
        }
        if size == 0 {
            self.ends(depth + 1)?;
        }
        self.size(depth, size)
    }

    /// Elements stand this deep.
    fn ends(&mut self, depth: usize) -> Result<(), Problem> {
        match *self.rank.get_or_insert(depth) {
            rank if rank == depth => Ok(()),
            _ => Err(self.problem("its lists are ragged: they are not all as deep")),
        }
    }

    /// A list this deep is so long.
    fn size(&mut self, depth: usize, size: usize) -> Result<(), Problem> {
        if self.sizes.len() <= depth {
            self.sizes.resize(depth + 1, None);
        }
        match *self.sizes[depth].get_or_insert(size) {
            known if known == size => Ok(()),
            known => {
                let what = format!(
                    "its lists are ragged: in dimension {depth} one has {known} items, \
                     another {size}"
                );
                Err(self.problem(&what))
            }
        }
    }

    fn tensor(self) -> Tensor {
        let sizes = self.sizes.into_iter().flatten();
        Tensor {
            name: self.name.to_owned(),
            datatype: self.datatype.clone(),
            shape: sizes.map(|size| size as i64).collect(),
            data: TensorData::Inline(self.raw),
            parameters: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[(&str, Datatype)]) -> Names {
        let one = |it: &(&str, Datatype)| (it.0.to_owned(), it.1.clone());
        all.iter().map(one).collect()
    }

    fn shapes(
        text: &str,
        layout: Layout,
        names: &Names,
    ) -> Result<Vec<(String, Vec<i64>)>, Problem> {
        let all = tensors(text.as_bytes(), layout, names, "input")?;
        Ok(all.into_iter().map(|it| (it.name, it.shape)).collect())
    }

    #[test]
    fn the_nesting_is_the_shape() {
        let one = names(&[("x", Datatype::Int8)]);
        for (text, layout, shape) in [
            ("[1,2,3]", Layout::Rows, vec![3]),
            ("[[1,2],[3,4]]", Layout::Rows, vec![2, 2]),
            ("[[],[]]", Layout::Rows, vec![2, 0]),
            ("[[[]]]", Layout::Rows, vec![1, 1, 0]),
            (" [ ] ", Layout::Rows, vec![0]),
            ("7", Layout::Columns, vec![]),
            ("[[7]]", Layout::Columns, vec![1, 1]),
            (r#"[{"x":1},{"x":2}]"#, Layout::Rows, vec![2]),
            (r#"[{"x":[1,2,3]}]"#, Layout::Rows, vec![1, 3]),
            (r#"{"x":[1,2,3]}"#, Layout::Columns, vec![3]),
        ] {
            let expected = vec![("x".to_owned(), shape)];
            assert_eq!(shapes(text, layout, &one).unwrap(), expected, "{text}");
        }
        let two = names(&[("a", Datatype::Bytes), ("b", Datatype::Fp32)]);
        assert_eq!(
            shapes(r#"[{"b":[1,2],"a":{"b64":"eA=="}}]"#, Layout::Rows, &two).unwrap(),
            [("a".to_owned(), vec![1]), ("b".to_owned(), vec![1, 2])]
        );
    }

    #[test]
    fn base64_is_a_value_and_no_row() {
        let one = names(&[("x", Datatype::Bytes)]);
        let text = r#"[{"b64":"eA=="},"y"]"#;
        let all = tensors(text.as_bytes(), Layout::Rows, &one, "input").unwrap();
        assert_eq!(
            all[0].data,
            TensorData::Inline(b"\x01\0\0\0x\x01\0\0\0y".to_vec())
        );
        let scalar = shapes(r#"{"b64":"eA=="}"#, Layout::Columns, &one).unwrap();
        assert_eq!(scalar, [("x".to_owned(), vec![])]);
    }

    #[test]
    fn what_has_no_shape_is_refused_by_name() {
        let one = names(&[("x", Datatype::Int8)]);
        let two = names(&[("a", Datatype::Int8), ("b", Datatype::Int8)]);
        let deep = "[".repeat(DEEPEST + 1) + &"]".repeat(DEEPEST + 1);
        for (text, layout, names, word) in [
            (
                "[[1],[2,3]]",
                Layout::Rows,
                &one,
                "'x': its lists are ragged",
            ),
            ("[[1],2]", Layout::Rows, &one, "'x': its lists are ragged"),
            ("[1,[2]]", Layout::Rows, &one, "'x': its lists are ragged"),
            ("[[1],[]]", Layout::Rows, &one, "ragged"),
            ("[[],[[]]]", Layout::Rows, &one, "ragged"),
            (r#"[{"x":[1]},{"x":[1,2]}]"#, Layout::Rows, &one, "ragged"),
            (
                r#"[{"a":1},{"b":1}]"#,
                Layout::Rows,
                &two,
                "'a': not every row",
            ),
            (
                r#"[{"a":1},{"a":1,"b":1}]"#,
                Layout::Rows,
                &two,
                "'b': not every",
            ),
            (
                r#"[{"a":1,"a":2}]"#,
                Layout::Rows,
                &two,
                "'a': it stands twice",
            ),
            (r#"[{"c":1}]"#, Layout::Rows, &two, "'c' is not known"),
            (r#"[{"a":1},1]"#, Layout::Rows, &two, "row 1"),
            ("[{}]", Layout::Rows, &two, "no input"),
            ("[1]", Layout::Rows, &two, "several inputs"),
            ("1", Layout::Rows, &one, "must be a list"),
            ("[1,400]", Layout::Rows, &one, "'x': element 1: 400"),
            (&deep, Layout::Rows, &one, "dimensions"),
        ] {
            let problem = shapes(text, layout, names).unwrap_err();
            assert!(matches!(problem, Problem::Unfit(_)), "{text}: {problem:?}");
            let problem = problem.to_string();
            assert!(problem.contains(word), "{text}: {problem}");
        }
    }

    #[test]
    fn nonsense_ends() {
        let one = names(&[("x", Datatype::Int8)]);
        for text in [
            "",
            "[",
            "[1",
            "[1,",
            "[{",
            r#"[{"x"#,
            r#"[{"x":"#,
            "]",
            "[1}",
            "[1 2]",
        ] {
            for layout in [Layout::Rows, Layout::Columns] {
                assert!(tensors(text.as_bytes(), layout, &one, "input").is_err());
            }
            let _ = flat(text.as_bytes(), &Datatype::Int8);
        }
        assert_eq!(
            flat(b"[[1,2],[],[[3]]]", &Datatype::Int8).unwrap(),
            [1, 2, 3]
        );
    }
}
