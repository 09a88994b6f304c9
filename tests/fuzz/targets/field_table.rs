//! What decodes as a table encodes to something that decodes to the same, and equals itself as arguments.
#![no_main]

use bytes::{Bytes, BytesMut};
use leveret_engine::amqp::FieldTable;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(table) = FieldTable::decode_entries(Bytes::copy_from_slice(data)) else { return };
    let mut out = BytesMut::new();
    table.encode(&mut out);
    assert!(out.len() <= data.len() + 4);
    assert_eq!(FieldTable::decode(out.freeze()), Ok(table.detached()));
    assert!(table.len() <= data.len());
});
