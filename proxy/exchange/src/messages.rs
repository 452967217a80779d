//! gRPC messages of one body, each as a source.
//!
//! A message that is there as a whole is handed over as a whole. A larger one is handed
//! over with its first bytes and fills as it comes, under the flow control of the body;
//! a compressed one is gathered and decompressed first, within the limit.

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::HeaderMap;
use http_body::Body;
use http_body_util::BodyExt;
use tollgate_plugin::types;
use tollgate_wire::{
    budget::{Budgets, Room},
    failure::Failure,
    grpc::{Compression, Frame, FrameDecoder, FrameError},
    inflate::{InflateError, Unpacking},
    source::{Feeder, Source},
};

use crate::{
    failures,
    reading::{COALESCED, Read, end_of, satisfied},
};

/// Bytes of a message that may wait in it for a guest which does not ask for more.
const WINDOW: u64 = 1 << 20;

/// Messages up to this size are handed over whole.
const WHOLE: u32 = 256 << 10;

/// Cuts one body into messages.
pub(crate) struct Messages<B> {
    body: B,
    decoder: FrameDecoder,
    /// None: it was announced in a way that is not understood.
    compression: Option<Compression>,
    input: Bytes,
    /// The message that is arriving.
    open: Option<Open>,
    /// The message that has arrived compressed. It is kept here while it is decompressed, as
    /// whoever waits for it may stop to do so, and come again.
    packed: Option<Packed>,
    limit: u64,
    /// A head that already is the end (trailers-only).
    headers_end: Option<types::ResponseEnd>,
    /// Why it was cut, where the framing was at fault.
    error: Option<FrameError>,
    /// What its messages take room of; none: they are bounded each.
    budgets: Option<Budgets>,
    /// There was no room for a message.
    no_room: bool,
}

/// A message that is being decompressed, into at most so many bytes.
struct Packed {
    unpacking: Unpacking,
    most: u64,
    room: Option<Room>,
}

enum Open {
    Gathered {
        bytes: BytesMut,
        compressed: bool,
        room: Option<Room>,
    },
    Streamed {
        source: Source,
        feeder: Feeder,
    },
}

impl<B> Messages<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    /// Messages of a body with this head, none larger than `limit` bytes.
    pub(crate) fn new(body: B, headers: &HeaderMap, limit: u64) -> Self {
        let compression = match headers.get("grpc-encoding") {
            None => Some(Compression::Identity),
            Some(name) => name.to_str().ok().and_then(Compression::of_name),
        };
        Self {
            body,
            decoder: FrameDecoder::new(limit),
            compression,
            input: Bytes::new(),
            open: None,
            packed: None,
            limit,
            headers_end: headers.contains_key("grpc-status").then(|| end_of(headers)),
            error: None,
            budgets: None,
            no_room: false,
        }
    }

    /// Its messages take room of budgets, each before its bytes are read.
    pub(crate) fn bind(&mut self, budgets: &Budgets) {
        self.budgets = Some(budgets.clone());
    }

    /// What the peer did wrong, after a cut.
    pub(crate) fn failure(&self) -> Option<Failure> {
        if self.compression.is_none() {
            return Some(Failure::unsupported(format!(
                "this grpc-encoding is not understood; use one of {}",
                tollgate_wire::grpc::ACCEPT_ENCODING
            )));
        }
        if self.no_room {
            return Some(failures::no_room());
        }
        self.error.map(|error| match error {
            FrameError::TooLarge { .. } | FrameError::Inflate(InflateError::TooLarge { .. }) => {
                Failure::payload_too_large(error.to_string())
            }
            _ => Failure::invalid_argument(error.to_string()),
        })
    }

    /// What comes next, once it is as far as is wanted.
    pub(crate) async fn next(&mut self, want: &types::Want) -> Read {
        if self.compression.is_none() {
            return Read::Cut(types::Cut::Malformed);
        }
        match self.advance(want).await {
            Ok(read) => read,
            Err(error) => {
                self.error = Some(error);
                Read::Cut(match error {
                    FrameError::TooLarge { .. } => types::Cut::Limit,
                    FrameError::Truncated => types::Cut::Closed,
                    _ => types::Cut::Malformed,
                })
            }
        }
    }

    /// Readies a message of so many bytes; none: there is no room for it.
    fn begin(&self, len: u32, compressed: bool) -> Option<Open> {
        let len = u64::from(len);
        let mut room = self.budgets.as_ref().map(Budgets::room);
        if compressed || len <= u64::from(WHOLE) {
            if let Some(room) = &mut room {
                room.grow_to(len).ok()?;
            }
            return Some(Open::Gathered {
                bytes: BytesMut::new(),
                compressed,
                room,
            });
        }
        let (source, feeder) = Source::streaming(WINDOW.min(self.limit), self.limit, Some(len));
        if let Some(room) = room {
            source.bind(room).ok()?;
        }
        Some(Open::Streamed { source, feeder })
    }

    fn full(&mut self) -> Read {
        self.no_room = true;
        Read::Cut(types::Cut::Limit)
    }

    async fn advance(&mut self, want: &types::Want) -> Result<Read, FrameError> {
        let mut grown = 0;
        loop {
            while let Some(packed) = &mut self.packed {
                match packed.unpacking.step() {
                    // Others have their turn while it goes on.
                    Ok(None) => tokio::task::yield_now().await,
                    Ok(Some(message)) => {
                        let message = kept(message, packed.room.take());
                        self.packed = None;
                        return Ok(Read::Message(Source::whole(message)));
                    }
                    Err(InflateError::TooLarge { .. }) if packed.most < self.limit => {
                        return Ok(self.full());
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            while let Some(frame) = self.decoder.decode(&mut self.input)? {
                match frame {
                    Frame::Start { len, compressed } => {
                        let Some(open) = self.begin(len, compressed) else {
                            return Ok(self.full());
                        };
                        self.open = Some(open);
                        if let Some(Open::Streamed { source, .. }) = &self.open {
                            return Ok(Read::Message(source.clone()));
                        }
                    }
                    Frame::Data(data) => match &mut self.open {
                        Some(Open::Gathered { bytes, .. }) => bytes.extend_from_slice(&data),
                        Some(Open::Streamed { source, feeder }) => {
                            grown += data.len();
                            // Where nobody wants the rest of it, it is read past.
                            if feeder.push(data).await.is_err() && source.starved().is_some() {
                                return Ok(self.full());
                            }
                        }
                        None => {}
                    },
                    Frame::End => match self.open.take() {
                        Some(Open::Gathered {
                            bytes,
                            compressed,
                            mut room,
                        }) => {
                            let message = bytes.freeze();
                            if compressed {
                                let format = self.compression.unwrap_or_default().format()?;
                                let most = within(&mut room, self.limit);
                                let unpacking = Unpacking::new(message, format, most);
                                self.packed = Some(Packed {
                                    unpacking,
                                    most,
                                    room,
                                });
                                break;
                            }
                            let message = kept(message, room);
                            return Ok(Read::Message(Source::whole(message)));
                        }
                        Some(Open::Streamed { feeder, .. }) => {
                            feeder.end();
                            return Ok(Read::MoreOfMessage);
                        }
                        None => {}
                    },
                }
            }
            if self.packed.is_some() {
                continue;
            }
            let enough = match &self.open {
                Some(Open::Streamed { source, .. }) => grown > 0 && satisfied(want, source),
                _ => false,
            };
            if enough && grown >= COALESCED {
                return Ok(Read::MoreOfMessage);
            }
            let frame = if enough {
                match self.body.frame().now_or_never() {
                    Some(frame) => frame,
                    None => return Ok(Read::MoreOfMessage),
                }
            } else {
                self.body.frame().await
            };
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.input = data,
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            self.decoder.finish()?;
                            return Ok(Read::End(end_of(&trailers)));
                        }
                    }
                },
                Some(Err(_)) => return Ok(Read::Cut(types::Cut::Closed)),
                None => {
                    self.decoder.finish()?;
                    return Ok(Read::End(self.headers_end.take().unwrap_or_else(|| {
                        types::ResponseEnd {
                            code: None,
                            message: None,
                            trailers: Vec::new(),
                        }
                    })));
                }
            }
        }
    }
}

/// How much may come of decompressing, at most `limit`: what there is room for is taken, and what
/// is not used of it is given back with [`Room::keep`].
pub(crate) fn within(room: &mut Option<Room>, limit: u64) -> u64 {
    room.as_mut().map_or(limit, |room| room.grow_up_to(limit))
}

/// A message that holds its room, of what it takes.
fn kept(message: Bytes, room: Option<Room>) -> Bytes {
    match room {
        Some(room) => room.keep(message),
        None => message,
    }
}
