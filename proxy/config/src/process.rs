//! `admin`, `tokens`, `drain`, `runtime` and `log`: the process as a whole.

use std::net::SocketAddr;

use crate::scalar::{Count, FilePath, GIB, KIB, MIB, Period, Size};
use crate::section::{choice, section, settings};

section! {
    /// The port of operators: `/livez`, `/readyz`, `/metrics`, `/status`.
    #[name = "admin section"]
    pub struct Admin {
        /// IP address and port. Nothing here asks for a token: keep it off public networks.
        pub address: SocketAddr,
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
