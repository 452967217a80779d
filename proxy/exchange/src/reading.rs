//! Reads a body the way guests see bodies: bytes in one source, or messages each in a
//! source of its own.
//!
//! What has arrived goes together, up to [`COALESCED`] a time; nothing is waited for
//! beyond what the guest wants.

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, header};
use http_body::Body;
use http_body_util::BodyExt;
use tollgate_payloads::Tap;
use tollgate_plugin::types;
use tollgate_wire::{
    budget::{Budgets, NoRoom},
    failure::Failure,
    source::{Abandoned, Feeder, Source},
};

use crate::{
    context::{content_length, visible},
    failures,
    messages::Messages,
};

/// Bytes that go to a guest in one step.
pub(crate) const COALESCED: usize = 64 << 10;

/// Bytes of a body that may be held for a guest which does not ask for more.
const WINDOW: u64 = 1 << 20;

/// What came next.
pub(crate) enum Read {
    /// More of a body without messages; the chunks too, for whom passes them on.
    Bytes(Vec<Bytes>),
    /// A message, perhaps not all of it yet.
    Message(Source),
    /// More of the message that came last.
    MoreOfMessage,
    /// The end. gRPC: with status.
    End(types::ResponseEnd),
    /// It broke off.
    Cut(types::Cut),
}

/// Reads one body.
pub(crate) enum Reader<B> {
    Plain {
        body: B,
        source: Source,
        feeder: Option<Feeder>,
        /// It has broken off, which is told after what came before.
        broken: bool,
        /// Who takes a copy.
        tap: Option<Tap>,
    },
    Grpc(Box<Messages<B>>),
}

impl<B> Reader<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    /// A reader by the content type of the head; `limit` bounds what can be held.
    pub(crate) fn new(body: B, headers: &HeaderMap, limit: u64) -> Self {
        if is_grpc(headers) {
            return Self::Grpc(Box::new(Messages::new(body, headers, limit)));
        }
        Self::plain(body, content_length(headers), limit)
    }

    /// A reader of bytes without messages, of this length where it was declared.
    pub(crate) fn plain(body: B, length: Option<u64>, limit: u64) -> Self {
        let (source, feeder) = Source::streaming(WINDOW.min(limit), limit, length);
        Self::Plain {
            body,
            source,
            feeder: Some(feeder),
            broken: false,
            tap: None,
        }
    }

    /// Gives somebody a copy of a body without messages.
    pub(crate) fn tapped(mut self, by: Option<Tap>) -> Self {
        if let Self::Plain { tap, .. } = &mut self {
            *tap = by;
        }
        self
    }

    /// Binds what it holds to budgets, which it takes of before bytes are read.
    ///
    /// # Errors
    /// There is no room even to begin.
    pub(crate) fn within(mut self, budgets: &Budgets) -> Result<Self, NoRoom> {
        match &mut self {
            Self::Plain { source, .. } => source.bind(budgets.room())?,
            Self::Grpc(messages) => messages.bind(budgets),
        }
        Ok(self)
    }

    /// The source that a body without messages fills.
    pub(crate) fn source(&self) -> Option<&Source> {
        match self {
            Self::Plain { source, .. } => Some(source),
            Self::Grpc(_) => None,
        }
    }

    /// What comes next, if it is there already.
    pub(crate) fn peek(&mut self, want: &types::Want) -> Option<Read> {
        self.next(want).now_or_never()
    }

    /// What the peer did wrong, after a cut.
    pub(crate) fn failure(&self) -> Option<Failure> {
        match self {
            Self::Grpc(messages) => messages.failure(),
            Self::Plain { source, .. } => source.starved().map(|_| failures::no_room()),
        }
    }

    /// What comes next, once it is as far as is wanted. After `End` or `Cut` it is over.
    pub(crate) async fn next(&mut self, want: &types::Want) -> Read {
        match self {
            Self::Grpc(messages) => messages.next(want).await,
            Self::Plain {
                body,
                source,
                feeder,
                broken,
                tap,
            } => {
                let read = plain(body, source, feeder, broken, want).await;
                if let (Some(tap), Read::Bytes(chunks)) = (tap, &read) {
                    chunks.iter().for_each(|chunk| tap.request(chunk));
                }
                read
            }
        }
    }
}

async fn plain<B>(
    body: &mut B,
    source: &Source,
    feeder: &mut Option<Feeder>,
    broken: &mut bool,
    want: &types::Want,
) -> Read
where
    B: Body<Data = Bytes> + Unpin,
{
    if *broken {
        if let Some(feeder) = feeder.take() {
            feeder.cut(tollgate_wire::source::Cut::Closed);
        }
        return Read::Cut(types::Cut::Closed);
    }
    let Some(feed) = feeder.as_mut() else {
        return Read::End(no_status());
    };
    let mut chunks = Vec::new();
    let mut fresh = 0;
    loop {
        let frame = if chunks.is_empty() || !satisfied(want, source) {
            body.frame().await
        } else {
            match body.frame().now_or_never() {
                Some(frame) => frame,
                None => return Read::Bytes(chunks),
            }
        };
        match frame {
            Some(Ok(frame)) => {
                let Ok(bytes) = frame.into_data() else {
                    continue;
                };
                if bytes.is_empty() {
                    continue;
                }
                fresh += bytes.len();
                chunks.push(bytes.clone());
                if fill(feed, source, want, bytes).await.is_err() || source.progress().cut.is_some()
                {
                    return Read::Cut(types::Cut::Limit);
                }
                if fresh >= COALESCED && satisfied(want, source) {
                    return Read::Bytes(chunks);
                }
            }
            Some(Err(_)) => {
                *broken = true;
                if !chunks.is_empty() {
                    return Read::Bytes(chunks);
                }
                if let Some(feeder) = feeder.take() {
                    feeder.cut(tollgate_wire::source::Cut::Closed);
                }
                return Read::Cut(types::Cut::Closed);
            }
            None => {
                if let Some(feeder) = feeder.take() {
                    feeder.end();
                }
                // That the body is complete is told with its bytes, also when the last of them
                // have been told already: whoever wants all of it waits for that.
                return if source.progress().available == 0 {
                    Read::End(no_status())
                } else {
                    Read::Bytes(chunks)
                };
            }
        }
    }
}

/// Fills a source whose reader's wish is known to it while it waits for room: one that waits for more
/// than the source can ever hold has it cut, where it would wait for ever.
async fn fill(
    feed: &mut Feeder,
    source: &Source,
    want: &types::Want,
    bytes: Bytes,
) -> Result<(), Abandoned> {
    let until = match want {
        types::Want::More => 0,
        types::Want::AtLeast(wanted) => *wanted,
        types::Want::All => u64::MAX,
    };
    let filled = feed.push(bytes);
    let wished = source.reach(until);
    tokio::pin!(filled, wished);
    tokio::select! {
        biased;
        filled = &mut filled => return filled,
        _ = &mut wished => {}
    }
    filled.await
}

fn no_status() -> types::ResponseEnd {
    types::ResponseEnd {
        code: None,
        message: None,
        trailers: Vec::new(),
    }
}

/// Status and metadata of gRPC trailers.
pub(crate) fn end_of(trailers: &HeaderMap) -> types::ResponseEnd {
    let code = trailers
        .get("grpc-status")
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let message = trailers
        .get("grpc-message")
        .and_then(|value| value.to_str().ok())
        .map(tollgate_wire::grpc::decode_message);
    types::ResponseEnd {
        // RFC of the protocol: a response without a status is UNKNOWN.
        code: Some(code.unwrap_or(2)),
        message,
        trailers: visible(trailers)
            .into_iter()
            .filter(|header| !header.name.starts_with("grpc-"))
            .collect(),
    }
}

/// Whether a head announces gRPC messages.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Whether a source has got as far as was asked.
pub(crate) fn satisfied(want: &types::Want, source: &Source) -> bool {
    let progress = source.progress();
    progress.end
        || progress.cut.is_some()
        || match want {
            types::Want::More => true,
            types::Want::AtLeast(wanted) => progress.available >= *wanted,
            types::Want::All => false,
        }
}

/// Gives a source the room that its guest's wish takes, within the limit.
pub(crate) fn make_room(source: &Source, need: &types::Need, limit: u64) {
    match need.until {
        types::Want::More => {}
        // Chunks do not end where a wish does: without room past it, a reader would wait for
        // room with the wish fulfilled.
        types::Want::AtLeast(wanted) => {
            let room = wanted.saturating_sub(need.keep_from).saturating_add(WINDOW);
            source.widen(room.min(limit));
        }
        types::Want::All => source.widen(limit),
    }
}

/// A source's progress, as a guest is told it.
pub(crate) fn progress_of(id: u32, source: &Source) -> types::Progress {
    let progress = source.progress();
    types::Progress {
        source: id,
        available: progress.available,
        total: progress.total,
        end: progress.end,
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    /// Whoever wants all of what cannot be held is told so, and does not wait for it.
    #[tokio::test]
    async fn a_wish_that_cannot_be_fulfilled_cuts() {
        for want in [types::Want::All, types::Want::AtLeast(5000)] {
            let body = Full::new(Bytes::from(vec![b'x'; 8192]));
            let mut reader = Reader::plain(body, None, 4096);
            let source = reader.source().cloned().expect("it has one");
            let need = types::Need {
                source: 0,
                keep_from: 0,
                until: want,
            };
            make_room(&source, &need, 4096);
            let read =
                tokio::time::timeout(std::time::Duration::from_secs(5), reader.next(&want)).await;
            assert!(matches!(read, Ok(Read::Cut(types::Cut::Limit))), "{want:?}");
        }
    }

    /// The end comes with the body's last bytes, or behind them where they have been told already:
    /// whoever wants all of it must see that it is complete.
    #[tokio::test]
    async fn a_body_is_told_to_be_complete_whatever_its_length() {
        for length in [1, COALESCED - 1, COALESCED, COALESCED + 1, 3 * COALESCED] {
            let body = Full::new(Bytes::from(vec![b'x'; length]));
            let mut reader = Reader::plain(body, None, 1 << 30);
            let source = reader.source().cloned().expect("it has one");
            let mut read = 0;
            let mut complete = false;
            loop {
                match reader.next(&types::Want::More).await {
                    Read::Bytes(chunks) => {
                        assert!(!complete, "{length}: nothing comes after the end");
                        read += chunks.iter().map(Bytes::len).sum::<usize>();
                        complete = progress_of(0, &source).end;
                    }
                    Read::End(_) => break,
                    _ => panic!("{length}: it is whole"),
                }
            }
            assert_eq!((read, complete), (length, true));
        }
        let mut reader = Reader::plain(Full::new(Bytes::new()), None, 1 << 30);
        assert!(matches!(
            reader.next(&types::Want::More).await,
            Read::End(_)
        ));
    }
}
