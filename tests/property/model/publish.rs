//! Publishing: what is checked, where a message goes, and what the publisher is told.

use std::rc::Rc;

use leveret_engine::amqp::{FieldTable, FieldValue, Properties, ShortStr};

use super::super::node::Node;
use super::super::program::{EXCHANGES, KEYS, Lane, MessageArgs, Op, QUEUES};
use super::Model;
use super::message::Message;
use super::seen::Expected;

impl Model {
    pub(super) fn publish(&mut self, node: &mut Node, lane: Lane, op: &Op) -> Result<(), String> {
        let (exchange, key, mandatory, args) = match op {
            Op::Publish { exchange, key, mandatory, message, .. } => {
                (EXCHANGES[usize::from(*exchange)], KEYS[usize::from(*key)], *mandatory, message)
            }
            Op::Send { queue, message, .. } => ("", QUEUES[usize::from(*queue)], false, message),
            _ => return Err(format!("{op:?} publishes nothing")),
        };
        self.messages += 1;
        let body = format!("m{}{}", self.messages, "-".repeat(usize::from(args.padding)));
        let properties = properties(args);
        node.publish(lane, exchange, key, mandatory, &properties, &body);
        self.look(node);
        let is_confirming = self.channel(lane).seqno.as_mut().map(|seqno| *seqno += 1).is_some();
        if !exchange.is_empty() {
            match self.topology.exchange(exchange) {
                None => return self.fail(lane, 404),
                Some(exchange) if exchange.internal => return self.fail(lane, 403),
                Some(_) => {}
            }
        }
        let mut message = Message {
            exchange: exchange.to_owned(),
            keys: vec![key.to_owned()],
            hidden_keys: Vec::new(),
            properties,
            body: body.clone(),
        };
        message.keys.extend(message.texts("CC"));
        message.hidden_keys = message.texts("BCC");
        if let Some(headers) = &mut message.properties.headers {
            headers.remove("BCC");
        }
        let queues = self.topology.route(exchange, &message.all_keys(), &message);
        if let Some(transaction) = &mut self.channel(lane).transaction {
            transaction.publishes.push((message, mandatory, queues));
            return Ok(());
        }
        let (is_good, returned) = self.route_to(lane, message, mandatory, &queues)?;
        if is_confirming {
            let channel = self.channel(lane);
            let seqno = channel.seqno.expect("the channel confirms");
            channel.confirms.insert(seqno, (is_good, returned));
        }
        Ok(())
    }

    /// Puts a client's message into queues; whether all took it, and where it came back if there is none.
    pub(super) fn route_to(
        &mut self,
        lane: Lane,
        message: Message,
        mandatory: bool,
        queues: &[String],
    ) -> Result<(bool, Option<usize>), String> {
        let message = Rc::new(message);
        let ids: Vec<u64> = queues.iter().filter_map(|name| self.queue(name)).map(|queue| queue.id).collect();
        if ids.is_empty() && mandatory {
            let expected = Expected {
                redelivered: false,
                exchange: &message.exchange,
                key: &message.keys[0],
                properties: &message.properties,
                body: &message.body,
            };
            return Ok((true, Some(self.seen.take_return(lane, &expected)?)));
        }
        let mut is_good = true;
        for id in ids {
            is_good &= self.enqueue(id, &message)?;
        }
        Ok((is_good, None))
    }
}

fn properties(args: &MessageArgs) -> Properties {
    let mut headers = FieldTable::new();
    let keys =
        |keys: &[u8]| FieldValue::Array(keys.iter().map(|key| FieldValue::text(KEYS[usize::from(*key)])).collect());
    if !args.cc.is_empty() {
        headers = headers.with("CC", keys(&args.cc));
    }
    if !args.bcc.is_empty() {
        headers = headers.with("BCC", keys(&args.bcc));
    }
    if let Some(key) = args.header {
        headers = headers.with("h", FieldValue::text(KEYS[usize::from(key)]));
    }
    Properties {
        headers: (!headers.is_empty()).then_some(headers),
        delivery_mode: args.persistent.then_some(2),
        priority: args.priority,
        expiration: args.expiration.map(|millis| ShortStr::truncated(&millis.to_string())),
        ..Properties::default()
    }
}
