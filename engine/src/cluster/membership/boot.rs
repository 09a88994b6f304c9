//! Reading what the log holds of the cluster, before anything else is done with it.
//!
//! All of it is read even if some of it turns out to be damaged: what is left tells whether others have what this node had.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;

use crate::effect::DiskRequest;
use crate::limits;
use crate::storage::{Corrupt, Log, Place, RecoveredOwner};

/// Reads under way and to come.
#[derive(Debug)]
pub(super) struct Reading {
    owners: BTreeMap<u64, RecoveredOwner>,
    waiting: VecDeque<(u64, usize, Place)>,
    under_way: BTreeMap<u64, (u64, usize, Place)>,
    /// Empty where it is damaged.
    payloads: BTreeMap<u64, Vec<Bytes>>,
    corrupt: Option<Corrupt>,
}

impl Reading {
    /// Everything that was found of these.
    pub(super) fn new(owners: BTreeMap<u64, RecoveredOwner>) -> Self {
        let places = |(owner, found): (&u64, &RecoveredOwner)| {
            let owner = *owner;
            let places = found.refs.iter().enumerate().map(move |(index, found)| (owner, index, found.place()));
            places.collect::<Vec<_>>()
        };
        let waiting = owners.iter().flat_map(places).collect();
        let payloads = owners.iter().map(|(owner, found)| (*owner, alloc::vec![Bytes::new(); found.refs.len()]));
        Self { payloads: payloads.collect(), owners, waiting, under_way: BTreeMap::new(), corrupt: None }
    }

    /// Asks for more, as far as reads may be under way.
    pub(super) fn go_on(&mut self, log: &mut Log, next_token: &mut u64, out: &mut Vec<DiskRequest>) {
        while self.under_way.len() < limits::BOOT_READS {
            let Some(read @ (.., place)) = self.waiting.pop_front() else { return };
            log.read(place.lsn, place.len, *next_token, out);
            self.under_way.insert(*next_token, read);
            *next_token += 1;
        }
    }

    /// Takes what came. Whether it was one of these reads.
    pub(super) fn take(&mut self, log: &Log, token: u64, data: &Bytes) -> bool {
        let Some((owner, index, place)) = self.under_way.remove(&token) else { return false };
        match log.open_record(place.lsn, data) {
            Ok(payload) => self.payloads.get_mut(&owner).expect("it was made with all owners")[index] = payload,
            Err(corrupt) => self.corrupt = self.corrupt.or(Some(corrupt)),
        }
        true
    }

    /// The first record that was not what it should be.
    pub(super) fn corrupt(&self) -> Option<Corrupt> {
        self.corrupt
    }

    pub(super) fn is_over(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_empty()
    }

    /// The owners of which something was found and not taken.
    pub(super) fn owners(&self) -> impl Iterator<Item = u64> {
        self.owners.keys().copied()
    }

    /// The payloads of an owner.
    pub(super) fn payloads(&self, owner: u64) -> &[Bytes] {
        self.payloads.get(&owner).map_or(&[], Vec::as_slice)
    }

    /// What was found of an owner, with the payloads.
    pub(super) fn found(&mut self, owner: u64) -> (RecoveredOwner, Vec<Bytes>) {
        let found = self.owners.remove(&owner).unwrap_or_default();
        (found, self.payloads.remove(&owner).unwrap_or_default())
    }
}
