//! From tokens' bytes to text that may leave: whole characters, and nothing that may
//! still turn out to be part of a stop sequence.

/// The text of one answer on its way out.
pub struct Output {
    stops: Vec<String>,
    include_stop: bool,
    /// Bytes that have not left. Shorter than the longest stop sequence and a character
    /// together, between calls.
    held: Vec<u8>,
    /// The answer's first character is dropped when it is a space.
    trim: bool,
}

/// What came of some bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Let {
    /// Text that may leave.
    pub text: String,
    /// The stop sequence that has matched. Nothing may follow.
    pub stop: Option<String>,
}

impl Output {
    /// Stop sequences must not be empty.
    #[must_use]
    pub fn new(stops: Vec<String>, include_stop: bool, trim: bool) -> Self {
        Output {
            stops,
            include_stop,
            held: Vec::new(),
            trim,
        }
    }

    /// Takes a token's bytes. Without `watch` stop sequences are let through, as they
    /// are before the least number of tokens has been generated; what went out then is
    /// no part of a later match.
    pub fn push(&mut self, bytes: &[u8], watch: bool) -> Let {
        self.held.extend_from_slice(bytes);
        if self.trim && !self.held.is_empty() {
            self.trim = false;
            if self.held[0] == b' ' {
                self.held.remove(0);
            }
        }
        if watch && let Some((start, end, stop)) = self.first_match() {
            self.held
                .truncate(if self.include_stop { end } else { start });
            return Let {
                text: self.flush(),
                stop: Some(stop),
            };
        }
        let keep = if watch { self.possible_stop() } else { 0 };
        let ready = whole_characters(&self.held[..self.held.len() - keep]);
        let rest = self.held.split_off(ready);
        let text = lossy(std::mem::replace(&mut self.held, rest));
        Let { text, stop: None }
    }

    /// The rest, when nothing more comes. An incomplete character becomes U+FFFD.
    pub fn flush(&mut self) -> String {
        lossy(std::mem::take(&mut self.held))
    }

    /// The match that ends first; of several that end there, the longest.
    fn first_match(&self) -> Option<(usize, usize, String)> {
        self.stops
            .iter()
            .filter_map(|stop| {
                let start = self
                    .held
                    .windows(stop.len())
                    .position(|at| at == stop.as_bytes())?;
                Some((start, start + stop.len(), stop))
            })
            .min_by_key(|&(start, end, _)| (end, start))
            .map(|(start, end, stop)| (start, end, stop.clone()))
    }

    /// Length of the longest tail that a stop sequence begins with.
    fn possible_stop(&self) -> usize {
        self.stops
            .iter()
            .flat_map(|stop| {
                let longest = self.held.len().min(stop.len() - 1);
                (1..=longest)
                    .rev()
                    .find(|&len| self.held.ends_with(&stop.as_bytes()[..len]))
            })
            .max()
            .unwrap_or(0)
    }
}

/// How many of these bytes make whole characters: all but a beginning of one.
fn whole_characters(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let at = bytes.len() - back;
        let needed = match bytes[at] {
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            0x80..=0xBF => continue,
            _ => 1,
        };
        return if needed > back { at } else { bytes.len() };
    }
    bytes.len()
}

fn lossy(bytes: Vec<u8>) -> String {
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
