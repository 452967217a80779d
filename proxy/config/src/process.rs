//! `admin`, `tokens`, `drain`, `runtime` and `log`: the process as a whole.

use std::net::SocketAddr;

use crate::scalar::{Count, FilePath, GIB, KIB, MIB, Period, Size};
use crate::section::{choice, section, settings};

section! {
    /// The port of operators: `/livez`, `/readyz`, `/metrics`, `/status`, `/plugins`.
    #[name = "admin section"]
    pub struct Admin {
        /// IP address and port. Who reads here needs no token: keep it off public networks.
        pub address: SocketAddr,
        /// File of hashed tokens, of the same form as that of `tokens`, for those who change
        /// something; reloaded when it changes. Absent: changes are taken from this machine only.
        pub tokens: Option<FilePath> = None,
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
        /// How long open requests may go on after SIGTERM.
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
        /// How often the files of plugins, schedulers and their options are looked at; one that has
        /// changed is loaded when it has then not changed again. 0: only at SIGHUP.
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
