//! The fanout exchange: every binding matches, whatever its key (AMQP 0-9-1 §3.1.3.2).

use super::{Destination, Targets};

/// The bindings of a fanout exchange.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fanout(Targets);

impl Fanout {
    pub(super) fn bind(&mut self, destination: Destination) {
        self.0.add(destination);
    }

    pub(super) fn unbind(&mut self, destination: Destination) {
        self.0.remove(destination);
    }

    pub(super) fn matches(&self, found: &mut impl FnMut(Destination)) {
        self.0.report(found);
    }
}
