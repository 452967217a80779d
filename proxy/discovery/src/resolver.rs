//! Asks for names, and puts answers together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

use crate::message::{self, Answer, Host, Kind, LookupError, Records, Target};
use crate::servers::{Plan, Servers};

/// Times that a server is asked: a datagram may be lost.
const TRIES: u32 = 2;
/// Bytes of an answer over UDP (RFC 1035 allows 512; some servers send more).
const DATAGRAM: usize = 4096;

/// Asks for names.
#[derive(Clone, Debug)]
pub struct Resolver {
    servers: Servers,
    timeout: Duration,
    most: usize,
}

/// An address of a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// The host that has it: the name that was asked for, or that of an SRV record.
    pub host: Host,
    /// The address, with the host's port.
    pub address: SocketAddr,
    /// Its host's share beside the others, as the SRV record says; none: there is no such record.
    pub weight: Option<u16>,
}

/// What is known of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookup {
    /// Its addresses, each once, in order. Empty: there is no such name, or no such record.
    pub found: Vec<Found>,
    /// For how long that holds, as the records say.
    pub holds: Duration,
}

// === impl Resolver ===

impl Resolver {
    /// A lookup takes as long as `timeout` at the most, or that long again for the hosts of SRV
    /// records, of which at most `most` are asked for.
    #[must_use]
    pub fn new(servers: Servers, timeout: Duration, most: usize) -> Self {
        Self {
            servers,
            timeout,
            most: most.max(1),
        }
    }

    /// The addresses of a host: A and AAAA records. If one of the two is not known, neither is
    /// believed: half of an answer would take workers away.
    ///
    /// # Errors
    /// No answer is known.
    pub async fn addresses(&self, name: &str, port: u16) -> Result<Lookup, LookupError> {
        let plan = self.servers.plan(name).await?;
        let deadline = Instant::now() + self.timeout;
        self.host(&plan, name, port, deadline).await
    }

    /// The addresses of the hosts of a service: SRV records, and A and AAAA records of each. Of the
    /// lowest priority (RFC 2782) of which a host has an address.
    ///
    /// # Errors
    /// No answer is known, of the service or of one of its hosts.
    pub async fn service(&self, name: &str) -> Result<Lookup, LookupError> {
        let plan = self.servers.plan(name).await?;
        let deadline = Instant::now() + self.timeout;
        let records = self.first(&plan, Kind::Srv, deadline).await?;
        let deadline = Instant::now() + self.timeout;
        let mut seconds = Duration::from_secs(records.seconds.into());
        let mut found = BTreeSet::new();
        let mut priority = None;
        for ((of, host), weight) in distinct(records.targets).into_iter().take(self.most) {
            if priority != Some(of) && !found.is_empty() {
                break;
            }
            priority = Some(of);
            // What an SRV record names is complete.
            let plan = Plan {
                names: vec![host.name.clone()],
                servers: plan.servers.clone(),
            };
            let lookup = self.host(&plan, &host.name, host.port, deadline).await?;
            if !lookup.found.is_empty() {
                seconds = seconds.min(lookup.holds);
            }
            found.extend(lookup.found.into_iter().map(|found| Found {
                weight: Some(weight),
                ..found
            }));
        }
        Ok(Lookup {
            found: found.into_iter().collect(),
            holds: seconds,
        })
    }

    async fn host(
        &self,
        plan: &Plan,
        name: &str,
        port: u16,
        deadline: Instant,
    ) -> Result<Lookup, LookupError> {
        let (four, six) = tokio::try_join!(
            self.first(plan, Kind::A, deadline),
            self.first(plan, Kind::Aaaa, deadline),
        )?;
        let host = Host {
            name: name.to_owned(),
            port,
        };
        let holds = match (four.addresses.is_empty(), six.addresses.is_empty()) {
            (false, true) => four.seconds,
            (true, false) => six.seconds,
            _ => four.seconds.min(six.seconds),
        };
        let found: BTreeSet<Found> = four
            .addresses
            .into_iter()
            .chain(six.addresses)
            .map(|address| Found {
                host: host.clone(),
                address: SocketAddr::new(address, port),
                weight: None,
            })
            .collect();
        Ok(Lookup {
            found: found.into_iter().collect(),
            holds: Duration::from_secs(holds.into()),
        })
    }

    /// The first of a plan's names that has such records.
    async fn first(
        &self,
        plan: &Plan,
        kind: Kind,
        deadline: Instant,
    ) -> Result<Records, LookupError> {
        let mut last = Records::default();
        for name in &plan.names {
            last = ask_all(&plan.servers, name, kind, deadline).await?;
            if !last.addresses.is_empty() || !last.targets.is_empty() {
                break;
            }
        }
        Ok(last)
    }
}

/// Each host of a priority once, the lowest priority first, with the largest of its weights.
fn distinct(targets: Vec<Target>) -> BTreeMap<(u16, Host), u16> {
    let mut distinct = BTreeMap::new();
    for target in targets {
        let weight = distinct.entry((target.priority, target.host)).or_default();
        *weight = target.weight.max(*weight);
    }
    distinct
}

/// Asks one server after the other; each has an equal part of the time that is left.
async fn ask_all(
    servers: &[SocketAddr],
    name: &str,
    kind: Kind,
    deadline: Instant,
) -> Result<Records, LookupError> {
    let mut failed = LookupError::Timeout;
    for (at, server) in servers.iter().enumerate() {
        let now = Instant::now();
        let left = deadline.saturating_duration_since(now);
        let shares = u32::try_from(servers.len() - at).unwrap_or(u32::MAX);
        match ask(*server, name, kind, now + left / shares).await {
            Ok(records) => return Ok(records),
            Err(name @ LookupError::Name(_)) => return Err(name),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

async fn ask(
    server: SocketAddr,
    name: &str,
    kind: Kind,
    deadline: Instant,
) -> Result<Records, LookupError> {
    let id = number()?;
    let query = message::query(id, name, kind)?;
    let local: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // A port of its own, which together with the number has to be guessed to forge an answer.
    let socket = UdpSocket::bind((local, 0)).await?;
    socket.connect(server).await?;
    let mut datagram = vec![0; DATAGRAM];
    for left in (1..=TRIES).rev() {
        let now = Instant::now();
        let until = now + deadline.saturating_duration_since(now) / left;
        socket.send(&query).await?;
        let heard = timeout_at(until, async {
            loop {
                let length = socket.recv(&mut datagram).await?;
                let answer = message::answer(&datagram[..length], id, name, kind);
                if let Some(answer) = answer {
                    return answer;
                }
            }
        });
        match heard.await {
            Err(_) => {}
            Ok(Ok(Answer::Whole(records))) => return Ok(records),
            Ok(Ok(Answer::Truncated)) => {
                let asked = ask_by_tcp(server, id, &query, name, kind);
                let asked = timeout_at(deadline, asked).await;
                return asked.unwrap_or(Err(LookupError::Timeout));
            }
            Ok(Err(error)) => return Err(error),
        }
    }
    Err(LookupError::Timeout)
}

/// RFC 1035, section 4.2.2: messages after their lengths.
async fn ask_by_tcp(
    server: SocketAddr,
    id: u16,
    query: &[u8],
    name: &str,
    kind: Kind,
) -> Result<Records, LookupError> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(|_| LookupError::Name(name.to_owned()))?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(query);
    stream.write_all(&framed).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    match message::answer(&answer, id, name, kind) {
        Some(Ok(Answer::Whole(records))) => Ok(records),
        Some(Ok(Answer::Truncated)) => Err(LookupError::Malformed("it is truncated")),
        Some(Err(error)) => Err(error),
        None => Err(LookupError::Malformed("it is the answer to something else")),
    }
}

fn number() -> Result<u16, LookupError> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(u16::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_priority_comes_first_and_a_host_that_is_said_twice_once() {
        let target = |priority, name: &str, weight| Target {
            priority,
            host: Host {
                name: name.to_owned(),
                port: 80,
            },
            weight,
        };
        let said = vec![
            target(2, "a", 9),
            target(1, "c", 0),
            target(1, "b", 3),
            target(1, "c", 5),
        ];
        let distinct = distinct(said).into_iter();
        let distinct: Vec<_> = distinct
            .map(|((of, host), it)| (of, host.name, it))
            .collect();
        let wanted = [(1, "b", 3), (1, "c", 5), (2, "a", 9)];
        assert_eq!(
            distinct,
            wanted.map(|(of, name, it)| (of, name.to_owned(), it))
        );
    }
}
