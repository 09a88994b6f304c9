//! Programs that failed once, shrunk. `told` in the report of a failure is what goes between the brackets.

use super::check;
use super::program::Lane;
use super::program::Op::{Consume, DeclareQueue};
use super::program::QueueArgs;

#[test]
fn a_tag_in_use_is_noticed_before_the_missing_queue() {
    let program = [
        DeclareQueue {
            on: Lane(0),
            queue: 1,
            durable: true,
            exclusive: false,
            auto_delete: false,
            args: QueueArgs::default(),
        },
        Consume { on: Lane(3), queue: 1, tag: 0, no_ack: false, exclusive: false, priority: None },
        Consume { on: Lane(3), queue: 2, tag: 0, no_ack: false, exclusive: false, priority: None },
    ];
    assert_eq!(check(&program), Ok(()));
}
