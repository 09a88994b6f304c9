//! Which entries of the log hold bodies that are still needed.

use alloc::vec::Vec;

use super::command::NumberRange;
use super::ids::LogIndex;
use crate::window::Window;

/// How many messages of each entry live.
#[derive(Debug, Default)]
pub(super) struct Live(Window<u32>);

impl Live {
    /// A message of this entry lives. Entries come in order.
    pub(super) fn hold(&mut self, index: LogIndex) {
        match self.0.get_mut(index.0) {
            Some(count) => *count += 1,
            None => self.0.insert(index.0, 1),
        }
    }

    /// A message of this entry lives no more.
    pub(super) fn release(&mut self, index: LogIndex) {
        let count = self.0.get_mut(index.0).expect("a message that lives is counted at its entry");
        *count -= 1;
        if *count == 0 {
            self.0.remove(index.0);
        }
    }

    /// Whether any message of this entry lives.
    pub(super) fn is_needed(&self, index: LogIndex) -> bool {
        self.0.get(index.0).is_some()
    }

    /// The first entry of which any does.
    pub(super) fn first(&self) -> Option<LogIndex> {
        self.0.first().map(|(index, _)| LogIndex(index))
    }

    /// How many entries there are of which any does.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them.
    pub(super) fn ranges(&self) -> Vec<NumberRange> {
        let mut ranges: Vec<NumberRange> = Vec::new();
        for (index, _) in self.0.iter() {
            match ranges.last_mut() {
                Some(range) if range.last + 1 == index => range.last = index,
                _ => ranges.push(NumberRange::one(index)),
            }
        }
        ranges
    }

    /// So many messages of this entry live. Entries come in order.
    pub(super) fn restore(&mut self, index: LogIndex, count: u32) {
        self.0.insert(index.0, count);
    }

    /// All of them, with how many messages live.
    pub(super) fn iter(&self) -> impl Iterator<Item = (LogIndex, u32)> {
        self.0.iter().map(|(index, count)| (LogIndex(index), *count))
    }
}
