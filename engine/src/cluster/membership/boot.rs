//! Reading what the log holds of the cluster, before anything else is done with it.

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
    payloads: BTreeMap<u64, Vec<Bytes>>,
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
        Self { payloads: payloads.collect(), owners, waiting, under_way: BTreeMap::new() }
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
    pub(super) fn take(&mut self, log: &Log, token: u64, data: &Bytes) -> Result<bool, Corrupt> {
        let Some((owner, index, place)) = self.under_way.remove(&token) else { return Ok(false) };
        let payload = log.open_record(place.lsn, data)?;
        self.payloads.get_mut(&owner).expect("it was made with all owners")[index] = payload;
        Ok(true)
    }

    pub(super) fn is_over(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_empty()
    }

    /// The owners of which something was found and not taken.
    pub(super) fn owners(&self) -> impl Iterator<Item = u64> {
        self.owners.keys().copied()
    }

    /// What was found of an owner, with the payloads.
    pub(super) fn found(&mut self, owner: u64) -> (RecoveredOwner, Vec<Bytes>) {
        let found = self.owners.remove(&owner).unwrap_or_default();
        (found, self.payloads.remove(&owner).unwrap_or_default())
    }
}
