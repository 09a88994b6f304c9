//! The node: one input to one machine, each machine's answers to their next stop.

mod damage;
mod service;
mod status;

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use self::damage::others_have_it;
use self::service::Service;
pub use self::status::{LogReach, QueueStatus, ReplicaEntry, ReplicaReach, ReplicaStatus, Usage};
use crate::administer::Forgetting;
use crate::alarm::Resource;
use crate::broker::{Broker, Notice};
use crate::buggify::Point;
use crate::channel::Outcome;
use crate::cluster::peers::{Peers, is_of_cluster};
use crate::collections::IdMap;
use crate::config::Config;
use crate::connection::{Connection, ConnectionCtx};
use crate::effect::{ClientControl, Effects, PeerControl, Stop};
use crate::event::Event;
use crate::ids::ConnectionId;
use crate::input::Input;
use crate::limits;
use crate::queue::quorum::ConsumerId;
use crate::queue::{Subscriber, Subscription};
use crate::routing::QueueKey;
use crate::storage::{Log, LogOutcome, Recovered};
use crate::time::{Instant, Now};
use crate::timer::{TimerFor, TimerKind};

/// One broker node.
///
/// The driver's loop: give inputs to [`Engine::handle`], one or many; call [`Engine::flush`]; carry out the [`Effects`]; sleep until
/// [`Engine::next_timeout`] or the next input. It begins with a flush, which starts recovery. The inputs between two flushes form
/// one batch: one write per socket, one append to the log.
#[derive(Debug)]
pub struct Engine {
    phase: Phase,
    pub(crate) broker: Broker,
    connections: Connections,
    /// What the log has found, while the cluster's part of it is being read.
    recovered: Option<Box<Recovered>>,
    /// What the log held when the node came up.
    found: Found,
    /// When clients were first let in.
    pub(crate) ready_at: Instant,
    /// Operators who wait for nodes to be removed from the cluster.
    pub(crate) forgetting: Vec<Forgetting>,
    service: Service,
}

/// What a log held, see [`Event::Ready`].
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    messages: u64,
    queues: u64,
    truncated_bytes: u64,
}

/// Where a node is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing was done yet.
    New,
    /// The log is being read.
    Recovering,
    /// The node finds its cluster, or its way back to it.
    Joining,
    /// Clients are served.
    Running,
    /// Clients have been told to go; the log is to be synced.
    Stopping,
    /// Nothing counts any more.
    Stopped,
}

/// All client connections.
#[derive(Debug, Default)]
struct Connections {
    by_id: IdMap<ConnectionId, Box<Slot>>,
    /// The same, in order.
    ids: BTreeSet<ConnectionId>,
    /// Those with something to flush, each once.
    dirty: Vec<ConnectionId>,
}

impl Connections {
    /// All ids, in order.
    fn all(&self) -> Vec<ConnectionId> {
        self.ids.iter().copied().collect()
    }
}

/// A connection and whether it is among the dirty ones.
#[derive(Debug)]
struct Slot {
    connection: Connection,
    is_dirty: bool,
}

impl Engine {
    /// A node that is about to recover from its disk. Clients may be let in after [`Engine::is_ready`].
    ///
    /// `seed` decides everything that is left to chance. In production it comes from the operating system, since names that clients
    /// must not guess come from it.
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        #[cfg(feature = "mutants")]
        crate::mutants::plant(config.mutant);
        Self {
            phase: Phase::New,
            broker: Broker::new(config, seed),
            connections: Connections::default(),
            recovered: None,
            found: Found::default(),
            ready_at: Instant::ZERO,
            forgetting: Vec::new(),
            service: Service::default(),
        }
    }

    /// Advances the node by one input.
    pub fn handle(&mut self, now: Now, input: Input, effects: &mut Effects) {
        if self.phase == Phase::Stopped {
            return;
        }
        self.broker.now = now;
        let is_slow = self.broker.buggify.fires(Point::OneDeadLetter);
        self.broker.dead_letters_left = if is_slow { 1 } else { limits::DEAD_LETTERS_EACH };
        match input {
            Input::ClientOpened { connection, peer, local } => {
                if !self.is_serving() {
                    effects.controls.push(ClientControl::Close(connection));
                    return;
                }
                let mut ctx = self.ctx(now, effects);
                let slot = Slot { connection: Connection::new(&mut ctx, connection, peer, local), is_dirty: false };
                self.connections.ids.insert(connection);
                self.connections.by_id.insert(connection, Box::new(slot));
            }
            Input::ClientReceived { connection, bytes } => {
                let mut is_more = false;
                self.with_connection(now, effects, connection, |connection, ctx| {
                    is_more = connection.on_bytes(ctx, bytes);
                });
                while core::mem::take(&mut is_more) {
                    self.settle(now, effects);
                    self.with_connection(now, effects, connection, |connection, ctx| is_more = connection.go_on(ctx));
                }
            }
            Input::ClientWritten { connection, bytes } => {
                self.with_connection(now, effects, connection, |connection, ctx| connection.on_written(ctx, bytes));
            }
            Input::ClientClosed { connection } => self.on_client_closed(now, effects, connection),
            Input::PeerOpened { link, dialed } => {
                if !self.with_peers(|peers, _| peers.opened(now.mono, link, dialed)) {
                    effects.peer_controls.push(PeerControl::Close(link));
                }
            }
            Input::PeerUnreachable { name } => {
                self.with_peers(|peers, _| peers.unreachable(now.mono, &name));
            }
            Input::PeerReceived { link, bytes } => {
                self.with_peers(|peers, log| peers.received(now.mono, log, link, bytes));
            }
            Input::PeerWritten { link, bytes } => {
                self.with_peers(|peers, _| peers.written(link, bytes));
            }
            Input::PeerClosed { link } => {
                self.with_peers(|peers, log| peers.closed(now.mono, log, link));
            }
            Input::DiskDone { op, outcome } => {
                let (log, mut owners) = self.broker.log_and_owners();
                let outcome = log.handle_done(now.mono, op, outcome, &mut owners, &mut effects.disk);
                self.on_log_outcome(outcome, effects);
                self.on_log_progress(now, effects);
            }
            Input::DiskFailed { op, error } => {
                let outcome = self.broker.log.handle_failed(now.mono, op, error);
                self.on_log_outcome(outcome, effects);
                self.on_log_progress(now, effects);
            }
            Input::ResourceLevel(level) => {
                self.broker.alarms.set_level(level);
                self.check_alarms(now, effects);
            }
            Input::Admin { id, request } => self.administer(now, effects, id, *request),
            Input::Timeout => self.on_timeout(now, effects),
            Input::Shutdown => self.shut_down(now, effects),
        }
        if self.phase == Phase::Running && self.broker.buggify.fires(Point::SpuriousTimeout) {
            self.on_timeout(now, effects);
        }
        self.settle(now, effects);
    }

    /// Ends a batch of inputs: appends to `effects` all that is to be done because of them.
    pub fn flush(&mut self, now: Now, effects: &mut Effects) {
        self.broker.now = now;
        match self.phase {
            Phase::New => {
                self.phase = Phase::Recovering;
                self.broker.log.start(&mut effects.disk);
            }
            Phase::Recovering | Phase::Stopped => {}
            Phase::Joining | Phase::Running | Phase::Stopping => {
                if self.broker.peers.is_some() && !self.flush_peers(now, effects) {
                    effects.events.append(&mut self.broker.events);
                    return;
                }
                let mut dirty = core::mem::take(&mut self.connections.dirty);
                for id in dirty.drain(..) {
                    let Some(slot) = self.connections.by_id.get_mut(&id) else { continue };
                    slot.is_dirty = false;
                    let mut ctx = ConnectionCtx { broker: &mut self.broker, controls: &mut effects.controls, now };
                    slot.connection.tell_confirms(&mut ctx);
                    slot.connection.outbox.flush(id, &mut effects.sends);
                }
                self.connections.dirty = dirty;
                let is_last = self.phase == Phase::Stopping && self.connections.ids.is_empty();
                if is_last {
                    // Before the log's turn: its last words need one, and nothing may come later that would give it another.
                    self.broker.log.shutdown();
                }
                self.broker.flush_log(now, &mut effects.disk);
                if is_last && self.broker.log.is_idle() {
                    self.stop(effects, Stop::Clean);
                }
            }
        }
        hand_over(&mut self.broker.events, &mut effects.events);
        hand_over(&mut self.broker.answers, &mut effects.admin);
    }

    /// When the engine next wants [`Input::Timeout`], and what for. `None` while it only waits for others.
    pub fn next_timeout(&self) -> Option<(Instant, TimerKind)> {
        if self.phase == Phase::Stopped {
            return None;
        }
        let timers = self.broker.timers.next();
        let log = self.broker.log.next_timeout();
        let own = self.forgetting_timeout().into_iter().chain(self.service_timeout());
        let peers = self.broker.cluster_timeout().into_iter().chain(own).min();
        let peers = peers.map(|at| (at, TimerKind::Peers));
        [timers, log, peers].into_iter().flatten().min()
    }

    /// The resources that are short, so that publishers are stopped.
    pub fn alarms(&self) -> Vec<Resource> {
        self.broker.alarms.raised().collect()
    }

    /// How long after the last [`Input::ResourceLevel`] memory and disk are to be measured again. Drivers whose world has neither need
    /// not.
    pub fn resource_sample_interval(&self) -> Duration {
        self.broker.alarms.sample_interval()
    }

    /// Whether recovery is over and clients may be let in.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Whether the log is being read.
    pub(crate) fn is_recovering(&self) -> bool {
        self.phase == Phase::Recovering
    }

    /// Whether the node is not yet as far as its cluster is.
    pub(crate) fn is_joining(&self) -> bool {
        self.phase == Phase::Joining
    }

    fn ctx<'a>(&'a mut self, now: Now, effects: &'a mut Effects) -> ConnectionCtx<'a> {
        ConnectionCtx { broker: &mut self.broker, controls: &mut effects.controls, now }
    }

    /// All connections, in order.
    pub(crate) fn all_connections(&self) -> impl Iterator<Item = &Connection> {
        self.connections.ids.iter().filter_map(|id| self.connections.by_id.get(id)).map(|slot| &slot.connection)
    }

    /// Lets a connection act, if it is still there, and notes whether it has something to flush.
    pub(crate) fn with_connection(
        &mut self,
        now: Now,
        effects: &mut Effects,
        id: ConnectionId,
        act: impl FnOnce(&mut Connection, &mut ConnectionCtx<'_>),
    ) {
        let Some(slot) = self.connections.by_id.get_mut(&id) else { return };
        let mut ctx = ConnectionCtx { broker: &mut self.broker, controls: &mut effects.controls, now };
        act(&mut slot.connection, &mut ctx);
        if !slot.is_dirty && slot.connection.is_dirty() {
            slot.is_dirty = true;
            self.connections.dirty.push(id);
        }
    }

    fn on_client_closed(&mut self, now: Now, effects: &mut Effects, id: ConnectionId) {
        self.with_connection(now, effects, id, |connection, ctx| connection.on_closed(ctx));
        let Some(mut slot) = self.connections.by_id.remove(&id) else { return };
        self.connections.ids.remove(&id);
        let reason = slot.connection.take_end().unwrap_or_else(|| String::from("closed"));
        self.broker.events.push(Event::ConnectionClosed { connection: id, reason });
    }

    fn on_timeout(&mut self, now: Now, effects: &mut Effects) {
        while let Some((kind, whom)) = self.broker.timers.pop_due(now.mono) {
            match whom {
                TimerFor::Connection(id) => {
                    self.with_connection(now, effects, id, |connection, ctx| connection.on_timer(ctx, kind));
                }
                TimerFor::Channel(id, number) => {
                    self.with_connection(now, effects, id, |connection, ctx| {
                        connection.with_channel(ctx, number, |channel, ctx| channel.on_consumer_timeout(ctx));
                    });
                }
                TimerFor::Queue(key) => self.broker.on_queue_timer(key, kind),
                TimerFor::Exchange(key) => self.broker.on_exchange_timer(key, kind),
            }
        }
        let (log, owners) = self.broker.log_and_owners();
        log.handle_timeout(now.mono, &owners, &mut effects.disk);
        if self.broker.peers.is_some() && self.phase != Phase::Recovering {
            self.broker.on_cluster_timeout();
        }
    }

    /// Something came of another node. False if this one is in no cluster, or not far enough to hear of it.
    fn with_peers(&mut self, act: impl FnOnce(&mut Peers, &mut Log)) -> bool {
        let Broker { peers, log, .. } = &mut self.broker;
        let Some(peers) = peers.as_mut().filter(|_| self.phase != Phase::Recovering) else { return false };
        act(peers, log);
        self.broker.on_queue_messages();
        true
    }

    /// Ends a batch for the other nodes, until nothing more comes of it. False if the node has stopped.
    fn flush_peers(&mut self, now: Now, effects: &mut Effects) -> bool {
        loop {
            match self.broker.flush_peers(effects) {
                Ok(true) => self.settle(now, effects),
                Ok(false) => break,
                Err(text) => {
                    self.stop(effects, Stop::Fatal(text));
                    return false;
                }
            }
        }
        if self.phase == Phase::Joining && self.broker.is_inside() {
            self.begin();
        }
        self.answer_forgetting(now.mono);
        self.watch_majority(now, effects);
        self.answer_drains(now.mono);
        true
    }

    /// Clients may come.
    fn begin(&mut self) {
        let Found { messages, queues, truncated_bytes } = self.found;
        self.phase = Phase::Running;
        self.ready_at = self.broker.now.mono;
        self.broker.events.push(Event::Ready { messages, queues, truncated_bytes });
    }

    /// The log has been read, and is to be made sense of; the cluster's part first, if there is one.
    fn on_recovered(&mut self, mut recovered: Recovered, effects: &mut Effects) {
        if self.broker.config.cluster.is_some() {
            let seed = self.broker.random_seed();
            let Broker { config, log, now, peers, .. } = &mut self.broker;
            let Some(of_cluster) = &config.cluster else { return };
            let owners = &mut recovered.owners;
            let mut made = Peers::new(&config.node_name, of_cluster, seed, owners, log, now.mono, &mut effects.disk);
            if recovered.damage.is_some() {
                made.cluster_mut().only_look();
            }
            *peers = Some(Box::new(made));
        } else if recovered.owners.keys().any(|owner| is_of_cluster(*owner)) {
            let text = "this node belongs to a cluster: configure that cluster, or move the node's data folder away";
            return self.stop(effects, Stop::Fatal(String::from(text)));
        }
        self.recovered = Some(Box::new(recovered));
        self.go_on_recovering(effects);
    }

    fn go_on_recovering(&mut self, effects: &mut Effects) {
        let broker = &mut self.broker;
        if let Some(peers) = &mut broker.peers {
            if let Err(text) = peers.go_on(&mut broker.log, &mut effects.disk) {
                return self.stop(effects, Stop::Fatal(text));
            }
            if peers.is_reading() {
                return;
            }
        }
        if let Some(text) = self.damage_found() {
            return self.on_damage(&text, effects);
        }
        let broker = &mut self.broker;
        let Some(recovered) = self.recovered.take() else { return };
        let (truncated_bytes, doubt) = (recovered.truncated_bytes, recovered.doubt.clone());
        match broker.recover(*recovered) {
            Ok((messages, queues)) => self.found = Found { messages, queues, truncated_bytes },
            Err(text) => return self.stop(effects, Stop::Fatal(text)),
        }
        if let Some(text) = doubt
            && broker.can_be_spared()
        {
            return self.stop(effects, Stop::Damaged(others_have_it(&text)));
        }
        if broker.peers.is_some() {
            self.phase = Phase::Joining;
        } else {
            broker.add_defaults();
            self.begin();
        }
    }

    fn on_log_outcome(&mut self, outcome: LogOutcome, effects: &mut Effects) {
        match outcome {
            LogOutcome::Nothing => {}
            LogOutcome::Recovered(recovered) => self.on_recovered(recovered, effects),
            LogOutcome::Read { token, .. } if is_of_cluster(token) => {
                let Broker { peers, log, .. } = &mut self.broker;
                let Some(peers) = peers else { return };
                match peers.on_read(log, &outcome, &mut effects.disk) {
                    Ok(_) if self.phase == Phase::Recovering => self.go_on_recovering(effects),
                    Ok(_) => self.broker.on_bodies(),
                    Err(text) => self.on_damage(&text, effects),
                }
            }
            LogOutcome::Read { token, start, data } => {
                if let Err(what) = self.broker.on_read(token, start, &data) {
                    self.on_damage(&alloc::format!("the log cannot be read at position {start}: {what}"), effects);
                }
            }
            LogOutcome::Damaged(text) => self.on_damage(&text, effects),
            LogOutcome::Fatal(text) => self.stop(effects, Stop::Fatal(text)),
        }
    }

    /// The log moved on, or the disk is full, or has room again.
    fn on_log_progress(&mut self, now: Now, effects: &mut Effects) {
        if !matches!(self.phase, Phase::Joining | Phase::Running | Phase::Stopping) {
            return;
        }
        let Broker { peers, log, .. } = &mut self.broker;
        if let Some(peers) = peers
            && let Err(text) = peers.on_log_progress(now.mono, log)
        {
            return self.stop(effects, Stop::Fatal(text));
        }
        self.broker.on_log_progress();
        if self.broker.check_log_full() {
            self.on_alarms_cleared(now, effects);
        }
        if !self.broker.log_paused.is_empty() && self.broker.log.pending_bytes() < limits::LOG_PENDING_LOW_BYTES {
            for id in core::mem::take(&mut self.broker.log_paused) {
                self.with_connection(now, effects, id, |connection, ctx| connection.on_log_caught_up(ctx));
            }
        }
    }

    /// Draws the conclusions from what is left of memory and disk, or from other limits of it.
    pub(crate) fn check_alarms(&mut self, now: Now, effects: &mut Effects) {
        if self.broker.alarms.check(&mut self.broker.events) {
            self.on_alarms_cleared(now, effects);
        }
    }

    /// Nothing is short any more: publishers go on.
    fn on_alarms_cleared(&mut self, now: Now, effects: &mut Effects) {
        for id in core::mem::take(&mut self.broker.alarm_paused) {
            self.with_connection(now, effects, id, |connection, ctx| connection.on_alarm_cleared(ctx));
        }
    }

    /// Brings round what one machine left for others, until nothing is left.
    fn settle(&mut self, now: Now, effects: &mut Effects) {
        self.broker.resume_remote_waiters();
        loop {
            if let Some(notice) = self.broker.notices.pop_front() {
                self.on_notice(now, effects, notice);
            } else if core::mem::take(&mut self.broker.have_names_changed) {
                for reference in core::mem::take(&mut self.broker.blocked_channels) {
                    self.with_connection(now, effects, reference.connection, |connection, ctx| {
                        connection.with_same_channel(ctx, reference, |channel, ctx| channel.on_names_changed(ctx));
                        connection.check_backlogs(ctx);
                    });
                }
            } else if self.broker.publish_next_internal()
                || self.broker.release_next_hold(&mut effects.disk)
                || self.broker.scan_next(&mut effects.disk)
                || self.broker.pump_next_replica(&mut effects.disk)
            {
            } else if let Some(key) = self.broker.next_active() {
                self.pump(now, effects, key);
            } else if let Some(session) = self.broker.next_active_session() {
                self.pump_session(now, effects, session);
            } else if self.broker.has_looped() {
                self.broker.on_queue_messages();
            } else if self.broker.take_alarms_over() {
                self.on_alarms_cleared(now, effects);
            } else {
                break;
            }
        }
        for id in self.broker.remote.take_caught_up() {
            self.with_connection(now, effects, id, |connection, ctx| connection.on_queues_caught_up(ctx));
        }
    }

    /// Delivers from one queue as long as it has messages and somebody takes them.
    fn pump(&mut self, now: Now, effects: &mut Effects, key: QueueKey) {
        while let Some(subscription) = self.broker.next_offer(key, &mut effects.disk) {
            let id = match subscription.who() {
                Subscriber::Channel { connection, .. } => connection,
                Subscriber::Guest(guest) => {
                    self.offer_to_guest(key, guest, &subscription);
                    continue;
                }
            };
            let slot = self.connections.by_id.get_mut(&id).expect("who consumes is connected");
            let mut ctx = ConnectionCtx { broker: &mut self.broker, controls: &mut effects.controls, now };
            if slot.connection.accepts(&ctx, key, &subscription) {
                let taken = ctx.broker.take(key, &subscription);
                slot.connection.deliver(&mut ctx, key, &subscription, &taken);
            } else if let Subscription::Consumer { key: consumer, .. } = subscription
                && let Some(queue) = ctx.broker.queues.get_mut(key)
            {
                queue.pause(consumer);
            }
            if !slot.is_dirty && slot.connection.is_dirty() {
                slot.is_dirty = true;
                self.connections.dirty.push(id);
            }
        }
        self.broker.tidy(key);
    }

    /// The same for a channel of another node.
    fn offer_to_guest(&mut self, key: QueueKey, guest: ConsumerId, subscription: &Subscription) {
        let consumer = subscription.consumer();
        if self.broker.guest_accepts(guest, consumer) {
            let taken = self.broker.take(key, subscription);
            self.broker.deliver_to_guest(guest, &taken);
        } else if let Some(consumer) = consumer
            && let Some(queue) = self.broker.queues.get_mut(key)
        {
            queue.pause(consumer);
        }
    }

    /// Hands a channel what has come for it from a queue of another node, as long as it takes it.
    fn pump_session(&mut self, now: Now, effects: &mut Effects, session: u64) {
        while let Some((key, at, subscription)) = self.broker.next_arrived(session) {
            let Subscriber::Channel { connection: id, .. } = subscription.who() else { return };
            let Some(slot) = self.connections.by_id.get_mut(&id) else { return };
            let mut ctx = ConnectionCtx { broker: &mut self.broker, controls: &mut effects.controls, now };
            if slot.connection.accepts(&ctx, key, &subscription) {
                let taken = ctx.broker.take_arrived(session, at);
                slot.connection.deliver(&mut ctx, key, &subscription, &taken);
            } else if let Some(consumer) = subscription.consumer() {
                ctx.broker.pause_remote(consumer);
            }
            if !slot.is_dirty && slot.connection.is_dirty() {
                slot.is_dirty = true;
                self.connections.dirty.push(id);
            }
        }
    }

    fn on_notice(&mut self, now: Now, effects: &mut Effects, notice: Notice) {
        match notice {
            Notice::ConnectionsAsked { from, number, request } => {
                let reply = self.administer_connections(now, effects, &request);
                self.broker.report_connections(from, number, reply);
            }
            Notice::ConsumerGone { connection, channel, index, key } => {
                self.with_connection(now, effects, connection, |connection, ctx| {
                    connection.with_channel(ctx, channel, |channel, ctx| {
                        channel.on_consumer_gone(ctx, index, key);
                        Outcome::Open
                    });
                });
            }
            Notice::QueueSettings { connection, channel, index, key } => {
                self.with_connection(now, effects, connection, |connection, ctx| {
                    connection.with_channel(ctx, channel, |channel, ctx| {
                        channel.on_queue_settings(ctx, index, key);
                        Outcome::Open
                    });
                });
            }
            Notice::ConsumerMoved { connection, channel, queue, key, wanted } => {
                self.with_connection(now, effects, connection, |connection, ctx| {
                    connection.forget_waiting(queue, key);
                    connection.with_channel(ctx, channel, |channel, ctx| {
                        channel.on_consumer_moved(ctx, key, wanted);
                        Outcome::Open
                    });
                });
            }
            Notice::GetGone { connection, channel } => {
                self.with_connection(now, effects, connection, |connection, ctx| {
                    connection.with_channel(ctx, channel, |channel, ctx| channel.on_get_gone(ctx));
                });
            }
            Notice::GetFailed { channel, error } => {
                self.with_connection(now, effects, channel.connection, |connection, ctx| {
                    connection.with_same_channel(ctx, channel, |channel, ctx| channel.on_get_failed(ctx, error));
                });
            }
            Notice::Subscribed { channel, key, result } => {
                self.with_connection(now, effects, channel.connection, |connection, ctx| {
                    connection.with_same_channel(ctx, channel, |channel, ctx| channel.on_subscribed(ctx, key, result));
                    connection.check_backlogs(ctx);
                });
            }
            Notice::Cancelled { channel } => {
                self.with_connection(now, effects, channel.connection, |connection, ctx| {
                    connection.with_same_channel(ctx, channel, |channel, ctx| channel.on_cancelled(ctx));
                    connection.check_backlogs(ctx);
                });
            }
            Notice::Asked { channel, result } => {
                self.with_connection(now, effects, channel.connection, |connection, ctx| {
                    connection.with_same_channel(ctx, channel, |channel, ctx| channel.on_asked(ctx, result));
                    connection.check_backlogs(ctx);
                });
            }
            Notice::Reply { channel, name, message } => {
                self.with_connection(now, effects, channel.connection, |connection, ctx| {
                    connection.with_same_channel(ctx, channel, |channel, ctx| {
                        channel.on_reply(ctx, &name, &message);
                        Outcome::Open
                    });
                });
            }
            Notice::Applied { channel, result } => {
                self.with_connection(now, effects, channel.connection, |connection, ctx| {
                    connection.with_same_channel(ctx, channel, |channel, ctx| channel.on_applied(ctx, result));
                    connection.check_backlogs(ctx);
                });
            }
            Notice::VhostGone(vhost) => {
                for id in self.connections.all() {
                    self.with_connection(now, effects, id, |connection, ctx| connection.on_vhost_gone(ctx, vhost));
                }
            }
            Notice::UserGone(user) => {
                for id in self.connections.all() {
                    self.with_connection(now, effects, id, |connection, ctx| connection.on_user_gone(ctx, &user));
                }
            }
            Notice::Durable { channel, what } => {
                self.with_connection(now, effects, channel.connection, |connection, ctx| {
                    connection.with_same_channel(ctx, channel, |channel, ctx| channel.on_durable(ctx, what));
                });
            }
            Notice::Refused { channel, what } => {
                self.with_connection(now, effects, channel.connection, |connection, ctx| {
                    connection.with_same_channel(ctx, channel, |channel, ctx| channel.on_refused_late(ctx, what));
                });
            }
        }
    }

    fn shut_down(&mut self, now: Now, effects: &mut Effects) {
        match self.phase {
            Phase::Running => {}
            // Nothing was promised yet.
            Phase::New | Phase::Recovering | Phase::Joining => return self.stop(effects, Stop::Clean),
            Phase::Stopping | Phase::Stopped => return,
        }
        self.phase = Phase::Stopping;
        for id in self.connections.all() {
            self.with_connection(now, effects, id, |connection, ctx| connection.shut_down(ctx));
        }
    }

    fn stop(&mut self, effects: &mut Effects, stop: Stop) {
        self.phase = Phase::Stopped;
        effects.stop = Some(stop);
    }
}

/// Moves all of `from` behind what is in `to`; the memory of one that is empty is worth keeping.
fn hand_over<T>(from: &mut Vec<T>, to: &mut Vec<T>) {
    if to.is_empty() {
        core::mem::swap(from, to);
    } else {
        to.append(from);
    }
}
