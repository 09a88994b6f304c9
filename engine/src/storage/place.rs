//! The values in which the log and its users talk about records: places, references, and what recovery found.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;

use super::codec::{Reader, VARINT_BYTES, put_varint};
use crate::ids::Lsn;

/// Where a message's record is. It stays valid until the last of its shares is settled, released or moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The record's first byte.
    pub lsn: Lsn,
    /// Bytes of the whole record, its header included.
    pub len: u32,
    /// With how many references the record was written; each of them counts as one share of its bytes.
    pub shares: u16,
}

impl Place {
    /// The position after the record: it is durable once [`super::Log::durable`] is at least this.
    #[must_use]
    pub fn end(self) -> Lsn {
        Lsn(self.lsn.0 + u64::from(self.len))
    }

    /// Bytes that one share stands for.
    pub(super) fn share_bytes(self) -> u64 {
        u64::from(self.len) / u64::from(self.shares.max(1))
    }
}

/// How far the log has to be for something to be as safe as it was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Until {
    /// The position after it.
    pub end: Lsn,
    /// Whether it is to survive a loss of power; else the operating system having it is enough.
    pub is_durable: bool,
}

impl Until {
    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { end: self.end.max(other.end), is_durable: self.is_durable || other.is_durable }
    }
}

/// Who a record is for: one message in one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ref {
    /// The queue's incarnation. Never used again for another queue, not even after a restart.
    pub owner: u64,
    /// The message's number there.
    pub seq: u64,
    /// Its state at the time of writing.
    pub state: RefState,
}

/// What recovery has to know of one message in one queue, beside where its record is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RefState {
    /// What is known about its past.
    pub flags: RefFlags,
    /// Its priority in a queue that has priorities; 0 elsewhere.
    pub priority: u8,
    /// Why it waits to be dead-lettered, in the owner's words; 0 if it does not.
    pub dying: u8,
    /// How many deliveries of it failed.
    pub deliveries: u16,
    /// Bytes of its body.
    pub size: u32,
    /// When it expires, or, where it is held back, when it is due: in milliseconds since 1970. 0 is never.
    pub expires_at: u64,
}

// The bits of a state's first byte; the lower two are those of its flags. The others say which fields follow.
const HAS_PRIORITY: u8 = 4;
const HAS_DYING: u8 = 8;
const HAS_DELIVERIES: u8 = 16;
const HAS_SIZE: u8 = 32;
const HAS_EXPIRY: u8 = 64;
const STATE_BITS: u8 = 127;

/// Bytes of the longest state.
pub(super) const STATE_BYTES_MAX: usize = 3 + 3 + 5 + VARINT_BYTES;

impl RefState {
    /// Only flags.
    #[must_use]
    pub const fn from_flags(flags: RefFlags) -> Self {
        Self { flags, priority: 0, dying: 0, deliveries: 0, size: 0, expires_at: 0 }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let bit = |bit, is_set| if is_set { bit } else { 0 };
        let bits = self.flags.bits()
            | bit(HAS_PRIORITY, self.priority != 0)
            | bit(HAS_DYING, self.dying != 0)
            | bit(HAS_DELIVERIES, self.deliveries != 0)
            | bit(HAS_SIZE, self.size != 0)
            | bit(HAS_EXPIRY, self.expires_at != 0);
        out.push(bits);
        if bits & HAS_PRIORITY != 0 {
            out.push(self.priority);
        }
        if bits & HAS_DYING != 0 {
            out.push(self.dying);
        }
        if bits & HAS_DELIVERIES != 0 {
            put_varint(out, u64::from(self.deliveries));
        }
        if bits & HAS_SIZE != 0 {
            put_varint(out, u64::from(self.size));
        }
        if bits & HAS_EXPIRY != 0 {
            put_varint(out, self.expires_at);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let bits = reader.u8()?;
        if bits & !STATE_BITS != 0 {
            return None;
        }
        let mut state = Self::from_flags(RefFlags(bits & RefFlags::ALL));
        if bits & HAS_PRIORITY != 0 {
            state.priority = reader.u8()?;
        }
        if bits & HAS_DYING != 0 {
            state.dying = reader.u8()?;
        }
        if bits & HAS_DELIVERIES != 0 {
            state.deliveries = u16::try_from(reader.varint()?).ok()?;
        }
        if bits & HAS_SIZE != 0 {
            state.size = reader.varint_u32()?;
        }
        if bits & HAS_EXPIRY != 0 {
            state.expires_at = reader.varint()?;
        }
        Some(state)
    }
}

/// What is known about a message's past, as a set of bits.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefFlags(u8);

impl RefFlags {
    /// Nothing special: a message that no consumer has seen and that survives a restart.
    pub const NONE: Self = Self(0);
    /// A consumer may have seen the message.
    pub const REDELIVERED: Self = Self(1);
    /// The message is in the log only to be out of memory; recovery does not bring it back.
    pub const TRANSIENT: Self = Self(2);

    const ALL: u8 = 3;

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets of bits.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn bits(self) -> u8 {
        self.0
    }

    /// These as one byte of which the other bits may be used for something else.
    pub(crate) const fn to_byte(self) -> u8 {
        self.0
    }

    /// The flags in a byte.
    pub(crate) const fn from_byte(byte: u8) -> Self {
        Self(byte & Self::ALL)
    }
}

impl fmt::Debug for RefFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let redelivered = if self.contains(Self::REDELIVERED) { "R" } else { "" };
        let transient = if self.contains(Self::TRANSIENT) { "T" } else { "" };
        write!(f, "RefFlags({redelivered}{transient})")
    }
}

/// Those who answer for what is in the log: a short-lived view of the engine's queues and metadata.
pub trait Owners {
    /// The state of the message, if it lives and its record is the one at `lsn`. Messages delivered and not yet acked live.
    fn live(&self, owner: u64, seq: u64, lsn: Lsn) -> Option<RefState>;

    /// The message's record was written again at `to`, where it can be read; the share at `from` is given up. Only called for what
    /// [`Owners::live`] has just confirmed.
    fn moved(&mut self, owner: u64, seq: u64, from: Lsn, to: Place);

    /// All metadata as one value, including the effect of everything given to [`super::Log::append_metadata`] so far.
    fn snapshot(&self) -> Bytes;
}

/// What a completed disk operation means to the engine. After each of them [`super::Log::written`], [`super::Log::durable`] and
/// [`super::Log::is_full`] may have changed.
#[derive(Debug)]
pub enum LogOutcome {
    /// Nothing beyond that.
    Nothing,
    /// Recovery is over. The engine calls [`super::Log::retain`] for what it keeps before it lets the log go on.
    Recovered(Recovered),
    /// A read is complete.
    Read {
        /// The token given to [`super::Log::read`].
        token: u64,
        /// The position of the first byte.
        start: Lsn,
        /// The bytes; records in it are found by their places and opened by [`super::Log::open_record`].
        data: Bytes,
    },
    /// The disk does not hold what was written there, and the node cannot go on; a person reads this.
    Damaged(String),
    /// The node cannot go on; a person reads this.
    Fatal(String),
}

/// What was in the log.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The last metadata snapshot.
    pub snapshot: Option<Bytes>,
    /// The metadata records after it, in order.
    pub metadata: Vec<Bytes>,
    /// What lives, per owner; also of owners that the metadata does not know (any more), whose messages are not to be retained.
    pub owners: BTreeMap<u64, RecoveredOwner>,
    /// Bytes of the unfinished end that were cut off.
    pub truncated_bytes: u64,
    /// What could not be read although it had been durable. The rest is only there to tell what is lost with it: the log is not to be
    /// written any more.
    pub damage: Option<Damage>,
    /// Why what was cut off may have been durable, so that something is missing of which nothing tells; a person reads this. `None`: it
    /// was torn, or nothing was cut off.
    pub doubt: Option<String>,
}

/// What recovery could not read, though it had been durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What and where; a person reads this.
    pub text: String,
    /// How many records there are of which not even the kind is known; what they held is not among what was recovered.
    pub records_lost: u64,
    /// Whether records of the metadata are missing, beside those of which the kind is not known.
    pub is_of_metadata: bool,
}

/// What lives of one owner.
#[derive(Debug, Default)]
pub struct RecoveredOwner {
    /// Greater than every number the log knows of this owner, settled and transient ones included. The owner goes on from here:
    /// smaller numbers may be named by settlements that are still in the log.
    pub next_seq: u64,
    /// Its messages in ascending order of `seq`.
    pub refs: Vec<RecoveredRef>,
}

/// One message that lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveredRef {
    /// Its number.
    pub seq: u64,
    /// Its record's position.
    pub lsn: Lsn,
    /// Its record's bytes.
    pub len: u32,
    /// Its record's shares.
    pub shares: u16,
    /// Its state.
    pub state: RefState,
}

impl RecoveredRef {
    /// Where its record is.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { lsn: self.lsn, len: self.len, shares: self.shares }
    }
}

/// A record that is not what it should be: torn, stale, misdirected or rotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt {
    /// Where it should be.
    pub lsn: Lsn,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the log's record at position {} is corrupt", self.lsn)
    }
}

/// How large the log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogUsage {
    /// Segments on disk, spare ones included.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of records that are still needed.
    pub live_bytes: u64,
}
