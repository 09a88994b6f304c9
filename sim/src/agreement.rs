//! Whether the nodes are one broker: what each has carried out, and what it knows of what is declared, against the others and the model.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Declared, Fact};
use crate::model::Known;
use crate::nodes::At;
use crate::trace::TraceHash;
use crate::world::World;

/// What the nodes came to after each change, as the first that said it, and which that was.
#[derive(Debug, Default)]
pub(crate) struct Agreement {
    states: BTreeMap<u64, (TraceHash, At)>,
    /// What a node lacked, or knew and should not, when that was looked at last.
    pub(crate) difference: Vec<String>,
}

/// Changes that are remembered of each node: what a disk may still lose is far less.
const CHANGES_MAX: usize = 4096;

impl World {
    /// Compares what a node has become with what others became, if it has carried out something since it was looked at last.
    pub(crate) fn compare(&mut self, at: At) {
        let node = &mut self.nodes[at];
        let Some(engine) = &node.engine else { return };
        let applied = engine.shared_applied();
        if applied == node.applied {
            return;
        }
        let Some((applied, state)) = engine.shared_state() else { return };
        if node.applied.replace(applied).is_none() && !node.carried_out.is_empty() {
            let least = node.carried_out.back().map_or(0, |(change, _)| *change);
            self.facts.push(Fact::Reread { node: at, applied, least });
        }
        node.carried_out.push_back((applied, engine.log_reach().end.0));
        if node.carried_out.len() > CHANGES_MAX {
            node.carried_out.pop_front();
        }
        let mut hash = TraceHash::new();
        hash.bytes(&state);
        let (known, by) = *self.agreement.states.entry(applied).or_insert((hash, at));
        let differs_from = (known != hash).then_some(by);
        self.facts.push(Fact::Applied { node: at, applied, differs_from });
    }

    /// At rest: what each node knows of what is declared.
    pub(crate) fn compare_declared(&mut self) {
        if self.plan.cluster.is_none() {
            return;
        }
        self.agreement.difference.clear();
        let [mut queues, exchanges, bindings] = self.model.known();
        let shared = self.ledger.iter().flat_map(|ledger| ledger.known());
        queues.extend(shared.map(|(name, is_certain)| (vec![name.to_owned()], is_certain)));
        for node in self.nodes.iter() {
            let Some(engine) = &node.engine else { continue };
            let found_queues = engine.declared_queues().map(|(name, _)| vec![name]).collect();
            // Those that every broker has.
            let is_own = |name: &String| !name.starts_with("amq.");
            let found_exchanges = engine.declared_exchanges().filter(is_own).map(|name| vec![name]).collect();
            let found_bindings = engine.declared_bindings().map(|parts| parts.to_vec()).collect();
            for (what, known, found) in [
                (Declared::Queues, &queues, found_queues),
                (Declared::Exchanges, &exchanges, found_exchanges),
                (Declared::Bindings, &bindings, found_bindings),
            ] {
                let (missing, undue) = difference(known, &found);
                for (names, how) in missing.iter().map(|it| (it, "lacks")).chain(undue.iter().map(|it| (it, "knows"))) {
                    let (node, names) = (node.at.letter(), names.join(" "));
                    self.agreement.difference.push(format!("node {node} {how}: {names}"));
                }
                let count = |list: Vec<_>| u32::try_from(list.len()).expect("few things are declared");
                let (missing, undue) = (count(missing), count(undue));
                self.facts.push(Fact::Known { node: node.at, what, missing, undue });
            }
        }
    }
}

/// What is certain and not found, and what is found that nobody knows of.
fn difference<'a>(known: &'a Known, found: &'a BTreeSet<Vec<String>>) -> (Vec<&'a Vec<String>>, Vec<&'a Vec<String>>) {
    let missing = known.iter().filter(|(names, is_certain)| **is_certain && !found.contains(*names));
    let undue = found.iter().filter(|names| !known.contains_key(*names));
    (missing.map(|(names, _)| names).collect(), undue.collect())
}
