//! Who is asking: tenants, and the ways of telling to whom a credential belongs.
//!
//! | module | for |
//! |---|---|
//! | [`tenant`] | who shares a part of the capacity, and what its credentials may use together |
//! | [`identity`] | one credential's holder, and what it may use of that |
//! | [`way`] | the one question that every way of telling answers |
//! | [`failure`] | why nobody is let in |
//! | [`jwt`] | tokens that an issuer has signed, by its published keys |
//! | [`certificate`] | names in the certificate of a client |
//! | [`kubernetes`] | tokens that a cluster's API is asked about, and rights there |
//! | `parts` | patterns of names that come in parts |
//! | [`site`] | the server that is asked, within bounds |
//!
//! It knows no protocol of clients: it is given the token and the certificate that came, and what
//! is refused is worded elsewhere. Whatever is held or waited for has a bound that its constructor
//! takes; time is told by a clock that is given.
//!
//! Verified tokens and reviews are held by `quick_cache`: it is bounded, is not emptied by whoever
//! sends many tokens once (S3-FIFO), and lets many who ask for the same entry wait for one answer.
//! Names in certificates are read by `x509-parser`, signatures checked by `ring`, which TLS uses too.
#![forbid(unsafe_code)]

pub mod certificate;
pub mod clock;
pub mod failure;
pub mod identity;
pub mod jwt;
pub mod kubernetes;
mod parts;
pub mod site;
pub mod tenant;
pub mod way;

pub use certificate::{Certificate, CertificateRule, Certificates, Named};
pub use clock::Clock;
pub use failure::{AuthFailure, Class};
pub use identity::{Grant, Identity};
pub use jwt::{Algorithm, ClaimPaths, Jwt, JwtSpec, Keys, KeysSpec, Origin};
pub use kubernetes::{Access, Kubernetes, KubernetesSpec, KubernetesWay, UserRule};
pub use parts::{BadPattern, Parts, Separator};
pub use site::{Site, SiteError, SiteSpec};
pub use tenant::{Tenant, TenantPlace, TenantSpec, Tenants};
pub use way::{Outcome, Presented, Verdict, Way};
