//! One process at a time writes what is pinned: an agent, or a cleanup.
//!
//! A lock (`flock`) on the directory that holds everything of ours. It needs no file beside the pins,
//! is seen by whoever sees the pins (other containers too), and ends with the process however that
//! ends. It covers every ABI version, so that two versions do not translate twice.

use std::fs::{self, File, Metadata, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

use super::pins::Pins;

/// The right to write what is pinned, until it is dropped.
#[derive(Debug)]
pub struct Hold {
    directory: PathBuf,
    locked: File,
}

/// Why the pins cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// Somebody else does.
    #[error("{} is in use by {}", directory.display(), name(*process))]
    Taken {
        /// The directory.
        directory: PathBuf,
        /// Whose, unless it is in a PID namespace that this process cannot see.
        process: Option<u32>,
    },
    /// The directory cannot be made or locked.
    #[error("lock the directory {}: {source}", directory.display())]
    Io {
        /// The directory.
        directory: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl Hold {
    /// Takes hold of the pins; does not wait for who has them.
    pub fn take(pins: &Pins) -> Result<Self, HoldError> {
        let directory = pins.root().to_owned();
        let locked = loop {
            let file = open(&directory).map_err(io_error(&directory))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let process = holder(&file);
                    return Err(HoldError::Taken { directory, process });
                }
                Err(TryLockError::Error(source)) => return Err(io_error(&directory)(source)),
            }
            // Who held it a moment ago may have removed it.
            if is_at(&directory, &file).map_err(io_error(&directory))? {
                break file;
            }
        };
        Ok(Self { directory, locked })
    }

    /// Takes hold again if somebody has removed the directory; tells whether that was so.
    pub fn renew(&mut self, pins: &Pins) -> Result<bool, HoldError> {
        if is_at(&self.directory, &self.locked).map_err(io_error(&self.directory))? {
            return Ok(false);
        }
        *self = Self::take(pins)?;
        Ok(true)
    }
}

fn open(directory: &Path) -> io::Result<File> {
    fs::create_dir_all(directory)?;
    File::open(directory)
}

fn io_error(directory: &Path) -> impl Fn(io::Error) -> HoldError {
    move |source| HoldError::Io { directory: directory.to_owned(), source }
}

/// Whether `file` is what is at `path` now.
fn is_at(path: &Path, file: &File) -> io::Result<bool> {
    let id = |found: &Metadata| (found.dev(), found.ino());
    match fs::metadata(path) {
        Ok(found) => Ok(id(&found) == id(&file.metadata()?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The process that has locked what `file` is, as `/proc/locks` says.
fn holder(file: &File) -> Option<u32> {
    let found = file.metadata().ok()?;
    let (dev, ino) = (found.dev(), found.ino());
    let id = format!("{:02x}:{:02x}:{ino}", major(dev), minor(dev));
    process(&fs::read_to_string("/proc/locks").ok()?, &id)
}

/// Fields are: number, kind, mode, access, process, file, range.
fn process(locks: &str, file: &str) -> Option<u32> {
    let lines = locks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut held = lines.filter(|it| it.get(1) == Some(&"FLOCK") && it.get(5) == Some(&file));
    held.find_map(|fields| fields[4].parse().ok())
}

fn name(process: Option<u32>) -> String {
    process
        .map_or_else(|| "a process of another container".to_owned(), |id| format!("process {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_by_the_name_of_the_first_until_that_ends() {
        let dir = tempfile::tempdir().unwrap();
        let pins = Pins::new(dir.path());
        let first = Hold::take(&pins).unwrap();
        let error = Hold::take(&pins).unwrap_err();
        let HoldError::Taken { process, .. } = &error else { panic!("{error}") };
        assert_eq!(*process, Some(std::process::id()));
        assert!(error.to_string().ends_with(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        Hold::take(&pins).unwrap();
    }

    #[test]
    fn a_directory_that_was_removed_is_held_anew() {
        let dir = tempfile::tempdir().unwrap();
        let pins = Pins::new(dir.path());
        let mut hold = Hold::take(&pins).unwrap();
        assert!(!hold.renew(&pins).unwrap());
        fs::remove_dir(pins.root()).unwrap();
        assert!(hold.renew(&pins).unwrap());
        assert!(matches!(Hold::take(&pins), Err(HoldError::Taken { .. })));
    }

    #[test]
    fn the_holder_is_found_among_other_locks() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 00:19:7 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 12 00:19:8 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 13 00:19:7 0 EOF\n";
        assert_eq!(process(locks, "00:19:7"), Some(13));
        assert_eq!(process(locks, "00:19:9"), None);
    }
}
