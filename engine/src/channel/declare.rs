//! Exchanges, queues and bindings: commands to the metadata, and their answers.

use alloc::vec::Vec;

use super::{Channel, ChannelCtx, Flow, Question, Reply, Wait};
use crate::amqp::method::{exchange, queue};
use crate::amqp::{AmqpError, FieldTable, FieldValue, LongStr, Method, ReplyCode, ShortStr};
use crate::broker::{Asked, AskedOf, Requester};
use crate::metadata::{
    Access, Answer, Command, DestinationName, check_deletable_exchange, check_exchange_kind,
    check_not_default_exchange, check_queue_name, server_name, stripped,
};
use crate::queue::ClassicQueue;
use crate::routing::QueueKey;

impl Channel {
    pub(super) fn declare_queue(
        &mut self,
        ctx: &mut ChannelCtx<'_>,
        declare: &queue::Declare,
    ) -> Result<Flow, AmqpError> {
        if let Some(answer) = self.declare_reply_name(ctx, &stripped(&declare.queue), declare.no_wait) {
            return answer;
        }
        if declare.passive {
            // Here an empty name does not stand for the queue declared last.
            let name = stripped(&declare.queue);
            let (key, record) = ctx.broker.metadata.expect_queue(ctx.vhost, name.as_bytes())?;
            let queue = record.name.clone();
            ctx.broker.metadata.check_exclusive(key, ctx.connection)?;
            ctx.broker.renew_lease(key, true);
            self.last_queue = Some(queue.clone());
            return if declare.no_wait { Ok(Flow::Done) } else { self.reply_declared(ctx, queue, false) };
        }
        let name = match stripped(&declare.queue) {
            name if name.is_empty() => server_name("amq.gen-", ctx.broker.random_bytes()),
            name => {
                check_queue_name(name.as_bytes())?;
                name.detached()
            }
        };
        ctx.check_queue(Access::Configure, name.as_bytes())?;
        let mut arguments = declare.arguments.detached();
        let current = ctx.broker.metadata.queue(ctx.vhost, name.as_bytes()).map(|(_, queue)| &queue.raw_arguments);
        if current.is_none() {
            let dead_letter_exchange = text_argument(&arguments, "x-dead-letter-exchange");
            ctx.check_forwarding("queue", name.as_bytes(), dead_letter_exchange)?;
        }
        // As RabbitMQ 4 does, so that the type stays when the default becomes another one.
        if declare.durable
            && !declare.exclusive
            && !declare.auto_delete
            && arguments.get(QUEUE_TYPE).is_none()
            && current.is_none_or(|current| current.get(QUEUE_TYPE).is_some())
            && let Some(kind) = ctx.broker.default_queue_type(ctx.vhost)
        {
            arguments.push(ShortStr::from_static(QUEUE_TYPE), FieldValue::LongStr(kind));
        }
        if stripped(&declare.queue).is_empty() {
            check_server_named(&arguments)?;
        }
        let command = Command::DeclareQueue {
            vhost: ctx.vhost_name.clone(),
            id: ctx.broker.metadata.allocate_queue_id(),
            home: ctx.broker.metadata.own(),
            members: Vec::new(),
            name: name.clone(),
            durable: declare.durable,
            exclusive: declare.exclusive.then_some(ctx.connection),
            auto_delete: declare.auto_delete,
            arguments,
        };
        let reply =
            if declare.no_wait { Reply::None } else { Reply::QueueDeclared { queue: name.clone(), is_new: false } };
        let flow = self.change(ctx, command, reply)?;
        if let Some((key, _)) = ctx.broker.metadata.queue(ctx.vhost, name.as_bytes()) {
            ctx.broker.renew_lease(key, true);
        }
        self.last_queue = Some(name);
        Ok(flow)
    }

    pub(super) fn bind_queue(&self, ctx: &mut ChannelCtx<'_>, bind: &queue::Bind) -> Result<Flow, AmqpError> {
        let name = self.bound_queue(&bind.queue)?;
        // Both names empty: the key is the queue's name too (AMQP 0-9-1 §1.7.2.3.3).
        let routing_key = if bind.queue.is_empty() && bind.routing_key.is_empty() { &name } else { &bind.routing_key };
        ctx.check_queue(Access::Write, name.as_bytes())?;
        check_source(ctx, &bind.exchange, routing_key)?;
        let command = Command::Bind {
            vhost: ctx.vhost_name.clone(),
            source: stripped(&bind.exchange).detached(),
            destination: DestinationName::Queue(name.detached()),
            routing_key: routing_key.detached(),
            arguments: bind.arguments.detached(),
        };
        self.change(ctx, command, reply_unless(bind.no_wait, queue::BindOk {}))
    }

    pub(super) fn unbind_queue(&self, ctx: &mut ChannelCtx<'_>, unbind: &queue::Unbind) -> Result<Flow, AmqpError> {
        let name = self.bound_queue(&unbind.queue)?;
        let routing_key =
            if unbind.queue.is_empty() && unbind.routing_key.is_empty() { &name } else { &unbind.routing_key };
        ctx.check_queue(Access::Write, name.as_bytes())?;
        check_source(ctx, &unbind.exchange, routing_key)?;
        let command = Command::Unbind {
            vhost: ctx.vhost_name.clone(),
            source: stripped(&unbind.exchange).detached(),
            destination: DestinationName::Queue(name.detached()),
            routing_key: routing_key.detached(),
            arguments: unbind.arguments.detached(),
        };
        self.change(ctx, command, Reply::Method(queue::UnbindOk {}.into()))
    }

    pub(super) fn purge_queue(&self, ctx: &mut ChannelCtx<'_>, purge: &queue::Purge) -> Result<Flow, AmqpError> {
        ctx.check_queue(Access::Read, self.bound_queue(&purge.queue)?.as_bytes())?;
        let key = self.find_queue(ctx, &purge.queue)?;
        let question = Question::Purged { no_wait: purge.no_wait };
        if ctx.broker.is_remote(key) {
            ctx.broker.ask(self.reference(ctx.connection), key, AskedOf::Purge)?;
            return Ok(Flow::Wait(Wait::Queue(question)));
        }
        let messages = ctx.broker.purge(key) as u64;
        self.go_on(ctx, question, Asked { messages, consumers: 0 })
    }

    /// Deletes a queue. One that is not there is as good as deleted.
    pub(super) fn delete_queue(&self, ctx: &mut ChannelCtx<'_>, delete: &queue::Delete) -> Result<Flow, AmqpError> {
        let name = self.bound_queue(&delete.queue)?;
        ctx.check_queue(Access::Configure, name.as_bytes())?;
        let Some((key, record)) = ctx.broker.metadata.queue(ctx.vhost, name.as_bytes()) else {
            if !delete.no_wait {
                ctx.outbox.method(self.number, queue::DeleteOk { message_count: 0 });
            }
            return Ok(Flow::Done);
        };
        ctx.broker.metadata.check_exclusive(key, ctx.connection)?;
        let question = Question::Delete {
            name: name.detached(),
            id: record.id,
            if_unused: delete.if_unused,
            if_empty: delete.if_empty,
            no_wait: delete.no_wait,
        };
        if ctx.broker.is_remote(key) {
            ctx.broker.ask(self.reference(ctx.connection), key, AskedOf::Counts { is_declare: false })?;
            return Ok(Flow::Wait(Wait::Queue(question)));
        }
        self.go_on(ctx, question, counts(ctx, key))
    }

    /// It is known what a queue holds: goes on with what that was needed for.
    pub(super) fn go_on(&self, ctx: &mut ChannelCtx<'_>, question: Question, asked: Asked) -> Result<Flow, AmqpError> {
        let number = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let Asked { messages, consumers } = asked;
        let message_count = number(messages);
        match question {
            Question::Declared { queue } => {
                let declare_ok = queue::DeclareOk { queue, message_count, consumer_count: number(consumers) };
                ctx.outbox.method(self.number, declare_ok);
            }
            Question::Purged { no_wait } => {
                if !no_wait {
                    ctx.outbox.method(self.number, queue::PurgeOk { message_count });
                }
            }
            Question::Delete { name, id, if_unused, if_empty, no_wait } => {
                let refuse = |reason: &str| {
                    let text = alloc::format!("queue '{name}' in vhost '{}' {reason}", ctx.vhost_name);
                    Err(AmqpError::channel(ReplyCode::PreconditionFailed, text))
                };
                if if_empty && messages > 0 {
                    return refuse("not empty");
                }
                if if_unused && consumers > 0 {
                    return refuse("in use");
                }
                let command = Command::DeleteQueue { vhost: ctx.vhost_name.clone(), name, id };
                return self.change(ctx, command, reply_unless(no_wait, queue::DeleteOk { message_count }));
            }
        }
        Ok(Flow::Done)
    }

    pub(super) fn declare_exchange(
        &self,
        ctx: &mut ChannelCtx<'_>,
        declare: &exchange::Declare,
    ) -> Result<Flow, AmqpError> {
        let reply = reply_unless(declare.no_wait, exchange::DeclareOk {});
        if declare.passive {
            check_not_default_exchange(declare.exchange.as_bytes())?;
            ctx.broker.metadata.expect_exchange(ctx.vhost, stripped(&declare.exchange).as_bytes())?;
            return self.reply(ctx, reply);
        }
        let name = stripped(&declare.exchange);
        check_exchange_kind(&declare.exchange_type)?;
        check_not_default_exchange(name.as_bytes())?;
        ctx.check_exchange(Access::Configure, name.as_bytes())?;
        if ctx.broker.metadata.exchange(ctx.vhost, name.as_bytes()).is_none() {
            let alternate_exchange = text_argument(&declare.arguments, "alternate-exchange");
            ctx.check_forwarding("exchange", name.as_bytes(), alternate_exchange)?;
        }
        let command = Command::DeclareExchange {
            vhost: ctx.vhost_name.clone(),
            name: stripped(&declare.exchange).detached(),
            kind: declare.exchange_type.detached(),
            durable: declare.durable,
            auto_delete: declare.auto_delete,
            internal: declare.internal,
            arguments: declare.arguments.detached(),
        };
        self.change(ctx, command, reply)
    }

    pub(super) fn delete_exchange(
        &self,
        ctx: &mut ChannelCtx<'_>,
        delete: &exchange::Delete,
    ) -> Result<Flow, AmqpError> {
        let name = stripped(&delete.exchange);
        check_deletable_exchange(name.as_bytes(), ctx.vhost_name)?;
        ctx.check_exchange(Access::Configure, name.as_bytes())?;
        let command = Command::DeleteExchange {
            vhost: ctx.vhost_name.clone(),
            name: name.detached(),
            if_unused: delete.if_unused,
        };
        self.change(ctx, command, reply_unless(delete.no_wait, exchange::DeleteOk {}))
    }

    pub(super) fn bind_exchange(&self, ctx: &mut ChannelCtx<'_>, bind: &exchange::Bind) -> Result<Flow, AmqpError> {
        check_destination(ctx, &bind.destination)?;
        check_source(ctx, &bind.source, &bind.routing_key)?;
        let command = Command::Bind {
            vhost: ctx.vhost_name.clone(),
            source: stripped(&bind.source).detached(),
            destination: DestinationName::Exchange(stripped(&bind.destination).detached()),
            routing_key: bind.routing_key.detached(),
            arguments: bind.arguments.detached(),
        };
        self.change(ctx, command, reply_unless(bind.no_wait, exchange::BindOk {}))
    }

    pub(super) fn unbind_exchange(
        &self,
        ctx: &mut ChannelCtx<'_>,
        unbind: &exchange::Unbind,
    ) -> Result<Flow, AmqpError> {
        check_destination(ctx, &unbind.destination)?;
        check_source(ctx, &unbind.source, &unbind.routing_key)?;
        let command = Command::Unbind {
            vhost: ctx.vhost_name.clone(),
            source: stripped(&unbind.source).detached(),
            destination: DestinationName::Exchange(stripped(&unbind.destination).detached()),
            routing_key: unbind.routing_key.detached(),
            arguments: unbind.arguments.detached(),
        };
        self.change(ctx, command, reply_unless(unbind.no_wait, exchange::UnbindOk {}))
    }

    /// Sends the answer that a metadata command was to have, or asks for what is to be in it.
    ///
    /// # Errors
    /// 404 NOT_FOUND on the channel if the queue that was declared is on a node that cannot be reached.
    pub(super) fn reply(&self, ctx: &mut ChannelCtx<'_>, reply: Reply) -> Result<Flow, AmqpError> {
        match reply {
            Reply::None => Ok(Flow::Done),
            Reply::Method(method) => {
                ctx.outbox.method(self.number, method);
                Ok(Flow::Done)
            }
            Reply::QueueDeclared { queue, is_new } => self.reply_declared(ctx, queue, is_new),
        }
    }

    fn reply_declared(&self, ctx: &mut ChannelCtx<'_>, queue: ShortStr, is_new: bool) -> Result<Flow, AmqpError> {
        let key = ctx.broker.metadata.queue(ctx.vhost, queue.as_bytes()).map(|(key, _)| key);
        let asked = key.map_or_else(Asked::default, |key| counts(ctx, key));
        let question = Question::Declared { queue };
        if let Some(key) = key
            && ctx.broker.is_remote(key)
            // Nothing is in a new queue, whose node may not have heard of it yet. Of one with replicas it is awaited that it has a leader.
            && !(is_new && ctx.broker.is_on_one_node(key))
        {
            ctx.broker.ask(self.reference(ctx.connection), key, AskedOf::Counts { is_declare: true })?;
            return Ok(Flow::Wait(Wait::Queue(question)));
        }
        self.go_on(ctx, question, asked)
    }

    /// Checks a command and carries it out; where it changes nothing, it is answered at once.
    fn change(&self, ctx: &mut ChannelCtx<'_>, command: Command, reply: Reply) -> Result<Flow, AmqpError> {
        if matches!(ctx.broker.metadata.check(&command, Some(ctx.connection))?, Answer::NeedsApply) {
            let channel = self.reference(ctx.connection);
            if ctx.broker.propose(command, Some(Requester::Channel(channel)))? {
                return Ok(Flow::Wait(Wait::Metadata(reply)));
            }
        }
        self.reply(ctx, reply)
    }

    /// The queue's name a command means.
    ///
    /// # Errors
    /// 404 NOT_FOUND on the channel if it means the one declared last and there was none.
    pub(super) fn bound_queue(&self, name: &ShortStr) -> Result<ShortStr, AmqpError> {
        if !name.is_empty() {
            return Ok(stripped(name));
        }
        self.last_queue.clone().ok_or_else(|| AmqpError::channel(ReplyCode::NotFound, "no previously declared queue"))
    }
}

/// The argument that names a queue's type.
const QUEUE_TYPE: &str = "x-queue-type";

/// What a queue of this node holds.
fn counts(ctx: &ChannelCtx<'_>, key: QueueKey) -> Asked {
    let counts = |queue: &ClassicQueue| (queue.ready_len() as u64, queue.consumers().len() as u64);
    let (messages, consumers) = ctx.broker.queues.get(key).map(counts).unwrap_or_default();
    Asked { messages, consumers }
}

fn text_argument<'a>(arguments: &'a FieldTable, name: &str) -> Option<&'a LongStr> {
    match arguments.get(name) {
        Some(FieldValue::LongStr(text)) => Some(text),
        _ => None,
    }
}

/// Checks that a queue of this type may be named by the broker: quorum queues outlive who would know the name.
fn check_server_named(arguments: &FieldTable) -> Result<(), AmqpError> {
    if text_argument(arguments, QUEUE_TYPE).is_none_or(|kind| kind.as_bytes() != b"quorum") {
        return Ok(());
    }
    let text = "Cannot declare a server-named queue for type rabbit_quorum_queue";
    Err(AmqpError::channel(ReplyCode::PreconditionFailed, text))
}

/// Checks that the user may bind this exchange to others.
fn check_destination(ctx: &ChannelCtx<'_>, name: &ShortStr) -> Result<(), AmqpError> {
    let name = stripped(name);
    ctx.check_exchange(Access::Write, name.as_bytes())?;
    check_not_default_exchange(name.as_bytes())
}

/// Checks that the user may bind something to this exchange.
fn check_source(ctx: &ChannelCtx<'_>, name: &ShortStr, routing_key: &ShortStr) -> Result<(), AmqpError> {
    let name = stripped(name);
    check_not_default_exchange(name.as_bytes())?;
    ctx.check_exchange(Access::Read, name.as_bytes())?;
    ctx.check_key(Access::Read, name.as_bytes(), routing_key.as_bytes())
}

/// The answer, unless the client wants none.
fn reply_unless(no_wait: bool, method: impl Into<Method>) -> Reply {
    if no_wait { Reply::None } else { Reply::Method(method.into()) }
}
