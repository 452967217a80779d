//! The state of a source: which bytes are held, who keeps them, who waits.
//!
//! Nothing here waits or wakes; [`super::Source`] and [`super::Feeder`] do.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf, Bytes, BytesMut};

use super::{Abandoned, Cut, Progress, Unavailable};
use crate::budget::{NoRoom, Room};

/// From this many chunks on, small ones are joined: a body that drips byte by byte
/// must not cost a chunk's overhead for each byte.
const MANY_CHUNKS: usize = 64;
/// The most that a joined chunk grows to.
const JOINED: usize = 4096;

/// Names a pin or a wish.
pub(super) type Ticket = u64;

struct Chunk {
    start: u64,
    bytes: Bytes,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// A pin with a budget; it stands outside the window.
struct Lapsing {
    ticket: Ticket,
    from: u64,
    budget: u64,
}

/// What a waiting reader wants, and from where on it keeps bytes (none: from the
/// released offset).
struct Want {
    ticket: Ticket,
    keep: Option<u64>,
    until: u64,
}

pub(super) struct State {
    chunks: VecDeque<Chunk>,
    available: u64,
    /// What readers have released; it may lie ahead of what has arrived.
    released: u64,
    /// What is gone.
    freed: u64,
    total: Option<u64>,
    end: bool,
    cut: Option<Cut>,
    window: u64,
    limit: u64,
    /// What the window takes of the budgets it is bound by; none: it is bound by none.
    room: Option<Room>,
    /// There was no room for a wider window.
    starved: Option<NoRoom>,
    /// Pins by ticket, and how many there are at each offset.
    pins: BTreeMap<Ticket, u64>,
    pinned: BTreeMap<u64, u32>,
    lapsing: Vec<Lapsing>,
    wants: Vec<Want>,
    tickets: Ticket,
}

impl State {
    pub(super) fn streaming(window: u64, limit: u64, total: Option<u64>) -> Self {
        let window = window.max(1);
        Self {
            chunks: VecDeque::new(),
            available: 0,
            released: 0,
            freed: 0,
            total,
            end: false,
            cut: None,
            window,
            limit: limit.max(window),
            room: None,
            starved: None,
            pins: BTreeMap::new(),
            pinned: BTreeMap::new(),
            lapsing: Vec::new(),
            wants: Vec::new(),
            tickets: 0,
        }
    }

    pub(super) fn whole(bytes: Bytes) -> Self {
        let len = bytes.len() as u64;
        let mut state = Self::streaming(len, len, Some(len));
        state.available = len;
        state.end = true;
        if len > 0 {
            state.chunks.reserve_exact(1);
            state.chunks.push_back(Chunk { start: 0, bytes });
        }
        state
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            available: self.available,
            released: self.freed,
            total: self.total,
            end: self.end,
            cut: self.cut,
        }
    }

    // --- reading ---

    /// Clips a range to what has arrived, and refuses one that begins too early.
    fn clip(&self, offset: u64, len: u64) -> Result<(u64, u64), Unavailable> {
        if offset < self.freed {
            return Err(Unavailable::Released {
                released: self.freed,
            });
        }
        let end = offset.saturating_add(len).min(self.available);
        Ok((offset, end.max(offset)))
    }

    /// The part of the `index`th chunk from `at` on, before `end`.
    fn slice(&self, index: usize, at: u64, end: u64) -> Bytes {
        let chunk = &self.chunks[index];
        let from = (at - chunk.start) as usize;
        let to = (end.min(chunk.end()) - chunk.start) as usize;
        chunk.bytes.slice(from..to)
    }

    fn find(&self, at: u64) -> usize {
        self.chunks.partition_point(|chunk| chunk.end() <= at)
    }

    pub(super) fn first_chunk(&self, offset: u64, len: u64) -> Result<Bytes, Unavailable> {
        let (at, end) = self.clip(offset, len)?;
        if at == end {
            return Ok(Bytes::new());
        }
        Ok(self.slice(self.find(at), at, end))
    }

    pub(super) fn chunks(&self, offset: u64, len: u64) -> Result<Vec<Bytes>, Unavailable> {
        let (mut at, end) = self.clip(offset, len)?;
        let mut pieces = Vec::new();
        if at == end {
            return Ok(pieces);
        }
        let mut index = self.find(at);
        while at < end {
            let piece = self.slice(index, at, end);
            at += piece.len() as u64;
            index += 1;
            pieces.push(piece);
        }
        Ok(pieces)
    }

    // --- keeping and freeing ---

    /// The lowest offset that the window must hold.
    fn mark(&self) -> u64 {
        let pinned = self.pinned.first_key_value().map(|(from, _)| *from);
        pinned.map_or(self.released, |from| from.min(self.released))
    }

    fn trim(&mut self) -> Vec<Bytes> {
        let kept = self.lapsing.iter().map(|pin| pin.from).min();
        let mark = kept.map_or(self.mark(), |from| from.min(self.mark()));
        self.freed = self.freed.max(mark.min(self.available));
        let mut gone = Vec::new();
        while let Some(chunk) = self.chunks.front_mut() {
            if chunk.end() <= self.freed {
                gone.extend(self.chunks.pop_front().map(|chunk| chunk.bytes));
                continue;
            }
            if chunk.start < self.freed {
                let cut = (self.freed - chunk.start) as usize;
                chunk.bytes.advance(cut);
                chunk.start = self.freed;
            }
            break;
        }
        gone
    }

    pub(super) fn release(&mut self, before: u64) -> Vec<Bytes> {
        self.released = self.released.max(before);
        self.trim()
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        self.tickets
    }

    pub(super) fn pin(&mut self, from: u64) -> Ticket {
        let ticket = self.ticket();
        // What is gone cannot be kept, and must not look as if it took room.
        let from = from.max(self.freed);
        self.pins.insert(ticket, from);
        *self.pinned.entry(from).or_default() += 1;
        ticket
    }

    pub(super) fn pin_within(&mut self, from: u64, budget: u64) -> (Ticket, Vec<Bytes>) {
        let ticket = self.ticket();
        self.lapsing.push(Lapsing {
            ticket,
            from,
            budget,
        });
        self.lapse();
        (ticket, self.trim())
    }

    /// Drops pins that cannot keep their promise: bytes gone, or budget passed.
    fn lapse(&mut self) {
        let (available, freed) = (self.available, self.freed);
        self.lapsing
            .retain(|pin| pin.from >= freed && available.saturating_sub(pin.from) <= pin.budget);
    }

    fn forget(&mut self, from: u64) {
        if let Some(count) = self.pinned.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                self.pinned.remove(&from);
            }
        }
    }

    pub(super) fn pinned(&self, ticket: Ticket) -> Option<u64> {
        let lapsing = self.lapsing.iter().find(|pin| pin.ticket == ticket);
        self.pins
            .get(&ticket)
            .copied()
            .or_else(|| lapsing.map(|pin| pin.from))
    }

    pub(super) fn advance(&mut self, ticket: Ticket, to: u64) -> Vec<Bytes> {
        if let Some(pin) = self.lapsing.iter_mut().find(|pin| pin.ticket == ticket) {
            pin.from = pin.from.max(to);
        } else if let Some(from) = self.pins.get(&ticket).copied().filter(|from| *from < to) {
            self.forget(from);
            self.pins.insert(ticket, to);
            *self.pinned.entry(to).or_default() += 1;
        }
        self.trim()
    }

    pub(super) fn unpin(&mut self, ticket: Ticket) -> Vec<Bytes> {
        if let Some(from) = self.pins.remove(&ticket) {
            self.forget(from);
        }
        self.lapsing.retain(|pin| pin.ticket != ticket);
        self.trim()
    }

    // --- waiting ---

    /// Binds the window to budgets, of which it takes what it can hold from the first byte on.
    pub(super) fn bind(&mut self, mut room: Room) -> Result<(), NoRoom> {
        room.grow_to(self.holds(self.window))?;
        self.room = Some(room);
        Ok(())
    }

    pub(super) fn starved(&self) -> Option<NoRoom> {
        self.starved
    }

    /// What a window of this size is known to come to hold. Where no length was told, room is
    /// taken as bytes come.
    fn holds(&self, window: u64) -> u64 {
        self.total.map_or(0, |total| window.min(total))
    }

    /// Takes room for so many bytes more than are held, or cuts.
    fn take_room(&mut self, more: u64) -> Result<(), Abandoned> {
        let held = self.available.saturating_sub(self.freed) + more;
        if let Some(room) = &mut self.room
            && let Err(none) = room.grow_to(held)
        {
            self.starved = Some(none);
            self.cut(Cut::Limit);
            return Err(Abandoned);
        }
        Ok(())
    }

    /// A window for which there is no room is cut: what waits for it would wait for ever.
    pub(super) fn widen(&mut self, window: u64) {
        let window = window.min(self.limit);
        if window <= self.window {
            return;
        }
        let holds = self.holds(window);
        if let Some(room) = &mut self.room
            && self.cut.is_none()
            && !self.end
            && let Err(none) = room.grow_to(holds)
        {
            self.starved = Some(none);
            self.cut(Cut::Limit);
            return;
        }
        self.window = window;
    }

    /// Registers a reader's wish and widens the window for it. A declared length that
    /// cannot be held cuts at once: waiting would only fill memory first.
    pub(super) fn want(&mut self, keep: Option<u64>, until: u64) -> Ticket {
        let ticket = self.ticket();
        let low = keep.unwrap_or(self.released).min(self.released);
        let needed = self.total.map_or(until, |total| until.min(total));
        let needed = needed.saturating_sub(low);
        if needed > self.limit && self.total.is_some() {
            self.cut(Cut::Limit);
        }
        self.widen(needed);
        self.wants.push(Want {
            ticket,
            keep,
            until,
        });
        ticket
    }

    pub(super) fn unwant(&mut self, ticket: Ticket) {
        self.wants.retain(|want| want.ticket != ticket);
    }

    // --- producing ---

    fn over(&self) -> bool {
        self.end || self.cut.is_some()
    }

    pub(super) fn room(&self) -> u64 {
        if self.over() {
            return 0;
        }
        // A mark ahead of what has arrived: those bytes are thrown away as they come.
        self.mark()
            .saturating_add(self.window)
            .saturating_sub(self.available)
    }

    /// As `room`, but with bytes waiting: a reader whose own bytes fill the limit, and
    /// that wants more, can never be served.
    pub(super) fn room_or_cut(&mut self) -> Result<u64, Abandoned> {
        if self.over() {
            return Err(Abandoned);
        }
        let room = self.room();
        if room == 0 {
            let hopeless = self.wants.iter().any(|want| {
                let low = want.keep.unwrap_or(self.released).min(self.released);
                want.until > self.available && self.available.saturating_sub(low) >= self.limit
            });
            if hopeless {
                self.cut(Cut::Limit);
                return Err(Abandoned);
            }
        }
        Ok(room)
    }

    pub(super) fn push(
        &mut self,
        bytes: &mut Bytes,
        freed: &mut Vec<Bytes>,
    ) -> Result<(), Abandoned> {
        let beyond = self.available.checked_add(bytes.len() as u64);
        if beyond.is_none() || self.total.is_some_and(|total| beyond > Some(total)) {
            self.cut(Cut::Malformed);
        }
        let room = self.room_or_cut()?;
        if room == 0 {
            return Ok(());
        }
        let taken = usize::try_from(room).map_or(bytes.len(), |room| room.min(bytes.len()));
        self.take_room(taken as u64)?;
        self.append(bytes.split_to(taken));
        self.lapse();
        *freed = self.trim();
        Ok(())
    }

    fn append(&mut self, bytes: Bytes) {
        let start = self.available;
        self.available += bytes.len() as u64;
        if self.chunks.len() >= MANY_CHUNKS
            && let Some(last) = self.chunks.back_mut()
            && last.bytes.len() + bytes.len() <= JOINED
        {
            // Appended in place when nobody else holds the last chunk.
            let mut joined = std::mem::take(&mut last.bytes)
                .try_into_mut()
                .unwrap_or_else(|shared| {
                    let mut copy = BytesMut::with_capacity(JOINED);
                    copy.extend_from_slice(&shared);
                    copy
                });
            joined.extend_from_slice(&bytes);
            last.bytes = joined.freeze();
            return;
        }
        self.chunks.push_back(Chunk { start, bytes });
    }

    pub(super) fn end(&mut self) {
        if self.over() {
            return;
        }
        match self.total {
            Some(total) if total != self.available => self.cut = Some(Cut::Closed),
            _ => {
                self.total = Some(self.available);
                self.end = true;
            }
        }
    }

    pub(super) fn cut(&mut self, cut: Cut) {
        if !self.over() {
            self.cut = Some(cut);
        }
    }
}
