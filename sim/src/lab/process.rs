//! The process that a program runs in: its connection's set-up, its crashes, and the way of its wishes to the connection.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::rc::Rc;

use leveret_engine::amqp::{Method, ReplyCode};
use leveret_engine::client::ClientEvent;

use super::program::{Delivery, Event, Message, Program};
use super::session::{Session, Wish};
use super::store::Lifeline;
use crate::client::{self, CHANNEL, Scope};
use crate::clock::{MILLISECOND, Micros};
use crate::rng::{Fate, scale};
use crate::workload::Workload;
use crate::workload::script::{Script, confirm_select, declare_all};

/// Makes a program as it is when its process starts.
pub(super) type Start = Box<dyn FnMut() -> Box<dyn Program>>;

/// See the module.
pub(super) struct Process {
    name: String,
    start: Start,
    /// `None` before the first connection and after a crash.
    program: Option<Box<dyn Program>>,
    session: Session,
    lifeline: Rc<Lifeline>,
    fates: Fate,
    /// When it is to crash, the earliest first.
    crashes: VecDeque<Micros>,
    script: Script,
    is_set_up: bool,
    /// What is to be asked once what is asked is answered.
    requests: VecDeque<Method>,
    is_asking: bool,
    unconfirmed: BTreeSet<u64>,
    has_heard_of_stop: bool,
}

/// A crash comes so many steps into an event at most.
const STEPS_MOST: u64 = 4;
/// How long a crash that is due waits for an event to come into.
const CRASH_PATIENCE: Micros = 20 * MILLISECOND;

impl Process {
    pub(super) fn new(name: String, start: Start, crashes: Vec<Micros>, lifeline: Rc<Lifeline>, fates: Fate) -> Self {
        Self {
            name,
            start,
            program: None,
            session: Session::new(Rc::clone(&lifeline), fates),
            lifeline,
            fates,
            crashes: crashes.into(),
            script: Script::default(),
            is_set_up: false,
            requests: VecDeque::new(),
            is_asking: false,
            unconfirmed: BTreeSet::new(),
            has_heard_of_stop: false,
        }
    }

    /// Tells the program, and does what it wants.
    fn tell(&mut self, scope: &mut Scope<'_>, event: Event) {
        let Some(mut program) = self.program.take() else { return };
        self.session.now = scope.now;
        self.session.is_stopping = scope.is_stopping;
        self.session.last_seqno = scope.machine.last_seqno(CHANNEL).unwrap_or(0);
        // Nobody crashes once the faults are over.
        let crashes = !scope.is_stopping && self.take_crash(scope.now);
        if crashes {
            let random = self.fates.of(1, self.lifeline.crashes());
            self.lifeline.cut_after(scale(random, 0, STEPS_MOST));
        }
        program.on_event(&mut self.session, event);
        self.lifeline.mend();
        self.program = Some(program);
        self.carry_out(scope);
        if crashes {
            self.die();
            scope.wish(client::Wish::Crash);
        }
    }

    /// Takes a crash that is due at this time.
    fn take_crash(&mut self, now: Micros) -> bool {
        let is_due = self.crashes.front().is_some_and(|at| *at <= now);
        if is_due {
            self.crashes.pop_front();
        }
        is_due
    }

    /// Does what the program wants done.
    fn carry_out(&mut self, scope: &mut Scope<'_>) {
        let mut wishes = std::mem::take(&mut self.session.wishes);
        for wish in wishes.drain(..) {
            // The machine is ahead of the events: the channel may be closed already, and then nothing is sent.
            if !scope.machine.is_channel_open(CHANNEL) {
                continue;
            }
            match wish {
                Wish::Publish { exchange, key, is_mandatory, message } => {
                    self.unconfirmed.extend(scope.publish_own(&exchange, &key, is_mandatory, &message));
                }
                Wish::Ack { tag, multiple } => {
                    let _ = scope.machine.ack(CHANNEL, tag, multiple);
                }
                Wish::Nack { tag, requeue } => {
                    let _ = scope.machine.nack(CHANNEL, tag, false, requeue);
                }
                Wish::Request(method) => self.requests.push_back(method),
                Wish::Close => scope.machine.close(),
            }
        }
        self.session.wishes = wishes;
        self.ask(scope);
    }

    /// Asks the next, if nothing is asked.
    fn ask(&mut self, scope: &mut Scope<'_>) {
        if !self.is_asking
            && let Some(method) = self.requests.pop_front()
        {
            self.is_asking = scope.machine.send(CHANNEL, method).is_ok();
        }
    }

    /// Asks to be woken for whatever comes first: the program's own time, or its next crash.
    fn set_alarm(&self, scope: &mut Scope<'_>) {
        let crash = self.crashes.front().filter(|_| !scope.is_stopping).map(|at| at + CRASH_PATIENCE);
        let wake = self.session.wake.filter(|_| self.is_set_up);
        if let Some(at) = wake.into_iter().chain(crash).min() {
            scope.wake_after(at.saturating_sub(scope.now));
        }
        if scope.is_stopping && self.is_set_up && !self.has_heard_of_stop {
            scope.wake_after(1);
        }
    }

    fn die(&mut self) {
        self.program = None;
        self.session.wake = None;
        self.forget_channel();
    }

    fn forget_channel(&mut self) {
        self.script.clear();
        self.is_set_up = false;
        self.requests.clear();
        self.is_asking = false;
        self.unconfirmed.clear();
    }

    /// The publishes that an answer is about.
    fn answered(&mut self, seqno: u64, multiple: bool) -> BTreeSet<u64> {
        if multiple {
            let rest = self.unconfirmed.split_off(&(seqno + 1));
            return std::mem::replace(&mut self.unconfirmed, rest);
        }
        self.unconfirmed.take(&seqno).into_iter().collect()
    }

    fn heed(&mut self, scope: &mut Scope<'_>, event: ClientEvent) {
        match event {
            ClientEvent::ChannelOpened { .. } => {
                let mut requests = declare_all(scope.topology);
                requests.push(confirm_select());
                self.script.start(scope, requests);
            }
            ClientEvent::Method { .. } if !self.is_set_up => {
                self.is_set_up = self.script.next(scope);
                if self.is_set_up {
                    self.tell(scope, Event::Connected);
                }
            }
            ClientEvent::Method { .. } => {
                self.is_asking = false;
                self.ask(scope);
            }
            ClientEvent::Delivery { consumer_tag, delivery_tag, redelivered, properties, body, .. } => {
                scope.verify(&properties, &body);
                let message = Message::read(&properties, body);
                let queue = consumer_tag.to_string_lossy().into_owned();
                let delivery = Delivery { tag: delivery_tag, queue, is_redelivered: redelivered, message };
                self.tell(scope, Event::Delivered(delivery));
            }
            ClientEvent::Returned { properties, body, .. } => {
                scope.verify(&properties, &body);
                self.tell(scope, Event::Returned(Message::read(&properties, body)));
            }
            ClientEvent::Acked { seqno, multiple, .. } => {
                for seqno in self.answered(seqno, multiple) {
                    self.tell(scope, Event::Confirmed(seqno));
                }
            }
            ClientEvent::Nacked { seqno, multiple, .. } => {
                for seqno in self.answered(seqno, multiple) {
                    self.tell(scope, Event::Refused(seqno));
                }
            }
            ClientEvent::ConsumerCancelled { consumer_tag, .. } => {
                self.tell(scope, Event::Cancelled(consumer_tag.to_string_lossy().into_owned()));
            }
            ClientEvent::ChannelClosed { reason, .. } => {
                self.forget_channel();
                assert_ne!(reason.reply_code, ReplyCode::Success.number(), "programs do not close their channel");
                self.tell(
                    scope,
                    Event::ChannelClosed(reason.reply_code, reason.reply_text.to_string_lossy().into_owned()),
                );
                if self.program.is_some() && scope.machine.open_channel(CHANNEL).is_err() {
                    scope.wish(client::Wish::Crash);
                }
            }
            ClientEvent::Blocked { .. } => self.tell(scope, Event::Blocked(true)),
            ClientEvent::Unblocked => self.tell(scope, Event::Blocked(false)),
            _ => {}
        }
    }
}

impl Workload for Process {
    fn connected(&mut self, scope: &mut Scope<'_>) {
        self.program.get_or_insert_with(&mut self.start);
        // The machine is ahead of the events: the connection may be over already.
        let _ = scope.machine.open_channel(CHANNEL);
        self.set_alarm(scope);
    }

    fn event(&mut self, scope: &mut Scope<'_>, event: ClientEvent) {
        // What comes to a process that has crashed comes to nobody.
        if self.program.is_none() {
            return;
        }
        self.heed(scope, event);
        self.set_alarm(scope);
    }

    fn wake(&mut self, scope: &mut Scope<'_>) {
        if self.program.is_none() {
            return;
        }
        if scope.is_stopping && self.is_set_up && !std::mem::replace(&mut self.has_heard_of_stop, true) {
            self.tell(scope, Event::Stopping);
        }
        if !scope.is_stopping && self.take_crash(scope.now.saturating_sub(CRASH_PATIENCE)) {
            self.lifeline.cut_after(0);
            self.lifeline.mend();
            self.die();
            return scope.wish(client::Wish::Crash);
        }
        if self.is_set_up && self.session.wake.take_if(|at| *at <= scope.now).is_some() {
            self.tell(scope, Event::Woken);
        }
        self.set_alarm(scope);
    }

    fn lost(&mut self, _now: Micros) {
        self.forget_channel();
        if let Some(program) = &mut self.program {
            program.on_lost();
        }
    }

    fn waiting_for(&self) -> Option<String> {
        let Some(program) = &self.program else { return Some(format!("the restart of {}", self.name)) };
        // Whoever is not there yet may still have something to begin with.
        if !self.is_set_up || self.is_asking || !self.has_heard_of_stop {
            return Some(format!("{} to be ready", self.name));
        }
        if let Some(seqno) = self.unconfirmed.first() {
            return Some(format!("the confirm of publish {seqno} of {}", self.name));
        }
        program.waiting_for().map(|what| format!("{what} ({})", self.name))
    }

    fn is_awaited(&self) -> bool {
        true
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("name", &self.name).field("session", &self.session).finish_non_exhaustive()
    }
}
