//! The data directory: made on first use, private to its owner, used by one process at a time.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The file whose lock says that the directory is in use. It holds the process id, for people.
const LOCK_FILE: &str = "leveret.lock";
/// For the owner only: messages are nobody else's business.
const MODE: u32 = 0o700;

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
        Ok(Self { path: path.to_path_buf(), _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
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
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        let error = DataDir::open(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        DataDir::open(&path).unwrap();
    }
}
