//! Chat templates, rendered as transformers renders them.
//!
//! Covered: block trimming as transformers sets it, `raise_exception`, `tojson` with Python's separators, Python's string,
//! list and dictionary methods, `break` and `continue`, and the `{% generation %}` marker (rendered, its span ignored).
//! Not covered: tool and document conversations (`tools` and `documents` are `none`).
//!
//! `strftime_now` always answers for 26 July 2024, the date that Llama's templates fall back to: with the real clock the
//! same prompt would have other tokens tomorrow, and no run could be repeated.

use std::sync::Arc;

use cord_core::{Digest, Digester, Message, Role};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind};

use crate::TextError;

const NAME: &str = "chat";

/// The tokens that a template may name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NamedTokens {
    pub(crate) bos: Option<String>,
    pub(crate) eos: Option<String>,
    pub(crate) pad: Option<String>,
    pub(crate) unk: Option<String>,
}

/// A parsed chat template. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ChatTemplate {
    source: Arc<str>,
    environment: Arc<Environment<'static>>,
    tokens: NamedTokens,
}

impl ChatTemplate {
    pub(crate) fn parse(source: &str, tokens: NamedTokens) -> Result<Self, TextError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| TextError::TemplateSyntax { reason: describe(&error) })?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", to_json);
        environment
            .add_template_owned(NAME, without_generation_marks(source))
            .map_err(|error| TextError::TemplateSyntax { reason: describe(&error) })?;
        Ok(Self { source: source.into(), environment: Arc::new(environment), tokens })
    }

    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    pub(crate) fn digest(&self) -> Digest {
        let mut digester = Digester::new("cord-chat-template").part(self.source.as_bytes());
        for token in [&self.tokens.bos, &self.tokens.eos, &self.tokens.pad, &self.tokens.unk] {
            // An absent token and an empty one render alike but are told apart by the mark before the text.
            digester = match token {
                Some(token) => digester.part(b"some").part(token.as_bytes()),
                None => digester.part(b"none"),
            };
        }
        digester.finish()
    }

    pub(crate) fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, TextError> {
        let turns = messages.len();
        let messages: Value = messages.iter().map(turn).collect();
        let mut context = vec![
            ("messages", messages),
            ("add_generation_prompt", Value::from(add_generation_prompt)),
            ("tools", Value::from(())),
            ("documents", Value::from(())),
        ];
        // A token that the model lacks stays undefined, so that `bos_token is defined` tells the truth.
        for (name, token) in [
            ("bos_token", &self.tokens.bos),
            ("eos_token", &self.tokens.eos),
            ("pad_token", &self.tokens.pad),
            ("unk_token", &self.tokens.unk),
        ] {
            context.extend(token.as_ref().map(|token| (name, Value::from(token.as_str()))));
        }
        let context = Value::from_pairs(context);
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render(context))
            .map_err(|error| TextError::TemplateRender { turns, reason: describe(&error) })
    }
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate")
            .field("source", &self.source)
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}

fn turn(message: &Message) -> Value {
    let role = match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    Value::from_pairs([("role", Value::from(role)), ("content", Value::from(message.content.as_str()))])
}

/// The engine's message with its line, without the multi-line excerpt of its debug form.
fn describe(error: &Error) -> String {
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) => format!("{detail} (line {line})"),
        None => detail,
    }
}

/// `{% generation %}` marks the assistant's span for transformers' mask and prints nothing. The engine here doesn't know
/// the tag, so the tag becomes an always-true condition, which keeps its white space control.
fn without_generation_marks(source: &str) -> String {
    let mut rest = source;
    let mut out = String::with_capacity(source.len());
    while let Some(open) = rest.find("{%") {
        let Some(length) = rest[open..].find("%}") else { break };
        let inside = &rest[open + 2..open + length];
        let name = inside.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        out.push_str(&rest[..open + 2]);
        out.push_str(&match name {
            "generation" => inside.replace("generation", "if true"),
            "endgeneration" => inside.replace("endgeneration", "endif"),
            _ => inside.to_owned(),
        });
        out.push_str("%}");
        rest = &rest[open + length + 2..];
    }
    out.push_str(rest);
    out
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

fn strftime_now(format: &str) -> Result<String, Error> {
    let mut out = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        out.push_str(match characters.next() {
            Some('d') => "26",
            Some('m') => "07",
            Some('b') => "Jul",
            Some('B') => "July",
            Some('Y') => "2024",
            Some('y') => "24",
            Some('a') => "Fri",
            Some('A') => "Friday",
            Some('H' | 'M' | 'S') => "00",
            Some('%') => "%",
            other => {
                let given = other.map_or_else(|| "%".to_owned(), |other| format!("%{other}"));
                let reason = format!("`strftime_now`: expected a date or time field, got `{given}`");
                return Err(Error::new(ErrorKind::InvalidOperation, reason));
            }
        });
    }
    Ok(out)
}

/// `tojson` as transformers defines it: Python's separators and no HTML escapes, which the engine's own filter would add.
#[expect(clippy::needless_pass_by_value, reason = "the engine's filter trait takes values")]
fn to_json(value: Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    // Python's other options (`ensure_ascii`, `separators`, `sort_keys`) are accepted and left at transformers' defaults.
    let failed = |error: serde_json::Error| Error::new(ErrorKind::BadSerialization, error.to_string());
    let mut bytes = Vec::new();
    if let Some(width) = indent {
        let padding = " ".repeat(width);
        let formatter = serde_json::ser::PrettyFormatter::with_indent(padding.as_bytes());
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
        serde::Serialize::serialize(&value, &mut serializer).map_err(failed)?;
    } else {
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, PythonSeparators);
        serde::Serialize::serialize(&value, &mut serializer).map_err(failed)?;
    }
    let text = String::from_utf8(bytes).expect("JSON is UTF-8");
    Ok(Value::from_safe_string(text))
}

/// JSON on one line with `, ` and `: ` between, as Python writes it.
struct PythonSeparators;

impl serde_json::ser::Formatter for PythonSeparators {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each expected text is what transformers 5 renders.
    #[test]
    fn templates_render_as_in_transformers() {
        let check = |source: &str, expected: &str| {
            let tokens =
                NamedTokens { bos: Some("<s>".to_owned()), eos: Some("</s>".to_owned()), ..NamedTokens::default() };
            let template = ChatTemplate::parse(source, tokens).unwrap();
            let turns = [Message::user("a < 'b' & \"é\"\n"), Message::assistant("<think>x</think>y")];
            assert_eq!(template.render(&turns, true).unwrap(), expected, "{source}");
        };
        check("{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ pad_token is defined }}", "<s>|</s>||False");
        check("  {% if true %}\n  x\n  {% endif %}\ny\n", "  x\ny");
        check("{{ messages[0].content | tojson }}", r#""a < 'b' & \"é\"\n""#);
        check("{{ {'k': [1, 'z', none, true]} | tojson }}", r#"{"k": [1, "z", null, true]}"#);
        check("{{ [1, 2] | tojson(indent=2) }}", "[\n  1,\n  2\n]");
        check("{{ messages[1]['content'].split('</think>')[-1].strip().upper() }}", "Y");
        check(
            "{{ messages[1].content.startswith('<think>') }} {{ messages[0].content | trim }}",
            "True a < 'b' & \"é\"",
        );
        check("{% for m in messages[::-1] %}{{ m.role }}{% break %}{% endfor %}", "assistant");
        check(
            "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
            "2",
        );
        check("[{% generation %}\n{{ messages[1].role }}{%- endgeneration -%} ]", "[assistant]");
        check(
            "{{ tools is none }} {{ messages[0].tool_calls is defined }} {{ add_generation_prompt }}",
            "True False True",
        );
        check("{% if messages[0]['tool_calls'] %}x{% else %}{{ 'y' * 2 }}{{ 'a' ~ 1 }}{% endif %}", "yya1");
        check("{{ messages | length }}{{ messages[0].items() | list | length }}{{ loop is defined }}", "22False");
    }

    #[test]
    fn the_date_never_changes() {
        let render = |source: &str| ChatTemplate::parse(source, NamedTokens::default()).unwrap().render(&[], true);
        assert_eq!(render("{{ strftime_now('%A %d %B %Y, %H:%M %%') }}").unwrap(), "Friday 26 July 2024, 00:00 %");
        assert_eq!(render("{{ strftime_now('%a %d %b %y') }}").unwrap(), "Fri 26 Jul 24");
        let error = render("{{ strftime_now('%Q') }}").unwrap_err().to_string();
        insta::assert_snapshot!(error, @"the chat template failed on a conversation (turns: 0): `strftime_now`: expected a date or time field, got `%Q` (line 1)");
    }
}
