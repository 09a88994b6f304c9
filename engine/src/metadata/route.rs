//! From a published message to queues: through exchanges, alternate exchanges and the default exchange.

use alloc::vec::Vec;

use super::Metadata;
use crate::amqp::RawProperties;
use crate::routing::{Destination, ExchangeKey, MessageHeaders, QueueKey, RouteScratch};

impl Metadata {
    /// Finds the queues that a message published to `exchange` goes to, each once, and puts them into `out`, which is cleared first.
    /// The order depends only on what was declared and bound, in which order.
    ///
    /// `routing_keys` is the message's key, with those of its `CC` and `BCC` headers if it has any. An exchange that matches nothing
    /// for any of them sends the message to its alternate exchange (RabbitMQ docs: Alternate Exchanges). Each exchange is asked
    /// once, so that bindings in a circle do no harm. The default exchange knows the queues only if the message was published to it:
    /// as an alternate exchange it matches nothing, in RabbitMQ too.
    pub fn route(
        &self,
        exchange: ExchangeKey,
        routing_keys: &[&[u8]],
        properties: &RawProperties<&[u8]>,
        scratch: &mut RouteScratch,
        out: &mut Vec<QueueKey>,
    ) {
        out.clear();
        scratch.round += 1;
        let round = scratch.round;
        let mut headers = MessageHeaders::new(properties);
        let RouteScratch { queues, exchanges, work, topic, random, aside, .. } = scratch;
        work.clear();
        aside.clear();
        let published_to = exchange;
        let mut next = Some(published_to);
        while let Some(key) = next {
            let Some(exchange) = self.exchanges.get(key) else {
                next = work.pop();
                continue;
            };
            if exchange.arguments.has_aside {
                if key == published_to && exchange.arguments.deduplication.is_some() {
                    aside.deduper = Some(key);
                }
                // What has to wait goes nowhere from here until its time has come.
                if exchange.arguments.is_delayed && headers.is_to_wait() {
                    aside.holds.push(key);
                    next = work.pop();
                    continue;
                }
                if exchange.arguments.history_length > 0 {
                    aside.histories.push(key);
                }
            }
            let mut is_matched = false;
            let mut found = |destination| {
                is_matched = true;
                match destination {
                    // Most messages go to one queue, which needs no mark.
                    Destination::Queue(queue) => match out.first() {
                        None => out.push(queue),
                        Some(first) if *first == queue => {}
                        Some(_) if queues.insert(queue, round) == Some(round) => {}
                        Some(_) => out.push(queue),
                    },
                    Destination::Exchange(other) => {
                        if other != published_to && exchanges.insert(other, round) != Some(round) {
                            work.push(other);
                        }
                    }
                }
            };
            // Who chooses one binding chooses by the first key, RabbitMQ's hash exchanges too.
            let counted =
                if exchange.arguments.matching.chooses_one() { routing_keys.len().min(1) } else { routing_keys.len() };
            for routing_key in &routing_keys[..counted] {
                if !exchange.is_default() {
                    exchange.table.matches(routing_key, &mut headers, topic, random, &mut found);
                } else if key == published_to
                    && let Some(queue) = self.vhosts[exchange.vhost].queue(routing_key)
                {
                    found(Destination::Queue(queue));
                }
            }
            if !is_matched
                && let Some(alternate) = &exchange.settings.alternate_exchange
                && let Some(other) = self.vhosts[exchange.vhost].exchange(alternate.as_bytes())
                && other != published_to
                && exchanges.insert(other, round) != Some(round)
            {
                work.push(other);
            }
            next = work.pop();
        }
    }
}
