//! What is ours: files and folders that no other user of the machine could have written.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
};

/// Others may write: the group, everybody.
const OTHERS_WRITE: u32 = 0o022;
/// Anybody may make and rename what lies in a folder.
const ANYBODY_WRITES: u32 = 0o002;
/// But nobody may rename or remove what is another's.
const STICKY: u32 = 0o1000;

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether a folder is ours alone, and lies where it cannot be exchanged for another.
pub(crate) fn check_folder(folder: &Path) -> Result<(), String> {
    let link = fs::symlink_metadata(folder).map_err(|error| error.to_string())?;
    if link.is_symlink() && ![me(), 0].contains(&link.uid()) {
        return Err(format!("it is a link that user {} made", link.uid()));
    }
    let real = folder.canonicalize().map_err(|error| error.to_string())?;
    let metadata = fs::metadata(&real).map_err(|error| error.to_string())?;
    if !metadata.is_dir() {
        return Err("it is no folder".to_owned());
    }
    if metadata.uid() != me() {
        return Err(format!(
            "it belongs to user {}, and this process runs as user {}; give it a folder of its own",
            metadata.uid(),
            me()
        ));
    }
    if metadata.mode() & OTHERS_WRITE != 0 {
        return Err(format!(
            "others may write to it (mode {:o}); chmod go-w takes that from them",
            metadata.mode() & 0o777
        ));
    }
    for above in real.ancestors().skip(1) {
        let mode = fs::metadata(above)
            .map_err(|error| error.to_string())?
            .mode();
        if mode & ANYBODY_WRITES != 0 && mode & STICKY == 0 {
            return Err(format!(
                "anybody may write to {}, in which it lies, and put another in its place",
                above.display()
            ));
        }
    }
    Ok(())
}

/// Reads a regular file of ours that nobody else may write to; at most `most` bytes.
///
/// Links are not followed: the file that was looked at is the one that is read.
pub(crate) fn read(path: &Path, most: u64, others: u32) -> io::Result<(File, Vec<u8>)> {
    let refuse = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    let seen = fs::symlink_metadata(path)?;
    if !seen.is_file() {
        return refuse(format!("it is {}", kind(&seen)));
    }
    if seen.uid() != me() {
        return refuse(format!("it belongs to user {}", seen.uid()));
    }
    if seen.mode() & others != 0 {
        return refuse(format!(
            "others can reach it (mode {:o})",
            seen.mode() & 0o777
        ));
    }
    if seen.len() > most {
        return refuse(format!("it has {} bytes", seen.len()));
    }
    let mut file = File::open(path)?;
    let opened = file.metadata()?;
    if (opened.dev(), opened.ino()) != (seen.dev(), seen.ino()) {
        return refuse("it was exchanged".to_owned());
    }
    let mut content = Vec::with_capacity(usize::try_from(seen.len()).unwrap_or_default());
    (&mut file)
        .take(most.saturating_add(1))
        .read_to_end(&mut content)?;
    if content.len() as u64 > most {
        return refuse("it grew while it was read".to_owned());
    }
    Ok((file, content))
}

fn kind(metadata: &Metadata) -> &'static str {
    if metadata.is_symlink() {
        "a link"
    } else if metadata.is_dir() {
        "a folder"
    } else {
        "no regular file"
    }
}
