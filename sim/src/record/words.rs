//! The words of a recording.

use leveret_engine::effect::DiskOp;
use leveret_engine::event::LeftTo;
use serde::Serialize;

use crate::history::{Change, Departure, Fact};
use crate::plan::Ending;
use crate::story::StoryFact;
use crate::tap::{Said, split_routing};

/// A name as people see it.
pub(super) fn name(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Message numbers: "#3", "#3 to #7", "#3, #5 and 4 more", "nothing that is known".
pub(super) fn numbers(messages: &[u32]) -> String {
    match *messages {
        [] => "nothing that is known".to_owned(),
        [one] => format!("#{one}"),
        [first, .., last] if messages.windows(2).all(|pair| pair[1] == pair[0] + 1) => format!("#{first} to #{last}"),
        [first, second] => format!("#{first} and #{second}"),
        [first, second, ..] => format!("#{first}, #{second} and {} more", messages.len() - 2),
    }
}

/// What a client says, after its name. Answers to deliveries are put into words where it is known what they are about.
pub(super) fn client_says(said: &Said<'_>) -> String {
    match *said {
        Said::ChannelOpen => "opens a channel".to_owned(),
        Said::ChannelClose { .. } => "closes its channel".to_owned(),
        Said::ConnectionClose { .. } => "closes its connection".to_owned(),
        Said::ExchangeDeclare { name: exchange, .. } => format!("declares exchange {}", name(exchange)),
        Said::ExchangeDelete { name: exchange } => format!("deletes exchange {}", name(exchange)),
        Said::ExchangeBind { destination, source, .. } => {
            format!("binds exchange {} to {}", name(destination), name(source))
        }
        Said::ExchangeUnbind { destination, source, .. } => {
            format!("unbinds exchange {} from {}", name(destination), name(source))
        }
        Said::QueueDeclare { name: queue, .. } => format!("declares queue {}", name(queue)),
        Said::QueueBind { queue, source, .. } => format!("binds queue {} to {}", name(queue), name(source)),
        Said::QueueUnbind { queue, source, .. } => format!("unbinds queue {} from {}", name(queue), name(source)),
        Said::QueuePurge { queue } => format!("purges queue {}", name(queue)),
        Said::QueueDelete { queue } => format!("deletes queue {}", name(queue)),
        Said::Qos { count, .. } => format!("asks for a prefetch of {count}"),
        Said::Consume { queue, .. } => format!("consumes from {}", name(queue)),
        Said::Cancel { .. } => "cancels its consumer".to_owned(),
        Said::Publish { message, routing, .. } => {
            let what = message.map_or_else(|| "a message of no number".to_owned(), |message| message.to_string());
            let (exchange, key) = split_routing(routing);
            let place = if exchange.is_empty() { name(key) } else { format!("{} as {:?}", name(exchange), name(key)) };
            format!("publishes {what} to {place}")
        }
        Said::Get { queue, .. } => format!("asks for a message of {}", name(queue)),
        Said::Recover => "asks for all that it has not answered".to_owned(),
        Said::ConfirmSelect => "asks for confirms".to_owned(),
        Said::TxSelect => "asks for transactions".to_owned(),
        Said::TxCommit => "commits".to_owned(),
        Said::TxRollback => "rolls back".to_owned(),
        Said::Done { class, method } => format!("sends {}", method_name(class, method)),
        _ => "answers".to_owned(),
    }
}

/// What the node says, between "the node" and the client's name.
pub(super) fn node_says(said: &Said<'_>) -> String {
    match *said {
        Said::ChannelClose { code, .. } => format!("closes, with {code}, a channel of"),
        Said::ConnectionClose { code } => format!("closes, with {code}, the connection of"),
        Said::Blocked => "blocks".to_owned(),
        Said::Unblocked => "unblocks".to_owned(),
        Said::QueueDeclareOk { name: queue, messages, .. } => {
            format!("declares {} ({messages} messages) for", name(queue))
        }
        Said::QueuePurgeOk { messages } => format!("has purged {messages} messages for"),
        Said::QueueDeleteOk { messages } => format!("has deleted a queue with {messages} messages for"),
        Said::Cancel { .. } => "cancels a consumer of".to_owned(),
        Said::GetEmpty => "has nothing for".to_owned(),
        Said::Done { class, method } => format!("sends {} to", method_name(class, method)),
        _ => "answers".to_owned(),
    }
}

fn method_name(class: u16, method: u16) -> String {
    let known = match (class, method) {
        (10, 10) => "connection.start",
        (10, 11) => "connection.start-ok",
        (10, 30) => "connection.tune",
        (10, 31) => "connection.tune-ok",
        (10, 40) => "connection.open",
        (10, 41) => "connection.open-ok",
        (20, 11) => "channel.open-ok",
        (20, 20) => "channel.flow",
        (40, 11) => "exchange.declare-ok",
        (40, 21) => "exchange.delete-ok",
        (40, 31) => "exchange.bind-ok",
        (40, 51) => "exchange.unbind-ok",
        (50, 21) => "queue.bind-ok",
        (50, 51) => "queue.unbind-ok",
        (60, 11) => "basic.qos-ok",
        (60, 21) => "basic.consume-ok",
        (60, 31) => "basic.cancel-ok",
        (60, 111) => "basic.recover-ok",
        (85, 11) => "confirm.select-ok",
        (90, 11) => "tx.select-ok",
        (90, 21) => "tx.commit-ok",
        (90, 31) => "tx.rollback-ok",
        _ => return format!("method {class}.{method}"),
    };
    known.to_owned()
}

/// A disk operation.
pub(super) fn disk_op(op: &DiskOp) -> String {
    match op {
        DiskOp::List => "list the segments".to_owned(),
        DiskOp::Create { segment, recycle: None, .. } => format!("make segment {segment}"),
        DiskOp::Create { segment, recycle: Some(old), .. } => format!("make segment {segment} of segment {old}"),
        DiskOp::Append { segment, offset, data, sync } => {
            let bytes: usize = data.iter().map(bytes::Bytes::len).sum();
            let verb = if *sync { "write and sync" } else { "write" };
            format!("{verb} {bytes} bytes at {offset} of segment {segment}")
        }
        DiskOp::Read { segment, offset, len } => format!("read {len} bytes at {offset} of segment {segment}"),
        DiskOp::Delete { segment } => format!("remove segment {segment}"),
    }
}

/// How the node ended.
pub(super) fn ending(how: Ending, by_itself: bool) -> &'static str {
    match how {
        _ if by_itself => "the node stops by itself",
        Ending::Kill => "the node's process is killed",
        Ending::PowerLoss => "the node's machine loses power",
        Ending::Shutdown => "the node has stopped in order",
    }
}

/// The words of an enum's variant, as serde has it: `DiskFull { append: true }` is "disk full (append)". What a variant holds beside
/// flags and numbers is not told.
pub(super) fn variant(value: &impl Serialize) -> (String, Option<usize>) {
    let value = serde_json::to_value(value).unwrap_or_default();
    let (name, fields) = match &value {
        serde_json::Value::String(name) => (name.as_str(), None),
        serde_json::Value::Object(map) => match map.iter().next() {
            Some((name, fields)) => (name.as_str(), fields.as_object()),
            None => ("", None),
        },
        _ => ("", None),
    };
    let mut out = String::new();
    for character in name.chars() {
        if character.is_uppercase() && !out.is_empty() {
            out.push(' ');
        }
        out.extend(character.to_lowercase());
    }
    let mut client = None;
    let mut notes = Vec::new();
    for (field, value) in fields.into_iter().flatten() {
        match value {
            serde_json::Value::Number(number) if field == "client" => {
                client = number.as_u64().and_then(|number| usize::try_from(number).ok());
            }
            serde_json::Value::Number(number) if number.as_u64() != Some(0) => {
                notes.push(format!("{} {number}", field.replace('_', " ")));
            }
            serde_json::Value::Bool(true) => notes.push(field.replace('_', " ")),
            serde_json::Value::String(text) => notes.push(text.to_lowercase()),
            _ => {}
        }
    }
    if !notes.is_empty() {
        out += &format!(" ({})", notes.join(", "));
    }
    (out, client)
}

/// What a fact says about a promise: what should have been, and what was. `queue` is the name of the queue it is about.
pub(super) fn expectation(oracle: &str, fact: &Fact, text: &str, queue: &str) -> (String, String) {
    let actual = text.to_owned();
    let expected = match *fact {
        Fact::Answered { message: Some(message), must_be_durable: true, lsn, safe, is_ack: true, .. } => {
            let at = lsn.map_or_else(|| "nowhere in the log".to_owned(), |lsn| format!("at byte {lsn} of the log"));
            return (
                format!("the confirm of {message} waits until its record is on the disk as safely as promised"),
                format!("its record is {at}, and the log is as safe as that only up to byte {safe}"),
            );
        }
        Fact::NeverCame { message, was_confirmed, .. } => {
            let why = if was_confirmed { "its publisher was told that it is safe" } else { "the node took it" };
            return (
                format!("{message} comes out of {queue}, since {why} and nothing took it away"),
                format!("{queue} was drained to its end, and {message} was not in it"),
            );
        }
        Fact::Skipped { message, delivered, .. } => {
            format!("{queue} gives {message}, which is older, before {delivered}")
        }
        Fact::MissedByGet { message, .. } => format!("the get is answered with {message}, which waits in {queue}"),
        Fact::Delivered { message: Some(message), unacked, prefetch, channel_unacked, channel_prefetch, .. }
            if (prefetch > 0 && unacked > prefetch) || (channel_prefetch > 0 && channel_unacked > channel_prefetch) =>
        {
            let (held, limit) = if prefetch > 0 && unacked > prefetch {
                (unacked, prefetch)
            } else {
                (channel_unacked, channel_prefetch)
            };
            return (
                format!("{message} waits, since no more than {limit} may be unanswered at a time"),
                format!("{held} are unanswered, with {message}; {limit} were asked for"),
            );
        }
        Fact::Delivered { message: Some(message), before, .. } => {
            return (format!("a delivery of {message} that fits what is known of it: {}", presence(before)), actual);
        }
        Fact::Counted { least, most, found, .. } => {
            let range = if least == most { least.to_string() } else { format!("{least} to {most}") };
            return (format!("{queue} holds {range} messages"), format!("it holds {found}"));
        }
        Fact::Existence { found, .. } => {
            let there = |is: bool| if is { "exists" } else { "does not exist" };
            return (format!("{queue} {}", there(!found)), format!("{queue} {}", there(found)));
        }
        Fact::Read { message: Some(message), wrong: Some(part), .. } => {
            format!("{message} arrives with the {part} that was published")
        }
        Fact::Read { message: None, .. } => "every message that arrives was published by somebody".to_owned(),
        Fact::Story(StoryFact::Timed { message, is_alive, due, seen, .. }) => {
            let (must, was) = if is_alive { ("is gone after", "alive") } else { ("lives until", "expired") };
            return (format!("{message} {must} {due} µs"), format!("at {seen} µs it is seen {was}"));
        }
        Fact::Story(StoryFact::Accounted { message, .. }) => {
            format!("{message} is acked, or taken by a rule of its queue, or still there")
        }
        Fact::Story(StoryFact::Length { limit, ready, .. }) => {
            return (format!("{queue} has at most {limit} messages ready"), format!("it has {ready}"));
        }
        Fact::Story(StoryFact::Died { message, least, most, count, .. }) => {
            let range = if least == most { least.to_string() } else { format!("{least} to {most}") };
            return (
                format!("`x-death` of {message} says that it died {range} times in {queue}"),
                format!("it says {count} times"),
            );
        }
        Fact::Story(StoryFact::Chosen { message, priority, by, by_priority, .. }) => {
            format!("{queue} gives {message}, of priority {priority}, before {by}, of priority {by_priority}")
        }
        Fact::Story(StoryFact::Dropped { message, before, .. }) => {
            format!("{queue} drops {message}, which is older, before it drops {before}")
        }
        Fact::Story(StoryFact::Given { message, was_settled: true, .. }) => {
            format!("{message} does not come again: it is settled")
        }
        Fact::Story(StoryFact::Given { message, was_refused: true, .. }) => {
            format!("{message} does not come: it was refused")
        }
        Fact::Story(StoryFact::Given { message, fresh, .. }) if fresh > 0 => {
            format!("{message} comes once from {queue}, or comes again with the redelivered flag")
        }
        Fact::Story(StoryFact::Blocked { connection, is_blocked, short, .. }) => {
            let must = if short.is_any() { "waits" } else { "goes on" };
            let told = if is_blocked { "to wait" } else { "to go on" };
            return (format!("the publisher on connection {connection} {must}"), format!("it is told {told}"));
        }
        Fact::Rest { .. } => {
            "nothing is kept: no bodies, no bytes for clients, no connections, three segments".to_owned()
        }
        _ => crate::explain::promise(oracle).to_owned(),
    };
    (expected, actual)
}

fn presence(presence: crate::history::Presence) -> String {
    use crate::history::Presence;
    match presence {
        Presence::Never => "it is not in that queue and never was".to_owned(),
        Presence::Ready => "it waits there".to_owned(),
        Presence::Maybe => "it may or may not be there".to_owned(),
        Presence::Unacked(_) => "another consumer has it and has not answered".to_owned(),
        Presence::Gone(how) => format!("it {}", departure(how)),
    }
}

/// How a message left.
pub(super) fn departure(how: Departure) -> &'static str {
    match how {
        Departure::Acked => "was acked",
        Departure::AutoAcked => "was delivered where that counts as acked",
        Departure::Rejected => "was rejected",
        Departure::Purged => "was purged",
        Departure::Restarted => "was not to survive a restart",
        Departure::Deleted => "went with its queue",
        Departure::Died => "died there",
        Departure::Refused => "was refused",
    }
}

/// What became of a message that left its queue.
pub(super) fn left_to(to: LeftTo) -> String {
    match to {
        LeftTo::Nowhere => "and goes nowhere".to_owned(),
        LeftTo::MissingExchange => "and its dead-letter exchange is not there".to_owned(),
        LeftTo::NoRoute => "and its dead-letter exchange has no queue for it".to_owned(),
        LeftTo::Cycle => "and is dropped, since it would go round for ever".to_owned(),
        LeftTo::Refused => "and all queues that it is for refuse it".to_owned(),
        LeftTo::Queues(1) => "and goes to another queue".to_owned(),
        LeftTo::Queues(count) => format!("and goes to {count} other queues"),
    }
}

/// What happened to a queue.
pub(super) fn change(what: Change) -> &'static str {
    match what {
        Change::DeclareAsked | Change::DeleteAsked | Change::PurgeAsked => "is to change",
        Change::Declared => "is there",
        Change::Refused => "stays as it is: refused",
        Change::Gone => "is gone",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::FaultKind;

    #[test]
    fn numbers_are_told_shortly() {
        let check = |messages: &[u32], expect: &str| assert_eq!(numbers(messages), expect);
        check(&[], "nothing that is known");
        check(&[3], "#3");
        check(&[3, 4, 5], "#3 to #5");
        check(&[3, 5], "#3 and #5");
        check(&[3, 5, 9, 11], "#3, #5 and 2 more");
    }

    #[test]
    fn faults_are_told_by_their_names_with_their_client() {
        assert_eq!(variant(&FaultKind::FsyncError), ("fsync error".to_owned(), None));
        assert_eq!(variant(&FaultKind::DiskFull { append: true }), ("disk full (append)".to_owned(), None));
        let slow = FaultKind::SlowLink { client: 3, bytes_per_ms: 20 };
        assert_eq!(variant(&slow), ("slow link (bytes per ms 20)".to_owned(), Some(3)));
    }
}
