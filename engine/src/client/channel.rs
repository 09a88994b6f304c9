//! What the client knows of one channel.

use crate::amqp::ContentAssembler;
use crate::amqp::content::BODY_SIZE_CEILING;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChannelState {
    /// The open is sent.
    Opening,
    Open,
    /// Our close is sent; what still comes is dropped.
    Closing,
    /// The server closed too before it saw our close; only its close-ok is awaited.
    ClosingAfterTold,
}

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) state: ChannelState,
    pub(super) assembler: ContentAssembler,
    /// The number of the last publish; `None` without confirms.
    pub(super) last_seqno: Option<u64>,
}

impl Channel {
    pub(super) fn new() -> Self {
        Self { state: ChannelState::Opening, assembler: ContentAssembler::new(BODY_SIZE_CEILING), last_seqno: None }
    }
}
