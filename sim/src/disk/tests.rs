//! What a disk keeps, loses and refuses.

use super::*;
use crate::plan::DiskWork;

fn disk() -> SimDisk {
    let mut disk = SimDisk::new(1, DiskPlan::default());
    run(&mut disk, DiskOp::Create { segment: SegmentId(1), size: 4096, recycle: None });
    disk
}

fn run(disk: &mut SimDisk, op: DiskOp) -> Input {
    let (due, lane) = disk.submit(0, DiskRequest { id: DiskOpId(1), op });
    disk.complete(due, lane).unwrap().unwrap()
}

fn write(byte: u8, offset: u64, sync: bool) -> DiskOp {
    DiskOp::Append { segment: SegmentId(1), offset, data: vec![Bytes::from(vec![byte; 1024])], sync }
}

fn content(disk: &SimDisk) -> Vec<u8> {
    disk.files[&SegmentId(1)].cache.clone()
}

#[test]
fn synced_bytes_survive_a_power_loss_and_unsynced_sectors_are_torn() {
    let mut lost_any = false;
    let mut kept_any = false;
    let mut disk = disk();
    run(&mut disk, write(1, 0, true));
    for round in 0..20 {
        run(&mut disk, write(2, 1024, false));
        disk.power_loss();
        let bytes = content(&disk);
        assert!(bytes[..1024].iter().all(|&byte| byte == 1), "round {round}");
        kept_any |= bytes[1024] == 2 || bytes[1024 + SECTOR] == 2;
        lost_any |= bytes[1024] == 0 || bytes[1024 + SECTOR] == 0;
    }
    assert!(lost_any && kept_any);
}

#[test]
fn a_kill_keeps_what_the_system_had_and_cuts_what_was_under_way() {
    let mut disk = disk();
    run(&mut disk, write(1, 0, false));
    disk.submit(0, DiskRequest { id: DiskOpId(2), op: write(2, 1024, true) });
    disk.kill();
    assert!(content(&disk)[..1024].iter().all(|&byte| byte == 1));
    assert!(!disk.is_busy());
}

#[test]
fn reads_keep_their_order_with_what_changes_their_segment() {
    let mut disk = disk();
    let read = DiskOp::Read { segment: SegmentId(1), offset: 0, len: 1 };
    let (_, early) = disk.submit(0, DiskRequest { id: DiskOpId(2), op: read.clone() });
    run(&mut disk, write(7, 0, true));
    let (_, append) = disk.submit(0, DiskRequest { id: DiskOpId(3), op: write(8, 0, true) });
    let (due, late) = disk.submit(0, DiskRequest { id: DiskOpId(4), op: read });
    let byte = |answer: Option<Input>| match answer {
        Some(Input::DiskDone { outcome: DiskOutcome::Data(bytes), .. }) => bytes[0],
        other => panic!("{other:?}"),
    };
    assert_eq!(byte(disk.complete(due, early).unwrap()), 0);
    assert!(disk.complete(due, late).is_err(), "the append before it is not done");
    disk.complete(due, append).unwrap();
    assert_eq!(byte(disk.complete(due, late).unwrap()), 8);
}

#[test]
fn a_header_that_rots_moves_nothing() {
    let mut disk = disk();
    let mut header = vec![0; 1024];
    for copy in [0, SECTOR] {
        header[copy..copy + 8].copy_from_slice(b"LEVERET\0");
        header[copy + 16] = 1;
        header[copy + 32] = 64;
    }
    run(&mut disk, DiskOp::Append { segment: SegmentId(1), offset: 0, data: vec![Bytes::from(header)], sync: true });
    assert_eq!(disk.durable(), 64 + 1024);
    disk.files.get_mut(&SegmentId(1)).unwrap().cache[36] ^= 1;
    run(&mut disk, write(1, 1024, true));
    assert_eq!(disk.durable(), 64 + 2048);
}

#[test]
fn a_failed_sync_says_so_and_leaves_nothing_half_known() {
    let mut disk = disk();
    disk.trouble_mut().fail_sync = true;
    let answer = run(&mut disk, write(1, 0, true));
    assert!(matches!(answer, Input::DiskFailed { error: DiskError::Io, .. }), "{answer:?}");
    assert_eq!(disk.files[&SegmentId(1)].cache, disk.files[&SegmentId(1)].stable);
}

#[test]
fn a_full_disk_refuses_and_then_takes_again() {
    let mut disk = disk();
    disk.trouble_mut().full_append = true;
    assert!(matches!(run(&mut disk, write(1, 0, true)), Input::DiskFailed { error: DiskError::NoSpace, .. }));
    disk.trouble_mut().full_append = false;
    assert!(matches!(run(&mut disk, write(1, 0, true)), Input::DiskDone { .. }));
}

#[test]
fn a_quota_refuses_the_segment_that_passes_it_and_no_other() {
    let mut disk = disk();
    disk.trouble_mut().quota = Some(2 * 4096);
    let create = |id| DiskOp::Create { segment: SegmentId(id), size: 4096, recycle: None };
    assert!(matches!(run(&mut disk, create(2)), Input::DiskDone { .. }));
    assert!(matches!(run(&mut disk, create(3)), Input::DiskFailed { error: DiskError::NoSpace, .. }));
    let recycled = DiskOp::Create { segment: SegmentId(3), size: 4096, recycle: Some(SegmentId(1)) };
    assert!(matches!(run(&mut disk, recycled), Input::DiskDone { .. }));
    run(&mut disk, DiskOp::Delete { segment: SegmentId(2) });
    assert!(matches!(run(&mut disk, create(4)), Input::DiskDone { .. }));
    assert_eq!(disk.counts().over_quota, 1);
}

#[test]
fn each_kind_of_work_fails_by_itself_and_once() {
    let read = DiskOp::Read { segment: SegmentId(1), offset: 0, len: 1 };
    let create = DiskOp::Create { segment: SegmentId(2), size: 4096, recycle: None };
    let delete = DiskOp::Delete { segment: SegmentId(1) };
    for (work, op) in [
        (DiskWork::Read, read),
        (DiskWork::Append, write(1, 0, true)),
        (DiskWork::Create, create),
        (DiskWork::Delete, delete),
    ] {
        let mut disk = disk();
        disk.trouble_mut().fail_next(work);
        for other in [DiskWork::Read, DiskWork::Append, DiskWork::Create, DiskWork::Delete] {
            assert_eq!(disk.trouble_mut().fails(other), work == other);
        }
        let answer = run(&mut disk, op.clone());
        assert!(matches!(answer, Input::DiskFailed { error: DiskError::Io, .. }), "{work:?} {answer:?}");
        assert!(matches!(run(&mut disk, op), Input::DiskDone { .. }), "{work:?}");
        assert_eq!(disk.counts().failed_others, 1);
    }
}

#[test]
fn a_read_only_disk_is_read_and_nothing_else() {
    let mut disk = disk();
    run(&mut disk, write(1, 0, true));
    disk.trouble_mut().read_only = true;
    assert!(matches!(run(&mut disk, write(2, 0, true)), Input::DiskFailed { error: DiskError::Io, .. }));
    let delete = DiskOp::Delete { segment: SegmentId(1) };
    assert!(matches!(run(&mut disk, delete), Input::DiskFailed { error: DiskError::Io, .. }));
    assert_eq!(content(&disk)[0], 1);
    let read = DiskOp::Read { segment: SegmentId(1), offset: 0, len: 1 };
    assert!(matches!(run(&mut disk, read), Input::DiskDone { .. }));
}

#[test]
fn a_sync_that_lies_loses_what_it_promised() {
    let mut lost_any = false;
    for round in 0..20 {
        let mut disk = disk();
        disk.ordinal += round;
        disk.trouble_mut().lies = true;
        assert!(matches!(run(&mut disk, write(1, 0, true)), Input::DiskDone { .. }));
        disk.power_loss();
        lost_any |= content(&disk)[0] == 0 || content(&disk)[SECTOR] == 0;
    }
    assert!(lost_any);
}

#[test]
fn what_is_misdirected_lands_in_the_same_file() {
    let mut disk = disk();
    disk.trouble_mut().misdirected_write = Some(u64::MAX / 2);
    run(&mut disk, write(1, 0, true));
    assert!(content(&disk)[..SECTOR].iter().all(|&byte| byte == 0));
    assert_eq!(content(&disk).iter().filter(|&&byte| byte == 1).count(), 1024);
    disk.trouble_mut().misdirected_read = Some(u64::MAX / 2);
    let read = DiskOp::Read { segment: SegmentId(1), offset: 0, len: 1024 };
    let byte = |answer: Input| match answer {
        Input::DiskDone { outcome: DiskOutcome::Data(bytes), .. } => bytes[0],
        other => panic!("{other:?}"),
    };
    assert_eq!(byte(run(&mut disk, read.clone())), 1, "from elsewhere");
    assert_eq!(byte(run(&mut disk, read)), 0, "from its place");
}

#[test]
fn a_bad_sector_cannot_be_read_until_it_is_written() {
    let mut disk = disk();
    run(&mut disk, write(1, 0, true));
    disk.spoil(7);
    let read = DiskOp::Read { segment: SegmentId(1), offset: 0, len: 1024 };
    assert!(matches!(run(&mut disk, read.clone()), Input::DiskFailed { error: DiskError::Io, .. }));
    assert!(matches!(run(&mut disk, read.clone()), Input::DiskFailed { error: DiskError::Io, .. }), "again");
    run(&mut disk, write(2, 0, true));
    assert!(matches!(run(&mut disk, read), Input::DiskDone { .. }));
}

#[test]
fn a_removed_segment_may_come_back_only_until_the_folder_was_synced() {
    let mut came_back = false;
    for _ in 0..20 {
        let mut disk = disk();
        disk.ordinal += u64::from(came_back);
        run(&mut disk, DiskOp::Delete { segment: SegmentId(1) });
        disk.power_loss();
        came_back |= disk.files.contains_key(&SegmentId(1));
    }
    let mut disk = disk();
    run(&mut disk, DiskOp::Delete { segment: SegmentId(1) });
    run(&mut disk, DiskOp::Create { segment: SegmentId(2), size: 4096, recycle: None });
    disk.power_loss();
    assert!(!disk.files.contains_key(&SegmentId(1)));
}

#[test]
fn a_breach_of_contract_is_noticed() {
    let mut disk = disk();
    run(&mut disk, write(1, 4000, true));
    assert!(disk.take_complaint().is_some_and(|text| text.contains("passes its end")));
}
