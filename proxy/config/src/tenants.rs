//! `tenants`: who shares a part of the capacity, and what all of its credentials may use together.

use crate::limits::TenantLimits;
use crate::scalar::Count;
use crate::section::settings;
use crate::tokens::{ModelPattern, Priority, Task};

settings! {
    /// A tenant: what its credentials may use together, whether they are tokens of the file, signed
    /// tokens, certificates or users of a cluster. A request needs the tenant's leave and its
    /// credential's own.
    #[name = "tenant"]
    pub struct Tenant {
        /// Models, by the names that clients use; `*` at the end stands for anything. Absent: all
        /// that its credentials open.
        pub models: Option<Vec<ModelPattern>> = None,
        /// Tasks, by their names in the contract, or by those under which plugins claim what they
        /// only pass on. Absent: all that its credentials open.
        pub tasks: Option<Vec<Task>> = None,
        /// Requests at once, over all routes of this process; one more is refused with 429. Absent:
        /// as many as the routes take.
        pub concurrency: Option<Count<1, 1_000_000>> = None,
        /// Added to that of its credentials; greater goes first, as far as the scheduler minds it.
        pub priority: Priority = Priority::default(),
        /// What it may use of requests and tokens. Absent: what `limits.default` says; `{}`: all that
        /// there is.
        pub limits: Option<TenantLimits> = None,
    }
}
