//! `tollgate plugin new`: a project that builds, and whose tests pass, before a line is written.
//!
//! What it is made of are the examples of this repository, renamed: they are built and tested with
//! everything else, so that a new project cannot be out of date.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use tollgate_component::WORLDS;

use super::Outcome;
use crate::say;

/// What is made.
#[derive(Args)]
pub(super) struct Arguments {
    /// The plugin's name: lower-case letters, digits and hyphens.
    name: String,
    /// What it is: a serving protocol, a scheduler, a model server, or tasks made of other tasks.
    #[arg(long, value_name = "WORLD", value_parser = WORLDS)]
    world: String,
    /// The project's folder, which is made; else one of the plugin's name.
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// A checkout of Tollgate, whose SDK the project refers to by path. Without it, and without
    /// --git, the checkout that the current folder lies in.
    #[arg(long, value_name = "DIR", conflicts_with = "git")]
    sdk: Option<PathBuf>,
    /// A repository of Tollgate, whose SDK cargo fetches.
    #[arg(long, value_name = "URL")]
    git: Option<String>,
    /// A revision of it.
    #[arg(long, value_name = "REV", requires = "git")]
    rev: Option<String>,
}

/// A project to begin with.
struct Template {
    world: &'static str,
    /// The name that the plugin's own takes the place of.
    name: &'static str,
    /// Below the project's folder.
    files: &'static [(&'static str, &'static str)],
}

macro_rules! template {
    ($world:literal, $name:literal, [$($file:literal),*]) => {
        Template {
            world: $world,
            name: $name,
            files: &[
                $(($file, include_str!(concat!("../../../plugins/examples/", $name, "/", $file))),)*
            ],
        }
    };
}

const TEMPLATES: [Template; 4] = [
    template!(
        "protocol",
        "quill",
        [
            "README.md",
            "tollgate.yaml",
            "src/lib.rs",
            "src/wire.rs",
            "src/frontend.rs",
            "src/backend.rs",
            "tests/quill.rs"
        ]
    ),
    template!(
        "scheduler",
        "turns",
        [
            "README.md",
            "tollgate.yaml",
            "src/lib.rs",
            "src/policy.rs",
            "tests/turns.rs"
        ]
    ),
    template!(
        "worker",
        "echo",
        ["README.md", "tollgate.yaml", "src/lib.rs", "tests/echo.rs"]
    ),
    template!(
        "compose",
        "versus",
        [
            "README.md",
            "tollgate.yaml",
            "src/lib.rs",
            "tests/versus.rs"
        ]
    ),
];

/// Names that a package cannot have beside what it stands on.
const TAKEN: [&str; 7] = [
    "alloc",
    "core",
    "proc-macro",
    "serde",
    "serde-json",
    "std",
    "test",
];

/// Words that Rust keeps to itself: no file could name a library that has one for its name.
const KEYWORDS: [&str; 51] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
    "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Packages of the SDK: a package cannot stand on itself.
const SDK: &str = "tollgate-sdk";

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let name = Name::new(&arguments.name)?;
    let template = TEMPLATES
        .iter()
        .find(|template| template.world == arguments.world)
        .ok_or("there is no such world")?;
    let sdk = Sdk::find(arguments)?;
    let folder = arguments
        .path
        .clone()
        .unwrap_or_else(|| PathBuf::from(&name.0));
    if fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(format!("{}: the folder is not empty", folder.display()).into());
    }
    let manifest = manifest(&name, template, &sdk);
    let own = [
        ("Cargo.toml".to_owned(), manifest),
        (".gitignore".to_owned(), "/target\n".to_owned()),
    ];
    let renamed = template.files.iter().map(|(file, text)| {
        (
            file.replace(template.name, &name.0),
            name.put(template.name, text),
        )
    });
    for (file, text) in own.into_iter().chain(renamed) {
        write(&folder.join(file), &text)?;
    }
    say(&format!(
        "{folder}: a plugin of the world {world}\n\n  cd {folder}\n  cargo test\n  tollgate plugin \
         build\n  tollgate plugin inspect target/{name}.wasm\n  tollgate run tollgate.yaml\n",
        folder = folder.display(),
        world = template.world,
        name = name.0,
    ));
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    let made = match path.parent() {
        Some(folder) => fs::create_dir_all(folder),
        None => Ok(()),
    };
    made.and_then(|()| fs::write(path, text))
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// A plugin's name.
struct Name(String);

impl Name {
    fn new(text: &str) -> Result<Self, String> {
        let good = text.len() <= 64
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !text.ends_with('-')
            && !text.contains("--")
            && !TAKEN.contains(&text)
            && !KEYWORDS.contains(&text)
            && !text.starts_with(SDK);
        match good {
            true => Ok(Self(text.to_owned())),
            false => Err(format!(
                "{text:?} is no name for a plugin: lower-case letters, digits and single hyphens, \
                 beginning with a letter, no keyword of Rust, and none of {}, {SDK}…",
                TAKEN.join(", ")
            )),
        }
    }

    /// The text of a template, with this name in the place of its own. No type has a name made of it:
    /// it could be that of another type there.
    fn put(&self, old: &str, text: &str) -> String {
        let own = [
            (format!("tollgate_example_{old}"), self.0.replace('-', "_")),
            (old.to_owned(), self.0.clone()),
        ];
        // In one go: a name that was put in may have the old one within it.
        let mut made = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((at, (old, new))) = own
            .iter()
            .filter_map(|pair| Some((rest.find(&pair.0)?, pair)))
            .min_by_key(|(at, _)| *at)
        {
            made.push_str(&rest[..at]);
            made.push_str(new);
            rest = &rest[at + old.len()..];
        }
        made.push_str(rest);
        made
    }
}

/// Where the project's SDK comes from.
enum Sdk {
    /// A checkout of Tollgate.
    Path(PathBuf),
    Git(String, Option<String>),
}

impl Sdk {
    fn find(arguments: &Arguments) -> Result<Self, String> {
        if let Some(url) = &arguments.git {
            return Ok(Self::Git(url.clone(), arguments.rev.clone()));
        }
        let is_checkout = |folder: &Path| folder.join("plugins/sdk/protocol/Cargo.toml").is_file();
        let found = match &arguments.sdk {
            Some(folder) => folder.canonicalize().ok().filter(|it| is_checkout(it)),
            None => std::env::current_dir().ok().and_then(|here| {
                let mut around = here.ancestors();
                around.find(|it| is_checkout(it)).map(Path::to_owned)
            }),
        };
        found.map(Self::Path).ok_or_else(|| match &arguments.sdk {
            Some(folder) => format!("{}: not a checkout of Tollgate", folder.display()),
            None => {
                "where is the SDK? Name a checkout of Tollgate by --sdk DIR, or its repository \
                     by --git URL (and --rev REV)"
                    .to_owned()
            }
        })
    }

    /// As a dependency in `Cargo.toml`.
    fn dependency(&self, world: &str) -> String {
        let quoted = |text: &str| toml_string(text);
        match self {
            Self::Path(folder) => {
                let folder = folder.join("plugins/sdk").join(world);
                format!("{{ path = {} }}", quoted(&folder.to_string_lossy()))
            }
            Self::Git(url, None) => format!("{{ git = {} }}", quoted(url)),
            Self::Git(url, Some(rev)) => {
                format!("{{ git = {}, rev = {} }}", quoted(url), quoted(rev))
            }
        }
    }
}

/// A basic string of TOML.
fn toml_string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn manifest(name: &Name, template: &Template, sdk: &Sdk) -> String {
    let world = template.world;
    format!(
        r#"[package]
name = "{name}"
version = "0.1.0"
edition = "2024"
publish = false

[package.metadata.tollgate]
world = "{world}"

[lib]
# The component, and what the tests link.
crate-type = ["cdylib", "rlib"]

[dependencies]
serde = {{ version = "1", features = ["derive"] }}
serde_json = "1"
tollgate-sdk-{world} = {dependency}

[profile.release]
opt-level = 3
lto = "fat"
codegen-units = 1
panic = "abort"
strip = "debuginfo"

# A workspace of its own, wherever it lies.
[workspace]
"#,
        name = name.0,
        dependency = sdk.dependency(world),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_put_everywhere() {
        let name = Name::new("post-card2").ok().unwrap();
        let text = "use tollgate_example_quill::Plugin; // quill, \"/quill/v1\"";
        assert_eq!(
            name.put("quill", text),
            "use post_card2::Plugin; // post-card2, \"/post-card2/v1\""
        );
        let longer = Name::new("my-quill").ok().unwrap();
        assert_eq!(
            longer.put("quill", text),
            "use my_quill::Plugin; // my-quill, \"/my-quill/v1\""
        );
        for template in &TEMPLATES {
            let here = WORLDS.contains(&template.world);
            assert!(here, "{}", template.world);
            for (file, text) in template.files {
                let made = name.put(template.name, text);
                let left = made.to_lowercase().contains(template.name);
                assert!(!left, "{file} of {}", template.name);
            }
        }
    }

    #[test]
    fn a_bad_name_is_refused() {
        for bad in [
            "", "A", "1a", "a_b", "a--b", "a-", "serde", "a/b", "é", "match",
        ] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
        assert!(Name::new("tollgate-sdk-worker").is_err());
        // Of what the templates have types and traits of.
        for good in ["plugin", "worker", "policy", "health", "option"] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn paths_are_written_as_toml_writes_them() {
        assert_eq!(toml_string("a\"b\\c\n"), r#""a\"b\\c\u000A""#);
    }
}
