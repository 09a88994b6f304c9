//! Reading an export of RabbitMQ's, and leaving out what does not decide what becomes of messages.
//!
//! What is left goes into the engine as it stands: the engine resolves policies, checks arguments and routes, so that what is judged
//! is what the broker does. Users, permissions and limits of vhosts are left out, since they only decide who may connect.

use leveret_engine::routing::ExchangeKind;
use serde_json::{Map, Value, json};

/// Definitions that the engine can import.
#[derive(Clone, Debug)]
pub(super) struct Definitions {
    /// The document, without what is left out.
    pub(super) document: Value,
    /// The vhost that everything goes into, if the export is of one vhost and does not name it.
    pub(super) into: Option<String>,
    /// What is judged otherwise than it stands there, for the reader.
    pub(super) notes: Vec<String>,
}

/// The sections that decide what becomes of messages. Operator policies stand among the parameters of exports before 4.0.
const SECTIONS: [&str; 6] = ["vhosts", "parameters", "policies", "queues", "exchanges", "bindings"];
/// What tells definitions from any other JSON.
const TELLING: [&str; 4] = ["queues", "exchanges", "bindings", "policies"];

impl Definitions {
    /// Reads a document.
    ///
    /// # Errors
    /// With what is wrong and how to make a right one.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let advice =
            "make one with `rabbitmqctl export_definitions FILE` or from `/api/definitions` of the management plugin";
        let document: Value = serde_json::from_str(text.trim_start_matches('\u{feff}'))
            .map_err(|error| format!("this is not JSON: {error}; {advice}"))?;
        let Some(map) = document.as_object() else {
            return Err(format!("these are no RabbitMQ definitions: not a JSON object; {advice}"));
        };
        if !TELLING.iter().any(|section| map.get(*section).is_some_and(Value::is_array)) {
            let names: Vec<&str> = map.keys().map(String::as_str).take(5).collect();
            let has = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
            return Err(format!(
                "these are no RabbitMQ definitions: there are neither queues nor exchanges, but {has}; {advice}"
            ));
        }
        let mut kept: Map<String, Value> = Map::new();
        for section in SECTIONS {
            match map.get(section) {
                None | Some(Value::Null) => {}
                Some(items @ Value::Array(_)) => {
                    kept.insert(section.to_owned(), items.clone());
                }
                Some(_) => return Err(format!("these are no RabbitMQ definitions: {section} is not a list; {advice}")),
            }
        }
        // The export of one vhost names none, so that it can be imported into any.
        let items = ["queues", "exchanges", "bindings"].into_iter().filter_map(|section| kept.get(section)?.as_array());
        let into = items.flatten().all(|item| item.get("vhost").is_none()).then(|| "/".to_owned());
        let mut definitions = Self { document: Value::Null, into, notes: Vec::new() };
        definitions.leave_out_what_does_not_decide(&mut kept);
        definitions.replace_streams(&mut kept);
        definitions.leave_out_unknown_exchanges(&mut kept);
        definitions.document = Value::Object(kept);
        Ok(definitions)
    }

    fn leave_out_what_does_not_decide(&mut self, document: &mut Map<String, Value>) {
        for vhost in items(document, "vhosts") {
            if let Some(vhost) = vhost.as_object_mut() {
                vhost.remove("limits");
            }
        }
        let mut others = 0;
        if let Some(parameters) = document.get_mut("parameters").and_then(Value::as_array_mut) {
            parameters.retain(|parameter| {
                let component = parameter.get("component").and_then(Value::as_str);
                others += usize::from(matches!(component, Some("shovel" | "federation-upstream")));
                component == Some("operator_policy")
            });
        }
        if others > 0 {
            self.notes.push(format!(
                "{others} shovels and federation upstreams are left out: what they bring or take is not judged"
            ));
        }
    }

    /// Reading a stream takes nothing away, so that a queue without limits stands for it.
    fn replace_streams(&mut self, document: &mut Map<String, Value>) {
        for vhost in items(document, "vhosts") {
            for path in ["/default_queue_type", "/metadata/default_queue_type"] {
                if let Some(kind) = vhost.pointer_mut(path)
                    && matches!(kind.as_str(), Some("stream" | "rabbit_stream_queue"))
                {
                    *kind = json!("classic");
                }
            }
        }
        let mut streams = Vec::new();
        for queue in items(document, "queues") {
            let of_type = |value: Option<&Value>| value.and_then(Value::as_str) == Some("stream");
            if of_type(queue.get("type")) || of_type(queue.pointer("/arguments/x-queue-type")) {
                streams.push(name(queue));
                queue["type"] = json!("classic");
                queue["arguments"] = json!({});
            }
        }
        if !streams.is_empty() {
            self.notes.push(format!(
                "streams are judged as queues without limits, and their retention not at all: {}",
                streams.join(", ")
            ));
        }
    }

    fn leave_out_unknown_exchanges(&mut self, document: &mut Map<String, Value>) {
        let mut unknown: Vec<(Value, String)> = Vec::new();
        if let Some(exchanges) = document.get_mut("exchanges").and_then(Value::as_array_mut) {
            exchanges.retain(|exchange| {
                let kind = exchange.get("type").and_then(Value::as_str);
                let is_known = kind.is_none_or(|kind| ExchangeKind::from_name(kind.as_bytes()).is_some());
                if !is_known {
                    unknown.push((exchange.get("vhost").cloned().unwrap_or_default(), name(exchange)));
                }
                is_known
            });
        }
        if unknown.is_empty() {
            return;
        }
        if let Some(bindings) = document.get_mut("bindings").and_then(Value::as_array_mut) {
            let is_of = |binding: &Value, key: &str| {
                let vhost = binding.get("vhost").cloned().unwrap_or_default();
                let name = binding.get(key).and_then(Value::as_str).unwrap_or_default();
                unknown.iter().any(|(of, exchange)| *of == vhost && exchange == name)
            };
            bindings.retain(|binding| {
                let leads_to_exchange = binding.get("destination_type").and_then(Value::as_str) == Some("exchange");
                !(is_of(binding, "source") || leads_to_exchange && is_of(binding, "destination"))
            });
        }
        let names: Vec<&str> = unknown.iter().map(|(_, name)| name.as_str()).collect();
        self.notes.push(format!("exchanges of types that Leveret does not have are left out: {}", names.join(", ")));
    }
}

fn items<'a>(document: &'a mut Map<String, Value>, section: &str) -> impl Iterator<Item = &'a mut Value> {
    document.get_mut(section).and_then(Value::as_array_mut).into_iter().flatten()
}

fn name(item: &Value) -> String {
    item.get("name").and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_definitions_is_refused_with_advice() {
        for (text, says) in [
            ("{", "this is not JSON"),
            ("[1, 2]", "not a JSON object"),
            ("{}", "nothing"),
            (r#"{"name": "x", "scripts": {}}"#, "name, scripts"),
            (r#"{"queues": [], "bindings": 7}"#, "bindings is not a list"),
        ] {
            let error = Definitions::read(text).unwrap_err();
            assert!(error.contains(says) && error.contains("rabbitmqctl export_definitions"), "{text}: {error}");
        }
    }

    #[test]
    fn streams_and_unknown_exchanges_are_noted_and_do_not_stop_the_rest() {
        let definitions = Definitions::read(
            r#"{
                "users": [{"name": "u"}],
                "vhosts": [{"name": "v", "limits": [["max-connections", 0]], "default_queue_type": "stream"}],
                "parameters": [{"vhost": "v", "component": "shovel", "name": "s", "value": {}}],
                "queues": [{"name": "log", "vhost": "v", "arguments": {"x-queue-type": "stream", "x-max-age": "7D"}}],
                "exchanges": [{"name": "jms", "vhost": "v", "type": "x-jms-topic"}, {"name": "x", "vhost": "v", "type": "fanout"}],
                "bindings": [
                    {"source": "jms", "vhost": "v", "destination": "log", "destination_type": "queue"},
                    {"source": "x", "vhost": "v", "destination": "log", "destination_type": "queue"}
                ]
            }"#,
        )
        .unwrap();
        let document = &definitions.document;
        assert_eq!(definitions.notes.len(), 3, "{:?}", definitions.notes);
        assert!(document.get("users").is_none() && document["vhosts"][0].get("limits").is_none());
        assert_eq!(document["vhosts"][0]["default_queue_type"], "classic");
        assert_eq!(document["queues"][0]["arguments"], json!({}));
        assert_eq!(document["bindings"].as_array().unwrap().len(), 1);
        assert_eq!(definitions.into, None);
    }
}
