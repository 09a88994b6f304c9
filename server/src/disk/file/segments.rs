//! The files of one log and the calls on them.
//!
//! A segment is a file `log-` with its number in sixteen hexadecimal digits. While it is being made its name ends in `.new`, so that
//! a crash leaves either a whole segment or one that the next start removes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use leveret_engine::ids::SegmentId;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// Files kept open. Reading a long backlog goes through them in order, so a few would do; more serves many queues' backlogs at once.
const OPEN_FILES: usize = 128;
/// Bytes zeroed by one write, and synced: what is to be confirmed meanwhile waits for no more than that.
const ZEROES: usize = 512 * 1024;
/// Pieces gathered into one write; the kernel's limit is 1024.
const WRITE_PIECES: usize = 512;
/// For the owner only.
const MODE: u32 = 0o600;
pub(crate) const PREFIX: &str = "log-";
const UNFINISHED: &str = ".new";

/// The segments in one directory.
#[derive(Debug)]
pub(super) struct Segments {
    path: PathBuf,
    directory: File,
    /// Open files, the last one used at the end.
    open: Mutex<Vec<(SegmentId, SharedFile)>>,
}

/// An open segment, shared by the lanes.
#[derive(Clone, Debug)]
pub(super) struct SharedFile {
    file: Arc<File>,
    size: u64,
}

impl Segments {
    /// The segments in `directory`.
    pub(super) fn at(directory: &Path) -> io::Result<Self> {
        Ok(Self { path: directory.to_path_buf(), directory: File::open(directory)?, open: Mutex::default() })
    }

    /// All segments with their sizes, in ascending order. Removes what a crash left unfinished.
    pub(super) fn list(&self) -> io::Result<Vec<(SegmentId, u64)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
            if let Some(segment) = parse(name) {
                found.push((segment, entry.metadata()?.len()));
            } else if name.strip_suffix(UNFINISHED).and_then(parse).is_some() {
                fs::remove_file(entry.path())?;
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Makes a segment of `size` bytes, all allocated, and durable under its name.
    pub(super) fn create(&self, segment: SegmentId, size: u64, recycle: Option<SegmentId>) -> io::Result<()> {
        let path = self.path_of(segment);
        let file = match recycle {
            Some(old) => {
                let SharedFile { file, size: old_size } = self.open(old)?;
                let file = SharedFile { file, size };
                if old_size != size {
                    file.file.set_len(size)?;
                    file.zero(old_size.min(size), size)?;
                    file.file.sync_all()?;
                }
                fs::rename(self.path_of(old), &path)?;
                self.forget(old);
                file
            }
            None => {
                let unfinished = self.path.join(format!("{PREFIX}{:016x}{UNFINISHED}", segment.0));
                let made = make(&unfinished, size).and_then(|file| fs::rename(&unfinished, &path).map(|()| file));
                match made {
                    Ok(file) => file,
                    Err(error) => {
                        // The space goes back at once: a full disk is when it matters.
                        let _ = fs::remove_file(&unfinished);
                        return Err(error);
                    }
                }
            }
        };
        self.directory.sync_all()?;
        self.keep(segment, file);
        Ok(())
    }

    /// Removes a segment for good.
    pub(super) fn delete(&self, segment: SegmentId) -> io::Result<()> {
        self.forget(segment);
        match fs::remove_file(self.path_of(segment)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // It must not come back without the younger ones that say what in it was settled.
        self.directory.sync_all()
    }

    /// The segment's file.
    pub(super) fn open(&self, segment: SegmentId) -> io::Result<SharedFile> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = open.iter().rposition(|(id, _)| *id == segment) {
            let entry = open.remove(place);
            let file = entry.1.clone();
            open.push(entry);
            return Ok(file);
        }
        drop(open);
        let file = OpenOptions::new().read(true).write(true).open(self.path_of(segment))?;
        let size = file.metadata()?.len();
        let file = SharedFile { file: Arc::new(file), size };
        self.keep(segment, file.clone());
        Ok(file)
    }

    fn keep(&self, segment: SegmentId, file: SharedFile) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(id, _)| *id != segment);
        if open.len() == OPEN_FILES {
            open.remove(0);
        }
        open.push((segment, file));
    }

    /// Closes the file, once no lane is using it: an open file would keep its space.
    fn forget(&self, segment: SegmentId) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).retain(|(id, _)| *id != segment);
    }

    fn path_of(&self, segment: SegmentId) -> PathBuf {
        self.path.join(format!("{PREFIX}{:016x}", segment.0))
    }
}

impl SharedFile {
    /// Its size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Writes all of `data` at `offset`.
    pub(super) fn write(&self, mut offset: u64, data: &[Bytes]) -> io::Result<()> {
        for pieces in data.chunks(WRITE_PIECES) {
            let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            let mut rest = slices.as_mut_slice();
            // Empty slices count for nothing, so an empty rest is told by its bytes.
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                match rustix::io::pwritev(&*self.file, rest, offset) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(count) => {
                        offset += count as u64;
                        IoSlice::advance_slices(&mut rest, count);
                    }
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Reads `len` bytes at `offset`, or what there is of them.
    pub(super) fn read(&self, offset: u64, len: u32) -> io::Result<Vec<u8>> {
        let mut data = vec![0; len as usize];
        let mut filled = 0;
        while filled < data.len() {
            match self.file.read_at(&mut data[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        data.truncate(filled);
        Ok(data)
    }

    /// Makes what was written durable. The size never changes after the segment is made, so its metadata need not be.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Writes zeroes from `start` to `end`. Allocating alone would not do: the first write to an allocated but unwritten block changes
    /// metadata, which makes its sync twice as slow (measured).
    fn zero(&self, start: u64, end: u64) -> io::Result<()> {
        let zeroes = vec![0; ZEROES];
        let mut offset = start;
        while offset < end {
            let count = usize::try_from(end - offset).map_or(ZEROES, |rest| rest.min(ZEROES));
            self.file.write_all_at(&zeroes[..count], offset)?;
            self.file.sync_data()?;
            offset += count as u64;
        }
        Ok(())
    }
}

/// Makes a file of `size` zero bytes and syncs it.
fn make(path: &Path, size: u64) -> io::Result<SharedFile> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true).mode(MODE);
    let file = SharedFile { file: Arc::new(options.open(path)?), size };
    // In one piece, and a full disk is noticed before anything is written. Not every file system can do it.
    match rustix::fs::fallocate(&*file.file, FallocateFlags::empty(), 0, size) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    file.zero(0, size)?;
    file.file.sync_all()?;
    Ok(file)
}

/// The segment whose name has `digits` after the prefix.
fn parse(digits: &str) -> Option<SegmentId> {
    let is_ours = digits.len() == 16 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_ours { u64::from_str_radix(digits, 16).ok().map(SegmentId) } else { None }
}
