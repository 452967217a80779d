//! `trust`: whose components may run.

use crate::scalar::{FilePath, Name};
use crate::section::{choice, section, settings};

settings! {
    /// Whose components may run, from files and from registries. What is built into the binary is
    /// as trusted as the binary.
    #[name = "trust section"]
    pub struct Trust {
        /// The keys whose signatures are good. Without any, signatures are not looked at.
        pub keys: Vec<TrustedKey> = Vec::new(),
        /// What becomes of a component that nobody has signed. Absent: it is refused where there
        /// are keys. A signature that is there has to be good in either case.
        pub unsigned: Option<Unsigned> = None,
    }
}

section! {
    /// A key whose signatures are good.
    #[name = "trusted key"]
    pub struct TrustedKey {
        /// Name, for messages.
        pub name: Name,
        /// The public key, in PEM: `tollgate plugin keygen` makes a pair. Read again at every load.
        pub file: FilePath,
    }
}

choice! {
    /// What becomes of a component that nobody has signed.
    pub enum Unsigned {
        /// It is refused.
        Refuse = "refuse",
        /// It is loaded.
        Allow = "allow",
    }
}
