//! Files that the verbs write.

use std::{fs, io::Write, path::Path};

use super::Outcome;

/// Puts a file in the place of another in whole, with the other's permissions: a reader sees the
/// old or the new.
pub(super) fn replace(path: &Path, content: &[u8]) -> Outcome {
    let write = || {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let new = folder.join(format!(".{name}.{}", std::process::id()));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&new)?;
        let written = file
            .write_all(content)
            .and_then(|()| match fs::metadata(path) {
                Ok(old) => file.set_permissions(old.permissions()),
                Err(_) => Ok(()),
            })
            .and_then(|()| fs::rename(&new, path));
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written
    };
    write().map_err(|error| format!("{}: {error}", path.display()).into())
}
