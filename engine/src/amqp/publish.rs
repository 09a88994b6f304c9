//! The commonest of all commands, read in one go: a publish that lies whole in what has come.

use super::content::ContentHeader;
use super::frame::{self, FrameKind};
use super::method::basic;
use super::{RawProperties, Routing};

/// What a `basic.publish` says beside its body, where it lies in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishHead<'a> {
    /// Exchange and routing key.
    pub routing: Routing<&'a [u8]>,
    /// See [`basic::Publish::mandatory`].
    pub mandatory: bool,
    /// See [`basic::Publish::immediate`].
    pub immediate: bool,
    /// The properties.
    pub properties: RawProperties<&'a [u8]>,
}

/// A `basic.publish` whose frames lie one behind the other: the method, the header, and at most one body frame.
///
/// To take it from here spares three frames, a method and a command their making, and the buffer they lie in six changes of the
/// count of those who share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WholePublish<'a> {
    /// On which channel.
    pub channel: u16,
    /// All but the body.
    pub head: PublishHead<'a>,
    /// The body.
    pub body: &'a [u8],
    /// Bytes of all its frames.
    pub len: usize,
}

impl<'a> WholePublish<'a> {
    /// The publish that the input begins with, with frames whose payload has at most `payload_max` bytes, and at most `body_max` bytes
    /// of body.
    ///
    /// `None` if the input begins with anything else. Whether that is a mistake, the
    /// [`FrameDecoder`](super::FrameDecoder) and the [`ContentAssembler`](super::ContentAssembler) tell; of what is found here they make
    /// the same command.
    pub fn first_of(input: &'a [u8], payload_max: usize, body_max: usize) -> Option<Self> {
        let (channel, method, rest) = frame::split(FrameKind::Method, input, payload_max)?;
        let (ids, arguments) = method.split_first_chunk::<4>()?;
        if *ids != IDS {
            return None;
        }
        let (routing, mandatory, immediate) = basic::Publish::parts(arguments)?;
        let (header_channel, header, rest) = frame::split(FrameKind::Header, rest, payload_max)?;
        let (fields, properties) = header.split_first_chunk()?;
        let (class_id, weight, body_size) = ContentHeader::fields(*fields);
        let body_size = usize::try_from(body_size).ok().filter(|size| *size <= body_max)?;
        if (header_channel, class_id, weight) != (channel, basic::Publish::CLASS_ID, 0) {
            return None;
        }
        let properties = RawProperties::parse(properties).ok()?;
        let (body, rest) = match body_size {
            0 => (&[][..], rest),
            _ => {
                let (body_channel, body, rest) = frame::split(FrameKind::Body, rest, payload_max)?;
                if (body_channel, body.len()) != (channel, body_size) {
                    return None;
                }
                (body, rest)
            }
        };
        let head = PublishHead { routing, mandatory, immediate, properties };
        Some(Self { channel, head, body, len: input.len() - rest.len() })
    }
}

/// Class and method, as they are on the wire.
const IDS: [u8; 4] = {
    let [c0, c1] = basic::Publish::CLASS_ID.to_be_bytes();
    let [m0, m1] = basic::Publish::METHOD_ID.to_be_bytes();
    [c0, c1, m0, m1]
};
