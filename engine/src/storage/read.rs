//! What a read of several records brings.

use alloc::vec::Vec;
use bytes::Bytes;

use super::place::Place;
use crate::ids::Lsn;

/// The payloads of the records that a read from `start` on was for, as far as it reached; each with what it was wanted for.
///
/// # Errors
/// A text for the operator if a record is not what it should be. Nothing comes after it.
pub(crate) fn payloads<K>(
    wanted: Vec<(K, Place)>,
    start: Lsn,
    data: &Bytes,
    open_record: impl Fn(Lsn, &Bytes) -> Option<Bytes>,
) -> impl Iterator<Item = Result<(K, Bytes), &'static str>> {
    let mut is_first = true;
    wanted.into_iter().filter_map(move |(what, place)| {
        let is_first = core::mem::take(&mut is_first);
        let at = place.lsn.0.checked_sub(start.0).and_then(|at| usize::try_from(at).ok())?;
        let end = at + place.len as usize;
        if end > data.len() {
            // Without its first record a read would be asked for again without end.
            return is_first.then_some(Err("a record is cut short"));
        }
        let payload = open_record(place.lsn, &data.slice(at..end)).ok_or("a record is damaged");
        Some(payload.map(|payload| (what, payload)))
    })
}
