//! One channel: its commands in order, its consumers, what is out with them, and its confirms.
//!
//! A command that has to wait (for the log, for a read, for a name that is about to change) stops the channel: what comes after it
//! is kept and carried out once the answer is there, so that answers keep the order of their commands.
//!
//! ```text
//!            channel.open                 channel.close
//!  (none) ----------------> Open ----------------------------> (none)
//!                             | error: channel.close sent
//!                             v
//!                          Closing --- channel.close-ok -----> (none)
//! ```

mod ack;
mod confirm;
mod consume;
mod declare;
mod deliver;
mod describe;
mod direct_reply;
mod permission;
mod publish;
mod timeout;
mod tx;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::amqp::method::{access, basic, channel as channel_class, confirm as confirm_class, tx as tx_class};
use crate::amqp::{
    AmqpError, Command, Content, ContentAssembler, FieldTable, Method, PublishHead, ReplyCode, ShortStr, WholePublish,
};
use crate::broker::{Asked, Broker, ChannelRef, Durable, Name, Witness};
use crate::connection::Outbox;
use crate::ids::{ChannelNumber, ConnectionId, DeliveryTag, QueueId, QueueSeq};
use crate::message::BodySource;
use crate::metadata::{VhostKey, stripped};
use crate::mutants::{Mutant, is_planted};
use crate::queue::{ConsumerKey, Return};
use crate::routing::QueueKey;
use crate::time::Instant;
use crate::window::Window;

use confirm::Confirms;
use direct_reply::ReplyConsumer;
use permission::Writable;
use tx::Tx;

/// What a channel may touch beside itself while it handles a command.
#[derive(Debug)]
pub(crate) struct ChannelCtx<'a> {
    pub(crate) broker: &'a mut Broker,
    pub(crate) outbox: &'a mut Outbox,
    /// The connection.
    pub(crate) connection: ConnectionId,
    /// Its vhost.
    pub(crate) vhost: VhostKey,
    /// The vhost's name.
    pub(crate) vhost_name: &'a ShortStr,
    /// Its user.
    pub(crate) user: &'a str,
    /// The client's address.
    pub(crate) peer: SocketAddr,
    /// The address it connected to.
    pub(crate) local: SocketAddr,
    /// Whether the client asked to be told of cancelled consumers.
    pub(crate) takes_cancel_notify: bool,
    /// Set when the channel has confirms to tell.
    pub(crate) has_confirms: bool,
    /// Set when the client published something.
    pub(crate) has_published: bool,
}

impl<'a> ChannelCtx<'a> {
    /// Who the firehose says did what `channel` does.
    fn witness(&self, channel: ChannelNumber) -> Witness<'a> {
        Witness { vhost: self.vhost, peer: self.peer, local: self.local, channel, user: self.user }
    }
}

/// A channel.
#[derive(Debug)]
pub(crate) struct Channel {
    number: ChannelNumber,
    epoch: u32,
    state: State,
    pub(crate) assembler: ContentAssembler,
    /// Commands that came while the channel waits, in order; an error stands for one that cannot be taken.
    backlog: VecDeque<Result<Command, AmqpError>>,
    /// The queue that an empty name stands for (AMQP 0-9-1 §1.7.2.1): the one declared last.
    last_queue: Option<ShortStr>,
    next_tag: DeliveryTag,
    unacked: Window<Delivered>,
    consumers: Vec<Option<ChannelConsumer>>,
    consumers_by_tag: BTreeMap<ShortStr, u32>,
    /// Who takes the replies to what this channel asks; `None` if it takes none.
    reply_consumer: Option<ReplyConsumer>,
    /// How many deliveries each further consumer may have unacked; 0 is any number.
    prefetch: u16,
    /// How many deliveries all consumers together may have unacked; 0 is any number.
    prefetch_global: u16,
    /// How many deliveries to consumers are unacked.
    unacked_by_consumers: u32,
    /// Consumers that wait for the shared prefetch.
    waiting_consumers: Vec<(QueueKey, ConsumerKey)>,
    /// When the channel is woken to see whether consumers take too long.
    watched: Instant,
    /// Deliveries that were taken back because they took too long, each with its consumer's tag.
    timed_out: BTreeMap<u64, ShortStr>,
    confirms: Option<Confirms>,
    /// Whether the connection knows that this channel has confirms to tell.
    has_news: bool,
    tx: Option<Tx>,
    writable: Writable,
}

/// Where a channel is in its life.
#[derive(Debug)]
enum State {
    /// Commands are carried out.
    Open,
    /// Commands are kept until this is over.
    Waiting(Wait),
    /// The client made a mistake and was told; only its `channel.close-ok` counts.
    Closing,
}

/// What a channel waits for.
#[derive(Debug)]
enum Wait {
    /// Its metadata command; then this is the answer.
    Metadata(Reply),
    /// Somebody's metadata command about a name that this command needs to know about.
    Name(Command),
    /// The message of its `basic.get`.
    Get,
    /// A queue of another node that is to take its consumer.
    Consume { index: u32, key: ConsumerKey, no_wait: bool },
    /// A queue of another node that is to let a consumer go; then this is the answer.
    Cancel(Reply),
    /// What a queue of another node holds, or that it was purged.
    Queue(Question),
    /// Its transaction.
    Commit,
}

/// What a channel wants to know of a queue of another node.
#[derive(Debug)]
enum Question {
    /// What it holds, for `queue.declare-ok`.
    Declared { queue: ShortStr },
    /// How many messages were dropped, for `queue.purge-ok`.
    Purged { no_wait: bool },
    /// Whether it may be deleted.
    Delete { name: ShortStr, id: QueueId, if_unused: bool, if_empty: bool, no_wait: bool },
}

/// What to answer once a metadata command is applied.
#[derive(Debug)]
enum Reply {
    /// Nothing: the client asked for no answer.
    None,
    /// This method.
    Method(Method),
    /// `queue.declare-ok`.
    QueueDeclared {
        queue: ShortStr,
        /// Whether it was not there when it was declared.
        is_new: bool,
    },
}

/// A message that is out with this channel.
#[derive(Clone, Copy, Debug)]
struct Delivered {
    queue: QueueKey,
    seq: QueueSeq,
    /// Whom it went to, which counts against the shared prefetch; `None` if a `basic.get` fetched it.
    consumer: Option<ConsumerKey>,
    /// By when it is to be settled.
    due: Instant,
}

/// A consumer of this channel.
#[derive(Debug)]
struct ChannelConsumer {
    tag: ShortStr,
    queue: QueueKey,
    key: ConsumerKey,
    /// As the client gave them, for listings.
    arguments: FieldTable,
    /// How long it may take to settle a delivery; `None` is any time.
    timeout: Option<Duration>,
    /// What it asked for itself.
    own_timeout: Option<Duration>,
}

/// Whether a command is done.
#[derive(Debug)]
enum Flow {
    /// The next may follow.
    Done,
    /// The next has to wait.
    Wait(Wait),
}

impl Flow {
    /// What the channel does after that.
    fn into_state(self) -> State {
        match self {
            Self::Done => State::Open,
            Self::Wait(wait) => State::Waiting(wait),
        }
    }
}

/// What became of the channel with a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It goes on.
    Open,
    /// It is gone: the client closed it, or answered our close.
    Gone,
    /// The client made a mistake that ends the connection.
    ConnectionError(AmqpError),
    /// The client made a mistake that ends the channel, which has been told.
    Failed(AmqpError),
}

impl Channel {
    /// A channel just opened.
    pub(crate) fn new(number: ChannelNumber, epoch: u32, message_size_max: u64) -> Self {
        Self {
            number,
            epoch,
            state: State::Open,
            assembler: ContentAssembler::new(message_size_max),
            backlog: VecDeque::new(),
            last_queue: None,
            next_tag: DeliveryTag(1),
            unacked: Window::default(),
            consumers: Vec::new(),
            consumers_by_tag: BTreeMap::new(),
            reply_consumer: None,
            prefetch: 0,
            prefetch_global: 0,
            unacked_by_consumers: 0,
            waiting_consumers: Vec::new(),
            watched: timeout::NEVER,
            timed_out: BTreeMap::new(),
            confirms: None,
            has_news: false,
            tx: None,
            writable: Writable::default(),
        }
    }

    /// This incarnation of the channel.
    pub(crate) fn reference(&self, connection: ConnectionId) -> ChannelRef {
        ChannelRef { connection, channel: self.number, epoch: self.epoch }
    }

    /// Whether the client has been told of a mistake and not answered yet.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing)
    }

    /// How many commands wait behind one that is not done.
    pub(crate) fn backlog_len(&self) -> usize {
        self.backlog.len()
    }

    /// Carries out a command, or keeps it if one before it is not done.
    pub(crate) fn handle(&mut self, ctx: &mut ChannelCtx<'_>, command: Command) -> Outcome {
        match self.state {
            State::Open => self.execute(ctx, command),
            State::Waiting(_) => {
                self.backlog.push_back(Ok(command));
                Outcome::Open
            }
            State::Closing => self.on_method_while_closing(ctx, &command.method),
        }
    }

    /// A method after the channel told the client of its mistake. The client may be in the middle of a content that it will not
    /// end, so what comes is not put together any more.
    pub(crate) fn on_method_while_closing(&self, ctx: &mut ChannelCtx<'_>, method: &Method) -> Outcome {
        match method {
            Method::ChannelCloseOk(_) => Outcome::Gone,
            Method::ChannelClose(_) => {
                ctx.outbox.method(self.number, channel_class::CloseOk {});
                Outcome::Open
            }
            Method::ChannelOpen(_) => Outcome::ConnectionError(second_open().blamed_on(method)),
            _ => Outcome::Open,
        }
    }

    /// The content of a publish cannot be taken. The commands before it come first.
    pub(crate) fn on_content_error(&mut self, ctx: &mut ChannelCtx<'_>, error: AmqpError) -> Outcome {
        match self.state {
            State::Open => self.fail(ctx, error),
            State::Waiting(_) => {
                self.backlog.push_back(Err(error));
                Outcome::Open
            }
            State::Closing => Outcome::Open,
        }
    }

    /// The metadata command that the channel waited for was applied or failed.
    pub(crate) fn on_applied(&mut self, ctx: &mut ChannelCtx<'_>, result: Result<(), AmqpError>) -> Outcome {
        if !matches!(self.state, State::Waiting(Wait::Metadata(_))) {
            return Outcome::Open;
        }
        let State::Waiting(Wait::Metadata(mut reply)) = core::mem::replace(&mut self.state, State::Open) else {
            unreachable!("it was looked at");
        };
        if let Reply::QueueDeclared { is_new, .. } = &mut reply {
            *is_new = true;
        }
        match result.and_then(|()| self.reply(ctx, reply)) {
            Ok(flow) => {
                self.state = flow.into_state();
                self.resume(ctx)
            }
            Err(error) => self.fail(ctx, error),
        }
    }

    /// A queue of another node was asked for something.
    pub(crate) fn on_asked(&mut self, ctx: &mut ChannelCtx<'_>, result: Result<Asked, AmqpError>) -> Outcome {
        if !matches!(self.state, State::Waiting(Wait::Queue(_))) {
            return Outcome::Open;
        }
        let State::Waiting(Wait::Queue(question)) = core::mem::replace(&mut self.state, State::Open) else {
            unreachable!("it was looked at");
        };
        match result.and_then(|asked| self.go_on(ctx, question, asked)) {
            Ok(flow) => {
                self.state = flow.into_state();
                self.resume(ctx)
            }
            Err(error) => self.fail(ctx, error),
        }
    }

    /// A metadata command about some name was applied: the channel looks again whether it still has to wait.
    pub(crate) fn on_names_changed(&mut self, ctx: &mut ChannelCtx<'_>) -> Outcome {
        if !matches!(self.state, State::Waiting(Wait::Name(_))) {
            return Outcome::Open;
        }
        let State::Waiting(Wait::Name(command)) = core::mem::replace(&mut self.state, State::Open) else {
            unreachable!("it was looked at");
        };
        match self.execute(ctx, command) {
            Outcome::Open => self.resume(ctx),
            other => other,
        }
    }

    /// Something the channel waited for is durable.
    pub(crate) fn on_durable(&mut self, ctx: &mut ChannelCtx<'_>, what: Durable) -> Outcome {
        match what {
            Durable::Publish(seqno) => {
                if !self.is_closing() {
                    self.on_safe(ctx, seqno);
                }
                Outcome::Open
            }
            Durable::Commit => {
                if !matches!(self.state, State::Waiting(Wait::Commit)) {
                    return Outcome::Open;
                }
                self.state = State::Open;
                self.finish_commit(ctx);
                self.resume(ctx)
            }
            Durable::Part(_) | Durable::DeadLetter { .. } => Outcome::Open,
        }
    }

    /// A queue of another node has refused a part of what the channel waits for.
    pub(crate) fn on_refused_late(&mut self, ctx: &mut ChannelCtx<'_>, what: Durable) -> Outcome {
        match what {
            Durable::Publish(seqno) => {
                if !self.is_closing() {
                    self.on_refused(ctx, seqno);
                }
                Outcome::Open
            }
            Durable::Commit if matches!(self.state, State::Waiting(Wait::Commit)) => {
                self.state = State::Open;
                self.fail(ctx, tx::partial_completion().blamed_on(&Method::TxCommit(tx_class::Commit {})))
            }
            Durable::Commit | Durable::Part(_) | Durable::DeadLetter { .. } => Outcome::Open,
        }
    }

    /// Ends the channel: its consumers leave, what it has not acked goes back.
    pub(crate) fn close(&mut self, broker: &mut Broker, connection: ConnectionId) {
        let reference = self.reference(connection);
        self.backlog.clear();
        self.confirms = None;
        for consumer in core::mem::take(&mut self.consumers).into_iter().flatten() {
            broker.unsubscribe(consumer.queue, consumer.key);
        }
        self.consumers_by_tag.clear();
        self.leave_replies(broker);
        self.waiting_consumers.clear();
        self.timed_out.clear();
        self.unwatch(broker, connection);
        while let Some((_, delivered)) = self.unacked.pop_up_to(u64::MAX) {
            if !is_planted(Mutant::UnackedOfTheGoneStay) {
                broker.give_back(reference, delivered.queue, delivered.seq, Return::Failed);
            }
        }
        // What was acked in a transaction that is never committed was not acked.
        for delivered in self.tx.take().iter().flat_map(Tx::deliveries) {
            broker.give_back(reference, delivered.queue, delivered.seq, Return::Failed);
        }
        broker.trim_returned();
        self.unacked_by_consumers = 0;
        if matches!(self.state, State::Waiting(Wait::Get)) {
            broker.forget_gets(connection, self.number);
        }
        broker.end_sessions(reference);
    }

    /// Carries out the commands that came while the channel waited, up to one that has to wait too.
    fn resume(&mut self, ctx: &mut ChannelCtx<'_>) -> Outcome {
        while matches!(self.state, State::Open) {
            let Some(command) = self.backlog.pop_front() else { break };
            let outcome = match command {
                Ok(command) => self.execute(ctx, command),
                Err(error) => self.fail(ctx, error),
            };
            match outcome {
                Outcome::Open => {}
                other => return other,
            }
        }
        Outcome::Open
    }

    fn execute(&mut self, ctx: &mut ChannelCtx<'_>, command: Command) -> Outcome {
        let (class_id, method_id) = (command.method.class_id(), command.method.method_id());
        if matches!(command.method, Method::ChannelClose(_)) {
            self.close(ctx.broker, ctx.connection);
            ctx.outbox.method(self.number, channel_class::CloseOk {});
            return Outcome::Gone;
        }
        let result = self.dispatch(ctx, command);
        self.conclude(ctx, result, (class_id, method_id))
    }

    /// Whether a publish that comes now can be taken by [`Channel::publish_whole`].
    pub(crate) fn takes_publishes(&self) -> bool {
        matches!(self.state, State::Open) && !self.assembler.is_in_content()
    }

    /// Takes a publish that came in one piece.
    pub(crate) fn publish_whole(&mut self, ctx: &mut ChannelCtx<'_>, publish: &WholePublish<'_>) -> Outcome {
        let result = self.publish(ctx, publish.head, BodySource::Lent(publish.body));
        self.conclude(ctx, result, (basic::Publish::CLASS_ID, basic::Publish::METHOD_ID))
    }

    /// What came of a method.
    fn conclude(
        &mut self,
        ctx: &mut ChannelCtx<'_>,
        result: Result<Flow, AmqpError>,
        (class_id, method_id): (u16, u16),
    ) -> Outcome {
        match result {
            Ok(Flow::Done) => Outcome::Open,
            Ok(Flow::Wait(wait)) => {
                if matches!(wait, Wait::Name(_)) {
                    let reference = self.reference(ctx.connection);
                    ctx.broker.blocked_channels.push(reference);
                }
                self.state = State::Waiting(wait);
                Outcome::Open
            }
            Err(error) => {
                let is_blamed = error.class_id != 0;
                self.fail(ctx, if is_blamed { error } else { error.with_method(class_id, method_id) })
            }
        }
    }

    /// Tells the client of its mistake and ends the channel, or leaves that to the connection.
    fn fail(&mut self, ctx: &mut ChannelCtx<'_>, error: AmqpError) -> Outcome {
        if error.scope == crate::amqp::Scope::Connection {
            return Outcome::ConnectionError(error);
        }
        // What is safe is said before the channel ends.
        if let Some(confirms) = &mut self.confirms {
            confirms.tell(self.number, ctx.outbox, |_| {});
        }
        self.close(ctx.broker, ctx.connection);
        ctx.outbox.method(self.number, error.to_channel_close());
        self.state = State::Closing;
        Outcome::Failed(error)
    }

    fn dispatch(&mut self, ctx: &mut ChannelCtx<'_>, command: Command) -> Result<Flow, AmqpError> {
        let Command { method, content } = command;
        // A name that is about to change decides what these would do.
        if ctx.broker.has_pending_names() && self.names(ctx, &method).iter().any(|name| ctx.broker.is_pending(name)) {
            return Ok(Flow::Wait(Wait::Name(Command { method, content })));
        }
        match method {
            Method::BasicPublish(publish) => {
                let basic::Publish { routing, mandatory, immediate } = publish;
                let Content { properties, body } = content.expect("a publish comes with its content");
                let (routing, properties) = (routing.borrowed(), properties.borrowed());
                self.publish(ctx, PublishHead { routing, mandatory, immediate, properties }, body.into())
            }
            Method::BasicAck(ack) => self.ack(ctx, &ack),
            Method::BasicNack(nack) => self.nack(ctx, &nack),
            Method::BasicReject(reject) => self.reject(ctx, &reject),
            Method::BasicConsume(consume) => self.consume(ctx, &consume),
            Method::BasicCancel(cancel) => self.cancel(ctx, cancel),
            Method::BasicGet(get) => self.get(ctx, &get),
            Method::BasicQos(qos) => self.qos(ctx, &qos),
            Method::BasicRecover(recover) => {
                self.recover(ctx, recover.requeue)?;
                ctx.outbox.method(self.number, basic::RecoverOk {});
                Ok(Flow::Done)
            }
            Method::BasicRecoverAsync(recover) => self.recover(ctx, recover.requeue),
            Method::QueueDeclare(declare) => self.declare_queue(ctx, &declare),
            Method::QueueBind(bind) => self.bind_queue(ctx, &bind),
            Method::QueueUnbind(unbind) => self.unbind_queue(ctx, &unbind),
            Method::QueuePurge(purge) => self.purge_queue(ctx, &purge),
            Method::QueueDelete(delete) => self.delete_queue(ctx, &delete),
            Method::ExchangeDeclare(declare) => self.declare_exchange(ctx, &declare),
            Method::ExchangeDelete(delete) => self.delete_exchange(ctx, &delete),
            Method::ExchangeBind(bind) => self.bind_exchange(ctx, &bind),
            Method::ExchangeUnbind(unbind) => self.unbind_exchange(ctx, &unbind),
            Method::ConfirmSelect(select) => self.select_confirms(ctx, &select),
            Method::TxSelect(_) => self.select_tx(ctx),
            Method::TxCommit(_) => self.commit(ctx),
            Method::TxRollback(_) => self.rollback(ctx),
            Method::ChannelFlow(flow) => {
                if !flow.active {
                    return Err(AmqpError::connection(ReplyCode::NotImplemented, "active=false"));
                }
                ctx.outbox.method(self.number, channel_class::FlowOk { active: true });
                Ok(Flow::Done)
            }
            Method::AccessRequest(_) => {
                ctx.outbox.method(self.number, access::RequestOk { ticket: 1 });
                Ok(Flow::Done)
            }
            Method::ChannelOpen(_) => Err(second_open()),
            _ => Err(AmqpError::connection(ReplyCode::CommandInvalid, "unimplemented method")),
        }
    }

    fn select_confirms(&mut self, ctx: &mut ChannelCtx<'_>, select: &confirm_class::Select) -> Result<Flow, AmqpError> {
        if self.tx.is_some() {
            return Err(AmqpError::channel(ReplyCode::PreconditionFailed, "cannot switch from tx to confirm mode"));
        }
        if self.confirms.is_none() {
            self.confirms = Some(Confirms::default());
        }
        if !select.no_wait {
            ctx.outbox.method(self.number, confirm_class::SelectOk {});
        }
        Ok(Flow::Done)
    }

    /// The names whose state decides what a method does.
    fn names(&self, ctx: &ChannelCtx<'_>, method: &Method) -> smallvec::SmallVec<[Name; 2]> {
        let queue = |name: &ShortStr| Name::Queue(ctx.vhost_name.clone(), stripped(&self.queue_name_or_last(name)));
        let exchange = |name: &ShortStr| Name::Exchange(ctx.vhost_name.clone(), stripped(name));
        match method {
            Method::BasicConsume(consume) => smallvec::smallvec![queue(&consume.queue)],
            Method::BasicGet(get) => smallvec::smallvec![queue(&get.queue)],
            Method::QueueDeclare(declare) => smallvec::smallvec![queue(&declare.queue)],
            Method::QueueBind(bind) => smallvec::smallvec![queue(&bind.queue), exchange(&bind.exchange)],
            Method::QueueUnbind(unbind) => smallvec::smallvec![queue(&unbind.queue), exchange(&unbind.exchange)],
            Method::QueuePurge(purge) => smallvec::smallvec![queue(&purge.queue)],
            Method::QueueDelete(delete) => smallvec::smallvec![queue(&delete.queue)],
            Method::ExchangeDeclare(declare) => smallvec::smallvec![exchange(&declare.exchange)],
            Method::ExchangeDelete(delete) => smallvec::smallvec![exchange(&delete.exchange)],
            Method::ExchangeBind(bind) => smallvec::smallvec![exchange(&bind.source), exchange(&bind.destination)],
            Method::ExchangeUnbind(unbind) => {
                smallvec::smallvec![exchange(&unbind.source), exchange(&unbind.destination)]
            }
            _ => smallvec::SmallVec::new(),
        }
    }

    /// Checks the channel's invariants.
    ///
    /// # Panics
    /// If one is broken.
    pub(crate) fn check_invariants(&self) {
        let in_tx = self.tx.iter().flat_map(Tx::deliveries);
        let to_consumers = self.unacked.iter().map(|(_, delivered)| delivered).chain(in_tx);
        let to_consumers = to_consumers.filter(|delivered| delivered.consumer.is_some()).count();
        assert_eq!(to_consumers, self.unacked_by_consumers as usize, "unacked deliveries are counted");
        if let Some((last, _)) = self.unacked.iter().last() {
            assert!(last < self.next_tag.0, "delivery tags are given in order");
        }
        assert_eq!(self.consumers_by_tag.len(), self.consumers.iter().flatten().count(), "a consumer has one tag");
        if !matches!(self.state, State::Waiting(_)) {
            assert!(self.backlog.is_empty(), "only a channel that waits keeps commands");
        }
    }
}

fn second_open() -> AmqpError {
    AmqpError::connection(ReplyCode::ChannelError, "second 'channel.open' seen")
}
