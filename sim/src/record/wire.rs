//! What is under way between one client and the node, read off the bytes at both ends of their connection.
//!
//! Whatever is said goes in at one end and comes out at the other in the same order, or is lost with the connection. So each direction
//! has a tap at its beginning, which says what was sent, and one at its end, which says how much of that has arrived.

use std::collections::{BTreeMap, VecDeque};

use super::{Event, Fate, Kind, words};
use crate::clock::Micros;
use crate::tap::{Said, Tap, split_routing};

/// Where bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the client to the node.
    Up,
    /// From the node to the client.
    Down,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Wire {
    /// Its number.
    number: u32,
    /// Lanes of the client and of the node.
    client: usize,
    node: usize,
    up: Way,
    down: Way,
    channels: BTreeMap<u16, Channel>,
    /// The client was told to stop publishing.
    pub(super) is_blocked: bool,
}

/// One direction.
#[derive(Debug)]
struct Way {
    sent: Tap,
    arrived: Tap,
    underway: VecDeque<Event>,
    /// Nobody is at its end any more.
    is_over: bool,
}

/// What is open on a channel.
#[derive(Debug, Default)]
struct Channel {
    /// Publishes since `confirm.select`.
    seqno: Option<u64>,
    unconfirmed: BTreeMap<u64, u32>,
    unacked: BTreeMap<u64, (u32, Option<String>)>,
    /// Queues by their consumers' tags.
    consumers: BTreeMap<Vec<u8>, String>,
    /// The queue that was last asked for a message.
    asked: Option<String>,
}

impl Wire {
    /// A connection at its beginning.
    pub(super) fn new(number: u32, client: usize, node: usize) -> Self {
        let way = |tap: fn() -> Tap| Way { sent: tap(), arrived: tap(), underway: VecDeque::new(), is_over: false };
        Self {
            number,
            client,
            node,
            up: way(Tap::of_client),
            down: way(Tap::of_node),
            channels: BTreeMap::new(),
            is_blocked: false,
        }
    }

    /// The lane of its client.
    pub(super) fn client(&self) -> usize {
        self.client
    }

    /// The lane of its node.
    pub(super) fn node(&self) -> usize {
        self.node
    }

    /// The message that was published under this number.
    pub(super) fn unconfirmed(&self, channel: u16, seqno: u64) -> Option<u32> {
        self.channels.get(&channel)?.unconfirmed.get(&seqno).copied()
    }

    /// Bytes set out; what is lost at once goes into `lost`.
    pub(super) fn sent(
        &mut self,
        time: Micros,
        direction: Direction,
        bytes: &[u8],
        names: &[super::Lane],
        lost: &mut Vec<Event>,
    ) {
        let Self { number, client, node, up, down, channels, is_blocked } = self;
        let (way, lane, to) = match direction {
            Direction::Up => (up, *client, *node),
            Direction::Down => (down, *node, *client),
        };
        let who = &names[*client].name;
        way.sent.hear(bytes, |channel, said| {
            match (direction, &said) {
                (Direction::Down, Said::Blocked) => *is_blocked = true,
                (Direction::Down, Said::Unblocked) => *is_blocked = false,
                _ => {}
            }
            let held = channels.entry(channel).or_default();
            let mut event = match direction {
                Direction::Up => held.client_says(&said, who),
                Direction::Down => held.node_says(&said, who),
            };
            event.from = Some(time);
            event.lane = lane;
            event.to = Some(to);
            event.channel = Some((*number, channel));
            if way.is_over {
                (event.at, event.fate) = (time, Fate::Lost);
                lost.push(event);
            } else {
                way.underway.push_back(event);
            }
        });
    }

    /// Bytes arrived.
    pub(super) fn arrived(&mut self, time: Micros, direction: Direction, bytes: &[u8], into: &mut Vec<Event>) {
        let Way { arrived, underway, .. } = self.way(direction);
        arrived.hear(bytes, |_, _| {
            if let Some(mut event) = underway.pop_front() {
                event.at = time;
                into.push(event);
            }
        });
    }

    /// Nothing more arrives in this direction.
    pub(super) fn cut(&mut self, time: Micros, direction: Direction, fate: Fate, into: &mut Vec<Event>) {
        let way = self.way(direction);
        way.is_over = true;
        for mut event in way.underway.drain(..) {
            event.at = time;
            event.fate = fate;
            into.push(event);
        }
    }

    fn way(&mut self, direction: Direction) -> &mut Way {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }
}

impl Channel {
    fn client_says(&mut self, said: &Said<'_>, who: &str) -> Event {
        let text = words::client_says(said);
        let mut event = Event { text: format!("{who} {text}"), ..Event::default() };
        match *said {
            Said::ChannelOpen => *self = Self::default(),
            Said::ConfirmSelect => self.seqno = Some(0),
            Said::Publish { message, routing, .. } => {
                event.kind = Kind::Publish;
                event.messages.extend(message.map(|message| message.0));
                let (exchange, key) = split_routing(routing);
                if exchange.is_empty() {
                    event.queue = Some(words::name(key));
                }
                if let Some(seqno) = &mut self.seqno {
                    *seqno += 1;
                    event.tag = Some(*seqno);
                    event.text += &format!(", as its publish {seqno}");
                    self.unconfirmed.extend(message.map(|message| (*seqno, message.0)));
                }
            }
            Said::Consume { queue, tag, .. } => {
                event.queue = Some(words::name(queue));
                self.consumers.insert(tag.to_vec(), words::name(queue));
            }
            Said::Cancel { tag } => event.queue = self.consumers.remove(tag),
            Said::Get { queue, .. } => {
                event.queue = Some(words::name(queue));
                self.asked = Some(words::name(queue));
            }
            Said::Ack { tag, multiple } => {
                event.kind = Kind::Ack;
                self.answer(&mut event, tag, multiple);
                event.text = format!("{who} acks {}", words::numbers(&event.messages));
            }
            Said::Nack { tag, multiple, requeue } => {
                event.kind = Kind::Reject;
                self.answer(&mut event, tag, multiple);
                let how = if requeue { "puts back" } else { "rejects" };
                event.text = format!("{who} {how} {}", words::numbers(&event.messages));
            }
            _ => {}
        }
        event
    }

    fn node_says(&mut self, said: &Said<'_>, who: &str) -> Event {
        let text = words::node_says(said);
        let mut event = Event { text: format!("the node {text} {who}"), ..Event::default() };
        match *said {
            Said::Ack { tag, multiple } | Said::Nack { tag, multiple, .. } => {
                let is_ack = matches!(said, Said::Ack { .. });
                event.kind = if is_ack { Kind::Confirm } else { Kind::Refuse };
                event.tag = Some(tag);
                event.messages = take(&mut self.unconfirmed, tag, multiple);
                let verb = if is_ack { "confirms" } else { "refuses" };
                event.text = format!("the node {verb} {} to {who}", words::numbers(&event.messages));
            }
            Said::Return { message } => {
                event.kind = Kind::Return;
                event.messages.extend(message.map(|message| message.0));
                event.text = format!("the node returns {} to {who}", words::numbers(&event.messages));
            }
            Said::Deliver { tag, redelivered, message, .. } | Said::GetOk { tag, redelivered, message, .. } => {
                event.kind = Kind::Deliver;
                event.tag = Some(tag);
                event.messages.extend(message.map(|message| message.0));
                event.queue = match *said {
                    Said::Deliver { consumer, .. } => self.consumers.get(consumer).cloned(),
                    _ => self.asked.clone(),
                };
                let from = event.queue.as_ref().map_or_else(String::new, |queue| format!(" from {queue}"));
                let flag = if redelivered { ", redelivered" } else { "" };
                let what = words::numbers(&event.messages);
                event.text = format!("the node delivers {what}{from} to {who}{flag}");
                self.unacked.extend(message.map(|message| (tag, (message.0, event.queue.clone()))));
            }
            _ => {}
        }
        event
    }

    /// Takes what an ack or a reject is about.
    fn answer(&mut self, event: &mut Event, tag: u64, multiple: bool) {
        event.tag = Some(tag);
        for (message, queue) in take(&mut self.unacked, tag, multiple) {
            event.messages.push(message);
            event.queue = queue;
        }
    }
}

/// Takes what stands under a tag or, with `multiple`, up to it; a tag of 0 then means all.
fn take<T>(held: &mut BTreeMap<u64, T>, tag: u64, multiple: bool) -> Vec<T> {
    if !multiple {
        return held.remove(&tag).into_iter().collect();
    }
    let rest = if tag == 0 { BTreeMap::new() } else { held.split_off(&(tag + 1)) };
    std::mem::replace(held, rest).into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiple_takes_all_up_to_a_tag_and_zero_takes_everything() {
        let mut held: BTreeMap<u64, u32> = (1..=5).map(|tag| (tag, 10)).collect();
        assert_eq!(take(&mut held, 2, false).len(), 1);
        assert_eq!(take(&mut held, 3, true).len(), 2);
        assert_eq!(held.keys().copied().collect::<Vec<_>>(), [4, 5]);
        assert_eq!(take(&mut held, 0, true).len(), 2);
    }
}
