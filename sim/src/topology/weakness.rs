//! The weaknesses that are known: what each is called, how bad it is, what it means, and how to mend it in RabbitMQ's terms.
//!
//! A weakness is never found by looking at definitions: an experiment has to lose a message, and what the engine recorded of that
//! decides which of these it was.

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// Messages are lost in everyday operation, and nobody is told.
    High,
    /// Messages are lost at a limit or by an unlucky consumer.
    Medium,
    /// Messages are lost only when something else goes wrong at the same time.
    Low,
}

impl Severity {
    /// As it is printed.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}

/// A way to lose messages.
#[derive(Debug)]
pub(super) struct Weakness {
    /// Its name, as `--ignore` and `--explain` take it.
    pub(super) name: &'static str,
    /// How bad it is.
    pub(super) severity: Severity,
    /// What happens, in a sentence.
    pub(super) about: &'static str,
    /// Why, with RabbitMQ's words.
    pub(super) why: &'static str,
    /// What to do about it.
    pub(super) hint: &'static str,
}

macro_rules! weaknesses {
    ($($id:ident = $name:literal $severity:ident { $about:literal $why:literal $hint:literal })*) => {
        $(
            #[doc = $about]
            pub(super) static $id: Weakness = Weakness {
                name: $name,
                severity: Severity::$severity,
                about: $about,
                why: $why,
                hint: $hint,
            };
        )*
        /// All of them, in the order in which a message meets them.
        pub(super) static ALL: &[&Weakness] = &[$(&$id),*];
    };
}

weaknesses! {
    UNROUTABLE = "unroutable-without-alternate-exchange" Medium {
        "A message whose routing key matches no binding is dropped, and its publisher gets a confirm."
        "An exchange that finds no queue for a message drops it. A confirm only says that the broker has done what the bindings \
         ask for; a misspelt key or a binding that comes too late loses messages without a trace. A publisher that sets the \
         mandatory flag gets such messages back instead."
        "give the exchange an alternate exchange (argument or policy key `alternate-exchange`) with a queue bound to it, or \
         publish with the mandatory flag and heed basic.return"
    }
    ALTERNATE_MISSING = "alternate-exchange-missing" High {
        "The alternate exchange does not exist, so that unroutable messages are dropped all the same."
        "RabbitMQ does not check that the exchange named by `alternate-exchange` exists, and quietly goes on without it."
        "declare the alternate exchange, durable, and bind a durable queue to it; or correct its name"
    }
    ALTERNATE_UNBOUND = "alternate-exchange-without-binding" High {
        "The alternate exchange has no binding for what it is given, so that unroutable messages are dropped all the same."
        "An alternate exchange routes by its own type and bindings, with the routing key that matched nothing before. Anything \
         but a fanout exchange with a queue leaves gaps."
        "make the alternate exchange a fanout exchange and bind a durable queue to it"
    }
    UNCONFIRMED = "unconfirmed-publisher" High {
        "The broker dies before a published message is on the disk, and the publisher never learns of it."
        "Without publisher confirms a publish has happened for the client once its bytes are in the socket; until the broker \
         has synced it, a crash takes it away."
        "turn publisher confirms on (confirm.select) and publish again what was not confirmed"
    }
    REFUSED_UNCONFIRMED = "reject-publish-unconfirmed" High {
        "A full queue refuses the message, and the publisher, who wants no confirms, never learns of it."
        "`x-overflow=reject-publish` tells the publisher by basic.nack, which exists only in confirm mode."
        "turn publisher confirms on and heed basic.nack"
    }
    TRANSIENT_MESSAGES = "transient-messages" High {
        "A transient message does not survive a restart, even in a durable queue."
        "A classic queue keeps messages with delivery mode 1 in memory only. (Quorum queues keep them all.)"
        "publish with delivery_mode 2 (persistent), or use a quorum queue"
    }
    TRANSIENT_QUEUE = "transient-queue" High {
        "The queue is not durable: a restart of the broker deletes it with all its messages, persistent ones too."
        "A queue declared with durable=false is forgotten when its node restarts, and with it its bindings: what is published \
         next finds no queue until somebody declares it again."
        "declare the queue durable, best as a quorum queue (`x-queue-type=quorum`)"
    }
    TRANSIENT_EXCHANGE = "transient-exchange" High {
        "The exchange for dead letters or unroutable messages is not durable: after a restart it is not there."
        "An exchange declared with durable=false is forgotten with its bindings when the broker restarts. A publisher to it \
         would be told (404); dead letters and unroutable messages that are meant for it are dropped."
        "declare the exchange durable"
    }
    AUTO_DELETE = "auto-delete-queue" Medium {
        "The queue goes with its last consumer, and all messages in it go too, acked or not."
        "An auto-delete queue is deleted when its last consumer cancels or loses its connection. What that consumer had not \
         acked is not requeued but deleted."
        "declare the queue without auto_delete; to get rid of queues that nobody uses give them a generous `x-expires`"
    }
    QUEUE_EXPIRES = "queue-expires" Medium {
        "The queue expires while nobody uses it, and is deleted with its messages, which are not dead-lettered."
        "`x-expires` counts while a queue has no consumers and nobody declares it or gets from it; messages that are waiting \
         do not hold it up."
        "take `x-expires` (policy key `expires`) away, or limit messages by `message-ttl` with a dead-letter exchange instead"
    }
    AUTO_ACK = "auto-ack-consumer" High {
        "The consumer acks automatically: what it was sent and had not handled is lost when it crashes."
        "With automatic acknowledgement (no_ack) a message counts as acked once it is written to the socket, however many wait \
         in the client."
        "consume with manual acknowledgements and a prefetch limit, and ack after the work is done"
    }
    TTL = "ttl-without-dlx" Medium {
        "Messages that nobody takes in time expire and are gone."
        "Messages expire at the head of a queue after `x-message-ttl`, or their own `expiration`; without a dead-letter \
         exchange they are dropped."
        "give the queue a dead-letter exchange with a queue bound to it, or take the time-to-live away"
    }
    DROP_HEAD = "drop-head-without-dlx" High {
        "A queue at its limit drops its oldest message for every new one, and nobody is told."
        "Overflow behaviour `drop-head` is the default of `x-max-length` and `x-max-length-bytes`; without a dead-letter \
         exchange the head is dropped, although its publisher had a confirm for it."
        "set `x-overflow=reject-publish` (policy key `overflow`), so that publishers with confirms are told, or give the queue \
         a dead-letter exchange with a queue that has room"
    }
    DROP_HEAD_DLX = "drop-head-before-dlx" Medium {
        "A queue at its limit pushes its oldest messages out to a dead-letter exchange that does not always take them."
        "With `drop-head`, dead-lettering is at-most-once, whatever `x-dead-letter-strategy` says: a queue that makes room at \
         its head cannot hold on to its dead. A target that is away or full at that moment loses them."
        "set `x-overflow=reject-publish` together with `x-dead-letter-strategy=at-least-once` on a quorum queue"
    }
    REJECT = "reject-without-dlx" Medium {
        "A consumer rejects messages without requeueing them, and the queue has no dead-letter exchange."
        "basic.reject and basic.nack with requeue=false drop a message unless its queue dead-letters."
        "give the queue a dead-letter exchange with a queue bound to it"
    }
    DELIVERY_LIMIT = "delivery-limit-without-dlx" Medium {
        "A message that is requeued or whose consumer crashes too often reaches the delivery limit and is dropped."
        "Quorum queues count failed deliveries (a basic.nack with requeue is none since RabbitMQ 4.3); beyond \
         `x-delivery-limit` (20 unless told otherwise since RabbitMQ 4.0, none before) a message is dead-lettered, or dropped \
         where there is no dead-letter exchange."
        "give the queue a dead-letter exchange with a queue bound to it, or set `x-delivery-limit=-1` if it must never give up"
    }
    DLX_MISSING = "dlx-missing-exchange" High {
        "The dead-letter exchange does not exist: what dies in the queue is gone."
        "RabbitMQ does not check that the exchange named by `x-dead-letter-exchange` exists; dead letters for an exchange that \
         is not there are dropped."
        "declare the dead-letter exchange, durable, with a durable queue bound to it; or correct its name"
    }
    DLX_UNBOUND = "dlx-without-binding" High {
        "The dead-letter exchange has no binding for the dead letter's routing key: what dies in the queue is gone."
        "A dead letter goes to the exchange with `x-dead-letter-routing-key`, or else with the keys that it was published \
         with, and is dropped if no binding matches."
        "bind a durable queue to the dead-letter exchange with exactly that key, or make that exchange a fanout exchange"
    }
    DLX_CYCLE = "dlx-cycle-drops" High {
        "Dead letters come round to a queue that they died in before without a consumer in between, and are dropped."
        "RabbitMQ drops a message that is dead-lettered to the same queue twice, unless it was rejected on its way."
        "let the last stage of the circle lead to a parking queue, or let a consumer reject on the way"
    }
    AT_MOST_ONCE = "at-most-once-dead-lettering" Low {
        "A dead letter is published once and without confirm: if the queue for it is away or full just then, it is gone."
        "The default strategy removes a message from its queue whether or not its dead letter arrived. In RabbitMQ a crash of \
         either node in between loses it too."
        "make the source a quorum queue with `x-dead-letter-strategy=at-least-once` and `x-overflow=reject-publish`, and give \
         its target queue room"
    }
    UNEXPLAINED = "unexplained-loss" High {
        "A message was lost that nothing in the topology excuses. This is a bug of Leveret's."
        "Every message that leaves a queue without having been acked has a recorded reason; this one has none that fits."
        "please report it with the definitions"
    }
}

/// The weakness with this name.
///
/// # Errors
/// With the names that exist.
pub(super) fn find(name: &str) -> Result<&'static Weakness, String> {
    ALL.iter().copied().find(|weakness| weakness.name == name).ok_or_else(|| {
        let names: Vec<&str> = ALL.iter().map(|weakness| weakness.name).collect();
        format!("there is no weakness '{name}'; there are: {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_different_and_found() {
        for weakness in ALL {
            assert!(std::ptr::eq(find(weakness.name).unwrap(), *weakness));
            assert!(
                weakness.about.ends_with('.') && weakness.why.ends_with(['.', ')']) && !weakness.hint.ends_with('.')
            );
        }
        assert!(find("dlx").unwrap_err().contains("dlx-without-binding"));
    }
}
