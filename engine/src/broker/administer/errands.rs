//! What operators ask that other nodes have to be asked for.
//!
//! An [`Errand`] asks some nodes something and waits until each has answered, cannot be reached, or takes too long; then it has its
//! answer, or asks on. Questions to the leader of a queue follow the lead; those to a node are asked again over another link, since
//! asking twice is as good as once.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;

use super::super::Notice;
use super::Broker;
use super::replicas::Task;
use crate::cluster::inquiries::{Inquiry, Report, Wish};
use crate::cluster::queues::Frame;
use crate::ids::{AdminId, LinkId, NodeId};
use crate::limits;
use crate::management::{AdminError, AdminReply};
use crate::metadata::Metadata;
use crate::routing::QueueKey;
use crate::time::Instant;

/// All that is under way.
#[derive(Debug, Default)]
pub(crate) struct Errands {
    by_id: BTreeMap<AdminId, Errand>,
    questions: BTreeMap<u64, Question>,
    last_number: u64,
    /// When questions are looked at that wait for a leader.
    look_at: Option<Instant>,
}

/// What one operator has asked.
#[derive(Debug)]
struct Errand {
    task: Task,
    /// When those who did not answer will not.
    until: Instant,
    /// Questions that are not answered.
    open: BTreeSet<u64>,
    answers: Vec<(To, Answer)>,
}

/// Something that a node is asked.
#[derive(Debug)]
struct Question {
    errand: AdminId,
    to: To,
    inquiry: Inquiry,
    /// Whom it was sent, and over which link.
    sent: Option<(NodeId, LinkId)>,
    /// Who was said to lead; 0 if nobody was.
    hint: NodeId,
    /// Who has said that it is done, if this node has not heard of that yet.
    done_by: Option<NodeId>,
}

/// Who is to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    /// This node.
    Node(NodeId),
    /// Whoever leads this queue.
    Leader(QueueKey),
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// This.
    Said(NodeId, Report),
    /// The node cannot be reached.
    Unreachable,
    /// Nobody answered in time.
    Late,
    /// There is no such queue any more.
    Gone,
}

/// What is to be done next.
pub(super) enum Next {
    /// The operator is answered.
    Answer(Result<AdminReply, AdminError>),
    /// The operator is answered when something is durable.
    Later,
    /// There is more to ask first.
    Ask(Task, Vec<(To, Inquiry)>),
}

impl Broker {
    /// Does what is next for an operator.
    pub(super) fn go_on_with(&mut self, id: AdminId, mut next: Next) {
        loop {
            match next {
                Next::Answer(reply) => return self.answer(id, reply),
                Next::Later => return,
                Next::Ask(task, questions) if questions.is_empty() => next = self.conclude(id, task, Vec::new()),
                Next::Ask(task, questions) => return self.begin_errand(id, task, questions),
            }
        }
    }

    fn begin_errand(&mut self, id: AdminId, task: Task, questions: Vec<(To, Inquiry)>) {
        if self.errands.by_id.len() >= limits::ADMIN_WAITING_MAX {
            let text = format!("{} requests are waiting already", limits::ADMIN_WAITING_MAX);
            return self.answer(id, Err(AdminError::refused(text)));
        }
        let until = self.now.mono + limits::INQUIRY_TIMEOUT;
        let mut errand = Errand { task, until, open: BTreeSet::new(), answers: Vec::new() };
        for (to, inquiry) in questions {
            self.errands.last_number += 1;
            let number = self.errands.last_number;
            let question = Question { errand: id, to, inquiry, sent: None, hint: NodeId(0), done_by: None };
            self.errands.questions.insert(number, question);
            errand.open.insert(number);
        }
        self.errands.by_id.insert(id, errand);
        self.look_at_errands();
    }

    /// Sends what was not sent, or not over the link there is.
    pub(in super::super) fn look_at_errands(&mut self) {
        self.errands.look_at = None;
        let own = self.peers.as_ref().and_then(|peers| peers.own()).map_or(NodeId(0), |(own, _)| own);
        let numbers: Vec<u64> = self.errands.questions.keys().copied().collect();
        for number in numbers {
            let Some(Question { to, hint, done_by, .. }) = self.errands.questions.get(&number) else { continue };
            let (to, hint) = (*to, *hint);
            if let Some(node) = *done_by {
                self.on_report(node, number, Report::Done);
                continue;
            }
            let node = match to {
                To::Node(node) => node,
                To::Leader(key) if self.metadata.queue_by_key(key).is_none() => {
                    self.on_answer_to(number, Answer::Gone);
                    continue;
                }
                To::Leader(key) => Some(self.guess_leader(key, NodeId(0))).filter(|_| hint.0 == 0).unwrap_or(hint),
            };
            let link = self.peers.as_ref().and_then(|peers| {
                let linked = peers.linked().find(|(other, ..)| *other == node).map(|(_, link, _)| link);
                if node == own { Some(LinkId(0)) } else { linked }
            });
            match (link, to) {
                (Some(link), _) => {
                    let question = self.errands.questions.get_mut(&number).expect("it was there just now");
                    // What may have been done must not be done twice.
                    if question.sent.is_some_and(|sent| sent != (node, link)) && !question.inquiry.is_repeatable() {
                        self.on_answer_to(number, Answer::Late);
                        continue;
                    }
                    if question.sent.replace((node, link)) != Some((node, link)) {
                        let inquiry = question.inquiry.clone();
                        self.say(node, &Frame::Inquire { number, inquiry });
                    }
                }
                (None, To::Node(_)) => self.on_answer_to(number, Answer::Unreachable),
                (None, To::Leader(_)) => {
                    if let Some(question) = self.errands.questions.get_mut(&number) {
                        (question.sent, question.hint) = (None, NodeId(0));
                    }
                    self.look_at_errands_later();
                }
            }
        }
    }

    fn look_at_errands_later(&mut self) {
        let at = self.now.mono + limits::REPLICA_RETRY;
        self.errands.look_at = Some(self.errands.look_at.map_or(at, |other| other.min(at)));
    }

    /// Another node asks something for an operator, or this one does.
    pub(in super::super) fn on_inquiry(&mut self, from: NodeId, number: u64, inquiry: Inquiry) {
        match inquiry {
            Inquiry::Wish { queue, wish } => self.on_wish(from, number, queue, wish),
            Inquiry::Member { queue } => self.on_member_inquiry(from, number, queue),
            Inquiry::Queues => {
                let queues = self.counts_of_queues();
                self.report(from, number, Report::Queues(queues));
            }
            Inquiry::Operate { queue, operation } => self.on_operation(from, number, queue, operation),
            Inquiry::Connections(request) => {
                self.notices.push_back(Notice::ConnectionsAsked { from, number, request });
            }
        }
    }

    /// Answers a question with what is known here.
    pub(in super::super) fn report(&mut self, to: NodeId, number: u64, report: Report) {
        self.say(to, &Frame::Report { number, report });
    }

    /// A node answers.
    pub(in super::super) fn on_report(&mut self, from: NodeId, number: u64, report: Report) {
        let Some(question) = self.errands.questions.get_mut(&number) else { return };
        if let (To::Leader(_), Report::NotHere { leader }) = (question.to, &report) {
            // Who was asked before may still answer, and is none that would be asked.
            if question.sent.is_some_and(|(node, _)| node == from) {
                let is_first = core::mem::replace(&mut question.hint, *leader) == NodeId(0);
                question.sent = None;
                if is_first && leader.0 != 0 && *leader != from {
                    self.look_at_errands();
                } else {
                    question.hint = NodeId(0);
                    self.look_at_errands_later();
                }
            }
            return;
        }
        // Who asks next is to see what was done.
        if report == Report::Done && !is_known(&self.metadata, &question.inquiry) {
            question.done_by = Some(from);
            return;
        }
        self.on_answer_to(number, Answer::Said(from, report));
    }

    fn on_answer_to(&mut self, number: u64, answer: Answer) {
        let Some(Question { errand: id, to, .. }) = self.errands.questions.remove(&number) else { return };
        let Some(errand) = self.errands.by_id.get_mut(&id) else { return };
        errand.open.remove(&number);
        errand.answers.push((to, answer));
        if errand.open.is_empty()
            && let Some(Errand { task, answers, .. }) = self.errands.by_id.remove(&id)
        {
            let next = self.conclude(id, task, answers);
            self.go_on_with(id, next);
        }
    }

    /// Gives up on those who take too long, and looks for leaders.
    pub(in super::super) fn on_errand_timeout(&mut self) {
        let now = self.now.mono;
        let late = self.errands.by_id.values().filter(|errand| errand.until <= now);
        let late: Vec<u64> = late.flat_map(|errand| errand.open.iter().copied()).collect();
        for number in late {
            let done_by = self.errands.questions.get(&number).and_then(|question| question.done_by);
            let said = |node| Answer::Said(node, Report::Done);
            self.on_answer_to(number, done_by.map_or(Answer::Late, said));
        }
        if self.errands.look_at.is_some_and(|at| at <= now) {
            self.look_at_errands();
        }
    }

    /// When [`Broker::on_errand_timeout`] is next wanted.
    pub(in super::super) fn errand_timeout(&self) -> Option<Instant> {
        let late = self.errands.by_id.values().map(|errand| errand.until).min();
        [late, self.errands.look_at].into_iter().flatten().min()
    }
}

/// Whether this node knows of what was asked for, now that it is done.
fn is_known(metadata: &Metadata, inquiry: &Inquiry) -> bool {
    let Inquiry::Wish { queue, wish } = inquiry else { return true };
    let Some((_, record)) = metadata.queue_by_id(*queue) else { return true };
    match wish {
        Wish::Add(node) => record.members.contains(node),
        Wish::Remove(node) => !record.members.contains(node),
        Wish::Lead(_) => true,
    }
}
