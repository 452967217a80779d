//! What tenants may use: rates, quotas and requests at once, counted by this proxy alone or in a store
//! that several share.
//!
//! A caller asks a [`Limiter`] to [`admit`](Limiter::admit) a call at what it is believed to cost, is
//! given a [`Grant`] or a [`Refusal`], and tells the grant what it hears of the call; when the grant is
//! dropped, it is settled. [`Limiter::enter`] counts requests that run at once.
//!
//! | part | for |
//! |---|---|
//! | `plan` | what is limited: [`Meter`]s, [`Plan`]s, [`Rules`] |
//! | `levels`, `calendar` | the arithmetic of it, without a clock of its own |
//! | `account`, `table` | what is held of a tenant and of its models, bounded |
//! | `limiter`, `grant`, `seat` | decisions and settlements |
//! | `shared`, `sweep`, `places` | leases, the policy while the store is away, what is given back |
//! | `store`, [`redis`] | what a store is asked; Redis or Valkey, by one script a decision |
//! | `fields`, `figures` | what clients and operators are told |
//!
//! What is promised: by one store, all proxies together grant in no time `t` after a meter was full
//! more than its burst and what comes back in `t`, or a quota's amount in its window. What a call
//! uses beyond what it was believed to need is charged when that is known, and those who come next
//! wait for it. The exceptions are the policies `allow` and `local` while the store is away, a store
//! that loses what it knew, and what was leased before the end of a quota's window.
//!
//! *Architecture invariant:* nothing here knows what a request, a protocol or a plugin is, and no lock
//! is held across an await.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod account;
mod calendar;
mod fields;
mod figures;
mod grant;
mod levels;
mod limiter;
mod places;
mod plan;
pub mod redis;
mod seat;
mod shared;
mod store;
mod sweep;
mod table;

pub use calendar::Window;
pub use fields::Fields;
pub use figures::{Figures, Outcome};
pub use grant::Grant;
pub use levels::{Answer, Level, Manner, Part, Told, Verdict, decide};
pub use limiter::{Admission, Limiter, Refusal, Why};
pub use plan::{Cost, Kind, Meter, Pattern, Plan, PlanError, Rules, TenantLimits, Unit};
pub use seat::{Entry, Seat};
pub use shared::{Away, Sharing};
pub use store::{Ask, AskPlaces, Asked, Store, StoreError};
