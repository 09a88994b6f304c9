//! The data directory: made on first use, private to its owner, used by one process at a time.
//!
//! Damaged files of the log are put aside in a folder of it, all or none: while they are moved, its name says that it is not complete, and
//! the next start goes on with that before anything is read. A log without its last file would look like one that ended earlier.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::disk::file::PREFIX;

/// The file whose lock says that the directory is in use. It holds the process id, for people.
const LOCK_FILE: &str = "leveret.lock";
/// For the owner only: messages are nobody else's business.
const MODE: u32 = 0o700;
/// What folders with damaged files are called, before their number.
const ASIDE: &str = "damaged-";
/// What the name of one ends in that is not complete.
const UNFINISHED: &str = ".new";
/// How often files are put aside before somebody has to look: a disk that is damaged more often is to be replaced.
const ASIDE_MAX: u32 = 8;

/// A data directory that this process holds locked. The lock ends with the value, or with the process, however that ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if there is none, and locks it.
    ///
    /// # Errors
    /// If it cannot be made or locked. The text says what to do.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let failed = |what, source| DataDirError::Io { path: path.to_path_buf(), what, source };
        DirBuilder::new().recursive(true).mode(MODE).create(path).map_err(|error| failed("create", error))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut lock = options.open(path.join(LOCK_FILE)).map_err(|error| failed("write to", error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // A holder that has not written its number yet stays unnamed.
                let _ = lock.read_to_string(&mut holder);
                return Err(DataDirError::InUse { path: path.to_path_buf(), holder: holder.trim().to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock", error)),
        }
        write_pid(&mut lock).map_err(|error| failed("write to", error))?;
        let directory = Self { path: path.to_path_buf(), _lock: lock };
        directory.finish_putting_aside().map_err(|error| failed("put damaged files aside in", error))?;
        Ok(directory)
    }

    /// Puts all files of the log aside, in a folder whose path is returned, so that a node begins with nothing. The log is not in use.
    ///
    /// # Errors
    /// If the system refuses, or that was done too often.
    pub fn put_aside(&self) -> Result<PathBuf, DataDirError> {
        let failed = |source| DataDirError::Io { path: self.path.clone(), what: "put damaged files aside in", source };
        let number = (1..=ASIDE_MAX).find(|number| !self.aside(*number).exists());
        let Some(number) = number else { return Err(DataDirError::TooMuchDamage { path: self.path.clone() }) };
        let unfinished = self.path.join(format!("{ASIDE}{number}{UNFINISHED}"));
        DirBuilder::new().mode(MODE).create(&unfinished).map_err(failed)?;
        sync(&self.path).map_err(failed)?;
        self.finish_putting_aside().map_err(failed)?;
        Ok(self.aside(number))
    }

    /// Whether anything was put aside and is still there.
    pub fn has_put_aside(&self) -> bool {
        (1..=ASIDE_MAX).any(|number| self.aside(number).exists())
    }

    fn aside(&self, number: u32) -> PathBuf {
        self.path.join(format!("{ASIDE}{number}"))
    }

    fn finish_putting_aside(&self) -> io::Result<()> {
        for number in 1..=ASIDE_MAX {
            let unfinished = self.path.join(format!("{ASIDE}{number}{UNFINISHED}"));
            if !unfinished.exists() {
                continue;
            }
            for entry in fs::read_dir(&self.path)? {
                let entry = entry?;
                if entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)) {
                    fs::rename(entry.path(), unfinished.join(entry.file_name()))?;
                }
            }
            sync(&unfinished)?;
            fs::rename(&unfinished, self.aside(number))?;
            sync(&self.path)?;
        }
        Ok(())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes durable what the entries of a directory are called.
fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn write_pid(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    lock.write_all(format!("{}\n", std::process::id()).as_bytes())
}

/// Why a data directory cannot be used.
#[derive(Debug)]
pub enum DataDirError {
    /// Another process holds its lock.
    InUse {
        /// The directory.
        path: PathBuf,
        /// That process's id; empty if unknown.
        holder: String,
    },
    /// Damaged files were put aside again and again.
    TooMuchDamage {
        /// The directory.
        path: PathBuf,
    },
    /// The system refused.
    Io {
        /// The directory.
        path: PathBuf,
        /// What was tried, as a verb.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl fmt::Display for DataDirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { path, holder } => {
                write!(f, "the data directory {} is in use by another broker", path.display())?;
                if !holder.is_empty() {
                    write!(f, " (process {holder})")?;
                }
                f.write_str(": stop that one, or choose another directory with --data-dir")
            }
            Self::TooMuchDamage { path } => write!(
                f,
                "the data directory {} was damaged {ASIDE_MAX} times: replace its disk, or delete the folders {ASIDE}1 to \
                 {ASIDE}{ASIDE_MAX} in it if the cluster is well",
                path.display()
            ),
            Self::Io { path, what, source } => {
                write!(f, "cannot {what} the data directory {}: {source}", path.display())?;
                f.write_str("; choose a directory that this user may write to with --data-dir")
            }
        }
    }
}

impl std::error::Error for DataDirError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_is_made_private_and_locked_once() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let first = DataDir::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        let error = DataDir::open(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn damaged_files_are_put_aside_all_or_none() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let directory = DataDir::open(&path).unwrap();
        let write = |name: &str| drop(File::create(path.join(name)).unwrap());
        let is_there = |name: &str| path.join(name).exists();
        ["log-0000000000000001", "log-0000000000000002", "log-0000000000000003.new", "other"]
            .into_iter()
            .for_each(write);
        assert!(!directory.has_put_aside());
        assert_eq!(directory.put_aside().unwrap(), path.join("damaged-1"));
        assert!(is_there("damaged-1/log-0000000000000002") && is_there("damaged-1/log-0000000000000003.new"));
        assert!(is_there("other") && !is_there("log-0000000000000001") && directory.has_put_aside());
        // A crash came in between.
        drop(directory);
        write("log-0000000000000001");
        fs::create_dir(path.join("damaged-2.new")).unwrap();
        write("damaged-2.new/log-0000000000000002");
        let directory = DataDir::open(&path).unwrap();
        assert!(is_there("damaged-2/log-0000000000000001") && is_there("damaged-2/log-0000000000000002"));
        for number in 3..=ASIDE_MAX {
            assert!(directory.put_aside().unwrap().ends_with(format!("damaged-{number}")));
        }
        let error = directory.put_aside().unwrap_err().to_string();
        assert!(error.contains("replace its disk"), "{error}");
    }
}
