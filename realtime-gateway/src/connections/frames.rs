//! Follows the bytes of a websocket to find out which packets are written.
//!
//! The Socket.IO library does not tell when a packet has left its queue. A server's frames are not masked, so the
//! connection can follow them: a head of two to ten bytes, then the packet.

/// A packet that is written completely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// An event of so many bytes.
    Event(usize),
    /// The answer to a client that asked for an unknown namespace.
    Refusal,
}

impl Written {
    /// Tells a packet by its first three bytes.
    pub(crate) fn of(begins: &[u8], bytes: usize) -> Option<Self> {
        match begins {
            [b'4', b'2', ..] => Some(Self::Event(bytes)),
            [b'4', b'4', b'/', ..] => Some(Self::Refusal),
            _ => None,
        }
    }
}

/// The end of the HTTP head that makes a connection a websocket.
const END_OF_HEAD: &[u8] = b"\r\n\r\n";
/// The opcode of a text frame.
const TEXT: u8 = 1;
/// Bytes that tell what a packet is.
const BEGINS: usize = 3;

/// Follows the written bytes from the answer to the handshake on.
#[derive(Default)]
pub(crate) struct Frames(State);

enum State {
    /// In the answer to the handshake, of whose end so many bytes were seen.
    Answer(usize),
    /// In a frame's head or the first bytes of its packet.
    Begin(Begin),
    /// In the rest of a packet, of which so many bytes are to come.
    Rest(Option<Written>, usize),
}

impl Default for State {
    fn default() -> Self {
        Self::Answer(0)
    }
}

#[derive(Default)]
struct Begin {
    bytes: [u8; 10 + BEGINS],
    have: usize,
}

impl Begin {
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.have) {
            *place = byte;
            self.have += 1;
        }
    }

    /// Bytes of the head and of the packet, once the head is complete.
    fn sizes(&self) -> Option<(usize, usize)> {
        let bytes = self.bytes.get(..self.have)?;
        let length = |extended: &[u8]| extended.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        match bytes.get(1)? & 0x7f {
            126 => Some((4, length(bytes.get(2..4)?))),
            127 => Some((10, length(bytes.get(2..10)?))),
            short => Some((2, usize::from(short))),
        }
    }

    /// The packet and how many of its bytes are to come, once that is known.
    fn packet(&self) -> Option<(Option<Written>, usize)> {
        let (head, size) = self.sizes()?;
        let begins = size.min(BEGINS);
        let packet = self.bytes.get(head..self.have).filter(|packet| packet.len() >= begins)?;
        let is_text = self.bytes.first().is_some_and(|first| first & 0x0f == TEXT);
        Some((Written::of(packet, size).filter(|_| is_text), size - begins))
    }
}

impl Frames {
    /// Takes the next written bytes, and reports each packet that ends in them.
    pub(crate) fn pass(&mut self, mut bytes: &[u8], mut report: impl FnMut(Written)) {
        while let Some((first, after)) = bytes.split_first() {
            match &mut self.0 {
                State::Answer(seen) => {
                    let goes_on = END_OF_HEAD.get(*seen) == Some(first);
                    *seen = if goes_on { *seen + 1 } else { usize::from(END_OF_HEAD.first() == Some(first)) };
                    if *seen == END_OF_HEAD.len() {
                        self.0 = State::Begin(Begin::default());
                    }
                    bytes = after;
                }
                State::Begin(begin) => {
                    begin.push(*first);
                    if let Some((packet, rest)) = begin.packet() {
                        self.0 = State::Rest(packet, rest);
                        self.end_frame(&mut report);
                    }
                    bytes = after;
                }
                State::Rest(_, rest) => {
                    let part = (*rest).min(bytes.len());
                    *rest -= part;
                    bytes = bytes.get(part..).unwrap_or_default();
                    self.end_frame(&mut report);
                }
            }
        }
    }

    /// Begins the next frame if this one has ended.
    fn end_frame(&mut self, report: &mut impl FnMut(Written)) {
        if let State::Rest(packet, 0) = self.0 {
            packet.into_iter().for_each(report);
            self.0 = State::Begin(Begin::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            short @ ..126 => frame.push(short as u8),
            middle @ ..65_536 => {
                frame.push(126);
                frame.extend((middle as u16).to_be_bytes());
            }
            long => {
                frame.push(127);
                frame.extend((long as u64).to_be_bytes());
            }
        }
        frame.extend(payload);
        frame
    }

    #[test]
    fn every_event_is_reported_once_with_its_size_however_the_bytes_are_split() {
        let events = [vec![b'x'; 1], vec![b'x'; 122], vec![b'x'; 123], vec![b'x'; 70_000]].map(|body| {
            let mut event = b"42".to_vec();
            event.extend(body);
            event
        });
        let mut wire = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n".to_vec();
        let others: [(u8, &[u8]); 7] = [
            (1, b"0{\"sid\":\"x\"}"),
            (1, b"2"),
            (1, b"40{}"),
            (2, b"42binary"),
            (9, b"42ping"),
            (10, b""),
            (1, b"44{}"),
        ];
        for (event, (opcode, other)) in events.iter().cycle().zip(others) {
            wire.extend(frame(opcode, other));
            wire.extend(frame(1, event));
        }
        wire.extend(frame(1, b"44/x,{}"));
        let sizes = events.iter().cycle().take(others.len()).map(|event| Written::Event(event.len()));
        let expected: Vec<_> = sizes.chain([Written::Refusal]).collect();
        for size in [1, 2, 3, 5, 7, 127, 4_096, wire.len()] {
            let (mut frames, mut reported) = (Frames::default(), Vec::new());
            wire.chunks(size).for_each(|part| frames.pass(part, |written| reported.push(written)));
            assert_eq!(reported, expected, "in parts of {size}");
        }
    }
}
