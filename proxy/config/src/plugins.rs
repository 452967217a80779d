//! `plugins` and `schedulers`: the components, where they come from and what they may use.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::options::Options;
use crate::problem::nearest;
use crate::registries::Reference;
use crate::scalar::{Count, FilePath, GIB, Invalid, KIB, MIB, Name, Period, Size, text};
use crate::section::{Context, Decode, choice, section, settings};
use crate::tokens::Digest;
use crate::yaml::Node;

section! {
    /// A component of the world protocol, compose or worker.
    #[name = "plugin"]
    pub struct Plugin {
        /// `bundled:NAME`, the path of a component file, or `oci://REGISTRY/REPOSITORY` with `:TAG`
        /// or `@sha256:DIGEST`. A changed file is loaded when it is seen (`runtime.watch`), what a
        /// tag names now by `refresh`, and both at SIGHUP and when an operator asks.
        pub source: Source,
        /// SHA-256 of the component, as 64 hexadecimal digits. One with another is refused.
        pub sha256: Option<Digest> = None,
        /// How often it is looked whether the tag of an `oci://` source names something new.
        /// Absent: only at SIGHUP and when an operator asks.
        pub refresh: Option<Period<1_000, 604_800_000>> = None,
        /// Options, by the component's own schema. `{ file: PATH }` stands for a file's text.
        pub options: Options = Options::default(),
        /// What an instance may use.
        pub limits: PluginLimits = PluginLimits::default(),
        /// Whether exchanges share an instance.
        pub isolation: Isolation = Isolation::Shared,
        /// When it is kept out of service for a while, because it does nothing but fail.
        pub quarantine: Quarantine = Quarantine::default(),
        /// How a changed component begins: with a share of the requests, until it has held. Absent:
        /// it is in force at once.
        pub canary: Option<Canary> = None,
        /// A generation that is put into quarantine so soon after it came in force gives its place
        /// back to the last good one.
        pub probation: Period<0, 86_400_000> = Period::secs(600),
        /// How long requests may stay with a generation that is no longer in force; then they end.
        pub drain: Period<0, 86_400_000> = Period::secs(600),
        /// What becomes of a response that passes through while the plugin looks on, when the plugin
        /// fails.
        pub on_error: OnError = OnError::Fail,
    }
}

settings! {
    /// The terms on which a changed component is tried beside the one in force.
    #[name = "canary"]
    pub struct Canary {
        /// Its share of the requests, in hundredths.
        pub percent: Count<1, 100> = Count::of(10),
        /// How long it has to hold before it is in force.
        pub hold: Period<0, 604_800_000> = Period::secs(300),
        /// How many requests, and attempts at workers, it has to have served by then.
        pub exchanges: Count<0, 1_000_000> = Count::of(50),
        /// Instances ended by a trap or a limit after which it is taken back, unless as many requests
        /// beside it do the same.
        pub traps: Count<1, 1_000_000> = Count::of(1),
        /// By how many hundredths its share of failed requests may be larger than beside it.
        pub errors: Count<0, 100> = Count::of(5),
    }
}

section! {
    /// A batching scheduler: a component of the world scheduler.
    #[name = "scheduler"]
    pub struct Scheduler {
        /// `bundled:NAME`, the path of a component file, or `oci://REGISTRY/REPOSITORY` with `:TAG`
        /// or `@sha256:DIGEST`. A changed file is loaded when it is seen (`runtime.watch`), what a
        /// tag names now by `refresh`, and both at SIGHUP and when an operator asks.
        pub source: Source,
        /// SHA-256 of the component, as 64 hexadecimal digits. One with another is refused.
        pub sha256: Option<Digest> = None,
        /// How often it is looked whether the tag of an `oci://` source names something new.
        /// Absent: only at SIGHUP and when an operator asks.
        pub refresh: Option<Period<1_000, 604_800_000>> = None,
        /// Options, by the component's own schema. `{ file: PATH }` stands for a file's text.
        pub options: Options = Options::default(),
        /// What it may take.
        pub limits: SchedulerLimits = SchedulerLimits::default(),
        /// A generation whose place the built-in rules had to take so soon after it came in force
        /// gives it back to the last good one.
        pub probation: Period<0, 86_400_000> = Period::secs(600),
    }
}

settings! {
    /// Bounds of a scheduler. Past one of them the built-in rules take its place for a while.
    #[name = "scheduler's limits"]
    pub struct SchedulerLimits {
        /// Processor time that at most ten of a thousand decisions in a row may pass; 0 for no such
        /// limit.
        pub step: Period<0, 10_000> = Period::micros(200),
        /// How long the built-in rules stay when it has failed, doubled each time.
        pub backoff: Period<1, 3_600_000> = Period::millis(100),
        /// How long they stay at most.
        pub longest_backoff: Period<1, 86_400_000> = Period::secs(60),
    }
}

settings! {
    /// When a plugin that does nothing but fail is kept out of service. Its requests are refused at
    /// once meanwhile.
    #[name = "quarantine section"]
    pub struct Quarantine {
        /// Instances ended by a trap or a limit, within the window; not those that large inputs ended.
        pub traps: Count<1, 1_000_000> = Count::of(10),
        /// Their share of the exchanges that began in it, in hundredths: where few requests of many
        /// fail, the others are served.
        pub percent: Count<1, 100> = Count::of(50),
        /// The window.
        pub window: Period<100, 3_600_000> = Period::secs(10),
        /// How long it is kept out, doubled each time that it fails again soon after.
        pub first: Period<10, 3_600_000> = Period::secs(1),
        /// How long at most.
        pub longest: Period<10, 86_400_000> = Period::secs(300),
    }
}

settings! {
    /// Bounds of a plugin's instances. An instance that passes one is ended.
    #[name = "plugin's limits"]
    pub struct PluginLimits {
        /// Linear memory of an instance.
        pub memory: Size<MIB, { 4 * GIB }> = Size::of(64 * MIB),
        /// Linear memory by which an instance may have grown and still be given new exchanges. It
        /// does not shrink but with its instance, which ends with those that it has.
        pub keep_memory: Size<{ 64 * KIB }, { 4 * GIB }> = Size::of(4 * MIB),
        /// Processor time of one call with at most 64 KiB of new input.
        pub cpu: Period<1, 10_000> = Period::millis(10),
        /// Processor time of one call with more input.
        pub cpu_large: Period<1, 60_000> = Period::millis(250),
        /// Wall time of one call, for when the processor is not to be had.
        pub wall: Period<10, 300_000> = Period::secs(2),
        /// Bytes that one call may put out itself; spans of host-held bytes do not count.
        pub output: Size<KIB, GIB> = Size::of(16 * MIB),
        /// Exchanges that share an instance at once.
        pub exchanges_per_slot: Count<1, 10_000> = Count::of(64),
        /// Instances at once.
        pub slots: Count<1, 10_000> = Count::of(32),
    }
}

choice! {
    /// What becomes of a passed response that a plugin looks at, when the plugin fails.
    pub enum OnError {
        /// It breaks off: what the plugin counts of it is wanted whole.
        Fail = "fail",
        /// It goes on without the plugin, which counts no more of it.
        Bypass = "bypass",
    }
}

choice! {
    /// Whether exchanges share an instance of a plugin.
    pub enum Isolation {
        /// Exchanges share instances; a trap ends the exchanges of one instance.
        Shared = "shared",
        /// Every exchange has a fresh instance, for plugins that one does not trust.
        Exchange = "exchange",
    }
}

/// Where a component comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// One that is built into the binary, by its name there.
    Bundled(Name),
    /// A component file.
    File(FilePath),
    /// An artefact in a registry.
    Oci(Reference),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundled(name) => write!(f, "bundled:{name}"),
            Self::File(path) => path.fmt(f),
            Self::Oci(reference) => write!(f, "oci://{reference}"),
        }
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Decode for Source {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let base = cx.base.to_owned();
        text(node, cx, "`bundled:NAME`, `oci://…` or a path", |word| {
            if let Some(reference) = word.strip_prefix("oci://") {
                return Reference::parse(reference).map(Self::Oci);
            }
            match word.split_once(':') {
                Some(("bundled", name)) => Name::new(name).map(Self::Bundled),
                // Paths with a colon are rare, misspelt schemes are not.
                Some((scheme, _)) if !scheme.contains('/') => Err(Invalid::new(
                    "a source is `bundled:NAME`, `oci://REGISTRY/REPOSITORY` or a path; write a path \
                     with a colon as `./…`",
                )
                .hint(nearest(scheme, ["bundled", "oci"]))),
                _ => FilePath::resolve(&base, word).map(Self::File),
            }
        })
    }
}

impl JsonSchema for Source {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Source".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 1,
            "examples": ["bundled:fcfs", "plugins/mine.wasm", "oci://registry.example.com/mine:1.0"],
        })
    }
}
