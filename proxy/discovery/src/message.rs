//! Queries and answers as bytes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};

/// Why no answer is known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// The name cannot be asked for.
    #[error("`{0}` is no name of the DNS")]
    Name(String),
    /// No server is known.
    #[error("no DNS server is named in {0}")]
    NoServer(String),
    /// A server was not reached.
    #[error("the DNS server cannot be asked: {0}")]
    Io(#[from] io::Error),
    /// A server did not answer.
    #[error("the DNS server did not answer in time")]
    Timeout,
    /// A server would not or could not answer.
    #[error("the DNS server says {0}")]
    Failed(&'static str),
    /// What came is not an answer.
    #[error("the DNS server's answer cannot be read: {0}")]
    Malformed(&'static str),
}

/// A host and port of an SRV record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host {
    /// Its name, without a dot at the end.
    pub name: String,
    /// Its port.
    pub port: u16,
}

/// What an SRV record says of a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    /// Lower goes first.
    pub(crate) priority: u16,
    pub(crate) host: Host,
    /// Its share beside others of the same priority.
    pub(crate) weight: u16,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    A,
    Aaaa,
    Srv,
}

/// What an answer says of a name, and for how many seconds it may be believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Records {
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) targets: Vec<Target>,
    pub(crate) seconds: u32,
}

/// An answer, as far as it goes.
pub(crate) enum Answer {
    Whole(Records),
    /// It did not fit, and is to be asked for over TCP.
    Truncated,
}

impl Kind {
    fn record(self) -> TYPE {
        match self {
            Self::A => TYPE::A,
            Self::Aaaa => TYPE::AAAA,
            Self::Srv => TYPE::SRV,
        }
    }
}

/// A query.
pub(crate) fn query(id: u16, name: &str, kind: Kind) -> Result<Vec<u8>, LookupError> {
    let wrong = || LookupError::Name(name.to_owned());
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(
        Name::new(name).map_err(|_| wrong())?,
        QTYPE::TYPE(kind.record()),
        QCLASS::CLASS(CLASS::IN),
        false,
    ));
    packet.build_bytes_vec().map_err(|_| wrong())
}

/// Reads an answer. None: it is not the answer to this query.
pub(crate) fn answer(
    bytes: &[u8],
    id: u16,
    name: &str,
    kind: Kind,
) -> Option<Result<Answer, LookupError>> {
    let Ok(packet) = Packet::parse(bytes) else {
        return Some(Err(LookupError::Malformed("it is damaged")));
    };
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) {
        return None;
    }
    // A server that failed may leave the question out.
    if let Some(question) = packet.questions.first()
        && !(question.qname.to_string().eq_ignore_ascii_case(name)
            && question.qtype == QTYPE::TYPE(kind.record()))
    {
        return None;
    }
    Some(read(&packet, kind))
}

fn read(packet: &Packet<'_>, kind: Kind) -> Result<Answer, LookupError> {
    match packet.rcode() {
        // That there is no such name is an answer, too.
        RCODE::NoError | RCODE::NameError => {}
        RCODE::ServerFailure => return Err(LookupError::Failed("that it failed")),
        RCODE::Refused => return Err(LookupError::Failed("that it will not answer")),
        RCODE::NotImplemented => {
            return Err(LookupError::Failed("that it does not know such records"));
        }
        _ => return Err(LookupError::Failed("no")),
    }
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Ok(Answer::Truncated);
    }
    let mut records = Records::default();
    let mut seconds: Option<u32> = None;
    for record in &packet.answers {
        match (&record.rdata, kind) {
            (RData::A(it), Kind::A) => {
                records.addresses.push(Ipv4Addr::from(it.address).into());
            }
            (RData::AAAA(it), Kind::Aaaa) => {
                records.addresses.push(Ipv6Addr::from(it.address).into());
            }
            (RData::SRV(it), Kind::Srv) => {
                let name = it.target.to_string().trim_end_matches('.').to_lowercase();
                // A lone dot says that there is no such service (RFC 2782).
                if name.is_empty() || it.port == 0 {
                    continue;
                }
                let port = it.port;
                records.targets.push(Target {
                    priority: it.priority,
                    host: Host { name, port },
                    weight: it.weight,
                });
            }
            // An alias on the way holds for as long as it says, too.
            (RData::CNAME(_), _) => {}
            _ => continue,
        }
        seconds = Some(seconds.map_or(record.ttl, |seconds| seconds.min(record.ttl)));
    }
    records.seconds = seconds.unwrap_or(0);
    Ok(Answer::Whole(records))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_answer_to_the_query_is_not_taken_for_one() {
        let asked = query(7, "pods.example.com", Kind::A).unwrap();
        assert!(answer(&asked, 7, "pods.example.com", Kind::A).is_none());
        let mut reply = asked.clone();
        reply[2] |= 0x80;
        let whole = |bytes: &[u8], id, name: &str, kind| {
            let answer = answer(bytes, id, name, kind);
            matches!(answer, Some(Ok(Answer::Whole(records))) if records == Records::default())
        };
        assert!(whole(&reply, 7, "Pods.example.com", Kind::A));
        assert!(!whole(&reply, 8, "pods.example.com", Kind::A));
        assert!(!whole(&reply, 7, "pod.example.com", Kind::A));
        assert!(!whole(&reply, 7, "pods.example.com", Kind::Aaaa));
    }

    #[test]
    fn a_damaged_answer_is_an_error_wherever_it_ends() {
        let mut reply = query(7, "a.b", Kind::Srv).unwrap();
        reply[2] |= 0x80;
        // It promises a record that is not there.
        reply[7] = 1;
        for end in 0..=reply.len() {
            let answer = answer(&reply[..end], 7, "a.b", Kind::Srv);
            assert!(matches!(answer, Some(Err(_))), "{end}");
        }
    }

    #[test]
    fn names_that_cannot_be_asked_for() {
        let long = format!("{}.com", "a".repeat(64));
        assert!(matches!(
            query(1, &long, Kind::A),
            Err(LookupError::Name(_))
        ));
    }
}
