//! Forms that carry a file (RFC 7578): which model they name, and where.
//!
//! Read strictly: a form that two readers could take apart in two ways is refused, since the
//! model that was authorized has to be the one that the worker finds. The file's own bytes are
//! looked through for delimiters, window by window, and kept nowhere.

use tollgate_sdk_protocol::{Bytes, failure, frontend::Edit, types::Failure, types::Segment};

/// Bytes looked through at once.
const WINDOW: u64 = 64 * 1024;
/// Longest head of a part.
const HEAD: u64 = 8 * 1024;
/// Longest value that is read.
const VALUE: u64 = 1024;
/// Most parts.
const PARTS: usize = 64;
/// Longest boundary (RFC 2046, section 5.1.1).
const BOUNDARY: usize = 70;

/// What a form says of itself.
#[derive(Debug)]
pub struct Multipart {
    boundary: String,
    /// Value of `model`.
    pub model: Option<String>,
    /// Where that value lies.
    place: Option<(u64, u64)>,
    /// Value of `stream`.
    pub streaming: bool,
}

impl Multipart {
    /// Reads a form.
    ///
    /// # Errors
    /// When it is none, or one that could be read in two ways.
    pub fn read(bytes: &dyn Bytes, len: u64, content_type: &str) -> Result<Self, Failure> {
        let boundary = boundary_of(content_type).ok_or_else(|| odd("it has no boundary"))?;
        let mut form = Self {
            boundary,
            model: None,
            place: None,
            streaming: false,
        };
        let opening = format!("--{}", form.boundary);
        if bytes.read_all(0, 0, opening.len() as u64) != opening.as_bytes() {
            return Err(odd("it does not begin with its boundary"));
        }
        let search = Search::new(format!("\r\n{opening}").into_bytes());
        let mut at = opening.len() as u64;
        for _ in 0..PARTS {
            let after = bytes.read_all(0, at, 2);
            at += 2;
            match after.as_slice() {
                b"\r\n" => {}
                b"--" => {
                    let rest = bytes.read_all(0, at, (len - at.min(len)).min(3));
                    return match rest.as_slice() {
                        b"" | b"\r\n" => Ok(form),
                        _ => Err(odd("something follows its end")),
                    };
                }
                _ => return Err(odd("a boundary is followed by something else")),
            }
            let head = bytes.read_all(0, at, HEAD.min(len - at.min(len)));
            let end = find(&head, b"\r\n\r\n").ok_or_else(|| odd("a part has no head"))?;
            // A part without a head must not take the next one's.
            let lines = &head[..end];
            if lines.starts_with(b"\r\n") || find(lines, &search.needle[2..]).is_some() {
                return Err(odd("a part has no head"));
            }
            let name = name_of(lines)?;
            let from = at + end as u64 + 4;
            let to = search
                .next(bytes, from - 2, len)
                .ok_or_else(|| odd("a part has no end"))?;
            // An empty value's line end is also its head's.
            let value = (
                from,
                to.checked_sub(from)
                    .ok_or_else(|| odd("a part has no value"))?,
            );
            form.field(bytes, &name, value)?;
            at = to + search.needle.len() as u64;
        }
        Err(odd("it has too many parts"))
    }

    fn field(
        &mut self,
        bytes: &dyn Bytes,
        name: &str,
        (offset, len): (u64, u64),
    ) -> Result<(), Failure> {
        if !matches!(name, "model" | "stream") {
            return Ok(());
        }
        let wrong = || failure::invalid(format!("{name} is not a valid string"), Some(name));
        if len > VALUE {
            return Err(wrong());
        }
        let value = String::from_utf8(bytes.read_all(0, offset, len)).map_err(|_| wrong())?;
        if name == "stream" {
            self.streaming = matches!(
                value.to_ascii_lowercase().as_str(),
                "true" | "1" | "on" | "yes" | "t" | "y"
            );
            return Ok(());
        }
        if self.place.is_some() {
            let twice = "model is given more than once.";
            return Err(failure::invalid(twice, Some("model")));
        }
        self.place = Some((offset, len));
        self.model = (!value.is_empty()).then_some(value);
        Ok(())
    }

    /// The edit that makes the form name this model.
    pub fn naming(&self, served: &str) -> Option<Edit> {
        if self.model.as_deref() == Some(served) {
            return None;
        }
        let (offset, len, text) = match self.place {
            Some((offset, len)) => (offset, len, served.to_owned()),
            None => {
                let part = format!(
                    "--{}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{served}\r\n",
                    self.boundary
                );
                (0, 0, part)
            }
        };
        Some(Edit {
            offset,
            len,
            replacement: vec![Segment::Inline(text.into_bytes())],
        })
    }
}

fn odd(why: &str) -> Failure {
    failure::invalid(format!("The form cannot be read: {why}."), None)
}

/// The boundary of a content type that has no other parameter, but for the one charset that we
/// read names in: workers read them in whichever is told.
fn boundary_of(content_type: &str) -> Option<String> {
    let (_, parameters) = content_type.split_once(';')?;
    let mut boundary = None;
    for parameter in parameters.split(';').map(str::trim) {
        if parameter.is_empty() {
            continue;
        }
        let (name, value) = parameter.split_once('=')?;
        let value = unquoted(value.trim())?;
        match name.trim().to_ascii_lowercase().as_str() {
            "boundary" if boundary.is_none() => boundary = Some(value),
            "charset" if value.eq_ignore_ascii_case("utf-8") => {}
            _ => return None,
        }
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    boundary
        .filter(|boundary| {
            (1..=BOUNDARY).contains(&boundary.len())
                && boundary.bytes().all(allowed)
                && !boundary.ends_with(' ')
        })
        .map(str::to_owned)
}

/// A value without its quotes, of which it has two or none.
fn unquoted(value: &str) -> Option<&str> {
    let value = match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => value,
    };
    (!value.contains('"')).then_some(value)
}

/// The name of a part, by its one `Content-Disposition`.
fn name_of(head: &[u8]) -> Result<String, Failure> {
    let head = std::str::from_utf8(head).map_err(|_| odd("a part's head is no text"))?;
    if head.contains('\0') || head.replace("\r\n", "").contains(['\r', '\n']) {
        return Err(odd("a part's head has a stray line end"));
    }
    let mut disposition = None;
    for line in head.split("\r\n") {
        // Also no line that goes on with the one before it, and no space before the colon.
        let (name, value) = line
            .split_once(':')
            .filter(|(name, _)| !name.is_empty() && name.bytes().all(is_token))
            .ok_or_else(|| odd("a part's head has a line that is no field"))?;
        if name.eq_ignore_ascii_case("content-disposition") && disposition.replace(value).is_some()
        {
            return Err(odd("a part has more than one disposition"));
        }
    }
    let disposition = disposition.ok_or_else(|| odd("a part has no disposition"))?;
    named(disposition.trim()).ok_or_else(|| odd("a part's disposition"))
}

/// Of a field's name (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The `name` of `form-data; name="…"; filename="…"`. What servers read in different ways is none:
/// an escape in the name, white space around it, parameters in parts or in another charset
/// (`name*0`, `name*`), which some put together and some leave out. Of a file's name it matters
/// to nobody but its reader.
fn named(value: &str) -> Option<String> {
    let rest = value
        .get(..9)
        .filter(|kind| kind.eq_ignore_ascii_case("form-data"));
    let mut rest = rest.and(value.get(9..))?.trim_start();
    let mut name = None;
    while let Some(after) = rest.strip_prefix(';') {
        let (key, after) = after.split_once('=')?;
        let (text, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => {
                let (text, after) = after.split_at(after.find(';').unwrap_or(after.len()));
                (text.trim(), after)
            }
        };
        let key = key.trim().to_ascii_lowercase();
        if key.contains('*') && key != "filename*" || text.ends_with('\\') {
            return None;
        }
        if key == "name" {
            let odd = text.contains(['\\', '"']) || text.trim() != text;
            if odd || name.replace(text.to_owned()).is_some() {
                return None;
            }
        }
        rest = after.trim_start();
    }
    rest.is_empty().then_some(name).flatten()
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|part| part == what)
}

/// Finds a text in a long one (Horspool's way: most bytes are not looked at).
struct Search {
    needle: Vec<u8>,
    skips: [u8; 256],
}

impl Search {
    /// For a text of less than 255 bytes.
    fn new(needle: Vec<u8>) -> Self {
        let len = needle.len() as u8;
        let mut skips = [len; 256];
        for (at, byte) in needle[..needle.len() - 1].iter().enumerate() {
            skips[*byte as usize] = len - 1 - at as u8;
        }
        Self { needle, skips }
    }

    /// Where it stands first, from an offset on.
    fn next(&self, bytes: &dyn Bytes, mut from: u64, len: u64) -> Option<u64> {
        let own = self.needle.len();
        while from + own as u64 <= len {
            let window = bytes.read_all(0, from, WINDOW.min(len - from));
            let mut at = 0;
            while at + own <= window.len() {
                if window[at..at + own] == self.needle {
                    return Some(from + at as u64);
                }
                at += self.skips[window[at + own - 1] as usize] as usize;
            }
            from += at as u64;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_sdk_protocol::testing::Memory;

    const TYPE: &str = "multipart/form-data; boundary=xyz";

    fn read(body: &[u8]) -> Result<Multipart, Failure> {
        let memory = Memory::default().with(0, body);
        Multipart::read(&memory, body.len() as u64, TYPE)
    }

    fn part(disposition: &str, value: &str) -> String {
        format!("--xyz\r\nContent-Disposition: {disposition}\r\n\r\n{value}\r\n")
    }

    fn form(parts: &[String]) -> Vec<u8> {
        format!("{}--xyz--\r\n", parts.concat()).into_bytes()
    }

    fn file(len: usize) -> String {
        let bytes = "\r\n--xy".repeat(len / 6);
        part(
            "form-data; name=\"file\"; filename=\"a \\\" b.wav\"",
            &bytes,
        )
        .replace(" \\\"", "")
    }

    #[test]
    fn a_long_file_hides_nothing_behind_it() {
        for len in [0, 60, 65_530, 65_536, 200_000] {
            let body = form(&[
                file(len),
                part("form-data; name=\"model\"", "alias"),
                part("form-data; name=stream", "True"),
            ]);
            let form = read(&body).unwrap();
            assert_eq!(form.model.as_deref(), Some("alias"));
            assert!(form.streaming);
            let edit = form.naming("served").unwrap();
            let at = edit.offset as usize;
            assert_eq!(&body[at..at + edit.len as usize], b"alias");
            assert!(form.naming("alias").is_none());
        }
    }

    #[test]
    fn a_form_without_a_model_is_given_one() {
        let body = form(&[file(6)]);
        let edit = read(&body).unwrap().naming("served").unwrap();
        assert_eq!((edit.offset, edit.len), (0, 0));
        let [Segment::Inline(part)] = &edit.replacement[..] else {
            panic!("{edit:?}")
        };
        let named = [part.as_slice(), &body].concat();
        assert_eq!(read(&named).unwrap().model.as_deref(), Some("served"));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let model = || part("form-data; name=\"model\"", "a");
        let bad = [
            form(&[model(), model()]),
            form(&[part("form-data; name=\"mod\\el\"", "a")]),
            form(&[part("form-data; name=\"x\"; name=\"model\"", "a")]),
            form(&[part("form-data; name*=utf-8''model", "a")]),
            form(&[part("form-data; name=\"x\"; name*0=\"model\"", "a")]),
            form(&[part("form-data; name=\"x\"; name*0*=model", "a")]),
            form(&[part("form-data; name=\" model\"", "a")]),
            form(&[part("form-data; name=\"model \"", "a")]),
            form(&[part("form-data; name=mo\"del", "a")]),
            form(&[part("form-data; name=\"x\"\r\nno field", "a")]),
            form(&[part("form-data; name=\"x\"\r\n ; name=\"model\"", "a")]),
            form(&[part(
                "form-data; name=\"x\"\r\nContent-Disposition : form-data; name=\"model\"",
                "a",
            )]),
            form(&[part("form-data", "a")]),
            form(&[part(
                "form-data; name=\"x\"\r\nContent-Disposition: form-data; name=\"model\"",
                "a",
            )]),
            form(&[part(
                "form-data; name=\"x\"\nContent-Disposition: form-data; name=\"model\"",
                "a",
            )]),
            form(&[part("form-data; name=\"model\"", &"a".repeat(2000))]),
            [b"preamble\r\n".as_slice(), &form(&[model()])].concat(),
            [form(&[]).as_slice(), model().as_bytes()].concat(),
            b"--xyz\r\n\r\n".to_vec(),
            b"--xyzz\r\n".to_vec(),
            b"".to_vec(),
            model().into_bytes(),
            form(&vec![part("form-data; name=\"x\"", ""); 65]),
        ];
        for body in bad {
            let text = String::from_utf8_lossy(&body).into_owned();
            assert!(read(&body).is_err(), "{text}");
        }
        assert_eq!(boundary_of("multipart/form-data"), None);
        assert_eq!(
            boundary_of("multipart/form-data; boundary=a; boundary=b"),
            None
        );
        assert_eq!(boundary_of("multipart/form-data; boundary=\"a\r\n\""), None);
        // A worker would take `+AG0-odel` for `model`.
        assert_eq!(
            boundary_of("multipart/form-data; boundary=a; charset=utf-7"),
            None
        );
        assert_eq!(boundary_of("multipart/form-data; boundary=a; more"), None);
        assert_eq!(boundary_of("multipart/form-data; boundary=\"a"), None);
        for good in [
            "; boundary=a",
            ";boundary=\"a\";",
            "; charset=UTF-8; boundary=a",
        ] {
            let boundary = boundary_of(&format!("multipart/form-data{good}"));
            assert_eq!(boundary.as_deref(), Some("a"), "{good}");
        }
    }
}
