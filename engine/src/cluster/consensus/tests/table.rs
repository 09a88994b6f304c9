//! Every kind of message in every kind of state, in an older term, the same and a newer one. What the Raft paper (§5, and for votes asked
//! for beforehand the thesis §9.6) says of all of them holds of each: those who checked RabbitMQ's Raft against it found candidates that
//! took no snapshot, votes that were forgotten and members that stayed (ra #600, #607 to #610, #612).

use alloc::vec::Vec;
use bytes::Bytes;
use raft::StateRole;
use raft::eraftpb::{Message, MessageType};

use super::super::wire::{Frame, snapshot};
use super::super::{
    Content, Entry, EntryId, Groups, Identity, MemberChange, Members, Origin, Outputs, Settings, SnapshotNeed,
};
use crate::ids::{GroupId, NodeId};
use crate::limits;
use crate::time::Instant;

const GROUP: GroupId = GroupId(1);
/// Who looks at the messages; [`State::Learner`] has another number.
const OWN: u64 = 2;
/// The term of [`State::Follower`].
const TERM: u64 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is to join, and knows nothing.
    Empty,
    /// It follows node 1, and has three entries of which the last is not decided.
    Follower,
    /// The same, and it has voted for node 3 in the next term.
    Voted,
    /// The same, and it has been offered a snapshot that it does not have yet.
    Offered,
    PreCandidate,
    Candidate,
    Leader,
    Learner,
}

use State::{Candidate, Empty, Follower, Leader, Learner, Offered, PreCandidate, Voted};

const STATES: [State; 8] = [Empty, Follower, Voted, Offered, PreCandidate, Candidate, Leader, Learner];

const KINDS: [MessageType; 10] = [
    MessageType::MsgAppend,
    MessageType::MsgAppendResponse,
    MessageType::MsgRequestVote,
    MessageType::MsgRequestVoteResponse,
    MessageType::MsgRequestPreVote,
    MessageType::MsgRequestPreVoteResponse,
    MessageType::MsgSnapshot,
    MessageType::MsgHeartbeat,
    MessageType::MsgHeartbeatResponse,
    MessageType::MsgTimeoutNow,
];

/// What Raft makes promises about.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    term: u64,
    vote: u64,
    role: StateRole,
    leader: u64,
    committed: u64,
    last: (u64, u64),
    members: Members,
}

struct Node {
    number: u64,
    groups: Groups,
    now: Instant,
    /// Whether what it writes is durable at once, and what it is offered is there.
    is_served: bool,
}

impl Node {
    fn new(state: State) -> Self {
        let number = if state == Learner { 4 } else { OWN };
        let identity = Identity { node: NodeId(number), boot: 1, seed: 1 };
        let groups = Groups::new(identity, Settings::default(), Instant::ZERO);
        let mut node = Self { number, groups, now: Instant::ZERO, is_served: true };
        node.groups.create(GROUP, 1, if state == Empty { Origin::Joins } else { Origin::First(first()) });
        node.flush();
        if state == Empty {
            return node;
        }
        let entries = [2, 3, 4].map(|index| command(TERM, index));
        node.hear(append(TERM, 1, 1, &entries, 3));
        match state {
            Empty | Follower | Learner => {}
            Voted => {
                // Nobody votes for another as long as it hears of a leader.
                node.hear_nothing();
                node.hear(Message { from: 3, ..ask(MessageType::MsgRequestVote, TERM + 2, 9) });
                assert_eq!(node.seen().vote, 3);
            }
            Offered => {
                node.is_served = false;
                node.hear(offer(TERM, 9));
            }
            PreCandidate | Candidate | Leader => {
                node.hear_nothing();
                node.groups.campaign(GROUP);
                node.flush();
                for (role, kind) in
                    [(Candidate, MessageType::MsgRequestPreVoteResponse), (Leader, MessageType::MsgRequestVoteResponse)]
                {
                    if state == PreCandidate || (state == Candidate && role == Leader) {
                        break;
                    }
                    let term = node.seen().term + u64::from(role == Candidate);
                    node.hear(Message { from: 3, term, ..message(kind) });
                }
            }
        }
        node
    }

    fn flush(&mut self) -> Vec<Message> {
        let mut sent = Vec::new();
        loop {
            let mut out = Outputs::default();
            self.groups.flush(self.now, &mut out);
            self.groups.check_invariants();
            let frames = out.messages.iter().map(|it| Frame::decode(&it.bytes, NodeId(self.number), it.to));
            let frames = frames.map(|frame| frame.expect("what is sent can be read"));
            sent.extend(frames.flat_map(|frame| frame.letters).map(|letter| letter.message));
            if !self.is_served || (out.writes.is_empty() && out.snapshots.is_empty()) {
                return sent;
            }
            if let Some(write) = out.writes.last() {
                self.groups.persisted(write.ticket);
            }
            for need in out.snapshots {
                match need {
                    SnapshotNeed::Make { group, to } => self.groups.offer_snapshot(group, to, Bytes::new()),
                    SnapshotNeed::Take { group, id, .. } => self.groups.accept_snapshot(group, id.index),
                }
            }
        }
    }

    fn hear(&mut self, message: Message) -> Vec<Message> {
        let from = NodeId(message.from);
        let mut frame = Frame { boot: 1, ..Frame::default() };
        frame.push(GROUP, 1, Message { to: self.number, ..message });
        self.groups.receive(self.now, from, &frame.take_bytes()).expect("it can be read");
        self.flush()
    }

    /// Hears of no leader for as long as it does not listen to others.
    fn hear_nothing(&mut self) {
        for _ in 0..Settings::default().election_ticks {
            self.now = self.now + limits::GROUP_TICK;
            self.groups.handle_timeout(self.now);
        }
        self.flush();
    }

    fn seen(&self) -> Seen {
        let group = self.groups.group(GROUP).expect("the group is there");
        let raft = &group.raw.raft;
        Seen {
            term: raft.term,
            vote: raft.vote,
            role: raft.state,
            leader: raft.leader_id,
            committed: raft.raft_log.committed,
            last: (raft.raft_log.last_term(), raft.raft_log.last_index()),
            members: group.members.clone(),
        }
    }
}

/// All members, of which the last has no vote.
fn first() -> Members {
    Members::new([1, 2, 3].map(NodeId).to_vec(), [NodeId(4)].to_vec()).expect("they make sense")
}

fn message(kind: MessageType) -> Message {
    let mut message = Message { from: 1, ..Default::default() };
    message.set_msg_type(kind);
    message
}

fn command(term: u64, index: u64) -> Entry {
    Entry { id: EntryId { term, index }, content: Content::Command(Bytes::from_static(b"command")) }
}

fn append(term: u64, log_term: u64, index: u64, entries: &[Entry], commit: u64) -> Message {
    let entries: Vec<_> = entries.iter().map(Entry::to_raft).collect();
    Message { term, log_term, index, entries: entries.into(), commit, ..message(MessageType::MsgAppend) }
}

fn ask(kind: MessageType, term: u64, index: u64) -> Message {
    Message { term, log_term: term.min(TERM), index, ..message(kind) }
}

fn offer(term: u64, index: u64) -> Message {
    let mut offer = Message { term, ..message(MessageType::MsgSnapshot) };
    offer.set_snapshot(snapshot(EntryId { term: term.min(TERM), index }, &first(), Bytes::from_static(b"state")));
    offer
}

/// What is said of that kind in that term, each time with other facts. Nobody has entries of a term after its own.
fn said(kind: MessageType, term: u64) -> Vec<Message> {
    let plain = Message { term, ..message(kind) };
    match kind {
        MessageType::MsgAppend => [
            append(term, 1, 1, &[], 1),
            append(term, term.min(TERM), 4, &[command(term, 5)], 4),
            append(term, term.min(TERM), 3, &[command(term, 4)], 3),
            append(term, term.min(TERM), 20, &[command(term, 21)], 3),
        ]
        .into(),
        MessageType::MsgAppendResponse => {
            let reject = Message { reject: true, reject_hint: 2, index: 4, ..plain.clone() };
            [Message { index: 4, ..plain.clone() }, Message { index: 99, ..plain }, reject].into()
        }
        MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => [ask(kind, term, 9), ask(kind, term, 2)].into(),
        MessageType::MsgRequestVoteResponse | MessageType::MsgRequestPreVoteResponse => {
            [plain.clone(), Message { reject: true, ..plain }].into()
        }
        MessageType::MsgSnapshot => [offer(term, 2), offer(term, 12)].into(),
        MessageType::MsgHeartbeat => [Message { commit: 2, ..plain.clone() }, Message { commit: 99, ..plain }].into(),
        _ => [plain].into(),
    }
}

fn is_of_a_leader(kind: MessageType) -> bool {
    matches!(kind, MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgSnapshot)
}

fn check(state: State, message: &Message, before: &Seen, after: &Seen, answers: &[Message]) {
    let kind = message.get_msg_type();
    let what = alloc::format!("{state:?}: {message:?}\n{before:?}\n{after:?}\n{answers:?}");
    // About what it cannot have, which would end the process: see `guard`.
    if kind == MessageType::MsgHeartbeat && message.commit > before.last.1 {
        return assert_eq!(after, before, "it heeds what cannot be: {what}");
    }
    assert!(after.term >= before.term, "its term falls: {what}");
    assert!(after.committed >= before.committed, "what was decided is not: {what}");
    assert!(after.term > before.term || before.vote == 0 || after.vote == before.vote, "it votes twice: {what}");
    assert!(state == Empty || after.members == before.members, "nobody decided on other members: {what}");
    if before.role == StateRole::Leader && after.role == StateRole::Leader {
        assert!(after.last.1 >= before.last.1, "a leader takes nothing back: {what}");
    }
    if message.term < before.term {
        assert_eq!(after, before, "it listens to a former term: {what}");
    }
    let is_asked_before = kind == MessageType::MsgRequestPreVote;
    let is_granted_before = kind == MessageType::MsgRequestPreVoteResponse && !message.reject;
    if is_asked_before {
        assert_eq!((after.term, after.vote), (before.term, before.vote), "to be asked beforehand is nothing: {what}");
    }
    // A snapshot is heard of once it is there.
    let is_there = kind != MessageType::MsgSnapshot || state != Offered;
    if message.term > before.term && !is_asked_before && !is_granted_before && state != Empty && is_there {
        // Whoever hears of a leader, or leads, does not listen to others who want to.
        let is_ignored = kind == MessageType::MsgRequestVote && (before.leader != 0);
        let expected = if is_ignored { before.term } else { message.term };
        // Whoever is told to lead asks for votes at once.
        let own = u64::from(kind == MessageType::MsgTimeoutNow && after.role == StateRole::Candidate);
        assert_eq!(after.term, expected + own, "it stays in its term: {what}");
    }
    if is_there && is_of_a_leader(kind) && message.term >= before.term && before.role != StateRole::Leader {
        let is_news = message.term > before.term || before.leader == 0;
        if is_news {
            assert_eq!((after.role, after.leader), (StateRole::Follower, message.from), "it has a leader: {what}");
        }
    }
    for answer in answers {
        if answer.get_msg_type() == MessageType::MsgRequestVoteResponse && !answer.reject {
            assert_eq!((after.vote, after.term), (answer.to, answer.term), "it grants what it does not keep: {what}");
        }
        if answer.get_msg_type() == MessageType::MsgAppendResponse && !answer.reject {
            assert!(answer.index <= after.last.1, "it says that it has what it has not: {what}");
        }
    }
}

#[test]
fn whatever_is_said_in_whatever_state_keeps_what_raft_promises() {
    let mut taken = 0;
    for state in STATES {
        let term = Node::new(state).seen().term;
        for kind in KINDS {
            for term in [term.saturating_sub(1).max(1), term.max(1), term + 1] {
                for message in said(kind, term) {
                    let mut node = Node::new(state);
                    let before = node.seen();
                    let answers = node.hear(message.clone());
                    let after = node.seen();
                    check(state, &message, &before, &after, &answers);
                    taken += usize::from(after != before || !answers.is_empty());
                    // A command is taken or refused, and what is taken is in the log.
                    let asked = node.groups.propose(GROUP, Bytes::from_static(b"after"));
                    assert_eq!(asked.is_ok(), after.role == StateRole::Leader, "{state:?}: {message:?}: {asked:?}");
                    if let Ok(id) = asked {
                        assert_eq!(node.seen().last, (id.term, id.index));
                    }
                    node.flush();
                }
            }
        }
    }
    assert!(taken > 150, "hardly anything was heard: {taken}");
}

#[test]
fn the_states_are_what_they_are_called() {
    for (state, role, term) in [
        (Follower, StateRole::Follower, TERM),
        (Voted, StateRole::Follower, TERM + 2),
        (PreCandidate, StateRole::PreCandidate, TERM),
        (Candidate, StateRole::Candidate, TERM + 1),
        (Leader, StateRole::Leader, TERM + 1),
        (Learner, StateRole::Follower, TERM),
    ] {
        let seen = Node::new(state).seen();
        assert_eq!((seen.role, seen.term), (role, term), "{state:?}");
        assert_eq!(seen.last.1, 4 + u64::from(state == Leader), "{state:?}");
    }
    assert!(Node::new(Offered).groups.group(GROUP).unwrap().offered.is_some());
}

/// Members change when that is decided, so that there is nothing to take back.
#[test]
fn members_that_were_not_decided_on_go_with_their_entry() {
    let mut node = Node::new(Follower);
    let change =
        Entry { id: EntryId { term: TERM, index: 5 }, content: Content::Members(MemberChange::Remove(NodeId(3))) };
    node.hear(append(TERM, TERM, 4, &[change], 4));
    let is = node.seen().members;
    assert_eq!(is.voters().len(), 3);
    node.hear(append(TERM + 1, TERM, 4, &[command(TERM + 1, 5), command(TERM + 1, 6)], 6));
    assert_eq!(node.seen().members, is);
    assert_eq!(node.seen().committed, 6);
}
