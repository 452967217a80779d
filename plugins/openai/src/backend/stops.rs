//! Stop sequences, looked for here: for workers that end at them and leave them in the text.
//!
//! 1. What comes is joined to what is held.
//! 2. A sequence in it ends the text: before it, or behind it where the client wants it.
//! 3. Else all goes on but the end of the text, as far as a sequence may begin there.
//!
//! Never more is held than the longest sequence, less a byte.

use tollgate_sdk_protocol::inference::Stopping;

/// Cuts one text, however it comes.
#[derive(Clone, Debug)]
pub struct Cutter {
    stops: Vec<String>,
    /// The sequence stands in the text.
    include: bool,
    held: String,
    matched: Option<usize>,
}

impl Cutter {
    /// For these settings; none when nothing stops the text.
    pub fn new(stopping: &Stopping) -> Option<Self> {
        let stops = stopping.stop_sequences.iter();
        let stops: Vec<String> = stops.filter(|stop| !stop.is_empty()).cloned().collect();
        (!stops.is_empty()).then_some(Self {
            stops,
            include: stopping.include_stop,
            held: String::new(),
            matched: None,
        })
    }

    /// Takes more of the text; gives what is sure to belong to it.
    pub fn push(&mut self, text: &str) -> String {
        if self.matched.is_some() {
            return String::new();
        }
        self.held.push_str(text);
        let places = self.stops.iter().enumerate();
        let first = places
            .filter_map(|(which, stop)| self.held.find(stop.as_str()).map(|at| (at, which)))
            .min();
        if let Some((at, which)) = first {
            self.matched = Some(which);
            let end = if self.include {
                at + self.stops[which].len()
            } else {
                at
            };
            let mut text = std::mem::take(&mut self.held);
            text.truncate(end);
            return text;
        }
        let sure = self.sure();
        let later = self.held.split_off(sure);
        std::mem::replace(&mut self.held, later)
    }

    /// Length of the text behind which a sequence may have begun.
    fn sure(&self) -> usize {
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let from = self.held.len().saturating_sub(longest.saturating_sub(1));
        let may_begin = |at: &usize| {
            self.held.is_char_boundary(*at)
                && self
                    .stops
                    .iter()
                    .any(|stop| stop.starts_with(&self.held[*at..]))
        };
        (from..self.held.len())
            .find(may_begin)
            .unwrap_or(self.held.len())
    }

    /// What was held: the text is over, and no sequence has begun in it.
    pub fn rest(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// The sequence that was found.
    pub fn matched(&self) -> Option<&str> {
        self.matched.map(|which| self.stops[which].as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cutter(stops: &[&str], include: bool) -> Cutter {
        Cutter::new(&Stopping {
            max_tokens: None,
            min_tokens: None,
            stop_sequences: stops.iter().map(|stop| (*stop).to_owned()).collect(),
            include_stop: include,
            time_limit_ms: None,
        })
        .expect("something to look for")
    }

    fn cut(stops: &[&str], include: bool, pieces: &[&str]) -> (String, Option<String>) {
        let mut cutter = cutter(stops, include);
        let longest = stops.iter().map(|stop| stop.len()).max().unwrap_or(0);
        let mut text = String::new();
        for piece in pieces {
            text.push_str(&cutter.push(piece));
            assert!(cutter.held.len() < longest, "{pieces:?} {:?}", cutter.held);
        }
        text.push_str(&cutter.rest());
        (text, cutter.matched().map(str::to_owned))
    }

    #[test]
    fn a_sequence_is_found_however_the_text_comes() {
        let cases: [(&[&str], &str, &str, Option<&str>); 9] = [
            (&["END"], "one END two", "one ", Some("END")),
            (&["END"], "one EN two", "one EN two", None),
            (&["END"], "one EN", "one EN", None),
            (&["aab"], "aaaab", "aa", Some("aab")),
            (&["é!", "z"], "caf\u{e9}\u{e9}! z", "caf\u{e9}", Some("é!")),
            (&["abc", "b"], "xabd", "xa", Some("b")),
            (&["ab", "abc"], "xabc", "x", Some("ab")),
            (&["x"], "", "", None),
            (&["\n\n"], "a\nb\n\nc", "a\nb", Some("\n\n")),
        ];
        for (stops, text, wanted, found) in cases {
            let places: Vec<usize> = (0..=text.len())
                .filter(|at| text.is_char_boundary(*at))
                .collect();
            for one in &places {
                for other in places.iter().filter(|other| *other >= one) {
                    let pieces = [&text[..*one], &text[*one..*other], &text[*other..]];
                    let (told, stop) = cut(stops, false, &pieces);
                    assert_eq!((told.as_str(), stop.as_deref()), (wanted, found));
                    let (told, stop) = cut(stops, true, &pieces);
                    let with = format!("{wanted}{}", found.unwrap_or(""));
                    assert_eq!((told, stop.as_deref()), (with, found));
                }
            }
        }
    }

    #[test]
    fn what_cannot_begin_a_sequence_does_not_wait() {
        let mut cutter = cutter(&["stop here"], false);
        assert_eq!(cutter.push("Go on, "), "Go on, ");
        assert_eq!(cutter.push("then st"), "then ");
        assert_eq!(cutter.push("ay"), "stay");
    }

    #[test]
    fn nothing_to_look_for_is_no_cutter() {
        let none = Stopping {
            max_tokens: None,
            min_tokens: None,
            stop_sequences: vec![String::new()],
            include_stop: false,
            time_limit_ms: None,
        };
        assert!(Cutter::new(&none).is_none());
    }
}
