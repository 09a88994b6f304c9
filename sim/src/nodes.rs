//! All nodes of a world, and how one of them is meant.

use std::ops::{Index, IndexMut};

use crate::node::Node;

/// The most nodes that a world has.
pub(crate) const NODES_MAX: usize = 9;

/// One of a world's nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct At(u8);

impl At {
    /// The node that a world always has.
    pub(crate) const FIRST: Self = Self(0);

    /// The node of that number.
    ///
    /// # Panics
    /// If no world has so many.
    pub(crate) fn new(number: usize) -> Self {
        assert!(number < NODES_MAX, "a world has {NODES_MAX} nodes at most, so none is number {number}");
        Self(u8::try_from(number).expect("just checked"))
    }

    /// Its name in what people read: `a`, `b` and so on.
    pub(crate) fn letter(self) -> char {
        char::from(b'a' + self.0)
    }

    /// The letters of so many nodes.
    pub(crate) fn letters(nodes: usize) -> Vec<String> {
        (0..nodes).map(|at| Self::new(at).letter().to_string()).collect()
    }

    /// The node of that letter, if it is one.
    pub(crate) fn of_letter(letter: &str) -> Option<Self> {
        (0..NODES_MAX).map(Self::new).find(|at| letter.chars().eq([at.letter()]))
    }

    /// Its number.
    pub(crate) fn number(self) -> usize {
        usize::from(self.0)
    }
}

/// The nodes of a world.
#[derive(Debug)]
pub(crate) struct Nodes(Vec<Node>);

impl Nodes {
    /// These.
    ///
    /// # Panics
    /// If there are none, or too many.
    pub(crate) fn new(nodes: Vec<Node>) -> Self {
        assert!((1..=NODES_MAX).contains(&nodes.len()), "a world has 1 to {NODES_MAX} nodes");
        Self(nodes)
    }

    /// One of them in words.
    pub(crate) fn name_of(&self, at: At) -> String {
        if self.0.len() == 1 { "the node".to_owned() } else { format!("node {}", at.letter()) }
    }

    /// All of them.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Node> {
        self.0.iter()
    }

    /// How each is meant.
    pub(crate) fn all(&self) -> impl Iterator<Item = At> + Clone + use<> {
        (0..self.0.len()).map(At::new)
    }
}

impl Index<At> for Nodes {
    type Output = Node;

    fn index(&self, at: At) -> &Node {
        &self.0[at.number()]
    }
}

impl IndexMut<At> for Nodes {
    fn index_mut(&mut self, at: At) -> &mut Node {
        &mut self.0[at.number()]
    }
}
