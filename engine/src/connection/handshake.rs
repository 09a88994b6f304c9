//! From the protocol header to `connection.open-ok` (AMQP 0-9-1 §2.2.4, RabbitMQ docs: Connections).

use alloc::format;
use alloc::string::String;
use bytes::{Bytes, BytesMut};
use core::time::Duration;

use super::{Connection, ConnectionCtx, State};
use crate::amqp::method::connection as class;
use crate::amqp::{AmqpError, FieldTable, FieldValue, LongStr, ProtocolHeader, ReplyCode};
use crate::auth::{Mechanism, log_in};
use crate::broker::ConnectionLimits;
use crate::event::Event;
use crate::ids::ChannelNumber;
use crate::limits;

/// What the client said it understands, in `client-properties`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Capabilities {
    /// Wants `connection.close` when its login fails, instead of a closed socket.
    pub(super) authentication_failure_close: bool,
    /// Wants to know when publishers are stopped.
    pub(super) connection_blocked: bool,
    /// Wants to know when its consumers are cancelled.
    pub(super) consumer_cancel_notify: bool,
}

impl Capabilities {
    fn from_client_properties(properties: &FieldTable) -> Self {
        let capabilities = properties.get("capabilities").and_then(FieldValue::as_table);
        let has = |name| {
            capabilities.and_then(|capabilities| capabilities.get(name)).and_then(FieldValue::as_bool).unwrap_or(false)
        };
        Self {
            authentication_failure_close: has("authentication_failure_close"),
            connection_blocked: has("connection.blocked"),
            consumer_cancel_notify: has("consumer_cancel_notify"),
        }
    }
}

impl Connection {
    /// The first eight bytes.
    pub(super) fn on_header_bytes(&mut self, ctx: &mut ConnectionCtx<'_>, bytes: &mut Bytes) {
        match self.header.feed(bytes) {
            None => {}
            Some(ProtocolHeader::Amqp091) => {
                self.state = State::Start;
                self.outbox.method(
                    ChannelNumber::CONNECTION,
                    class::Start {
                        version_major: 0,
                        version_minor: 9,
                        server_properties: server_properties(&ctx.broker.cluster_name()),
                        mechanisms: LongStr::from_static(Mechanism::NAMES),
                        locales: LongStr::from_static("en_US"),
                    },
                );
            }
            Some(ProtocolHeader::Mismatch(_)) => {
                self.end = Some(String::from("not AMQP 0-9-1"));
                self.outbox.raw(&ProtocolHeader::AMQP_0_9_1);
                self.close_socket(ctx);
            }
        }
    }

    pub(super) fn on_start_ok(
        &mut self,
        ctx: &mut ConnectionCtx<'_>,
        start_ok: &class::StartOk,
    ) -> Result<(), AmqpError> {
        self.capabilities = Capabilities::from_client_properties(&start_ok.client_properties);
        let mut properties = BytesMut::new();
        start_ok.client_properties.encode_entries(&mut properties);
        self.client_properties = Bytes::copy_from_slice(&properties);
        let Some(mechanism) = Mechanism::from_name(start_ok.mechanism.as_bytes()) else {
            let text = format!("unknown authentication mechanism '{}'", start_ok.mechanism);
            return Err(AmqpError::connection(ReplyCode::CommandInvalid, text));
        };
        let response = start_ok.response.clone().into_bytes();
        let from_loopback = self.peer.ip().to_canonical().is_loopback();
        let login = mechanism
            .credentials(&response)
            .and_then(|credentials| log_in(&ctx.broker.metadata, &ctx.broker.config, &credentials, from_loopback).ok())
            .map(|user| user.name.to_string_lossy().into_owned());
        let Some(user) = login else {
            return self.refuse_login(ctx, mechanism);
        };
        self.user = user;
        self.mechanism = mechanism.name();
        self.state = State::Tune;
        let config = &ctx.broker.config;
        let tune = class::Tune {
            channel_max: config.channel_max,
            frame_max: config.frame_max,
            heartbeat: u16::try_from(config.heartbeat.as_secs()).unwrap_or(u16::MAX),
        };
        self.outbox.method(ChannelNumber::CONNECTION, tune);
        Ok(())
    }

    pub(super) fn on_tune_ok(&mut self, ctx: &mut ConnectionCtx<'_>, tune_ok: &class::TuneOk) -> Result<(), AmqpError> {
        let config = &ctx.broker.config;
        check_negotiated("frame_max", limits::FRAME_MIN, config.frame_max, tune_ok.frame_max)?;
        check_negotiated("channel_max", 0, u32::from(config.channel_max), u32::from(tune_ok.channel_max))?;
        self.decoder.set_frame_max(tune_ok.frame_max);
        self.frame_max = tune_ok.frame_max;
        self.outbox.set_frame_max(if tune_ok.frame_max == 0 { limits::FRAME_MAX } else { tune_ok.frame_max });
        self.channel_max = tune_ok.channel_max;
        self.heartbeat = Duration::from_secs(u64::from(tune_ok.heartbeat));
        self.state = State::Open;
        self.start_heartbeats(ctx);
        Ok(())
    }

    pub(super) fn on_open(&mut self, ctx: &mut ConnectionCtx<'_>, open: &class::Open) -> Result<(), AmqpError> {
        let Some(vhost) = ctx.broker.metadata.vhost(open.virtual_host.as_bytes()) else {
            let text = format!("vhost {} not found", open.virtual_host);
            return Err(AmqpError::connection(ReplyCode::NotAllowed, text));
        };
        let metadata = &ctx.broker.metadata;
        let limits = ConnectionLimits {
            node: ctx.broker.config.connection_max,
            vhost: metadata.vhost_by_key(vhost).and_then(|record| record.limits.connections_max),
            user: metadata.user(self.user.as_bytes()).and_then(|record| record.limits.connections_max),
        };
        let is_allowed = metadata.may_open(self.user.as_bytes(), open.virtual_host.as_bytes());
        ctx.broker.sessions.open(vhost, &open.virtual_host.to_string_lossy(), &self.user, limits)?;
        self.is_counted = true;
        self.vhost = vhost;
        if !is_allowed {
            let text = format!("access to vhost '{}' refused for user '{}'", open.virtual_host, self.user);
            return Err(AmqpError::connection(ReplyCode::NotAllowed, text));
        }
        self.vhost_name = open.virtual_host.detached();
        self.state = State::Running;
        self.outbox.method(ChannelNumber::CONNECTION, class::OpenOk {});
        ctx.broker.events.push(Event::ConnectionOpened {
            connection: self.id,
            peer: self.peer,
            user: self.user.clone(),
        });
        Ok(())
    }

    /// Why is said only in the server's log, so that it helps nobody to guess (RabbitMQ docs: Access Control).
    fn refuse_login(&mut self, ctx: &mut ConnectionCtx<'_>, mechanism: Mechanism) -> Result<(), AmqpError> {
        let text = format!(
            "Login was refused using authentication mechanism {}. For details see the broker logfile.",
            mechanism.name()
        );
        if self.capabilities.authentication_failure_close {
            let error = AmqpError::connection(ReplyCode::AccessRefused, text);
            self.fail(ctx, &error);
        } else {
            self.end = Some(text);
            self.close_socket(ctx);
        }
        Ok(())
    }
}

/// Checks a limit the client chose against ours, in RabbitMQ's words; 0 is no limit.
fn check_negotiated(name: &str, min: u32, ours: u32, theirs: u32) -> Result<(), AmqpError> {
    let refuse = |relation: &str, bound: &str, limit: u32| {
        let text = format!("negotiated {name} = {theirs} is {relation} than the {bound} allowed value ({limit})");
        Err(AmqpError::connection(ReplyCode::NotAllowed, text))
    };
    if theirs != 0 && theirs < min {
        return refuse("lower", "minimum", min);
    }
    if ours != 0 && (theirs == 0 || theirs > ours) {
        return refuse("higher", "maximum", ours);
    }
    Ok(())
}

/// What `connection.start` says about the server.
fn server_properties(cluster_name: &str) -> FieldTable {
    const CAPABILITIES: [&str; 9] = [
        "publisher_confirms",
        "exchange_exchange_bindings",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
        "consumer_priorities",
        "authentication_failure_close",
        "per_consumer_qos",
        "direct_reply_to",
    ];
    let mut capabilities = FieldTable::new();
    for name in CAPABILITIES {
        capabilities = capabilities.with(name, FieldValue::Bool(true));
    }
    FieldTable::new()
        .with("capabilities", FieldValue::Table(capabilities))
        .with("cluster_name", FieldValue::text(cluster_name))
        .with("copyright", FieldValue::text("Copyright the Leveret authors"))
        .with("information", FieldValue::text("Licensed under the Apache License 2.0"))
        .with("platform", FieldValue::text("Rust"))
        .with("product", FieldValue::text("Leveret"))
        .with("version", FieldValue::text(env!("CARGO_PKG_VERSION")))
}
