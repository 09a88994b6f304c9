//! The direct exchange: the routing key equals the binding key (AMQP 0-9-1 §3.1.3.1).

use bytes::Bytes;

use super::{Destination, Targets};
use crate::collections::NameMap;

/// The bindings of a direct exchange, by their key.
#[derive(Clone, Debug)]
pub(crate) struct Direct(NameMap<Bytes, Targets>);

impl Direct {
    pub(super) fn new(hash_seed: u64) -> Self {
        Self(NameMap::new(hash_seed))
    }

    pub(super) fn bind(&mut self, destination: Destination, key: &[u8]) {
        if let Some(targets) = self.0.get_mut(key) {
            targets.add(destination);
        } else {
            let mut targets = Targets::default();
            targets.add(destination);
            self.0.insert(Bytes::copy_from_slice(key), targets);
        }
    }

    pub(super) fn unbind(&mut self, destination: Destination, key: &[u8]) {
        let targets = self.0.get_mut(key).expect("only what was bound is unbound");
        targets.remove(destination);
        if targets.is_empty() {
            self.0.remove(key);
        }
    }

    pub(super) fn matches(&self, key: &[u8], found: &mut impl FnMut(Destination)) {
        if let Some(targets) = self.0.get(key) {
            targets.report(found);
        }
    }
}
