//! Tensors as nested lists.

use serde_json::Value;
use tollgate_sdk_protocol::types::Datatype;

use super::element;

/// Most lists that the shape of one tensor may need: of one without elements it bounds nothing
/// else.
const LISTS: usize = 1 << 22;

/// Most dimensions.
const DEEPEST: usize = 64;

/// A tensor that is being written.
pub struct Column<'a> {
    name: &'a str,
    datatype: &'a Datatype,
    shape: Vec<usize>,
    rest: &'a [u8],
    element: u64,
}

impl<'a> Column<'a> {
    /// A tensor and its elements.
    ///
    /// # Errors
    /// The shape cannot be written.
    pub fn new(
        name: &'a str,
        datatype: &'a Datatype,
        shape: &[i64],
        raw: &'a [u8],
    ) -> Result<Self, String> {
        let cannot = || format!("tensor '{name}': its shape {shape:?} cannot be written");
        if shape.len() > DEEPEST {
            return Err(cannot());
        }
        let sizes = shape.iter().map(|size| usize::try_from(*size));
        let sizes: Vec<usize> = sizes.collect::<Result<_, _>>().map_err(|_| cannot())?;
        let mut lists = 1_usize;
        for size in &sizes {
            lists = lists.checked_mul(*size).ok_or_else(cannot)?;
            if lists > LISTS.max(raw.len()) {
                return Err(cannot());
            }
        }
        Ok(Self {
            name,
            datatype,
            shape: sizes,
            rest: raw,
            element: 0,
        })
    }

    /// The next part of it, with this many of its dimensions gone.
    fn part(&mut self, depth: usize, out: &mut Vec<u8>) -> Result<(), String> {
        let Some(size) = self.shape.get(depth).copied() else {
            let told = element::tell(self.rest, self.datatype, out);
            self.rest = told.map_err(|what| {
                format!("tensor '{}': element {} {what}", self.name, self.element)
            })?;
            self.element += 1;
            return Ok(());
        };
        out.push(b'[');
        for at in 0..size {
            if at > 0 {
                out.push(b',');
            }
            self.part(depth + 1, out)?;
        }
        out.push(b']');
        Ok(())
    }

    fn named(&mut self, depth: usize, out: &mut Vec<u8>) -> Result<(), String> {
        out.extend_from_slice(Value::from(self.name).to_string().as_bytes());
        out.push(b':');
        self.part(depth, out)
    }
}

/// By rows: of one tensor its values, of several objects of them.
///
/// # Errors
/// A tensor has no rows or other ones, or a value that JSON has not.
pub fn rows(columns: &mut [Column<'_>], out: &mut Vec<u8>) -> Result<(), String> {
    let mut count = None;
    for column in columns.iter() {
        let Some(rows) = column.shape.first().copied() else {
            return Err(format!(
                "tensor '{}' has no dimension, and so no rows",
                column.name
            ));
        };
        if *count.get_or_insert(rows) != rows {
            return Err(format!(
                "tensor '{}' has another number of rows than the first one; by columns it need not",
                column.name
            ));
        }
    }
    if let [column] = columns {
        return column.part(0, out);
    }
    out.push(b'[');
    for row in 0..count.unwrap_or(0) {
        if row > 0 {
            out.push(b',');
        }
        object(columns, 1, out)?;
    }
    out.push(b']');
    Ok(())
}

/// By columns. `bare`: the value of a single one stands without its name.
///
/// # Errors
/// A tensor has a value that JSON has not.
pub fn columns(columns: &mut [Column<'_>], bare: bool, out: &mut Vec<u8>) -> Result<(), String> {
    match columns {
        [column] if bare => column.part(0, out),
        columns => object(columns, 0, out),
    }
}

fn object(columns: &mut [Column<'_>], depth: usize, out: &mut Vec<u8>) -> Result<(), String> {
    out.push(b'{');
    for (at, column) in columns.iter_mut().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        column.named(depth, out)?;
    }
    out.push(b'}');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column<'a>(name: &'a str, shape: &[i64], raw: &'a [u8]) -> Column<'a> {
        Column::new(name, &Datatype::Uint8, shape, raw).unwrap()
    }

    fn text(mut columns: Vec<Column<'_>>, by_rows: bool) -> Result<String, String> {
        let mut out = Vec::new();
        if by_rows {
            rows(&mut columns, &mut out)?;
        } else {
            super::columns(&mut columns, true, &mut out)?;
        }
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_shape_is_the_nesting() {
        let one = |shape: &[i64], raw: &[u8]| text(vec![column("x", shape, raw)], true);
        assert_eq!(one(&[2, 2], &[1, 2, 3, 4]).unwrap(), "[[1,2],[3,4]]");
        assert_eq!(one(&[2, 0], &[]).unwrap(), "[[],[]]");
        assert_eq!(one(&[0], &[]).unwrap(), "[]");
        assert!(one(&[], &[1]).is_err(), "a scalar has no rows");
        assert_eq!(text(vec![column("x", &[], &[1])], false).unwrap(), "1");
        let two = || vec![column("a", &[2], &[1, 2]), column("b", &[2, 1], &[3, 4])];
        let by_rows = r#"[{"a":1,"b":[3]},{"a":2,"b":[4]}]"#;
        assert_eq!(text(two(), true).unwrap(), by_rows);
        let by_columns = r#"{"a":[1,2],"b":[[3],[4]]}"#;
        assert_eq!(text(two(), false).unwrap(), by_columns);
        let uneven = vec![column("a", &[2], &[1, 2]), column("b", &[1], &[3])];
        assert!(text(uneven, true).unwrap_err().contains("'b'"));
    }

    #[test]
    fn a_shape_without_elements_is_bounded() {
        for shape in [[i64::MAX, 0], [1 << 40, 0], [-1, 1]] {
            assert!(Column::new("x", &Datatype::Uint8, &shape, &[]).is_err());
        }
        assert!(text(vec![column("x", &[2], &[1])], true).is_err());
    }
}
