//! A server that says anything: the client refuses it or goes on, and never panics.
#![no_main]

use arbitrary::Arbitrary;
use bytes::{Bytes, BytesMut};
use leveret_engine::amqp::method::connection;
use leveret_engine::amqp::{Method, RawProperties, Routing, encode};
use leveret_engine::client::{Client, ClientConfig, ClientEvent};
use leveret_engine::time::Instant;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Say(u8, Method),
    SayRaw(&'a [u8]),
    Deliver(u8, &'a [u8]),
    Open(u8),
    Publish(u8, &'a [u8]),
    CloseChannel(u8),
    Close,
    Wait(u8),
}

fn say(client: &mut Client, now: Instant, channel: u16, method: &Method) -> bool {
    let mut out = BytesMut::new();
    encode::encode_method_frame(&mut out, channel, method);
    hear(client, now, out.freeze())
}

fn hear(client: &mut Client, now: Instant, bytes: Bytes) -> bool {
    let mut events = Vec::new();
    let result = client.handle_bytes(now, bytes, &mut events);
    for event in events {
        // The client opens again what is closed, as far as it may.
        if let ClientEvent::ChannelClosed { channel, .. } = event {
            let _ = client.open_channel(channel);
        }
    }
    client.take_output();
    result.is_ok()
}

fuzz_target!(|steps: Vec<Step<'_>>| {
    let mut client = Client::new(ClientConfig::default());
    let mut now = Instant::ZERO;
    let start = connection::Start { version_minor: 9, ..Default::default() };
    assert!(say(&mut client, now, 0, &start.into()));
    assert!(say(&mut client, now, 0, &connection::Tune { heartbeat: 10, ..Default::default() }.into()));
    assert!(say(&mut client, now, 0, &connection::OpenOk::default().into()));
    assert!(client.is_open());
    let empty = RawProperties::empty();
    for step in steps {
        let goes_on = match step {
            Step::Say(channel, method) => say(&mut client, now, u16::from(channel % 4), &method),
            Step::SayRaw(bytes) => hear(&mut client, now, Bytes::copy_from_slice(bytes)),
            Step::Deliver(channel, body) => {
                let mut out = BytesMut::new();
                let (tag, routing) = (Default::default(), Routing::default());
                let channel = u16::from(channel % 4);
                let (routing, body) = (routing.as_bytes(), encode::Body::Whole(body));
                encode::encode_deliver(&mut out, channel, 4096, &tag, 1, false, routing, empty.as_bytes(), body);
                hear(&mut client, now, out.freeze())
            }
            Step::Open(channel) => client.open_channel(u16::from(channel % 4)).is_ok() || client.is_open(),
            Step::Publish(channel, body) => {
                let _ = client.publish(u16::from(channel % 4), &Routing::default(), false, &empty, body);
                true
            }
            Step::CloseChannel(channel) => {
                let _ = client.close_channel(u16::from(channel % 4));
                true
            }
            Step::Close => {
                client.close();
                true
            }
            Step::Wait(seconds) => {
                now = Instant::from_micros(now.as_micros() + u64::from(seconds) * 1_000_000);
                client.handle_timeout(now).is_ok()
            }
        };
        if !goes_on {
            break;
        }
    }
});
