//! The client against frames made by hand.

use core::time::Duration;

use super::*;
use crate::amqp::encode::Body;
use crate::amqp::method::{confirm, queue};
use crate::amqp::{FieldTable, LongStr, ProtocolHeaderDecoder, ShortStr};

/// The other end: writes what a server would, and reads what the client says.
struct Server {
    decoder: FrameDecoder,
    header: ProtocolHeaderDecoder,
    has_header: bool,
    output: BytesMut,
}

impl Server {
    fn new() -> Self {
        Self {
            decoder: FrameDecoder::new(0),
            header: ProtocolHeaderDecoder::new(),
            has_header: false,
            output: BytesMut::new(),
        }
    }

    fn say(&mut self, channel: u16, method: impl Into<Method>) -> &mut Self {
        encode::encode_method_frame(&mut self.output, channel, &method.into());
        self
    }

    /// What the client said since the last call; heartbeats and contents show as frame kinds.
    fn heard(&mut self, client: &mut Client) -> Vec<&'static str> {
        let mut data = client.take_output();
        if !self.has_header {
            assert_eq!(self.header.feed(&mut data), Some(ProtocolHeader::Amqp091));
            self.has_header = true;
        }
        self.decoder.feed(data);
        let mut words = Vec::new();
        while let Some(frame) = self.decoder.next_frame().unwrap() {
            words.push(match frame.kind {
                FrameKind::Method => Method::decode(frame.payload).unwrap().name(),
                FrameKind::Header => "header",
                FrameKind::Body => "body",
                FrameKind::Heartbeat => "heartbeat",
            });
        }
        words
    }

    /// Hands what was said to the client, octet by octet, and yields its events.
    fn flush(&mut self, client: &mut Client, now: Instant) -> Vec<ClientEvent> {
        let mut events = Vec::new();
        let mut data = self.output.split().freeze();
        while !data.is_empty() {
            client.handle_bytes(now, data.split_to(1), &mut events).unwrap();
        }
        events
    }
}

fn at(seconds: u64) -> Instant {
    Instant::from_micros(seconds * 1_000_000)
}

fn start() -> connection::Start {
    connection::Start {
        version_major: 0,
        version_minor: 9,
        server_properties: FieldTable::new().with("product", "test"),
        mechanisms: LongStr::from_static("PLAIN AMQPLAIN"),
        locales: LongStr::from_static("en_US"),
    }
}

fn connected() -> (Client, Server) {
    let mut client = Client::new(ClientConfig::default());
    let mut server = Server::new();
    assert_eq!(server.heard(&mut client), [""; 0]);
    let events = server.say(0, start()).flush(&mut client, at(0));
    assert_eq!(events, []);
    assert_eq!(server.heard(&mut client), ["connection.start-ok"]);
    let tune = connection::Tune { channel_max: 100, frame_max: 4096, heartbeat: 10 };
    server.say(0, tune).flush(&mut client, at(0));
    assert_eq!(server.heard(&mut client), ["connection.tune-ok", "connection.open"]);
    let events = server.say(0, connection::OpenOk::default()).flush(&mut client, at(0));
    let limits = Limits { channel_max: 100, frame_max: 4096, heartbeat_s: 10 };
    assert_eq!(events, [ClientEvent::Connected { limits }]);
    (client, server)
}

fn with_channel() -> (Client, Server) {
    let (mut client, mut server) = connected();
    client.open_channel(1).unwrap();
    assert!(!client.is_channel_open(1));
    assert_eq!(server.heard(&mut client), ["channel.open"]);
    let events = server.say(1, channel_class::OpenOk::default()).flush(&mut client, at(0));
    assert_eq!(events, [ClientEvent::ChannelOpened { channel: 1 }]);
    (client, server)
}

fn routing() -> Routing {
    Routing::new(&ShortStr::from_static("x"), &ShortStr::from_static("key"))
}

#[test]
fn the_start_ok_holds_the_credentials() {
    let start_ok = ClientConfig::default().start_ok();
    assert_eq!(start_ok.mechanism, "PLAIN");
    assert_eq!(start_ok.response.as_bytes(), b"\0guest\0guest");
    assert!(start_ok.client_properties.get("capabilities").is_some());
}

#[test]
fn limits_are_the_lower_of_both_and_zero_is_none() {
    let wish = Limits { channel_max: 0, frame_max: 8192, heartbeat_s: 0 };
    let tune = connection::Tune { channel_max: 2047, frame_max: 0, heartbeat: 60 };
    assert_eq!(wish.tuned(&tune), Limits { channel_max: 2047, frame_max: 8192, heartbeat_s: 0 });
}

#[test]
fn a_server_of_another_version_is_recognized_by_its_header() {
    let mut client = Client::new(ClientConfig::default());
    let answer = Bytes::from_static(b"AMQP\0\0\x09\x01");
    assert_eq!(client.handle_bytes(at(0), answer, &mut Vec::new()), Err(ClientError::VersionMismatch));
    assert!(client.is_closed());
}

#[test]
fn a_refused_login_is_a_close_of_the_connection() {
    let mut client = Client::new(ClientConfig::default());
    let mut server = Server::new();
    server.say(0, start()).flush(&mut client, at(0));
    server.heard(&mut client);
    let error = AmqpError::connection(ReplyCode::AccessRefused, "Login was refused");
    let events = server.say(0, error.to_connection_close()).flush(&mut client, at(0));
    let [ClientEvent::ConnectionClosed { reason, is_by_server: true }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((reason.reply_code, reason.reply_text.as_str()), (403, Some("ACCESS_REFUSED - Login was refused")));
    assert_eq!(server.heard(&mut client), ["connection.close-ok"]);
    assert!(client.is_closed());
}

#[test]
fn publishes_are_numbered_from_confirm_select_on() {
    let (mut client, mut server) = with_channel();
    let empty = RawProperties::empty();
    assert_eq!(client.publish(1, &routing(), false, &empty, b"a"), Ok(None));
    client.send(1, confirm::Select::default()).unwrap();
    assert_eq!(client.publish(1, &routing(), false, &empty, b""), Ok(Some(1)));
    assert_eq!(client.publish(1, &routing(), false, &empty, &[7; 5000]), Ok(Some(2)));
    assert_eq!(client.last_seqno(1), Some(2));
    let p = "basic.publish";
    assert_eq!(
        server.heard(&mut client),
        [p, "header", "body", "confirm.select", p, "header", p, "header", "body", "body"]
    );
    server.say(1, confirm::SelectOk::default());
    server.say(1, basic::Ack { delivery_tag: 1, multiple: false });
    server.say(1, basic::Nack { delivery_tag: 2, multiple: true, requeue: false });
    let events = server.flush(&mut client, at(0));
    assert_eq!(
        events[1..],
        [
            ClientEvent::Acked { channel: 1, seqno: 1, multiple: false },
            ClientEvent::Nacked { channel: 1, seqno: 2, multiple: true },
        ]
    );
}

#[test]
fn messages_come_as_events_with_their_contents() {
    let (mut client, mut server) = with_channel();
    let tag = ShortStr::from_static("tag");
    let text = ShortStr::from_static("NO_ROUTE");
    let (empty, body) = (RawProperties::empty(), &[9_u8; 6000][..]);
    encode::encode_deliver(
        &mut server.output,
        1,
        4096,
        &tag,
        5,
        true,
        routing().as_bytes(),
        empty.as_bytes(),
        Body::Whole(body),
    );
    encode::encode_get_ok(
        &mut server.output,
        1,
        4096,
        6,
        false,
        routing().as_bytes(),
        3,
        empty.as_bytes(),
        Body::Whole(b"got"),
    );
    encode::encode_return(
        &mut server.output,
        1,
        4096,
        312,
        &text,
        routing().as_bytes(),
        empty.as_bytes(),
        Body::Whole(b""),
    );
    server.say(1, basic::GetEmpty::default());
    let events = server.flush(&mut client, at(0));
    assert_eq!(
        events,
        [
            ClientEvent::Delivery {
                channel: 1,
                consumer_tag: tag,
                delivery_tag: 5,
                redelivered: true,
                routing: routing(),
                properties: empty.clone(),
                body: Bytes::copy_from_slice(body),
            },
            ClientEvent::GetOk {
                channel: 1,
                delivery_tag: 6,
                redelivered: false,
                routing: routing(),
                message_count: 3,
                properties: empty.clone(),
                body: Bytes::from_static(b"got"),
            },
            ClientEvent::Returned {
                channel: 1,
                reply_code: 312,
                reply_text: text,
                routing: routing(),
                properties: empty,
                body: Bytes::new(),
            },
            ClientEvent::Method { channel: 1, method: basic::GetEmpty::default().into() },
        ]
    );
    client.ack(1, 5, true).unwrap();
    client.nack(1, 6, false, true).unwrap();
    assert_eq!(server.heard(&mut client), ["basic.ack", "basic.nack"]);
}

#[test]
fn a_channel_closed_by_the_server_can_be_opened_again() {
    let (mut client, mut server) = with_channel();
    let error = AmqpError::channel(ReplyCode::NotFound, "no queue").with_method(50, 10);
    let events = server.say(1, error.to_channel_close()).flush(&mut client, at(0));
    let [ClientEvent::ChannelClosed { channel: 1, reason, is_by_server: true }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((reason.reply_code, reason.class_id, reason.method_id), (404, 50, 10));
    assert_eq!(server.heard(&mut client), ["channel.close-ok"]);
    assert_eq!(client.send(1, basic::Get::default()), Err(ClientError::ChannelNotOpen(1)));
    client.open_channel(1).unwrap();
    assert_eq!(server.heard(&mut client), ["channel.open"]);
}

#[test]
fn what_comes_on_a_closing_channel_is_dropped() {
    let (mut client, mut server) = with_channel();
    client.close_channel(1).unwrap();
    assert_eq!(client.open_channel(1), Err(ClientError::ChannelInUse(1)));
    let tag = ShortStr::from_static("tag");
    let empty = RawProperties::empty();
    encode::encode_deliver(
        &mut server.output,
        1,
        4096,
        &tag,
        5,
        true,
        routing().as_bytes(),
        empty.as_bytes(),
        Body::Whole(b"late"),
    );
    let events = server.say(1, channel_class::CloseOk::default()).flush(&mut client, at(0));
    let reason = CloseReason::normal();
    assert_eq!(events, [ClientEvent::ChannelClosed { channel: 1, reason, is_by_server: false }]);
    client.open_channel(1).unwrap();
}

// 1. We close the channel. 2. The server closes it for a mistake before it reads that. 3. Each answers
// the other's close.
#[test]
fn crossing_closes_of_a_channel_are_both_answered_and_told_once() {
    let (mut client, mut server) = with_channel();
    client.close_channel(1).unwrap();
    let error = AmqpError::channel(ReplyCode::NotFound, "x");
    let events = server.say(1, error.to_channel_close()).flush(&mut client, at(0));
    assert!(matches!(events[..], [ClientEvent::ChannelClosed { is_by_server: true, .. }]));
    assert_eq!(server.heard(&mut client), ["channel.close", "channel.close-ok"]);
    assert_eq!(client.open_channel(1), Err(ClientError::ChannelInUse(1)));
    assert_eq!(server.say(1, channel_class::CloseOk::default()).flush(&mut client, at(0)), []);
    client.open_channel(1).unwrap();
}

#[test]
fn cancel_notifications_are_told_and_answered_only_if_asked() {
    let (mut client, mut server) = with_channel();
    let tag = ShortStr::from_static("tag");
    for (no_wait, answer) in [(true, &[][..]), (false, &["basic.cancel-ok"][..])] {
        let cancel = basic::Cancel { consumer_tag: tag.clone(), no_wait };
        let events = server.say(1, cancel).flush(&mut client, at(0));
        assert_eq!(events, [ClientEvent::ConsumerCancelled { channel: 1, consumer_tag: tag.clone() }]);
        assert_eq!(server.heard(&mut client), answer);
    }
}

#[test]
fn heartbeats_go_out_only_when_nothing_else_did() {
    let (mut client, mut server) = with_channel();
    assert_eq!(client.next_timeout(), Some(at(5)));
    client.handle_timeout(at(4)).unwrap();
    client.handle_timeout(at(5)).unwrap();
    assert_eq!(server.heard(&mut client), [""; 0], "the handshake was a sign of life");
    client.handle_timeout(at(10)).unwrap();
    assert_eq!(server.heard(&mut client), ["heartbeat"]);
    client.send(1, basic::Get::default()).unwrap();
    client.handle_timeout(at(15)).unwrap();
    assert_eq!(server.heard(&mut client), ["basic.get"]);
}

#[test]
fn a_server_silent_for_two_intervals_is_given_up() {
    let (mut client, mut server) = with_channel();
    for seconds in [5, 10, 15] {
        client.handle_timeout(at(seconds)).unwrap();
    }
    encode::encode_heartbeat(&mut server.output);
    assert_eq!(server.flush(&mut client, at(16)), []);
    for seconds in [20, 25, 30, 35] {
        client.handle_timeout(at(seconds)).unwrap();
    }
    assert_eq!(client.handle_timeout(at(40)), Err(ClientError::HeartbeatsMissed));
    assert!(client.is_closed());
    assert_eq!(client.next_timeout(), None);
}

#[test]
fn blocked_connections_are_told() {
    let (mut client, mut server) = connected();
    let reason = ShortStr::from_static("low on disk");
    server.say(0, connection::Blocked { reason: reason.clone() });
    let events = server.say(0, connection::Unblocked::default()).flush(&mut client, at(0));
    assert_eq!(events, [ClientEvent::Blocked { reason }, ClientEvent::Unblocked]);
}

#[test]
fn a_close_of_ours_drops_what_comes_before_its_answer() {
    let (mut client, mut server) = with_channel();
    client.close();
    assert_eq!(client.open_channel(2), Err(ClientError::NotOpen));
    server.say(1, queue::DeclareOk::default());
    let events = server.say(0, connection::CloseOk::default()).flush(&mut client, at(0));
    let reason = CloseReason::normal();
    assert_eq!(events, [ClientEvent::ConnectionClosed { reason, is_by_server: false }]);
    assert_eq!(server.heard(&mut client), ["connection.close"]);
    assert_eq!(client.next_timeout(), None);
}

#[test]
fn nonsense_from_the_server_is_an_error() {
    let cases: [(u16, Method); 4] = [
        (0, queue::DeclareOk::default().into()),
        (2, queue::DeclareOk::default().into()),
        (0, connection::OpenOk::default().into()),
        (0, start().into()),
    ];
    for (channel, method) in cases {
        let (mut client, _) = with_channel();
        let mut out = BytesMut::new();
        encode::encode_method_frame(&mut out, channel, &method);
        let result = client.handle_bytes(at(0), out.freeze(), &mut Vec::new());
        assert!(matches!(result, Err(ClientError::Protocol(_))), "{result:?}");
    }
    let (mut client, _) = with_channel();
    let garbage = Bytes::from_static(b"\x09\0\0\0\0\0\0\xce");
    assert!(client.handle_bytes(at(0), garbage, &mut Vec::new()).is_err());
}

#[test]
fn what_cannot_be_done_is_refused_and_sends_nothing() {
    let (mut client, mut server) = with_channel();
    let empty = RawProperties::empty();
    assert_eq!(client.open_channel(0), Err(ClientError::ChannelInUse(0)));
    assert_eq!(client.open_channel(101), Err(ClientError::ChannelInUse(101)));
    assert_eq!(client.open_channel(1), Err(ClientError::ChannelInUse(1)));
    assert_eq!(client.send(1, basic::Publish::default()), Err(ClientError::NeedsContent));
    assert_eq!(client.publish(9, &routing(), false, &empty, b""), Err(ClientError::ChannelNotOpen(9)));
    assert_eq!(client.ack(9, 1, false), Err(ClientError::ChannelNotOpen(9)));
    assert_eq!(server.heard(&mut client), [""; 0]);
    assert_eq!(Limits::default().heartbeat(), Duration::from_secs(60));
}
