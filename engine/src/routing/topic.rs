//! The topic exchange: binding keys of words, `*` for one word, `#` for any number (AMQP 0-9-1 §3.1.3.3).
//!
//! Binding keys share a trie with one edge per word. A routing key is matched word by word against the set of trie nodes that the
//! words so far can lead to, as one runs a nondeterministic automaton. No node is twice in the set, so that the cost is bounded by
//! words × nodes, whatever binding keys clients invent; backtracking would take exponential time for keys like `#.#.#.#`.

use alloc::vec::Vec;

use bytes::Bytes;

use super::{Destination, Targets};
use crate::collections::{IdMap, NameMap};
use crate::mutants::{Mutant, is_planted};

/// The bindings of a topic exchange.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    /// The root is the first node. Removed nodes are kept for reuse in `free`.
    nodes: Vec<Node>,
    free: Vec<NodeId>,
    /// Edges that are words.
    edges: IdMap<(NodeId, WordId), NodeId>,
    words: Words,
}

/// Memory of a match, reused for all topic exchanges.
#[derive(Clone, Debug, Default)]
pub struct TopicScratch {
    /// Nodes reached by the words so far.
    active: Vec<NodeId>,
    /// Nodes reached by one word more.
    next: Vec<NodeId>,
    /// The step in which each `#` node was last entered. Only these can be reached in more than one way.
    entered: Vec<u64>,
    /// Counts words over all messages, so that `entered` need not be cleared.
    step: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct NodeId(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct WordId(u32);

#[derive(Clone, Debug)]
struct Node {
    parent: NodeId,
    /// The last word of the binding keys that end here.
    edge: Edge,
    /// Edges that leave here.
    children: u32,
    star: Option<NodeId>,
    hash: Option<NodeId>,
    /// Destinations of the binding key that ends here.
    targets: Targets,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edge {
    Root,
    Word(WordId),
    Star,
    Hash,
}

const ROOT: NodeId = NodeId(0);

impl Topic {
    pub(super) fn new(hash_seed: u64) -> Self {
        Self {
            nodes: [Node::new(ROOT, Edge::Root)].into(),
            free: Vec::new(),
            edges: IdMap::new(),
            words: Words::new(hash_seed),
        }
    }

    pub(super) fn bind(&mut self, destination: Destination, key: &[u8]) {
        let mut node = ROOT;
        for word in words(key) {
            node = self.child_or_new(node, word);
        }
        self.node_mut(node).targets.add(destination);
    }

    pub(super) fn unbind(&mut self, destination: Destination, key: &[u8]) {
        let mut node = ROOT;
        for word in words(key) {
            node = self.child(node, word).expect("only what was bound is unbound");
        }
        self.node_mut(node).targets.remove(destination);
        while node != ROOT && self.node(node).is_unused() {
            node = self.remove_leaf(node);
        }
    }

    pub(super) fn matches(&self, key: &[u8], scratch: &mut TopicScratch, found: &mut impl FnMut(Destination)) {
        if scratch.entered.len() < self.nodes.len() {
            scratch.entered.resize(self.nodes.len(), 0);
        }
        scratch.step += 1;
        scratch.active.clear();
        let TopicScratch { active, next, entered, step } = scratch;
        self.enter(ROOT, active, entered, *step);
        for word in words(key) {
            let word = self.words.find(word);
            *step += 1;
            next.clear();
            for &id in active.iter() {
                let node = self.node(id);
                // A `#` takes this word too.
                if node.edge == Edge::Hash {
                    self.enter_hash(id, next, entered, *step);
                }
                if let Some(&child) = word.and_then(|word| self.edges.get(&(id, word))) {
                    self.enter(child, next, entered, *step);
                }
                if let Some(child) = node.star {
                    self.enter(child, next, entered, *step);
                }
            }
            core::mem::swap(active, next);
            if active.is_empty() {
                return;
            }
        }
        for &id in active.iter() {
            // It took no word if what stands before it took the last one.
            let is_bare = self.node(id).edge == Edge::Hash && is_planted(Mutant::HashNeedsWord);
            if is_bare && active.contains(&self.node(id).parent) {
                continue;
            }
            self.node(id).targets.report(found);
        }
    }

    /// Adds a node that is not a `#`, and what a `#` after it reaches with no word at all.
    fn enter(&self, id: NodeId, reached: &mut Vec<NodeId>, entered: &mut [u64], step: u64) {
        reached.push(id);
        if let Some(hash) = self.node(id).hash {
            self.enter_hash(hash, reached, entered, step);
        }
    }

    /// Adds a `#` node and those that follow it at once (`#.#`), unless they are there.
    fn enter_hash(&self, id: NodeId, reached: &mut Vec<NodeId>, entered: &mut [u64], step: u64) {
        let mut hash = Some(id);
        while let Some(id) = hash {
            let mark = &mut entered[id.index()];
            if *mark == step {
                return;
            }
            *mark = step;
            reached.push(id);
            hash = self.node(id).hash;
        }
    }

    fn child(&self, node: NodeId, word: &[u8]) -> Option<NodeId> {
        match word {
            b"*" => self.node(node).star,
            b"#" => self.node(node).hash,
            _ => self.edges.get(&(node, self.words.find(word)?)).copied(),
        }
    }

    fn child_or_new(&mut self, parent: NodeId, word: &[u8]) -> NodeId {
        if let Some(child) = self.child(parent, word) {
            return child;
        }
        let edge = match word {
            b"*" => Edge::Star,
            b"#" => Edge::Hash,
            _ => Edge::Word(self.words.take(word)),
        };
        let child = self.new_node(Node::new(parent, edge));
        let node = self.node_mut(parent);
        node.children += 1;
        match edge {
            Edge::Star => node.star = Some(child),
            Edge::Hash => node.hash = Some(child),
            Edge::Word(word) => {
                self.edges.insert((parent, word), child);
            }
            Edge::Root => {}
        }
        child
    }

    fn new_node(&mut self, node: Node) -> NodeId {
        if let Some(id) = self.free.pop() {
            *self.node_mut(id) = node;
            return id;
        }
        let id = NodeId(u32::try_from(self.nodes.len()).expect("memory ends before four billion nodes"));
        self.nodes.push(node);
        id
    }

    /// Removes a node without children and targets, and returns its parent.
    fn remove_leaf(&mut self, leaf: NodeId) -> NodeId {
        let Node { parent, edge, .. } = *self.node(leaf);
        let node = self.node_mut(parent);
        node.children -= 1;
        match edge {
            Edge::Star => node.star = None,
            Edge::Hash => node.hash = None,
            Edge::Word(word) => {
                self.edges.remove(&(parent, word));
                self.words.release(word);
            }
            Edge::Root => {}
        }
        self.free.push(leaf);
        parent
    }

    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.index()]
    }
}

impl Node {
    fn new(parent: NodeId, edge: Edge) -> Self {
        Self { parent, edge, children: 0, star: None, hash: None, targets: Targets::default() }
    }

    fn is_unused(&self) -> bool {
        self.children == 0 && self.targets.is_empty()
    }
}

impl NodeId {
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// The words of a key. An empty key has none; otherwise `a..b` and `a.` contain empty words, which count as in RabbitMQ.
fn words(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    let count = if key.is_empty() { 0 } else { usize::MAX };
    key.split(|&byte| byte == b'.').take(count)
}

/// Every word that some binding key contains, with a number: each word of a routing key is hashed once, however many nodes are
/// active.
#[derive(Clone, Debug)]
struct Words {
    ids: NameMap<Bytes, WordId>,
    /// By id: the word and how many edges have it.
    used: Vec<(Bytes, u32)>,
    free: Vec<WordId>,
}

impl Words {
    fn new(hash_seed: u64) -> Self {
        Self { ids: NameMap::new(hash_seed), used: Vec::new(), free: Vec::new() }
    }

    fn find(&self, word: &[u8]) -> Option<WordId> {
        self.ids.get(word).copied()
    }

    /// The number of a word, for one more edge.
    fn take(&mut self, word: &[u8]) -> WordId {
        if let Some(id) = self.find(word) {
            self.used[id.index()].1 += 1;
            return id;
        }
        let owned = Bytes::copy_from_slice(word);
        let id = if let Some(id) = self.free.pop() {
            self.used[id.index()] = (owned.clone(), 1);
            id
        } else {
            let id = WordId(u32::try_from(self.used.len()).expect("memory ends before four billion words"));
            self.used.push((owned.clone(), 1));
            id
        };
        self.ids.insert(owned, id);
        id
    }

    /// Forgets one edge with this word.
    fn release(&mut self, id: WordId) {
        let (word, edges) = &mut self.used[id.index()];
        *edges -= 1;
        if *edges == 0 {
            self.ids.remove(word);
            *word = Bytes::new();
            self.free.push(id);
        }
    }
}

impl WordId {
    fn index(self) -> usize {
        self.0 as usize
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use slotmap::KeyData;

    use super::*;

    fn queue(number: u64) -> Destination {
        Destination::Queue(KeyData::from_ffi(1 << 32 | number).into())
    }

    fn route(topic: &Topic, key: &str, scratch: &mut TopicScratch) -> Vec<Destination> {
        let mut found = Vec::new();
        topic.matches(key.as_bytes(), scratch, &mut |destination| found.push(destination));
        found.sort_unstable();
        found.dedup();
        found
    }

    fn check(binding_key: &str, matching: &[&str], other: &[&str]) {
        let mut topic = Topic::new(1);
        topic.bind(queue(1), binding_key.as_bytes());
        let mut scratch = TopicScratch::default();
        for key in matching {
            assert_eq!(route(&topic, key, &mut scratch), [queue(1)], "{binding_key} should match {key}");
        }
        for key in other {
            assert_eq!(route(&topic, key, &mut scratch), [], "{binding_key} should not match {key}");
        }
    }

    /// AMQP 0-9-1 §3.1.3.3; RabbitMQ tutorial five.
    #[test]
    fn star_is_one_word_and_hash_is_any_number() {
        check("a.b", &["a.b"], &["a", "a.b.c", "a.b.", "", "A.b"]);
        check("*.orange.*", &["quick.orange.rabbit"], &["orange", "quick.orange", "quick.orange.male.rabbit"]);
        check("lazy.#", &["lazy", "lazy.", "lazy.brown.fox"], &["quick.lazy", "lazybones"]);
        check("#", &["", "a", "a.b.c", "."], &[]);
        check("*", &["a"], &["", "a.b"]);
        check("#.b.#", &["b", "a.b", "b.c", "a.b.c", "b.b"], &["a", "", "ab"]);
        check("#.#", &["", "a", "a.b"], &[]);
        check("*.#", &["a", "a.b", "."], &[""]);
        check("#.*", &["a", "a.b"], &[""]);
        check("a.#.#.b", &["a.b", "a.x.b", "a.x.y.b"], &["a", "a.x"]);
        check("", &[""], &["a", "."]);
        check("a..b", &["a..b"], &["a.b"]);
        check("a.*.b", &["a..b", "a.x.b"], &["a.b"]);
        // Only whole words are wildcards.
        check("a*.#b", &["a*.#b"], &["ax.xb"]);
    }

    /// Each answer as RabbitMQ 3.10.8 gave it: for a binding key, whether each of the routing keys matches.
    #[test]
    fn empty_words_count() {
        let keys = ["", ".", "a", "a.", "a.b", "a..b", "#", "*", "a.#"];
        let table = [
            ("", "100000000"),
            ("#", "111111111"),
            ("*", "001000110"),
            (".", "010000000"),
            ("a", "001000000"),
            ("*.*", "010110001"),
            ("#.*", "011111111"),
            ("*.#", "011111111"),
            ("a.", "000100000"),
            (".a", "000000000"),
            ("a..b", "000001000"),
            ("a.*.b", "000001000"),
            ("#.#", "111111111"),
        ];
        for (binding_key, answers) in table {
            for (key, answer) in keys.into_iter().zip(answers.chars()) {
                let (matching, other): (&[_], &[_]) = if answer == '1' { (&[key], &[]) } else { (&[], &[key]) };
                check(binding_key, matching, other);
            }
        }
    }

    #[test]
    fn unbinding_leaves_nothing_behind() {
        let mut topic = Topic::new(1);
        let keys = ["a.b.c", "a.b", "a.*.c", "#", "a.#.x", "a.b.c"];
        for (number, key) in (0..).zip(keys) {
            topic.bind(queue(number), key.as_bytes());
        }
        for (number, key) in (0..).zip(keys) {
            topic.unbind(queue(number), key.as_bytes());
        }
        assert!(topic.node(ROOT).is_unused());
        assert_eq!(topic.free.len() + 1, topic.nodes.len());
        assert!(topic.edges.is_empty() && topic.words.ids.is_empty());
        assert_eq!(topic.words.free.len(), topic.words.used.len());
    }

    /// RabbitMQ 4.3.5 forbids more than two `#` because its matcher backtracks; here the set of nodes bounds the work.
    #[test]
    fn many_hashes_do_not_explode() {
        let mut topic = Topic::new(1);
        let binding_key = format!("{}b", "#.".repeat(100));
        topic.bind(queue(1), binding_key.as_bytes());
        let key = format!("{}a", "a.".repeat(126));
        let mut scratch = TopicScratch::default();
        assert_eq!(route(&topic, &key, &mut scratch), []);
        assert!(scratch.step <= 129);
        assert!(scratch.active.len() <= 102);
    }

    /// The definition, one word at a time.
    fn matches_naively(pattern: &[&[u8]], key: &[&[u8]]) -> bool {
        match (pattern.split_first(), key.split_first()) {
            (None, None) => true,
            (Some((&b"#", rest)), _) => (0..=key.len()).any(|taken| matches_naively(rest, &key[taken..])),
            (Some((&b"*", pattern)), Some((_, key))) => matches_naively(pattern, key),
            (Some((expected, pattern)), Some((word, key))) => expected == word && matches_naively(pattern, key),
            _ => false,
        }
    }

    fn key_of(words: &'static [&'static str]) -> impl Strategy<Value = String> {
        vec(prop::sample::select(words), 0..6).prop_map(|words| words.join("."))
    }

    proptest! {
        #[test]
        fn trie_agrees_with_the_definition(
            patterns in vec(key_of(&["a", "b", "", "*", "#", "#"]), 0..12),
            unbound in vec(any::<bool>(), 12),
            keys in vec(key_of(&["a", "b", "c", "", "*", "#"]), 1..8),
        ) {
            let mut topic = Topic::new(7);
            for (number, pattern) in (0..).zip(&patterns) {
                topic.bind(queue(number), pattern.as_bytes());
            }
            for (number, pattern) in (0..).zip(&patterns) {
                if unbound[usize::try_from(number).unwrap()] {
                    topic.unbind(queue(number), pattern.as_bytes());
                }
            }
            let mut scratch = TopicScratch::default();
            for key in &keys {
                let key_words: Vec<&[u8]> = words(key.as_bytes()).collect();
                let expected: Vec<Destination> = (0..)
                    .zip(&patterns)
                    .filter(|(number, pattern)| {
                        let pattern: Vec<&[u8]> = words(pattern.as_bytes()).collect();
                        !unbound[usize::try_from(*number).unwrap()] && matches_naively(&pattern, &key_words)
                    })
                    .map(|(number, _)| queue(number))
                    .collect();
                prop_assert_eq!(route(&topic, key, &mut scratch), expected, "routing key {:?} of {:?}", key, &patterns);
            }
        }
    }
}
