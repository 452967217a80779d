//! A chat template, run as transformers runs it (`apply_chat_template` of version 4.57): Jinja with
//! `trim_blocks`, `lstrip_blocks` and loop controls, the functions `raise_exception` and
//! `strftime_now`, a `tojson` that escapes nothing for HTML, and the methods of Python's texts.
//!
//! Blocks `{% generation %}`, by which training finds the model's part, have no meaning here and
//! are left out. What a template may do is bounded: in steps and bytes by its fuel, in depth by the
//! recursion limit.

use indexmap::IndexMap;
use minijinja::{Environment, Error, ErrorKind, Value, syntax::SyntaxConfig};

use crate::{python, strftime};

/// The only template of its environment.
const NAME: &str = "chat";
/// Blocks, calls and loops within each other.
const DEPTH: usize = 100;
/// Begins the details of an error that the template has raised.
const RAISED: &str = "raised: ";

/// What stands in every template's variables, and is not for others to set.
pub(crate) const RESERVED: [&str; 7] = [
    "messages",
    "tools",
    "documents",
    "add_generation_prompt",
    "continue_final_message",
    "raise_exception",
    "strftime_now",
];

/// Names and values that a template sees.
pub type Variables = Vec<(String, Value)>;

/// A template that can be run.
pub struct Template {
    environment: Environment<'static>,
    tokens: Vec<(String, Value)>,
}

/// A template came to no prompt.
#[derive(Debug, PartialEq, Eq)]
pub enum RenderError {
    /// It raised this, for the client to read.
    Raised(String),
    /// It uses more than it may.
    Exhausted,
    /// It cannot do what it wants to.
    Failed(String),
}

impl std::fmt::Display for RenderError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Raised(message) => f.write_str(message),
            Self::Exhausted => f.write_str("the conversation is too much for the chat template"),
            Self::Failed(message) => write!(f, "the chat template failed: {message}"),
        }
    }
}

impl std::error::Error for RenderError {}

impl Template {
    /// Reads a template; `tokens` are special tokens by their names in it, `fuel` is what one
    /// rendering may use.
    ///
    /// # Errors
    /// When it is no template; the message names the line.
    pub fn new(
        source: &str,
        tokens: &[(&str, Option<String>)],
        fuel: u64,
    ) -> Result<Self, RenderError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .map_err(|error| failed(&error))?;
        environment.set_syntax(syntax);
        environment.set_fuel(Some(fuel));
        environment.set_recursion_limit(DEPTH);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(python::format);
        environment.add_filter("tojson", python::to_json);
        environment.add_filter("string", python::text);
        environment.add_function("raise_exception", raise);
        environment
            .add_template_owned(NAME, without_generation(source))
            .map_err(|error| failed(&error))?;
        let tokens = tokens
            .iter()
            .filter_map(|(name, token)| Some(((*name).to_owned(), Value::from(token.clone()?))));
        Ok(Self {
            environment,
            tokens: tokens.collect(),
        })
    }

    /// The prompt; `now` is in seconds since 1970.
    ///
    /// # Errors
    /// See [`RenderError`].
    pub fn render(&self, variables: Variables, now: u64) -> Result<String, RenderError> {
        let clock = Value::from_function(move |format: &str| strftime::format(now, format));
        let all: IndexMap<Value, Value> = self
            .tokens
            .iter()
            .cloned()
            .chain([("strftime_now".to_owned(), clock)])
            .chain(variables)
            .map(|(name, value)| (Value::from(name), value))
            .collect();
        let template = self
            .environment
            .get_template(NAME)
            .map_err(|error| failed(&error))?;
        template
            .render(Value::from_object(all))
            .map_err(|error| failed(&error))
    }
}

fn raise(message: &str) -> Result<String, Error> {
    Err(Error::new(
        ErrorKind::InvalidOperation,
        format!("{RAISED}{message}"),
    ))
}

/// The innermost error is the one that says what is wrong.
fn failed(error: &Error) -> RenderError {
    let mut innermost = error;
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        if let Some(source) = source.downcast_ref::<Error>() {
            innermost = source;
        }
        next = source.source();
    }
    if innermost.kind() == ErrorKind::OutOfFuel {
        return RenderError::Exhausted;
    }
    match innermost.detail() {
        Some(detail) if detail.starts_with(RAISED) => {
            RenderError::Raised(detail[RAISED.len()..].to_owned())
        }
        detail => {
            let what = detail.map_or_else(|| innermost.kind().to_string(), str::to_owned);
            let line = innermost.line().or_else(|| error.line());
            RenderError::Failed(match line {
                Some(line) => format!("{what} (line {line})"),
                None => what,
            })
        }
    }
}

/// The source with `{% generation %}` and `{% endgeneration %}` as blocks that always are: white
/// space around them is treated as around any other block.
fn without_generation(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(begin) = rest.find("{%") {
        let (before, block) = rest.split_at(begin);
        out.push_str(before);
        let Some(end) = block.find("%}") else {
            rest = block;
            break;
        };
        let (block, after) = block.split_at(end + 2);
        let name = block[2..end].trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        match name {
            "generation" => out.push_str(&block.replace("generation", "if true")),
            "endgeneration" => out.push_str(&block.replace("endgeneration", "endif")),
            _ => out.push_str(block),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str) -> Result<String, RenderError> {
        let tokens = [("bos_token", Some("<s>".to_owned())), ("eos_token", None)];
        let variables = vec![(
            "x".to_owned(),
            serde_json::from_str(r#"{"b": [1, "<a>'é", null, true, 1.0], "a": {"k": "v"}}"#)
                .unwrap(),
        )];
        Template::new(source, &tokens, 10_000)?.render(variables, 1_234_567_890)
    }

    #[test]
    fn blocks_take_their_lines_with_them() {
        let source = "  {% if true %}\nyes\n  {% endif %}\n{{ bos_token }}\n";
        assert_eq!(render(source).unwrap(), "yes\n<s>");
    }

    #[test]
    fn json_is_written_as_python_does() {
        let plain = r#"{"b": [1, "<a>'é", null, true, 1.0], "a": {"k": "v"}}"#;
        assert_eq!(render("{{ x | tojson }}").unwrap(), plain);
        assert_eq!(
            render("{{ x.a | tojson(indent=2) }}").unwrap(),
            "{\n  \"k\": \"v\"\n}"
        );
        assert_eq!(
            render("{{ x | tojson(separators=(',', ':'), sort_keys=true, ensure_ascii=true) }}")
                .unwrap(),
            r#"{"a":{"k":"v"},"b":[1,"<a>'\u00e9",null,true,1.0]}"#
        );
        assert_eq!(
            render("{{ [] | tojson(indent=4) }}{{ {} | tojson }}").unwrap(),
            "[]{}"
        );
        assert!(render("{{ nobody | tojson }}").is_err());
    }

    #[test]
    fn values_are_printed_as_python_does() {
        let printed = "{'b': [1, \"<a>'é\", None, True, 1.0], 'a': {'k': 'v'}}";
        assert_eq!(render("{{ x }}").unwrap(), printed);
        assert_eq!(render("{{ x | string }}").unwrap(), printed);
        assert_eq!(
            render("{{ true }}{{ none }}{{ nobody }}{{ 1e16 }}{{ 'q' }}").unwrap(),
            "TrueNone1e+16q"
        );
        assert_eq!(
            render(r#"{{ ["a'b", "a\\n\nb", 'c"d'] }}"#).unwrap(),
            r#"["a'b", 'a\\n\nb', 'c"d']"#
        );
    }

    #[test]
    fn what_templates_use_of_python_is_there() {
        for (source, wanted) in [
            ("{{ ' a '.strip() + 'b'.upper() }}", "aB"),
            (
                "{% for k, v in x.a.items() %}{{ k }}={{ v }}{% endfor %}",
                "k=v",
            ),
            ("{{ 'a</think>b'.split('</think>')[-1] }}", "b"),
            (
                "{{ 'abc'.startswith('ab') }}{{ x.get('none', 'd') }}",
                "Trued",
            ),
            (
                "{% for i in [1, 2, 3] %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% endfor %}",
                "13",
            ),
            (
                "{% for i in [1, 2, 3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}",
                "1",
            ),
            (
                "{% set ns = namespace(n=0) %}{% for i in [1, 2] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
                "3",
            ),
            (
                "{% macro twice(a, b='!') %}{{ a }}{{ a }}{{ b }}{% endmacro %}{{ twice('x') }}",
                "xx!",
            ),
            ("{{ [1, 2, 3][::-1] }}{{ 'abc'[1:] }}", "[3, 2, 1]bc"),
            ("{{ strftime_now('%d %B %Y') }}", "13 February 2009"),
            ("a{%- generation -%} b {%- endgeneration %}c", "abc"),
            (
                "{{ x.b | length }}{{ x.a is mapping }}{{ x.b is iterable }}{{ 'a' is string }}",
                "5TrueTrueTrue",
            ),
        ] {
            assert_eq!(
                render(source).unwrap_or_else(|error| panic!("{source}: {error}")),
                wanted,
                "{source}"
            );
        }
    }

    #[test]
    fn what_a_template_raises_is_told_as_it_is() {
        let raised = render(
            "{% macro m() %}{{ raise_exception('No \"system\" here!') }}{% endmacro %}{{ m() }}",
        );
        assert_eq!(
            raised,
            Err(RenderError::Raised("No \"system\" here!".into()))
        );
        let Err(RenderError::Failed(what)) = render("\n{{ nobody.content }}") else {
            panic!("an attribute of nothing");
        };
        assert!(what.contains("line 2"), "{what}");
        assert!(matches!(render("{% if %}"), Err(RenderError::Failed(_))));
    }

    #[test]
    fn a_template_that_does_not_end_is_ended() {
        for endless in [
            "{% for i in range(99999) %}{% for j in range(99999) %}{{ j }}{% endfor %}{% endfor %}",
            "{{ 'a' * 100000000 }}",
            "{% set ns = namespace(t='ab') %}{% for i in range(64) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}",
        ] {
            assert_eq!(render(endless), Err(RenderError::Exhausted), "{endless}");
        }
        let deep = "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}";
        assert!(matches!(
            render(deep),
            Err(RenderError::Failed(_) | RenderError::Exhausted)
        ));
    }
}
