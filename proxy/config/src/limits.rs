//! `limits`: what tenants may use who have nothing of their own said of it, and where it is counted;
//! and what a tenant has of its own.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use crate::config::Config;
use crate::registries::RegistryHost;
use crate::scalar::{Count, FilePath, Invalid, Name, Period, word};
use crate::section::{Context, Decode, choice, section, settings};
use crate::tokens::ModelPattern;
use crate::yaml::{Kind, Node};

settings! {
    /// What tenants may use, by what calls are believed to need and settled by what they used. A call
    /// has to have room in all limits that it is under. See `docs/limits.md`.
    #[name = "limits section"]
    pub struct Limits {
        /// Each tenant of which no `limits` are said in `tenants`, by itself. Absent: they are not
        /// limited.
        pub default: Option<TenantLimits> = None,
        /// Whether clients are told what is left, in `RateLimit` and `RateLimit-Policy`
        /// (draft-ietf-httpapi-ratelimit-headers-11).
        pub headers: bool = true,
        /// Tenants, and models of tenants, that are counted at once; past it, those are forgotten
        /// that were not asked for for longest.
        pub most: Count<16, 1_048_576> = Count::of(16_384),
        /// Where several proxies count together. Absent: each counts by itself.
        pub store: Option<LimitStore> = None,
    }
}

settings! {
    /// What one tenant may use.
    #[name = "tenant's limits"]
    pub struct TenantLimits {
        /// Calls.
        pub requests: Option<Rate> = None,
        /// Tokens, of inputs and outputs together.
        pub tokens: Option<Rate> = None,
        /// What windows of the calendar hold.
        pub quotas: Vec<Quota> = Vec::new(),
        /// Requests at once, over all proxies that share a store.
        pub concurrency: Option<Count<1, 1_000_000>> = None,
        /// Of models, beside that: each model has its own of the first pattern that matches.
        pub models: Vec<ModelLimits> = Vec::new(),
    }
}

section! {
    /// What one tenant may use of each of some models.
    #[name = "model's limits"]
    pub struct ModelLimits {
        /// A model, by the name that clients use; `*` at the end stands for anything.
        pub model: ModelPattern,
        /// Calls.
        pub requests: Option<Rate> = None,
        /// Tokens, of inputs and outputs together.
        pub tokens: Option<Rate> = None,
        /// What windows of the calendar hold.
        pub quotas: Vec<Quota> = Vec::new(),
    }
}

section! {
    /// So much in so long, coming back evenly; and so much at once.
    #[name = "rate"]
    pub struct Rate {
        /// How much comes back…
        pub amount: Amount,
        /// …in so long.
        pub per: Period<1000, 86_400_000> = Period::secs(60),
        /// How much there is at most, when nothing was used for a while. Absent: the amount. A call
        /// that may need more is never let through.
        pub burst: Option<Amount> = None,
    }
}

section! {
    /// So much in a day or a month. At least one of the two is given.
    #[name = "quota"]
    pub struct Quota {
        /// Calls.
        pub requests: Option<Amount> = None,
        /// Tokens, of inputs and outputs together.
        pub tokens: Option<Amount> = None,
        /// From when to when it is counted, in UTC.
        pub per: QuotaWindow,
    }
}

choice! {
    /// A window of the calendar, in UTC.
    pub enum QuotaWindow {
        /// From midnight to midnight.
        Day = "day",
        /// From the first of a month to the first of the next.
        Month = "month",
    }
}

section! {
    /// A Redis (from version 5 on) or Valkey in which several proxies count together.
    #[name = "store of limits"]
    pub struct LimitStore {
        /// `redis://HOST:PORT`, or `rediss://` by TLS; without a port, 6379.
        pub address: StoreAddress,
        /// The user, where the store has several.
        pub user: Option<Name> = None,
        /// A file with the password, read at each connection.
        pub password: Option<FilePath> = None,
        /// Number of the database.
        pub database: Count<0, 65_535> = Count::of(0),
        /// Authorities of the store's certificate, PEM; and no others. Absent: the web's.
        pub ca: Option<FilePath> = None,
        /// All keys begin with this and `:`. Absent: `tollgate`.
        pub prefix: Option<Name> = None,
        /// For one question. A request waits no longer than that for its limits.
        pub timeout: Period<1, 10_000> = Period::millis(100),
        /// Questions at once, on one connection.
        pub pipeline: Count<1, 4096> = Count::of(128),
        /// Questions in a row that fail before the store counts as away.
        pub failures: Count<1, 100> = Count::of(5),
        /// How long it is left alone then, before it is tried again…
        pub pause: Period<10, 600_000> = Period::millis(250),
        /// …at most: the pause doubles as long as nothing is answered.
        pub longest_pause: Period<10, 600_000> = Period::secs(10),
        /// What a proxy takes of a limit beyond a call's need while calls follow each other, so that
        /// not each is a question: percent of what a rate holds at once, and of a hundredth of a
        /// quota. Others cannot have it meanwhile. 0: each call is a question.
        pub lease: Count<0, 50> = Count::of(2),
        /// What was taken so and not used is given back after so long.
        pub lease_life: Period<100, 60_000> = Period::secs(1),
        /// What becomes of calls while the store is away.
        pub away: Away = Away::Deny,
        /// With `away: local`: what this proxy may grant by itself, in percent of each limit. N
        /// proxies that have 100/N each keep the limits together.
        pub share: Count<1, 100> = Count::of(25),
    }
}

choice! {
    /// What becomes of calls while the store is away.
    pub enum Away {
        /// They are refused with 503.
        Deny = "deny",
        /// They are all let through.
        Allow = "allow",
        /// This proxy counts by itself, and lets its share through.
        Local = "local",
    }
}

/// A whole number from 1 to 10^15.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Amount(u64);

impl Amount {
    const MAX: u64 = 1_000_000_000_000_000;

    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Decode for Amount {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if let Kind::Scalar { text, plain: true } = &node.kind
            && let Ok(value) = text.parse::<u64>()
            && (1..=Self::MAX).contains(&value)
        {
            return Some(Self(value));
        }
        let max = Self::MAX;
        let what = format!(
            "expected a whole number from 1 to {max}, found {}",
            node.describe()
        );
        cx.refuse(node.at, what, None)
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Amount".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": Self::MAX })
    }
}

/// Where a store of limits is, and whether TLS is spoken there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreAddress {
    tls: bool,
    host: RegistryHost,
}

/// Redis's and Valkey's port.
const PORT: u16 = 6379;

impl StoreAddress {
    fn parse(text: &str) -> Result<Self, Invalid> {
        let form = || {
            Invalid::new("a store's address is written like `redis://HOST:PORT` or `rediss://HOST`")
        };
        let (tls, host) = match text.split_once("://") {
            Some(("redis", host)) => (false, host),
            Some(("rediss", host)) => (true, host),
            _ => return Err(form()),
        };
        if host.contains(['@', '/']) {
            let hint = "`user`, `password` (a file) and `database` are keys of their own";
            return Err(form().hint(Some(hint.to_owned())));
        }
        let host = RegistryHost::parse(host).map_err(|_| form())?;
        Ok(Self { tls, host })
    }

    /// Whether TLS is spoken.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The host, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        self.host.host()
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.host.port().unwrap_or(PORT)
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "rediss" } else { "redis" };
        write!(f, "{scheme}://{}", self.host)
    }
}

word!(
    StoreAddress,
    "a store's address",
    json_schema!({
        "type": "string",
        "pattern": "^rediss?://[A-Za-z0-9.:\\[\\]-]+$",
        "examples": ["redis://127.0.0.1:6379", "rediss://limits.example.com"],
    })
);

impl Config {
    /// Whether anything is limited, of some tenant.
    pub fn limits_anything(&self) -> bool {
        let own = self.tenants.values().filter_map(|it| it.limits.as_ref());
        own.chain(&self.limits.default).any(|limits| {
            limits.requests.is_some()
                || limits.tokens.is_some()
                || limits.concurrency.is_some()
                || !limits.quotas.is_empty()
                || !limits.models.is_empty()
        })
    }
}

impl Rate {
    /// How much there is at most.
    pub fn burst(&self) -> u64 {
        self.burst.unwrap_or(self.amount).get()
    }
}
