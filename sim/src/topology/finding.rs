//! What an experiment has shown: which weakness, where, whose doing, and the story.

use std::collections::BTreeMap;

use leveret_engine::management::{LeaveReason, LeftTo};
use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::experiment::{Entry, How, Line, Loss};
use super::subject::{Subject, text};
use super::weakness::{self as w, Weakness};
use crate::plan::Ending;

/// Milliseconds that a restart takes at most: what lives no longer has its time pass meanwhile, and only the log knew of it.
const RESTART_MS: u64 = 1000;

/// One way in which messages can be lost, shown by a run in which one was.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    /// What it is.
    pub(super) weakness: &'static Weakness,
    /// The vhost.
    pub(super) vhost: String,
    /// Whether the place is a queue. Otherwise it is an exchange.
    pub(super) is_queue: bool,
    /// The queue or exchange that loses messages.
    pub(super) place: String,
    /// Whose doing it is.
    pub(super) cause: Cause,
    /// The shortest story that shows it.
    pub(super) story: Vec<Line>,
}

/// Whose doing a loss is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The topology asks for it.
    Design,
    /// Something went wrong, and the topology does not provide for it.
    Fault(String),
}

/// What an experiment was about, as far as its losses have to be told apart by it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation<'a> {
    /// The publisher.
    pub(super) entry: &'a Entry,
    /// What happens to the topology.
    pub(super) event: Happening<'a>,
}

/// What happens to the topology in an experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happening<'a> {
    /// Nothing out of the ordinary.
    Ordinary,
    /// Queues for dead letters are away for a while.
    Away(&'a str),
    /// The broker was restarted in order before.
    AfterRestart,
    /// The queue expires.
    Expires,
    /// The queue loses its last consumer.
    LastConsumerLeaves,
    /// The node ends while a publish is under way.
    EndsDuringPublish(Ending),
}

impl Finding {
    /// What a loss means.
    pub(super) fn of(
        subject: &Subject,
        situation: Situation<'_>,
        loss: &Loss,
        mut story: Vec<Line>,
        is_told: &str,
    ) -> Self {
        let (weakness, cause) = classify(subject, situation, loss);
        story.retain(|line| line.at_us <= loss.at_us || weakness.name == w::UNEXPLAINED.name);
        let line = Line { at_us: loss.at_us, text: format!("{}; {is_told}", last_words(subject, loss)) };
        story.push(line);
        Self {
            weakness,
            vhost: subject.vhost.clone(),
            is_queue: loss.how != How::Unroutable,
            place: loss.place.clone(),
            cause,
            story,
        }
    }

    /// The queue or exchange in words.
    pub(super) fn place_in_words(&self) -> String {
        match (self.is_queue, self.place.as_str()) {
            (true, name) => format!("queue '{name}'"),
            (false, "") => "the default exchange".to_owned(),
            (false, name) => format!("exchange '{name}'"),
        }
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Finding", 9)?;
        out.serialize_field("weakness", self.weakness.name)?;
        out.serialize_field("severity", &self.weakness.severity)?;
        out.serialize_field("vhost", &self.vhost)?;
        out.serialize_field(if self.is_queue { "queue" } else { "exchange" }, &self.place)?;
        let (cause, fault) = match &self.cause {
            Cause::Design => ("design", None),
            Cause::Fault(fault) => ("fault", Some(fault)),
        };
        out.serialize_field("cause", cause)?;
        out.serialize_field("fault", &fault)?;
        out.serialize_field("about", self.weakness.about)?;
        out.serialize_field("hint", self.weakness.hint)?;
        out.serialize_field("story", &self.story)?;
        out.end()
    }
}

/// Of several findings of the same weakness in the same place the one with the shortest story; worst first.
pub(super) fn shortest(findings: Vec<Finding>) -> Vec<Finding> {
    let mut best: BTreeMap<(String, &str, bool, String), Finding> = BTreeMap::new();
    for finding in findings {
        let key = (finding.vhost.clone(), finding.weakness.name, finding.is_queue, finding.place.clone());
        let length =
            |finding: &Finding| (finding.story.len(), finding.story.iter().map(|line| line.text.len()).sum::<usize>());
        if best.get(&key).is_none_or(|other| length(&finding) < length(other)) {
            best.insert(key, finding);
        }
    }
    let mut findings: Vec<Finding> = best.into_values().collect();
    let order = |weakness: &Weakness| w::ALL.iter().position(|other| other.name == weakness.name);
    findings.sort_by_key(|finding| (finding.weakness.severity, finding.vhost.clone(), order(finding.weakness)));
    findings
}

fn classify(subject: &Subject, situation: Situation<'_>, loss: &Loss) -> (&'static Weakness, Cause) {
    let Situation { entry, event } = situation;
    let fault = |text: String| Cause::Fault(text);
    match loss.how {
        How::Left(LeaveReason::MaxLength, LeftTo::Nowhere) => (&w::DROP_HEAD, Cause::Design),
        How::Left(LeaveReason::Expired, LeftTo::Nowhere) => (&w::TTL, Cause::Design),
        How::Left(LeaveReason::Rejected, LeftTo::Nowhere) => (&w::REJECT, Cause::Design),
        How::Left(LeaveReason::DeliveryLimit, LeftTo::Nowhere) => (&w::DELIVERY_LIMIT, Cause::Design),
        How::Left(_, LeftTo::MissingExchange) if event == Happening::AfterRestart => {
            (&w::TRANSIENT_EXCHANGE, Cause::Design)
        }
        How::Left(_, LeftTo::MissingExchange) => (&w::DLX_MISSING, Cause::Design),
        How::Left(reason, LeftTo::NoRoute) => match event {
            Happening::Away(queues) => {
                let fault =
                    fault(format!("{queues} away (its node is down, or it is being redeclared) when messages died"));
                (if reason == LeaveReason::MaxLength { &w::DROP_HEAD_DLX } else { &w::AT_MOST_ONCE }, fault)
            }
            _ => (&w::DLX_UNBOUND, Cause::Design),
        },
        How::Left(_, LeftTo::Cycle) => (&w::DLX_CYCLE, Cause::Design),
        How::Left(LeaveReason::MaxLength, LeftTo::Refused) => (&w::DROP_HEAD_DLX, Cause::Design),
        How::Left(_, LeftTo::Refused) => (&w::AT_MOST_ONCE, Cause::Design),
        How::Unroutable if event == Happening::AfterRestart => (&w::TRANSIENT_EXCHANGE, Cause::Design),
        How::Unroutable => match subject.exchanges.get(&loss.place).and_then(|it| it.alternate_exchange.as_ref()) {
            None => (&w::UNROUTABLE, Cause::Design),
            Some(alternate) if subject.exchanges.contains_key(&text(alternate)) => {
                (&w::ALTERNATE_UNBOUND, Cause::Design)
            }
            Some(_) => (&w::ALTERNATE_MISSING, Cause::Design),
        },
        How::Refused => (&w::REFUSED_UNCONFIRMED, Cause::Design),
        How::InClient => (&w::AUTO_ACK, fault("the consumer crashed".to_owned())),
        How::WithQueue => match event {
            Happening::Expires => (&w::QUEUE_EXPIRES, Cause::Design),
            Happening::LastConsumerLeaves => (&w::AUTO_DELETE, Cause::Design),
            _ => match subject.queues.get(&loss.place) {
                Some(queue) if queue.settings.expires_ms.is_some() => (&w::QUEUE_EXPIRES, Cause::Design),
                _ => (&w::UNEXPLAINED, Cause::Design),
            },
        },
        How::Restart(ending) => {
            let queue = subject.queues.get(&loss.place);
            let settings = queue.map(|queue| &queue.settings);
            let is_soon = |time: Option<u64>| time.is_some_and(|time| time <= RESTART_MS);
            if settings.is_some_and(|settings| is_soon(settings.message_ttl_ms)) {
                (&w::TTL, Cause::Design)
            } else if settings.is_some_and(|settings| is_soon(settings.expires_ms)) {
                (&w::QUEUE_EXPIRES, Cause::Design)
            } else if let Happening::EndsDuringPublish(ending) = event {
                (&w::UNCONFIRMED, fault(format!("{} right after a publish", ending_in_words(ending))))
            } else if queue.is_some_and(|queue| !queue.durable) {
                (&w::TRANSIENT_QUEUE, Cause::Design)
            } else if !entry.persistent && queue.is_some_and(|queue| queue.kind == "classic") {
                (&w::TRANSIENT_MESSAGES, Cause::Design)
            } else {
                (&w::UNEXPLAINED, fault(ending_in_words(ending).to_owned()))
            }
        }
        How::Left(..) => (&w::UNEXPLAINED, Cause::Design),
    }
}

/// How a node ends, in words.
pub(super) const fn ending_in_words(ending: Ending) -> &'static str {
    match ending {
        Ending::Kill => "the broker was killed",
        Ending::PowerLoss => "the power failed",
        Ending::Shutdown => "the broker was restarted in order",
    }
}

fn last_words(subject: &Subject, loss: &Loss) -> String {
    let Loss { message, place, how, at_us: _ } = loss;
    let dead_letter = |reason: LeaveReason| {
        let settings = subject.queues.get(place).map(|queue| &queue.settings);
        let exchange =
            settings.and_then(|settings| settings.dead_letter_exchange.as_ref()).map(text).unwrap_or_default();
        let exchange =
            if exchange.is_empty() { "the default exchange".to_owned() } else { format!("exchange '{exchange}'") };
        format!("'{place}' dead-letters {message} ({}) to {exchange}", reason.name())
    };
    let with_key = |reason: LeaveReason| {
        let settings = subject.queues.get(place).map(|queue| &queue.settings);
        let key = match settings.and_then(|settings| settings.dead_letter_routing_key.as_ref()) {
            Some(key) => format!("key '{}'", text(key)),
            None => "its own key".to_owned(),
        };
        format!("{} with {key}", dead_letter(reason))
    };
    match how {
        How::Left(LeaveReason::MaxLength, LeftTo::Nowhere) => {
            format!("'{place}' is full and drops its oldest message: {message} is gone")
        }
        How::Left(LeaveReason::Expired, LeftTo::Nowhere) => format!("{message} expires in '{place}' and is gone"),
        How::Left(LeaveReason::Rejected, LeftTo::Nowhere) => {
            format!("'{place}' has no dead-letter exchange: {message} is gone")
        }
        How::Left(LeaveReason::DeliveryLimit, LeftTo::Nowhere) => {
            format!("'{place}' gives {message} up at its delivery limit: it is gone")
        }
        How::Left(reason, LeftTo::Nowhere) => format!("{message} leaves '{place}' ({}) and is gone", reason.name()),
        How::Left(reason, LeftTo::MissingExchange) => {
            format!("{}, which does not exist: it is gone", dead_letter(*reason))
        }
        How::Left(reason, LeftTo::NoRoute) => {
            format!("{}, for which there is no binding: it is gone", with_key(*reason))
        }
        How::Left(reason, LeftTo::Cycle) => {
            format!("{}, which leads back to a queue that it died in before: it is dropped", dead_letter(*reason))
        }
        How::Left(reason, LeftTo::Refused) => {
            format!("{}, whose queues are full and refuse it: it is gone", dead_letter(*reason))
        }
        How::Left(reason, LeftTo::Queues(_)) => dead_letter(*reason),
        How::Unroutable => {
            let alternate =
                subject.exchanges.get(place).and_then(|exchange| exchange.alternate_exchange.as_ref()).map(text);
            match alternate {
                None => format!("no binding takes {message}, and there is no alternate exchange: it is dropped"),
                Some(alternate) if subject.exchanges.contains_key(&alternate) => {
                    format!(
                        "no binding takes {message}, nor does the alternate exchange '{alternate}' have one for it: it is dropped"
                    )
                }
                Some(alternate) => {
                    format!(
                        "no binding takes {message}, and the alternate exchange '{alternate}' does not exist: it is dropped"
                    )
                }
            }
        }
        How::Refused => format!("'{place}' is full and refuses {message}: it is in no other place"),
        How::WithQueue => format!("'{place}' is deleted, and {message} with it"),
        How::Restart(_) => format!("{message} is not in '{place}' any more"),
        How::InClient => format!("{message} counted as acked, and its consumer never got to it: it is gone"),
    }
}
