//! The promises in plain words, by the names of their oracles.

/// What a promise says.
pub fn promise(oracle: &str) -> &'static str {
    match oracle {
        "content intact" => "Body and properties of a message arrive as they were published.",
        "no phantom" => "A queue delivers only what was published to it.",
        "settled stays settled" => {
            "What was acked, rejected or purged does not come back, unless a crash came before the log had it."
        }
        "one consumer at a time" => "A message is with one consumer at a time.",
        "order" => "A queue gives out its oldest message first; what was put back is as old as before.",
        "prefetch" => "No consumer and no channel has more unanswered deliveries than it asked for.",
        "redelivered flag" => "The redelivered flag is set on every delivery after the first, and not on the first.",
        "one answer per publish" => {
            "Every publish in confirm mode gets one answer; an unroutable mandatory one comes back before it."
        }
        "confirmed means durable" => {
            "A persistent message in a durable queue is confirmed only once the disk has it for good."
        }
        "nothing lost" => {
            "Whatever the node took stays until it is settled; what it confirmed stays through any crash."
        }
        "queues and counts" => {
            "At rest there are the queues, and in them as many messages, as what happened to them says."
        }
        "exclusive to one" => "An exclusive queue belongs to one connection for as long as that is there.",
        "operators answered" => "Each request of an operator gets one answer, and no more than it asked for.",
        "paused queues rest" => "A paused queue delivers nothing until it is resumed or the node starts anew.",
        "memory and disk return" => "Once all is drained and all clients are gone, memory and disk are given back.",
        "blocked while short" => "Publishers wait while memory or disk is short, and go on when nothing is.",
        "expires in time" => "A message lives as long as was asked for, and no longer.",
        "held back in full" => "A delayed message is not delivered before its time.",
        "once and no more" => {
            "A message has one first delivery from a queue, and does not come once it is settled or refused."
        }
        "dead-letter headers" => "The headers of a dead letter tell where, why and how often it died.",
        "cycles end" => {
            "A dead letter that comes round to where it died goes on only if somebody rejected it on the way."
        }
        "one right answer" => "A publish gets one answer, and only a full queue refuses.",
        "within its length" => "A queue holds no more ready messages than its limit.",
        "oldest dropped first" => "A full queue drops its oldest messages, in their order.",
        "every leave has a reason" => {
            "A message leaves a queue by an answer of a consumer or for a reason that is recorded."
        }
        "single active consumer" => {
            "Only one consumer of such a queue gets messages, and another one takes over when it is gone."
        }
        "highest priority first" => "A queue with priorities gives the highest first.",
        "nothing vanishes" => "What was confirmed is acked, or dead by a rule of its queue, or still there.",
        "nodes agree" => "After the same change of what is declared, all nodes are the same.",
        "replicas agree" => "After the same entry of its log, all replicas of a queue are the same.",
        "applied means on a majority" => {
            "A replica applies, and a publisher is told, only what the disks of a majority of replicas have for good."
        }
        "one leader a term" => "In each term at most one node leads.",
        "changes stay carried out" => {
            "A node that starts remembers what its disk kept of the changes that it had carried out."
        }
        "declared on all nodes" => {
            "What was declared and answered is known to all nodes in the end, and what was deleted to none."
        }
        "failed deliveries are counted" => {
            "A message of a replicated queue says how many of its deliveries failed, and goes when they are too many."
        }
        "served without a break" => {
            "Who uses a replicated queue keeps channel and consumer whatever happens to a minority of the nodes."
        }
        "comes to rest" => "Once all faults are over, everything that was begun comes to its end in time.",
        "no panic" => "The node does not panic, whatever clients and disk do.",
        "keeps running" => "The node stops by itself only when its disk leaves it no choice.",
        "the disk's contract" => {
            "The node asks the disk only for what can be done: no write past the end, no file twice."
        }
        _ => "What the oracle of this name watches over.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Bench;

    #[test]
    fn every_promise_has_its_words() {
        let unknown = promise("a promise that nobody made");
        let bench = Bench::new(false);
        let known = bench.judged().map(|(name, _)| name);
        for name in known.chain(["comes to rest", "no panic", "keeps running", "the disk's contract"]) {
            assert_ne!(promise(name), unknown, "explain/promise.rs has no words for the promise {name:?}");
        }
    }
}
