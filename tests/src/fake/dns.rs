//! A DNS server that says what a test wants, over UDP and TCP.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use simple_dns::{
    CLASS, Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE,
    rdata::{A, AAAA, RData, SRV},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    task::JoinSet,
};

/// Bytes of an answer over UDP, past which it is truncated (RFC 1035, section 4.2.1).
const DATAGRAM: usize = 512;

/// A record of a name.
#[derive(Clone, Debug)]
pub enum Record {
    /// A or AAAA.
    Address(IpAddr),
    /// SRV.
    Service {
        /// Lower goes first.
        priority: u16,
        /// Its share beside others of its priority.
        weight: u16,
        /// The port.
        port: u16,
        /// The host.
        target: String,
    },
}

/// What is said of a name.
#[derive(Clone, Debug)]
pub enum Says {
    /// These, each for so many seconds.
    Records(u32, Vec<Record>),
    /// That there is no such name (NXDOMAIN).
    NoSuchName,
    /// That the server failed (SERVFAIL).
    Failed,
    /// Nothing at all.
    Silence,
    /// Bytes that are no message.
    Garbage,
}

/// A query that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The name.
    pub name: String,
    /// Over TCP.
    pub by_tcp: bool,
}

#[derive(Default)]
struct Zone {
    names: HashMap<String, Says>,
    asked: Vec<Asked>,
}

/// The server. Dropped, it is gone.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    _tasks: JoinSet<()>,
}

impl Record {
    /// An address of 127.0.0.0/8.
    #[must_use]
    pub fn local(last: u8) -> Self {
        Self::Address(Ipv4Addr::new(127, 0, 0, last).into())
    }

    fn fits(&self, kind: QTYPE) -> bool {
        let own = match self {
            Self::Address(IpAddr::V4(_)) => TYPE::A,
            Self::Address(IpAddr::V6(_)) => TYPE::AAAA,
            Self::Service { .. } => TYPE::SRV,
        };
        kind == QTYPE::TYPE(own)
    }

    fn data(&self) -> RData<'_> {
        match self {
            Self::Address(IpAddr::V4(address)) => RData::A(A {
                address: (*address).into(),
            }),
            Self::Address(IpAddr::V6(address)) => RData::AAAA(AAAA {
                address: (*address).into(),
            }),
            Self::Service {
                priority,
                weight,
                port,
                target,
            } => RData::SRV(SRV {
                priority: *priority,
                weight: *weight,
                port: *port,
                target: Name::new_unchecked(target),
            }),
        }
    }
}

impl Server {
    /// A server that knows of no name.
    ///
    /// # Panics
    /// When the machine has no port that is free for both.
    pub async fn start() -> Self {
        for _ in 0..32 {
            let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
            let tcp = tcp.expect("the machine has a free port");
            let address = tcp.local_addr().expect("it listens");
            let Ok(udp) = UdpSocket::bind(address).await else {
                continue;
            };
            let zone: Arc<Mutex<Zone>> = Arc::default();
            let mut tasks = JoinSet::new();
            tasks.spawn(by_udp(udp, zone.clone()));
            tasks.spawn(by_tcp(tcp, zone.clone()));
            return Self {
                address,
                zone,
                _tasks: tasks,
            };
        }
        panic!("no port is free for both");
    }

    /// Says something else of a name from now on.
    ///
    /// # Panics
    /// Never, but that a test has panicked with it.
    pub fn say(&self, name: &str, says: Says) {
        let mut zone = self.zone.lock().expect("nobody panics with it");
        zone.names.insert(name.to_owned(), says);
    }

    /// What was asked so far.
    ///
    /// # Panics
    /// Never, but that a test has panicked with it.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        let zone = self.zone.lock().expect("nobody panics with it");
        zone.asked.clone()
    }
}

async fn by_udp(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut bytes = vec![0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
        if let Some(answer) = answer(&zone, &bytes[..length], false) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

async fn by_tcp(listener: TcpListener, zone: Arc<Mutex<Zone>>) {
    let mut connections = JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        let zone = zone.clone();
        connections.spawn(async move {
            while let Ok(length) = stream.read_u16().await {
                let mut query = vec![0; length.into()];
                if stream.read_exact(&mut query).await.is_err() {
                    return;
                }
                let Some(answer) = answer(&zone, &query, true) else {
                    return;
                };
                let length = u16::try_from(answer.len()).expect("a message is short");
                let framed = [&length.to_be_bytes()[..], &answer].concat();
                if stream.write_all(&framed).await.is_err() {
                    return;
                }
            }
        });
    }
}

fn answer(zone: &Mutex<Zone>, query: &[u8], by_tcp: bool) -> Option<Vec<u8>> {
    let query = Packet::parse(query).ok()?;
    let question = query.questions.first()?;
    let name = question.qname.to_string().to_lowercase();
    let says = {
        let mut zone = zone.lock().expect("nobody panics with it");
        zone.asked.push(Asked {
            name: name.clone(),
            by_tcp,
        });
        zone.names.get(&name).cloned().unwrap_or(Says::NoSuchName)
    };
    let mut reply = Packet::new_reply(query.id());
    reply.questions.push(question.clone());
    let records = match &says {
        Says::Records(seconds, records) => records
            .iter()
            .filter(|record| record.fits(question.qtype))
            .map(|record| {
                ResourceRecord::new(question.qname.clone(), CLASS::IN, *seconds, record.data())
            })
            .collect(),
        Says::NoSuchName => {
            *reply.rcode_mut() = RCODE::NameError;
            Vec::new()
        }
        Says::Failed => {
            *reply.rcode_mut() = RCODE::ServerFailure;
            Vec::new()
        }
        Says::Silence => return None,
        Says::Garbage => return Some(b"no message of the DNS".to_vec()),
    };
    reply.answers = records;
    let whole = reply
        .build_bytes_vec_compressed()
        .expect("it can be written");
    if by_tcp || whole.len() <= DATAGRAM {
        return Some(whole);
    }
    reply.answers.clear();
    reply.set_flags(PacketFlag::TRUNCATION);
    Some(reply.build_bytes_vec().expect("it can be written"))
}
