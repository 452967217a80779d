//! Which servers are asked, and for which names.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::message::LookupError;

/// More servers, or more names, than these are not asked.
const MOST: usize = 6;

/// Which servers are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Servers {
    /// This one, for the name as it is.
    Named(SocketAddr),
    /// Those of a file like `/etc/resolv.conf`, with its search list. It is read for each lookup.
    System(PathBuf),
}

/// What is asked of whom: each name until one has an answer that is not empty.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) servers: Vec<SocketAddr>,
    pub(crate) names: Vec<String>,
}

// === impl Servers ===

impl Servers {
    /// Those of the system.
    #[must_use]
    pub fn system() -> Self {
        Self::System("/etc/resolv.conf".into())
    }

    pub(crate) async fn plan(&self, name: &str) -> Result<Plan, LookupError> {
        match self {
            Self::Named(server) => Ok(Plan {
                servers: vec![*server],
                names: vec![name.trim_end_matches('.').to_owned()],
            }),
            Self::System(path) => {
                let text = tokio::fs::read(path).await?;
                plan(path, &text, name)
            }
        }
    }
}

fn plan(path: &Path, text: &[u8], name: &str) -> Result<Plan, LookupError> {
    // Lines that it does not know are no reason not to ask.
    let (config, _) = resolv_conf::Config::parse_with_errors(text);
    let servers: Vec<SocketAddr> = config
        .nameservers
        .iter()
        .map(|server| SocketAddr::new(server.into(), 53))
        .take(MOST)
        .collect();
    if servers.is_empty() {
        return Err(LookupError::NoServer(path.display().to_string()));
    }
    let bare = name.trim_end_matches('.');
    let mut names = vec![bare.to_owned()];
    if bare == name {
        let searched = config.get_last_search_or_domain();
        let searched = searched
            .map(|domain| domain.trim_end_matches('.'))
            .filter(|domain| !domain.is_empty())
            .map(|domain| format!("{bare}.{domain}"));
        names.extend(searched.take(MOST));
        if (bare.matches('.').count() as u64) < u64::from(config.ndots) {
            // As it is comes last.
            names.rotate_left(1);
        }
    }
    Ok(Plan { servers, names })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str, name: &str) -> Vec<String> {
        let plan = plan(Path::new("r"), text.as_bytes(), name).unwrap();
        assert_eq!(plan.servers, ["10.0.0.1:53".parse().unwrap()]);
        plan.names
    }

    #[test]
    fn the_search_list_counts_as_the_system_has_it() {
        let text = "nameserver 10.0.0.1\nsearch a.b c.\noptions ndots:2\nunheard of\n";
        assert_eq!(names(text, "x.y"), ["x.y.a.b", "x.y.c", "x.y"]);
        assert_eq!(names(text, "x.y.z"), ["x.y.z", "x.y.z.a.b", "x.y.z.c"]);
        assert_eq!(names(text, "x."), ["x"]);
        assert_eq!(names("nameserver 10.0.0.1\n", "x.y"), ["x.y"]);
    }

    #[test]
    fn without_a_server_nothing_is_asked() {
        let plan = plan(Path::new("r"), b"search a\n", "x");
        assert!(matches!(plan, Err(LookupError::NoServer(_))));
    }
}
