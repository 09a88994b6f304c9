//! The destinations of equal bindings.

use smallvec::SmallVec;

use super::Destination;

/// Distinct destinations in order, each with the number of bindings that lead to it.
///
/// Most lists have one element, which lives in place. A sorted list makes a bind or unbind O(n) in bytes moved but keeps a route
/// to thousands of queues a walk over consecutive memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Targets(SmallVec<[(Destination, u32); 1]>);

impl Targets {
    /// Counts one more binding to `destination`.
    pub(super) fn add(&mut self, destination: Destination) {
        match self.find(destination) {
            Ok(index) => self.0[index].1 += 1,
            Err(index) => self.0.insert(index, (destination, 1)),
        }
    }

    /// Counts one binding less.
    ///
    /// # Panics
    /// If there was none: table and bindings disagree.
    pub(super) fn remove(&mut self, destination: Destination) {
        let index = self.find(destination).expect("only what was bound is unbound");
        let count = &mut self.0[index].1;
        *count -= 1;
        if *count == 0 {
            self.0.remove(index);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn report(&self, found: &mut impl FnMut(Destination)) {
        for &(destination, _) in &self.0 {
            found(destination);
        }
    }

    fn find(&self, destination: Destination) -> Result<usize, usize> {
        self.0.binary_search_by_key(&destination, |&(destination, _)| destination)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use slotmap::KeyData;

    use super::*;

    fn queue(number: u64) -> Destination {
        Destination::Queue(KeyData::from_ffi(1 << 32 | number).into())
    }

    fn list(targets: &Targets) -> Vec<Destination> {
        let mut list = Vec::new();
        targets.report(&mut |destination| list.push(destination));
        list
    }

    #[test]
    fn a_destination_stays_until_its_last_binding_goes() {
        let mut targets = Targets::default();
        targets.add(queue(2));
        targets.add(queue(1));
        targets.add(queue(2));
        assert_eq!(list(&targets), [queue(1), queue(2)]);
        targets.remove(queue(2));
        assert_eq!(list(&targets), [queue(1), queue(2)]);
        targets.remove(queue(2));
        assert_eq!(list(&targets), [queue(1)]);
        targets.remove(queue(1));
        assert!(targets.is_empty());
    }
}
