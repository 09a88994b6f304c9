use super::*;
use bytes::Bytes;
use leveret_engine::ids::DiskOpId;
use leveret_engine::input::{DiskError, DiskOutcome};

const SIZE: u64 = 64 * 1024;

struct Fixture {
    disk: FileDisk,
    answers: DiskAnswers,
    threads: Vec<JoinHandle<()>>,
    next: u64,
}

impl Fixture {
    fn at(directory: &Path) -> Self {
        let (disk, answers, threads) = FileDisk::start(directory).unwrap();
        Self { disk, answers, threads, next: 0 }
    }

    fn submit(&mut self, op: DiskOp) -> DiskOpId {
        self.next += 1;
        self.disk.submit(DiskRequest { id: DiskOpId(self.next), op });
        DiskOpId(self.next)
    }

    /// Submits `ops` at once and returns their results in order of submission.
    fn run(&mut self, ops: impl IntoIterator<Item = DiskOp>) -> Vec<Result<DiskOutcome, DiskError>> {
        let ids: Vec<_> = ops.into_iter().map(|op| self.submit(op)).collect();
        let mut results = BTreeMap::new();
        while results.len() < ids.len() {
            let answer = self.answers.blocking_recv().unwrap();
            assert!(results.insert(answer.op, answer.result).is_none(), "answered twice");
        }
        results.into_values().collect()
    }

    fn end(self) {
        drop(self.disk);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

fn create(segment: u64, recycle: Option<u64>) -> DiskOp {
    DiskOp::Create { segment: SegmentId(segment), size: SIZE, recycle: recycle.map(SegmentId) }
}

fn append(segment: u64, offset: u64, parts: &[&'static [u8]]) -> DiskOp {
    let data = parts.iter().map(|part| Bytes::from_static(part)).collect();
    DiskOp::Append { segment: SegmentId(segment), offset, data, sync: true }
}

fn read(segment: u64, offset: u64, len: u32) -> DiskOp {
    DiskOp::Read { segment: SegmentId(segment), offset, len }
}

fn data(bytes: &'static [u8]) -> Result<DiskOutcome, DiskError> {
    Ok(DiskOutcome::Data(Bytes::from_static(bytes)))
}

#[test]
fn operations_on_one_segment_keep_their_order_across_lanes() {
    let directory = tempfile::tempdir().unwrap();
    let mut disk = Fixture::at(directory.path());
    for round in 0..50 {
        let (old, new) = (2 * round + 1, 2 * round + 2);
        let results = disk.run([
            create(old, None),
            append(old, 8, &[b"ab", b"", b"cd"]),
            read(old, 7, 6),
            append(old, 8, &[b"xy"]),
            read(old, 8, 4),
            create(new, Some(old)),
            read(new, 8, 4),
            DiskOp::Delete { segment: SegmentId(new) },
            DiskOp::List,
        ]);
        let done = Ok(DiskOutcome::Done);
        assert_eq!(
            results,
            [
                done.clone(),
                done.clone(),
                data(b"\0abcd\0"),
                done.clone(),
                data(b"xycd"),
                done.clone(),
                data(b"xycd"),
                done,
                Ok(DiskOutcome::Segments(Vec::new())),
            ]
        );
    }
    disk.end();
}

#[test]
fn an_append_to_a_recycled_segment_fills_the_page_that_it_ends_in() {
    static OLD: [u8; 9000] = [b'o'; 9000];
    let directory = tempfile::tempdir().unwrap();
    let mut disk = Fixture::at(directory.path());
    disk.run([create(1, None), append(1, 0, &[&OLD]), create(2, Some(1))]);
    let results = disk.run([append(2, 0, &[b"ab"]), read(2, 0, 9000), append(2, 2, &[b"cd"]), read(2, 0, 9000)]);
    let whole = |new: &[u8]| {
        let mut whole = OLD.to_vec();
        whole[..4096].fill(0);
        whole[..new.len()].copy_from_slice(new);
        Ok(DiskOutcome::Data(Bytes::from(whole)))
    };
    assert_eq!((&results[1], &results[3]), (&whole(b"ab"), &whole(b"abcd")));
    disk.end();
}

#[test]
fn a_read_ends_with_the_segment() {
    let directory = tempfile::tempdir().unwrap();
    let mut disk = Fixture::at(directory.path());
    let results = disk.run([create(1, None), append(1, SIZE - 2, &[b"ab"]), read(1, SIZE - 2, 10)]);
    assert_eq!(results[2], data(b"ab"));
    disk.end();
}

#[test]
fn many_parts_are_written_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let mut disk = Fixture::at(directory.path());
    let parts: Vec<Bytes> = (0..3000u32).map(|part| Bytes::from(part.to_be_bytes().to_vec())).collect();
    let whole: Vec<u8> = parts.concat();
    let append = DiskOp::Append { segment: SegmentId(1), offset: 100, data: parts, sync: false };
    let results = disk.run([create(1, None), append, read(1, 100, 12_000)]);
    assert_eq!(results[2], Ok(DiskOutcome::Data(Bytes::from(whole))));
    disk.end();
}

#[test]
fn a_restart_finds_whole_segments_and_removes_unfinished_ones() {
    let directory = tempfile::tempdir().unwrap();
    let mut disk = Fixture::at(directory.path());
    disk.run([create(0x1f, None), create(2, None), append(2, 0, &[b"kept"])]);
    disk.end();
    std::fs::File::create(directory.path().join("log-0000000000000003.new")).unwrap();
    std::fs::File::create(directory.path().join("log-notes")).unwrap();
    let mut disk = Fixture::at(directory.path());
    let results = disk.run([DiskOp::List, read(2, 0, 4)]);
    let found = vec![(SegmentId(2), SIZE), (SegmentId(0x1f), SIZE)];
    assert_eq!(results, [Ok(DiskOutcome::Segments(found)), data(b"kept")]);
    assert!(!directory.path().join("log-0000000000000003.new").exists());
    assert!(directory.path().join("log-notes").exists());
    disk.end();
}

#[test]
fn a_recycled_segment_gets_the_size_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let mut disk = Fixture::at(directory.path());
    disk.run([DiskOp::Create { segment: SegmentId(1), size: SIZE / 2, recycle: None }, create(2, Some(1))]);
    let found = vec![(SegmentId(2), SIZE)];
    assert_eq!(disk.run([DiskOp::List]), [Ok(DiskOutcome::Segments(found))]);
    disk.end();
}

#[test]
fn what_cannot_be_done_is_answered_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut disk = Fixture::at(directory.path());
    let results = disk.run([read(9, 0, 1), append(9, 0, &[b"x"]), create(2, Some(9))]);
    assert!(results.iter().all(|result| *result == Err(DiskError::Io)), "{results:?}");
    // More than the file system has, told before it is written.
    let huge = DiskOp::Create { segment: SegmentId(3), size: 1 << 50, recycle: None };
    assert!(disk.run([huge])[0].is_err());
    assert_eq!(disk.run([DiskOp::List]), [Ok(DiskOutcome::Segments(Vec::new()))]);
    disk.end();
}
