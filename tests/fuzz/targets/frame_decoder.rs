//! Any stream, cut at places that the input chooses: the same commands come out as from the whole.
#![no_main]

use bytes::Bytes;
use leveret_engine::amqp::{AmqpError, Command, ContentAssembler, FrameDecoder};
use libfuzzer_sys::fuzz_target;

const FRAME_MAX: u32 = 4096;

fn commands(pieces: impl Iterator<Item = Bytes>) -> (Vec<Command>, Option<AmqpError>) {
    let mut decoder = FrameDecoder::new(FRAME_MAX);
    let mut assembler = ContentAssembler::new(1 << 20);
    let mut commands = Vec::new();
    for piece in pieces {
        decoder.feed(piece);
        loop {
            let fed = match decoder.next_frame() {
                Ok(Some(frame)) => assembler.feed(frame),
                Ok(None) => break,
                Err(error) => Err(error),
            };
            match fed {
                Ok(command) => commands.extend(command),
                Err(error) => return (commands, Some(error)),
            }
        }
        assert!(decoder.buffered_len() <= FRAME_MAX as usize + 8);
    }
    (commands, None)
}

fuzz_target!(|data: (u8, &[u8])| {
    let (cut, bytes) = data;
    let whole = commands(std::iter::once(Bytes::copy_from_slice(bytes)));
    let cut = commands(bytes.chunks(usize::from(cut) + 1).map(Bytes::copy_from_slice));
    assert_eq!(whole, cut);
});
