//! Requests that change what is declared and administered, and questions about it.
//!
//! They are carried out one after the other: a request waits for the changes of the one before, so that it finds them.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::vec::Vec;

use rand_chacha::rand_core::Rng;

use crate::amqp::AmqpError;
use crate::broker::{Broker, Requester};
use crate::ids::{AdminId, QueueId};
use crate::limits;
use crate::management::{AdminError, AdminReply, InTurn, Plan, plans as plan};
use crate::metadata::{Answer, Command};

/// Requests on their way.
#[derive(Debug, Default)]
pub(crate) struct Administration {
    /// The request whose changes are not all durable yet.
    current: Option<Current>,
    /// Those that came after it.
    waiting: VecDeque<(AdminId, InTurn)>,
}

#[derive(Debug)]
struct Current {
    id: AdminId,
    /// How many of its changes are on their way.
    pending: usize,
    /// Those that follow when these are done.
    then: Vec<(Command, bool)>,
    result: Result<AdminReply, AdminError>,
}

impl Broker {
    /// Carries out a request, or begins to.
    pub(crate) fn administer_in_turn(&mut self, id: AdminId, request: InTurn) {
        if self.administration.current.is_none() {
            self.begin(id, request);
        } else if self.administration.waiting.len() < limits::ADMIN_WAITING_MAX {
            self.administration.waiting.push_back((id, request));
        } else {
            let text = format!("{} requests are waiting already", limits::ADMIN_WAITING_MAX);
            self.answer(id, Err(AdminError::refused(text)));
        }
    }

    fn begin(&mut self, id: AdminId, request: InTurn) {
        let begun = self.plan(request).and_then(|plan| match plan {
            Plan::Reply(reply) => Ok(Some(reply)),
            Plan::Change(command) => self.begin_change(id, command),
            Plan::Import { commands, next_queue_id } => Ok(self.begin_import(id, commands, next_queue_id)),
        });
        match begun {
            Ok(Some(reply)) => self.answer(id, Ok(reply)),
            Ok(None) => {}
            Err(error) => self.answer(id, Err(error)),
        }
    }

    fn plan(&mut self, request: InTurn) -> Result<Plan, AdminError> {
        // For passwords that are to be hashed.
        let salt = self.rng.next_u32().to_le_bytes();
        let metadata = &self.metadata;
        match request {
            InTurn::Vhost(request) => plan::vhost(metadata, request),
            InTurn::User(request) => plan::user(metadata, salt, request),
            InTurn::Permission(request) => plan::permission(metadata, request),
            InTurn::Policy(request) => plan::policy(metadata, request),
            InTurn::Parameter(request) => plan::parameter(metadata, request),
            InTurn::Limit(request) => plan::limit(metadata, request),
            InTurn::Definitions(request) => plan::definitions(metadata, salt, request),
        }
    }

    /// The answer, unless it has to wait.
    fn begin_change(&mut self, id: AdminId, command: Command) -> Result<Option<AdminReply>, AdminError> {
        let answer = match &command {
            Command::Administer(administration) => self.metadata.check_administration(administration)?,
            other => self.metadata.check(other, None)?,
        };
        if answer == Answer::AlreadySo
            || !self.propose(command, Some(Requester::Admin { id, reply: AdminReply::Done }))?
        {
            return Ok(Some(AdminReply::Done));
        }
        self.administration.current = Some(Current { id, pending: 1, then: Vec::new(), result: Ok(AdminReply::Done) });
        Ok(None)
    }

    /// Puts commands that were tried already on their way together. Those that need no log wait for the others, since they may be about
    /// what these make.
    fn begin_import(
        &mut self,
        id: AdminId,
        mut commands: Vec<(Command, bool)>,
        next_queue_id: QueueId,
    ) -> Option<AdminReply> {
        if commands.is_empty() {
            return Some(AdminReply::Done);
        }
        if self.peers.is_none()
            && let Some(last) = next_queue_id.0.checked_sub(1)
        {
            self.metadata.skip_queue_ids(QueueId(last));
        }
        // Where a queue is to be policies say, which are to be known by then.
        let is_queue = |(command, _): &(Command, bool)| matches!(command, Command::DeclareQueue { .. });
        let first_queue = commands.iter().position(is_queue).filter(|at| self.peers.is_some() && *at > 0);
        let then = first_queue.map(|at| commands.split_off(at)).unwrap_or_default();
        let result = Ok(AdminReply::Done);
        self.administration.current = Some(Current { id, pending: commands.len(), then, result });
        self.import(id, commands);
        None
    }

    fn import(&mut self, id: AdminId, commands: Vec<(Command, bool)>) {
        for (command, is_durable) in commands {
            self.put_on_its_way(command, is_durable, Some(Requester::Admin { id, reply: AdminReply::Done }));
        }
    }

    /// One change of the current request was applied, or failed because of something that came between.
    pub(crate) fn on_administered(&mut self, id: AdminId, reply: AdminReply, result: Result<(), AmqpError>) {
        let Some(current) = self.administration.current.as_mut().filter(|current| current.id == id) else {
            return self.answer(id, result.map(|()| reply).map_err(AdminError::from));
        };
        current.pending -= 1;
        if let Err(error) = result {
            current.result = Err(error.into());
        }
        if current.pending > 0 {
            return;
        }
        let then = core::mem::take(&mut current.then);
        if !then.is_empty() {
            current.pending = then.len();
            return self.import(id, then);
        }
        if let Some(Current { id, result, .. }) = self.administration.current.take() {
            self.answer(id, result);
        }
        while self.administration.current.is_none()
            && let Some((id, request)) = self.administration.waiting.pop_front()
        {
            self.begin(id, request);
        }
    }
}
