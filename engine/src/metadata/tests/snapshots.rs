//! Snapshots of each version.

use super::*;

/// What both versions of a snapshot hold of the same state: vhosts up to their names, and what is in them.
const SNAPSHOT_START: &str = "0000000000000003 00000001 012f";
const SNAPSHOT_DECLARED: &str = concat!(
    "00000001",
    "016505746f7069630300000007016b4900000001",
    "00000001",
    "017100000000000000010100000000",
    "00000002",
    "0a616d712e66616e6f75740109616d712e746f7069630000000000",
    "01650001710 3612e2300000007016b4900000001",
);

fn declared_for_snapshots() -> Node {
    let mut node = Node::new();
    node.apply(exchange_with("e", "topic", "dai", FieldTable::new().with("k", 1)));
    node.queue_with("q", "da", FieldTable::new());
    node.queue("transient");
    node.apply(bind_with("e", "q", "a.#", FieldTable::new().with("k", 1)));
    node.apply(bind("e", "transient", "k"));
    node.apply(bind("amq.fanout", "amq.topic", ""));
    node
}

fn from_hex(hex: &str) -> bytes::Bytes {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// A snapshot of version 1, which must stay readable for ever.
#[test]
fn a_snapshot_of_version_1_is_read() {
    let old = from_hex(&format!("01{SNAPSHOT_START}{SNAPSHOT_DECLARED}"));
    let restored = Metadata::restore(old.clone(), 2).unwrap();
    restored.check_invariants();
    assert_eq!(restored.snapshot(), declared_for_snapshots().metadata.snapshot());
    assert!(!restored.has_had_users(), "the node gets its first user at the next start");
    for len in 0..old.len() {
        assert!(matches!(Metadata::restore(old.slice(..len), 2), Err(DecodeError::Malformed(_))), "{len} bytes");
    }
}

/// A snapshot of version 2, which must stay readable for ever.
#[test]
fn a_snapshot_of_version_2_is_read_and_written() {
    let mut node = declared_for_snapshots();
    for command in administration_tests::one_of_each() {
        node.metadata.apply(command).unwrap();
    }
    node.metadata.check_invariants();
    let snapshot = node.metadata.snapshot();
    let vhost = concat!(
        "0000000161 00000001 0174 01 0671756f72756d 03", // description, tags, default type, flags
        "0000000000000005 ffffffffffffffff",             // limits
        "00000002",
        "00 0170 000000025e71 00000006717565756573 ffffffffffffffff 00000010 7b226d61782d6c656e677468223a357d",
        "01 016f 00000000 00000003616c6c 0000000000000002 00000010 7b226d61782d6c656e677468223a337d",
        "00000001 0163 016e 00000007 7b2276223a317d", // parameters
    );
    let users = concat!(
        "01 00000001",
        "0175 01 00000004 01020304 00000001 0d61646d696e6973747261746f72 0000000000000007 0000000000000000",
        "00000001 012f 0000000161 00000000 0000000162",
        "00000001 012f 0165 0000000163 0000000164",
        "00000001 0c636c75737465725f6e616d65 00000003 226e22",
    );
    assert_eq!(snapshot, from_hex(&format!("02{SNAPSHOT_START}{vhost}{SNAPSHOT_DECLARED}{users}")));
    let restored = Metadata::restore(snapshot.clone(), 2).unwrap();
    restored.check_invariants();
    assert_eq!(restored.snapshot(), snapshot);
    assert_eq!(restored.queue_by_id(QueueId(1)).unwrap().1.settings.length_max, Some(3));
    for len in 0..snapshot.len() {
        assert!(matches!(Metadata::restore(snapshot.slice(..len), 2), Err(DecodeError::Malformed(_))), "{len} bytes");
    }
    let mut later = snapshot.to_vec();
    later[0] = 6;
    assert_eq!(Metadata::restore(later.into(), 2).unwrap_err(), DecodeError::UnknownVersion(6));
}
