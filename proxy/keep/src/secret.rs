//! A secret that a process keeps for the next one: made once, readable by this user alone.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use crate::guard;

/// Bytes of a secret.
const LENGTH: usize = 32;

/// The secret of that name, made when there is none. Several processes may start at once: a
/// secret is linked to its name when it is complete, and whoever comes second takes the first's.
///
/// # Errors
/// When it cannot be read or made, or when others could have read or written it.
pub fn secret(path: &Path) -> io::Result<[u8; LENGTH]> {
    if fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        make(path)?;
    }
    let (_, bytes) = guard::read(path, LENGTH as u64, 0o077).map_err(|error| {
        io::Error::new(error.kind(), format!("the key {}: {error}", path.display()))
    })?;
    bytes.try_into().map_err(|bytes: Vec<u8>| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "the key {} has {} bytes, not {LENGTH}; remove it, and a new one is made",
                path.display(),
                bytes.len()
            ),
        )
    })
}

fn make(path: &Path) -> io::Result<()> {
    let mut key = [0; LENGTH];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    let mut suffix = [0; 8];
    getrandom::fill(&mut suffix).map_err(io::Error::other)?;
    let partial = path.with_file_name(format!("partial-{}", hex::encode(suffix)));
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&partial)?
        .write_all(&key)?;
    let linked = fs::hard_link(&partial, path);
    fs::remove_file(&partial)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_secret_stays_and_one_that_others_reach_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let first = secret(&path).unwrap();
        assert_eq!(secret(&path).unwrap(), first);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let said = secret(&path).unwrap_err().to_string();
        assert!(said.contains("others can reach it (mode 640)"), "{said}");
    }

    #[test]
    fn half_a_secret_and_a_link_to_one_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let elsewhere = folder.path().join("elsewhere");
        secret(&elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        let said = secret(&path).unwrap_err().to_string();
        assert!(said.contains("it is a link"), "{said}");
        fs::remove_file(&path).unwrap();
        fs::write(&path, [1; 31]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let said = secret(&path).unwrap_err().to_string();
        assert!(said.contains("has 31 bytes, not 32"), "{said}");
    }
}
