//! `docs/reference/verbs.md`, made of what the command line says of itself.
//!
//! `CORD_REFERENCE=write cargo test --workspace reference` writes the file anew.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};

use crate::Cli;

fn page() -> String {
    let mut command = Cli::command();
    command.build();
    let mut text = String::from(
        "# Every verb\n\n\
         <!-- Made of the code by `CORD_REFERENCE=write cargo test --workspace reference`: change that, not this. -->\n\n\
         What `cord help VERB` says, on one page. `cord man DIR` writes it as manual pages, `cord completions SHELL` for a shell.\n",
    );
    let _ = write!(text, "\n{}\n", crate::EXIT_CODES);
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        verb_to(&mut text, verb, 2);
    }
    text
}

fn verb_to(text: &mut String, verb: &Command, level: usize) {
    let mut verb = verb.clone();
    let usage = verb.render_usage().to_string();
    let name = usage.trim_start_matches("Usage: ").split([' ', '\n']).take(level).collect::<Vec<_>>().join(" ");
    let about = verb.get_long_about().or_else(|| verb.get_about()).map(ToString::to_string).unwrap_or_default();
    let _ = write!(text, "\n{} `{name}`\n\n{}\n", "#".repeat(level), about.trim());
    let inner: Vec<&Command> = verb.get_subcommands().filter(|inner| inner.get_name() != "help").collect();
    if inner.is_empty() {
        let _ = write!(text, "\n`{}`\n", usage.trim_start_matches("Usage: ").trim());
    }
    let arguments: Vec<&Arg> = verb
        .get_arguments()
        .filter(|argument| !argument.is_hide_set() && !["help", "version"].contains(&argument.get_id().as_str()))
        .collect();
    if !arguments.is_empty() {
        *text += "\n| argument | default | what it does |\n|---|---|---|\n";
    }
    for argument in arguments {
        let mut help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let words: Vec<String> = argument
            .get_possible_values()
            .iter()
            .filter(|value| !value.is_hide_set())
            .map(|value| match value.get_help() {
                Some(help) => format!("`{}` ({help})", value.get_name()),
                None => format!("`{}`", value.get_name()),
            })
            .collect();
        // A flag can be true or false, and need not be told so.
        if !words.is_empty() && argument.get_action().takes_values() {
            let _ = write!(help, ": {}", words.join(", "));
        }
        let defaults = argument.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy()));
        let defaults = if argument.get_action().takes_values() { defaults.collect() } else { Vec::new() };
        let shown = argument.to_string();
        let _ = writeln!(text, "| `{}` | {} | {} |", cell(&shown), defaults.join(", "), cell(&help));
    }
    if let Some(more) = verb.get_after_help() {
        let _ = write!(text, "\n```text\n{}\n```\n", more.to_string().trim_end());
    }
    for inner in inner {
        verb_to(text, inner, level + 1);
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[test]
fn the_reference_of_verbs_is_what_the_program_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/verbs.md");
    let now = page();
    if std::env::var_os("CORD_REFERENCE").is_some_and(|word| word == "write") {
        fs::create_dir_all(file.parent().expect("a folder")).unwrap();
        fs::write(&file, &now).unwrap();
    }
    let there = fs::read_to_string(&file).unwrap_or_default();
    let differs = there.lines().zip(now.lines()).find(|(there, now)| there != now);
    assert!(
        there == now,
        "`docs/reference/verbs.md` is not what the program says now ({differs:?}); write it with `CORD_REFERENCE=write cargo test \
         --workspace reference`"
    );
}
