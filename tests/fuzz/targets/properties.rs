//! The decoder and the raw reader of properties accept the same bytes and find the same values.
#![no_main]

use bytes::Bytes;
use leveret_engine::amqp::{Properties, RawProperties};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    let decoded = Properties::decode(bytes.clone());
    let raw = RawProperties::parse(bytes);
    assert_eq!(decoded.is_ok(), raw.is_ok());
    let (Ok(decoded), Ok(raw)) = (decoded, raw) else { return };
    assert_eq!(RawProperties::from(&decoded).decode(), decoded);
    assert_eq!(raw.headers(), decoded.headers);
    assert_eq!((raw.delivery_mode(), raw.priority()), (decoded.delivery_mode, decoded.priority));
    assert_eq!(raw.timestamp(), decoded.timestamp);
    let bytes_of = |text: &Option<leveret_engine::amqp::ShortStr>| text.as_ref().map(|text| text.as_bytes().to_vec());
    for (found, expected) in [
        (raw.content_type(), &decoded.content_type),
        (raw.content_encoding(), &decoded.content_encoding),
        (raw.correlation_id(), &decoded.correlation_id),
        (raw.reply_to(), &decoded.reply_to),
        (raw.expiration(), &decoded.expiration),
        (raw.message_id(), &decoded.message_id),
        (raw.message_type(), &decoded.message_type),
        (raw.user_id(), &decoded.user_id),
        (raw.app_id(), &decoded.app_id),
        (raw.cluster_id(), &decoded.cluster_id),
    ] {
        assert_eq!(found.map(<[u8]>::to_vec), bytes_of(expected));
    }
    for (name, _) in decoded.headers.iter().flatten() {
        if let Some(name) = name.as_str() {
            assert_eq!(raw.header(name).as_ref(), decoded.headers.as_ref().and_then(|table| table.get(name)));
        }
    }
});
