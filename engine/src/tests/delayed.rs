//! Delayed exchanges and a wall clock that is set (plugin `x-delayed-message`, which waits for a time on the wall clock, too).

use core::time::Duration;

use super::world::{CHANNEL, World};
use crate::amqp::method::{exchange, queue};
use crate::amqp::{FieldTable, Properties, RawProperties, Routing, ShortStr};
use crate::config::Config;

const HOLD: ShortStr = ShortStr::from_static("hold");
const SECOND: Duration = Duration::from_secs(1);
const HOUR_MS: u64 = 3_600_000;

/// A machine that starts with a wrong time learns the right one later.
#[test]
fn a_wall_clock_that_is_corrected_does_not_keep_messages_back() {
    let mut world = World::new(Config::default());
    let client = world.client();
    let arguments = FieldTable::new().with("x-delayed-type", "fanout");
    let exchange_type = ShortStr::from_static("x-delayed-message");
    world.send(
        client,
        exchange::Declare { exchange: HOLD, exchange_type, durable: true, arguments, ..exchange::Declare::default() },
    );
    world.declare(client, "q", true, FieldTable::new());
    world.send(client, queue::Bind { queue: super::QUEUE, exchange: HOLD, ..queue::Bind::default() });
    world.wall_ahead_ms = HOUR_MS;
    let headers = Some(FieldTable::new().with("x-delay", 1000_i32));
    let properties = RawProperties::from(&Properties { headers, ..Properties::default() });
    let routing = Routing::new(&HOLD, &ShortStr::new());
    world.with(client, |client| client.publish(CHANNEL, &routing, false, &properties, b"late").unwrap());
    world.wall_ahead_ms = 0;
    world.pass(10 * SECOND);
    assert_eq!(world.counts("q"), (0, 0, 0), "by the wall clock there is an hour to go");
    world.wall_ahead_ms = HOUR_MS;
    world.pass(crate::limits::HOLD_LOOK);
    assert_eq!(world.counts("q"), (1, 0, 0));
}
