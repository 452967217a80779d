//! `admin`, `tokens`, `drain`, `runtime` and `log`: the process as a whole.

use std::net::SocketAddr;

use crate::listeners::ListenerTls;
use crate::scalar::{Count, FilePath, GIB, KIB, MIB, Period, Size};
use crate::section::{choice, section, settings};
use crate::workers::ServerName;

section! {
    /// The port of operators: a page at `/`, and what `/openapi.json` describes.
    #[name = "admin section"]
    pub struct Admin {
        /// IP address and port. One that is reached from other machines wants `from-elsewhere`. Who
        /// asks from this machine may look without a token.
        pub address: SocketAddr,
        /// File of hashed tokens, of the same form as that of `tokens`, for those who change
        /// something; reloaded when it changes. Absent: changes are taken from this machine only.
        pub tokens: Option<FilePath> = None,
        /// TLS. Absent: in the clear.
        pub tls: Option<ListenerTls> = None,
        /// What those may do who ask from other machines.
        pub from_elsewhere: FromElsewhere = FromElsewhere::All,
        /// Names by which it may be asked, beside addresses and `localhost`: a browser that asks by
        /// another name does so for a page that means harm.
        pub hosts: Vec<ServerName> = Vec::new(),
    }
}

choice! {
    /// What those may do who ask the port of operators from other machines.
    pub enum FromElsewhere {
        /// Ask `/livez`, `/readyz`, `/metrics` and `/scale`, without a token, and nothing else.
        Probes = "probes",
        /// Everything, with a token: it takes `tokens`, and `tls` so that nobody reads them.
        All = "all",
    }
}

section! {
    /// Where the tokens are.
    #[name = "tokens section"]
    pub struct Tokens {
        /// File of hashed tokens; reloaded when it changes.
        pub file: FilePath,
    }
}

settings! {
    /// How the process ends.
    #[name = "drain section"]
    pub struct Drain {
        /// How long connections are still taken after SIGTERM, while `/readyz` says no already: for
        /// balancers that take their time to look.
        pub delay: Period<0, 3_600_000> = Period::secs(0),
        /// How long open requests may go on after that. What is left then is ended with an error.
        pub deadline: Period<0, 86_400_000> = Period::secs(30),
    }
}

settings! {
    /// What the process runs on.
    #[name = "runtime section"]
    pub struct Runtime {
        /// Threads that serve requests. Absent: one a core.
        pub threads: Option<Count<1, 1024>> = None,
        /// Bytes of requests that the process holds at once, over all routes.
        pub request_memory: Size<{ 64 * KIB }, { 1024 * GIB }> = Size::of(512 * MIB),
        /// Folder in which compiled components are kept from one start to the next. Only the
        /// process itself may write to it: what lies there is run. Absent: none are kept.
        pub cache_dir: Option<FilePath> = None,
        /// How often the configuration and the files of plugins, schedulers and their options are
        /// looked at; one that has changed is taken in when it has then not changed again. 0: only at
        /// SIGHUP.
        pub watch: Period<0, 3_600_000> = Period::secs(1),
        /// Compiled components in that folder, in bytes; what was not used for longest goes first.
        pub cache_size: Size<MIB, { 1024 * GIB }> = Size::of(GIB),
    }
}

settings! {
    /// What the process says, to standard error.
    #[name = "log section"]
    pub struct Log {
        /// The least severe level that is written.
        pub level: LogLevel = LogLevel::Info,
        /// How a line looks.
        pub format: LogFormat = LogFormat::Text,
    }
}

choice! {
    /// How severe a line of the log is.
    pub enum LogLevel {
        /// Something failed that an operator has to see to.
        Error = "error",
        /// Something failed that mended itself, or may.
        Warn = "warn",
        /// What an operator wants to know.
        Info = "info",
        /// What somebody looking for a fault wants to know.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

choice! {
    /// How a line of the log looks.
    pub enum LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}
