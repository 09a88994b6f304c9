//! Programs that failed once, shrunk. `told` in the report of a failure is what goes between the brackets.

use super::check;
use super::program::Op::{Consume, DeclareQueue, DeclareQueuePassive, Get, Send, TxCommit, TxSelect, Wait};
use super::program::{Lane, MessageArgs, Op, Overflow, QueueArgs};

#[test]
fn a_tag_in_use_is_noticed_before_the_missing_queue() {
    let program = [
        declare(1, QueueArgs::default()),
        Consume { on: Lane(3), queue: 1, tag: 0, no_ack: false, exclusive: false, priority: None },
        Consume { on: Lane(3), queue: 2, tag: 0, no_ack: false, exclusive: false, priority: None },
    ];
    assert_eq!(check(&program), Ok(()));
}

/// With a time to live of 0, a message is delivered at once or never, also when what stood before it was dropped for the limit.
#[test]
fn what_was_behind_an_excess_message_expires_at_once() {
    let args = QueueArgs { max_length: Some(1), ..QueueArgs::default() };
    let program = [
        declare(1, args),
        Send { on: Lane(0), queue: 1, message: MessageArgs::default() },
        Send { on: Lane(0), queue: 1, message: MessageArgs { expiration: Some(0), ..MessageArgs::default() } },
        DeclareQueuePassive { on: Lane(0), queue: 1 },
    ];
    assert_eq!(check(&program), Ok(()));
}

/// Seen at the same instant: the second message had its chance when it came.
#[test]
fn what_was_not_delivered_at_once_is_not_delivered_later() {
    let program = [
        declare(0, QueueArgs::default()),
        Send { on: Lane(0), queue: 0, message: MessageArgs::default() },
        Send { on: Lane(0), queue: 0, message: MessageArgs { expiration: Some(0), ..MessageArgs::default() } },
        Consume { on: Lane(0), queue: 0, tag: 0, no_ack: false, exclusive: false, priority: None },
    ];
    assert_eq!(check(&program), Ok(()));
}

/// Copies by `BCC` are forgotten by nobody but the reader.
#[test]
fn dead_letters_go_by_hidden_keys_too() {
    let args = QueueArgs { dead_letter_exchange: Some(3), ..QueueArgs::default() };
    let message = MessageArgs { expiration: Some(0), bcc: vec![0, 2], ..MessageArgs::default() };
    let program = [
        declare(2, args),
        declare(0, QueueArgs::default()),
        Send { on: Lane(0), queue: 1, message },
        Consume { on: Lane(0), queue: 0, tag: 0, no_ack: false, exclusive: false, priority: None },
    ];
    assert_eq!(check(&program), Ok(()));
}

/// The default exchange finds queues by name, at the commit.
#[test]
fn a_queue_declared_before_the_commit_gets_the_message() {
    let program = [
        TxSelect { on: Lane(2) },
        Send { on: Lane(2), queue: 1, message: MessageArgs::default() },
        declare(1, QueueArgs::default()),
        TxCommit { on: Lane(2) },
        DeclareQueuePassive { on: Lane(0), queue: 1 },
    ];
    assert_eq!(check(&program), Ok(()));
}

#[test]
fn a_transaction_fails_when_a_queue_refuses_a_publish() {
    let args = QueueArgs { max_length: Some(0), overflow: Some(Overflow::RejectPublish), ..QueueArgs::default() };
    let program = [
        declare(3, args),
        TxSelect { on: Lane(5) },
        Send { on: Lane(5), queue: 3, message: MessageArgs::default() },
        TxCommit { on: Lane(5) },
    ];
    assert_eq!(check(&program), Ok(()));
}

/// A refused `basic.get` makes no use of a queue.
#[test]
fn a_refused_get_does_not_keep_a_queue() {
    let args = QueueArgs { expires: Some(1000), single_active_consumer: Some(true), ..QueueArgs::default() };
    let program = [
        declare(1, args),
        Wait(500),
        Get { on: Lane(0), queue: 1, no_ack: false },
        Wait(500),
        DeclareQueuePassive { on: Lane(0), queue: 1 },
    ];
    assert_eq!(check(&program), Ok(()));
}

fn declare(queue: u8, args: QueueArgs) -> Op {
    DeclareQueue { on: Lane(0), queue, durable: true, exclusive: false, auto_delete: false, args }
}
