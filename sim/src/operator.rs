//! Operators: what they ask of the node while everything else goes on. Looking changes nothing, a paused queue rests, and every
//! question has one answer.

use std::collections::BTreeMap;

use leveret_engine::amqp::{RawProperties, ShortStr};
use leveret_engine::ids::AdminId;
use leveret_engine::input::Input;
use leveret_engine::management::{
    AdminAnswer, AdminReply, AdminRequest, ConnectionRequest, ConnectionSelection, DefinitionsRequest,
    DepartureRequest, ExchangeRequest, NodeRequest, QueueName, QueueRequest, Selection,
};
use serde::{Deserialize, Serialize};

use crate::clock::{MILLISECOND, Micros};
use crate::history::Fact;
use crate::nodes::At;
use crate::plan::{ClientPlan, Topology, is_default};
use crate::quiesce::Phase;
use crate::rng::{Fate, Stream, index};
use crate::scenario::Scenario;
use crate::world::{World, connection};

/// One request of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationPlan {
    /// When.
    pub at_us: Micros,
    /// Of which node.
    #[serde(default, skip_serializing_if = "is_default")]
    pub node: usize,
    /// What is asked.
    pub what: Operation,
}

/// What operators ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// How the node is.
    Status,
    /// All queues.
    ListQueues,
    /// All bindings.
    ListBindings,
    /// All connections.
    ListConnections,
    /// All consumers.
    ListConsumers,
    /// The definitions.
    Export,
    /// Why messages are gone.
    Departures,
    /// Messages of a queue, which stay as they are.
    Peek {
        /// Its name.
        queue: String,
        /// From here on.
        offset: u64,
        /// So many.
        count: u64,
    },
    /// A queue is to deliver nothing.
    Pause {
        /// Its name.
        queue: String,
    },
    /// It is to go on.
    Resume {
        /// Its name.
        queue: String,
    },
    /// A client's connection is to end.
    Close {
        /// The client.
        client: u32,
    },
}

/// Requests of one operator.
const REQUESTS: (u64, u64) = (5, 40);
/// The longest pause of a queue.
const PAUSE_MAX: Micros = 400 * MILLISECOND;
/// Requests of operators have numbers from here on; below are the policies'.
const FIRST_ID: u64 = 1 << 32;

/// Draws what operators do.
pub(crate) fn draw(
    scenario: &Scenario,
    seed: u64,
    chaos_us: Micros,
    topology: &Topology,
    clients: &[ClientPlan],
    nodes: usize,
) -> Vec<OperationPlan> {
    let mut stream = Stream::new(seed, "operators", 0);
    let mut operations = Vec::new();
    let queues = topology.queues.iter().filter(|queue| !queue.is_shared(nodes));
    let queues: Vec<&String> = queues.map(|queue| &queue.name).collect();
    for _ in 0..scenario.clients.operators.draw(&mut stream) {
        for _ in 0..stream.range(REQUESTS.0, REQUESTS.1) {
            let at_us = stream.range(0, chaos_us);
            let queue = (!queues.is_empty()).then(|| stream.pick(&queues).to_string());
            let what = match (stream.range(0, 10), queue) {
                (0, _) => Operation::Status,
                (1, _) => Operation::ListBindings,
                (2, _) => Operation::ListConnections,
                (3, _) => Operation::ListConsumers,
                (4, _) => Operation::Export,
                (5, _) => Operation::Departures,
                (6, _) if !clients.is_empty() => {
                    Operation::Close { client: u32::try_from(stream.index(clients.len())).expect("few clients") }
                }
                // Judged against the exact model only; rules go on while a queue rests.
                (7, Some(queue)) if !scenario.is_story() => {
                    let until_us = (at_us + stream.range(MILLISECOND, PAUSE_MAX)).min(chaos_us);
                    let what = Operation::Resume { queue: queue.clone() };
                    operations.push(OperationPlan { at_us: until_us, node: 0, what });
                    Operation::Pause { queue }
                }
                (8 | 9, Some(queue)) => {
                    Operation::Peek { queue, offset: stream.range(0, 5), count: stream.range(1, 20) }
                }
                _ => Operation::ListQueues,
            };
            operations.push(OperationPlan { at_us, node: 0, what });
        }
    }
    // What ends a pause comes before what begins one at the same time.
    for operation in &mut operations {
        operation.node = match &operation.what {
            Operation::Peek { queue, .. } | Operation::Pause { queue } | Operation::Resume { queue } => {
                topology.queues.iter().find(|it| it.name == *queue).map_or(0, |it| it.node)
            }
            Operation::Close { client } => clients[*client as usize].node,
            _ => index(Fate::new(seed, "node of an operator").of(0, operation.at_us), nodes),
        };
    }
    operations.sort_by_key(|it| (it.at_us, matches!(it.what, Operation::Pause { .. })));
    operations
}

/// Requests and their answers.
#[derive(Debug, Default)]
pub(crate) struct Operators {
    /// Those that wait for their answer, by their number: who was asked, and which of the plan's they are, if any.
    asked: BTreeMap<u64, (At, Option<u32>)>,
    next: u64,
    /// Answers so far.
    answers: u64,
    /// Answers to what was not asked, or was answered before.
    undue: u64,
    /// Queues with pauses that are not over, where they are, and how many.
    resting: BTreeMap<String, (At, u32)>,
}

impl Operators {
    /// A node ended: nobody answers what it was asked, and nothing of it is paused.
    pub(crate) fn ended(&mut self, at: At) {
        self.asked.retain(|_, (asked, _)| *asked != at);
        self.resting.retain(|_, (rests, _)| *rests != at);
    }

    /// What became of all requests, once there has been time.
    pub(crate) fn outcome(&self) -> Option<Fact> {
        let Self { answers, undue, .. } = *self;
        let open = self.asked.len() as u64;
        (answers + undue + open > 0).then_some(Fact::Operated { answers, undue, open })
    }
}

impl World {
    /// An operator asks for something.
    pub(crate) fn operate(&mut self, index: u32) {
        let operation = &self.plan.operations[index as usize];
        let (at, what) = (At::new(operation.node), operation.what.clone());
        if !self.nodes[at].is_accepting() {
            return;
        }
        if self.phase != Phase::Chaos && matches!(what, Operation::Pause { .. }) {
            // Asked while the process had no time, as was the end of the rest, and nobody says which comes first.
            return;
        }
        let Some(request) = self.request(&what) else { return };
        match what {
            Operation::Pause { queue } => {
                self.operators.resting.entry(queue.clone()).or_insert((at, 0)).1 += 1;
                self.model.may_rest(&queue);
            }
            Operation::Resume { queue } => {
                let Some((_, pauses)) = self.operators.resting.get_mut(&queue) else { return };
                *pauses -= 1;
                if *pauses > 0 {
                    // Somebody else wants it to rest.
                    return;
                }
                self.operators.resting.remove(&queue);
                self.model.rests_no_more(&queue);
            }
            _ => {}
        }
        self.ask(at, Some(index), request);
    }

    /// Ends all pauses.
    pub(crate) fn resume_queues(&mut self) {
        for (queue, (at, _)) in std::mem::take(&mut self.operators.resting) {
            self.model.rests_no_more(&queue);
            if let Some(request) = self.request(&Operation::Resume { queue }).filter(|_| self.nodes[at].is_accepting())
            {
                self.ask(at, None, request);
            }
        }
    }

    fn ask(&mut self, at: At, operation: Option<u32>, request: AdminRequest) {
        let id = FIRST_ID + self.operators.next;
        self.operators.next += 1;
        self.operators.asked.insert(id, (at, operation));
        self.input(at, Input::Admin { id: AdminId(id), request: Box::new(request) });
    }

    fn request(&self, what: &Operation) -> Option<AdminRequest> {
        let vhost = || ShortStr::try_from("/").expect("one byte");
        let queue_name = |name: &String| {
            let name = ShortStr::try_from(name.as_str()).expect("names in plans are short");
            QueueName { vhost: vhost(), name }
        };
        Some(match what {
            Operation::Status => NodeRequest::Status.into(),
            Operation::ListQueues => QueueRequest::List { vhost: None }.into(),
            Operation::ListBindings => ExchangeRequest::ListBindings { vhost: Some(vhost()) }.into(),
            Operation::ListConnections => ConnectionRequest::List.into(),
            Operation::ListConsumers => ConnectionRequest::ListConsumers { vhost: None }.into(),
            Operation::Export => DefinitionsRequest::Export { vhost: None }.into(),
            Operation::Departures => {
                let (vhost, name) = (vhost(), ShortStr::default());
                AdminRequest::Departures(DepartureRequest::Exchange { vhost, name })
            }
            Operation::Peek { queue, offset, count } => {
                let selection = Selection { offset: *offset, count: Some(*count), message_id: None };
                QueueRequest::Peek { queue: queue_name(queue), selection }.into()
            }
            Operation::Pause { queue } => QueueRequest::Pause(queue_name(queue)).into(),
            Operation::Resume { queue } => QueueRequest::Resume(queue_name(queue)).into(),
            Operation::Close { client } => {
                let link = self.actors[*client as usize].link?;
                let which = ConnectionSelection::One { node: String::new(), id: connection(link) };
                ConnectionRequest::Close { which, reason: "closed by an operator".to_owned() }.into()
            }
        })
    }

    /// What the node answers; whether that is to an operator's request.
    pub(crate) fn operator_told(&mut self, answer: &AdminAnswer) -> bool {
        if answer.id.0 < FIRST_ID {
            return false;
        }
        let Some((_, operation)) = self.operators.asked.remove(&answer.id.0) else {
            self.operators.undue += 1;
            return true;
        };
        self.operators.answers += 1;
        let Some(index) = operation else { return true };
        match (&self.plan.operations[index as usize].what, &answer.reply) {
            (Operation::Pause { queue }, Ok(_)) if self.operators.resting.contains_key(queue) => {
                self.model.rests(queue);
            }
            (Operation::Peek { queue, count, .. }, Ok(AdminReply::Messages(messages))) => {
                let queue = self.model.queue_number(queue);
                let too_many = messages.len() as u64 > *count;
                for peeked in messages {
                    let properties = RawProperties::from(&*peeked.properties);
                    let (message, wrong) = self.messages.compare(&properties, &peeked.body, self.topology.rewrites);
                    self.facts.push(Fact::Peeked { queue, message, wrong, too_many });
                }
            }
            _ => {}
        }
        true
    }
}
