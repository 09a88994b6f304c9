//! What decodes as a method encodes to something that decodes to the same; and generated methods round trip.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use bytes::{Bytes, BytesMut};
use leveret_engine::amqp::Method;
use libfuzzer_sys::fuzz_target;

fn check(method: &Method) {
    let mut out = BytesMut::new();
    method.encode(&mut out);
    assert_eq!(Method::decode(out.freeze()).as_ref(), Ok(method));
}

fuzz_target!(|data: &[u8]| {
    match Method::decode(Bytes::copy_from_slice(data)) {
        Ok(method) => check(&method),
        Err(error) => assert!(error.reply_text().len() <= 255),
    }
    if let Ok(method) = Method::arbitrary(&mut Unstructured::new(data)) {
        check(&method);
    }
});
