//! Finds the objects of a JSON array and their members, in text that the host holds and
//! has found to be JSON. Values are stepped over, not built.

use std::ops::Range;

use tollgate_sdk_protocol::{Bytes, types::SourceId};

/// Bytes read at a time.
const WINDOW: u32 = 64 << 10;

/// The ranges of an object's members, in the order of the keys that were asked for.
pub type Found = Vec<Option<Range<u64>>>;

/// Reads JSON in windows.
pub struct Scan<'a> {
    bytes: &'a dyn Bytes,
    source: SourceId,
    end: u64,
    window: Vec<u8>,
    from: u64,
}

impl<'a> Scan<'a> {
    /// A reader of the text that ends at `end`, all of which has arrived.
    pub fn new(bytes: &'a dyn Bytes, source: SourceId, end: u64) -> Self {
        Self {
            bytes,
            source,
            end,
            window: Vec::new(),
            from: 0,
        }
    }

    /// A copy of a range.
    pub fn copy(&mut self, range: &Range<u64>) -> Vec<u8> {
        let within = range.start.checked_sub(self.from).and_then(|start| {
            let start = usize::try_from(start).ok()?;
            let len = usize::try_from(range.end - range.start).ok()?;
            self.window.get(start..start.checked_add(len)?)
        });
        match within {
            Some(bytes) => bytes.to_vec(),
            None => self
                .bytes
                .read_all(self.source, range.start, range.end - range.start),
        }
    }

    /// The members of these keys of each object in the array that is a range.
    ///
    /// # Errors
    /// It is no array, an element is no object, a key stands twice, or there are more than
    /// `most` elements.
    pub fn objects(
        &mut self,
        array: Range<u64>,
        keys: &[&str],
        most: usize,
    ) -> Result<Vec<Found>, String> {
        let mut at = array.start;
        if self.space(&mut at) != Some(b'[') {
            return Err("must be an array".to_owned());
        }
        at += 1;
        let mut all = Vec::new();
        if self.space(&mut at) == Some(b']') {
            return Ok(all);
        }
        loop {
            if all.len() == most {
                return Err(format!("has more than {most} elements"));
            }
            if self.space(&mut at) != Some(b'{') {
                return Err("must be an array of objects".to_owned());
            }
            all.push(self.object(&mut at, keys)?);
            match self.space(&mut at) {
                Some(b',') => at += 1,
                _ => return Ok(all),
            }
        }
    }

    /// The members of the object that begins at `at`, which is left past its end.
    fn object(&mut self, at: &mut u64, keys: &[&str]) -> Result<Found, String> {
        let mut found: Found = vec![None; keys.len()];
        *at += 1;
        loop {
            match self.space(at) {
                Some(b'"') => {}
                Some(b',') => {
                    *at += 1;
                    continue;
                }
                _ => {
                    *at += 1;
                    return Ok(found);
                }
            }
            let name = *at;
            self.skip(at);
            let name = self.copy(&(name..*at));
            let key: String = serde_json::from_slice(&name).map_err(|error| error.to_string())?;
            self.space(at);
            *at += 1;
            self.space(at);
            let value = *at;
            self.skip(at);
            if let Some(index) = keys.iter().position(|known| *known == key)
                && found[index].replace(value..*at).is_some()
            {
                return Err(format!("has the member `{key}` twice"));
            }
        }
    }

    /// The byte at `at`.
    fn byte(&mut self, at: u64) -> Option<u8> {
        self.rest(at).first().copied()
    }

    /// Bytes from `at` on: at least one, unless it is the end.
    fn rest(&mut self, at: u64) -> &[u8] {
        if at >= self.end {
            return &[];
        }
        let outside = at < self.from || at >= self.from + self.window.len() as u64;
        if outside {
            let len = (self.end - at).min(u64::from(WINDOW));
            self.window = self
                .bytes
                .read(self.source, at, u32::try_from(len).unwrap_or(WINDOW));
            self.from = at;
        }
        let start = usize::try_from(at - self.from).unwrap_or(usize::MAX);
        let within = self.window.get(start..).unwrap_or_default();
        let most = usize::try_from(self.end - at).unwrap_or(usize::MAX);
        &within[..within.len().min(most)]
    }

    /// Moves past white space; gives the byte that follows.
    fn space(&mut self, at: &mut u64) -> Option<u8> {
        loop {
            match self.byte(*at)? {
                b' ' | b'\t' | b'\r' | b'\n' => *at += 1,
                byte => return Some(byte),
            }
        }
    }

    /// Moves past the value that begins at `at`.
    fn skip(&mut self, at: &mut u64) {
        let (mut depth, mut in_text, mut escaped) = (0_u64, false, false);
        let mut first = true;
        loop {
            let rest = self.rest(*at);
            if rest.is_empty() {
                return;
            }
            for (passed, byte) in rest.iter().enumerate() {
                let after = *at + passed as u64 + 1;
                if in_text {
                    match byte {
                        _ if escaped => escaped = false,
                        b'\\' => escaped = true,
                        b'"' => {
                            in_text = false;
                            if depth == 0 {
                                *at = after;
                                return;
                            }
                        }
                        _ => {}
                    }
                    first = false;
                    continue;
                }
                match byte {
                    b'"' => in_text = true,
                    b'[' | b'{' => depth += 1,
                    b']' | b'}' if depth > 1 => depth -= 1,
                    b']' | b'}' if depth == 1 => {
                        *at = after;
                        return;
                    }
                    // The end of a number or a word.
                    b']' | b'}' | b',' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 && !first => {
                        *at = after - 1;
                        return;
                    }
                    _ => {}
                }
                first = false;
            }
            *at += rest.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use tollgate_sdk_protocol::testing::Memory;

    use super::*;

    fn found(text: &str, keys: &[&str]) -> Result<Vec<Vec<Option<String>>>, String> {
        let memory = Memory::default().with(0, format!("??{text}"));
        let mut scan = Scan::new(&memory, 0, 2 + text.len() as u64);
        let all = scan.objects(2..2 + text.len() as u64, keys, 3)?;
        let text = |range: Option<Range<u64>>| {
            range.map(|range| String::from_utf8(scan.copy(&range)).unwrap())
        };
        let mut text = text;
        Ok(all
            .into_iter()
            .map(|object| object.into_iter().map(&mut text).collect())
            .collect())
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn members_are_found_whatever_stands_beside_them() {
        let text = r#" [ {"x":{"data":[1]},"data" : [[1,2],[3,4]] , "n\u0061me":"a\"]}"}, {"data":-1.5e3},{} ] "#;
        assert_eq!(
            found(text, &["name", "data"]).unwrap(),
            [
                vec![some(r#""a\"]}""#), some("[[1,2],[3,4]]")],
                vec![None, some("-1.5e3")],
                vec![None, None],
            ]
        );
        assert_eq!(found("[]", &["name"]).unwrap(), Vec::<Vec<_>>::new());
    }

    #[test]
    fn what_is_larger_than_a_window_is_stepped_over() {
        let data = format!("[{}1]", "12345,".repeat(40_000));
        let text = format!(r#"[{{"data":{data},"name":"late"}}]"#);
        assert_eq!(
            found(&text, &["name", "data"]).unwrap(),
            [vec![some(r#""late""#), Some(data)]]
        );
    }

    #[test]
    fn what_is_no_list_of_objects_is_refused() {
        for text in ["{}", "[1]", r#"[{"a":1,"a":2}]"#, "[{},{},{},{}]"] {
            assert!(found(text, &["a"]).is_err(), "{text}");
        }
    }

    #[test]
    fn nonsense_ends() {
        // The host has seen that it is JSON; this must only not hang or panic.
        for text in [
            "",
            "[",
            "[{",
            r#"[{"a"#,
            r#"[{"a":"#,
            r#"[{"a":[[["#,
            r#"[{"a":"\"#,
            "[{]",
        ] {
            let _ = found(text, &["a"]);
        }
    }
}
