//! Small files that others wrote: settings name them, or labels do.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// Why a file was not read, in words that go on after its name.
#[derive(Debug)]
pub enum Unreadable {
    /// The system does not give it.
    System(io::Error),
    /// It is a directory, a FIFO or the like.
    NoFile,
    /// In bytes: as much as it may hold.
    Larger(usize),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(error) => write!(f, "cannot be read: {error}"),
            Self::NoFile => f.write_str("is not a file"),
            Self::Larger(most) => write!(f, "is larger than {} KiB", most >> 10),
        }
    }
}

/// All of a file that holds no more than so many bytes.
///
/// # Errors
/// It is larger, no file, or cannot be read.
pub fn read(path: &Path, most: usize) -> Result<Vec<u8>, Unreadable> {
    // Before it is opened: a FIFO would keep us waiting until somebody writes to it.
    let about = fs::metadata(path).map_err(Unreadable::System)?;
    if !about.is_file() {
        return Err(Unreadable::NoFile);
    }
    // So are the kernel's own, as in /proc, and some of them keep us waiting or lose what is read.
    if about.len() == 0 {
        return Ok(Vec::new());
    }
    let mut content = Vec::new();
    // A file may grow meanwhile, so that its length tells nothing.
    let file = File::open(path).map_err(Unreadable::System)?;
    file.take(most as u64 + 1).read_to_end(&mut content).map_err(Unreadable::System)?;
    if content.len() > most { Err(Unreadable::Larger(most)) } else { Ok(content) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_bound_and_nothing_else_is() {
        let folder = std::env::temp_dir().join(format!("anteroom-file-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("it is ours");
        let path = folder.join("small");
        fs::write(&path, vec![b'x'; 2048]).expect("it is ours");
        let told = |path: &Path, most| read(path, most).map_err(|reason| reason.to_string());
        assert_eq!(told(&path, 2048).map(|content| content.len()), Ok(2048));
        assert_eq!(told(&path, 2047), Err("is larger than 1 KiB".to_owned()));
        assert_eq!(told(&folder, 9), Err("is not a file".to_owned()));
        // It never ends, and has no length.
        assert_eq!(told(Path::new("/dev/zero"), 9), Err("is not a file".to_owned()));
        assert_eq!(told(Path::new("/proc/self/stat"), 9), Ok(Vec::new()));
        fs::remove_dir_all(&folder).expect("it is ours");
        assert!(told(&path, 9).is_err_and(|reason| reason.starts_with("cannot be read: No such file")));
    }
}
