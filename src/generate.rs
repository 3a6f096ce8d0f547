//! `siglip2-embeddings generate WHAT`: prints what packages ship beside the program, made from
//! the same declarations that parse the command line.

use std::io::{Write, stdout};

use clap::builder::PossibleValue;
use clap::{Arg, ArgAction, Command, CommandFactory, Parser, ValueEnum};
use clap_complete::Shell;

use crate::conformance::Conformance;
use crate::download::Download;
use crate::embed::Embed;
use crate::search::Search;
use crate::settings::Settings;
use crate::subcommand::without_http;

/// Settings whose default is a number of this machine, and what it is on others.
const OF_THE_MACHINE: [(&str, &str); 3] = [
    ("decode_threads", "the number of cores"),
    (
        "http_threads",
        "half the number of cores, but two where there are two",
    ),
    ("tokenize_threads", "half the number of cores"),
];

/// The program's name, and the prefix of its subcommands' names.
const PROGRAM: &str = "siglip2-embeddings";

/// Prints the manual page, completions for a shell, or the table of settings.
#[derive(Debug, Parser)]
#[command(name = "siglip2-embeddings generate", version)]
pub struct Generate {
    /// What to print.
    #[arg(value_enum)]
    what: What,
}

/// What can be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// The manual page, in roff.
    Man,
    /// Completions for Bash.
    CompleteBash,
    /// Completions for fish.
    CompleteFish,
    /// Completions for Zsh.
    CompleteZsh,
    /// The table of settings, in Markdown: docs/settings.md.
    Settings,
}

impl Generate {
    /// What the command line asks for, if it is this. Flags that are wrong end the process
    /// with a sentence.
    pub fn asked_for() -> Option<Self> {
        let mut arguments = std::env::args_os().skip(1).peekable();
        if arguments.peek()? != "generate" {
            return None;
        }
        Some(siglip2_flags::try_parse_from(arguments).unwrap_or_else(|error| error.exit()))
    }

    /// Prints it.
    ///
    /// # Errors
    ///
    /// When standard output cannot be written.
    pub fn run(&self) -> std::io::Result<()> {
        stdout().write_all(&generate(self.what)?)
    }
}

/// The text of what is asked for.
///
/// # Errors
///
/// None that a buffer in memory does not have.
pub fn generate(what: What) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    match what {
        What::Man => clap_mangen::Man::new(program()).render(&mut text)?,
        What::CompleteBash => complete(Shell::Bash, &mut text),
        What::CompleteFish => complete(Shell::Fish, &mut text),
        What::CompleteZsh => complete(Shell::Zsh, &mut text),
        What::Settings => text.extend(settings().into_bytes()),
    }
    Ok(text)
}

fn complete(shell: Shell, text: &mut Vec<u8>) {
    clap_complete::generate(shell, &mut program(), PROGRAM, text);
}

/// The whole program as one command. Its subcommands are told apart by hand (see
/// `src/subcommand.rs`), so that none of them is tried on the service's flags.
fn program() -> Command {
    let subcommands = [
        without_http(Embed::command()).name("embed"),
        without_http(Search::command()).name("search"),
        without_http(Conformance::command()).name("conformance"),
        Download::command().name("download"),
        Generate::command().name("generate"),
    ];
    // `bin_name` is that of the parsers alone, and would be written in front of the name.
    let subcommands = subcommands.map(|command| {
        let name = format!("{PROGRAM} {}", command.get_name());
        command.bin_name(name)
    });
    Settings::command().subcommands(subcommands)
}

/// `docs/settings.md`.
fn settings() -> String {
    let mut text = String::from(
        "# Settings\n\n\
         Made from the program by `siglip2-embeddings generate settings`; a test holds this file to it.\n\n\
         Every setting is a flag, and most have an environment variable too; the flag wins. An \
         empty variable\ncounts as unset. Bytes take units (`100MB`, `256MiB`), and so do durations \
         (`2min`; a bare number is\nseconds). A switch is on with the flag alone, or with `1`, \
         `true`, `yes` or `on`. `--help` says the same as\nthis page.\n",
    );
    let service = Settings::command();
    let known: Vec<String> = service.get_arguments().map(id).collect();
    section(
        &mut text,
        "The service",
        "siglip2-embeddings",
        &service,
        &[],
    );
    let also = "Beside these it takes the settings of the service, but for those of HTTP.";
    for (title, usage, command) in [
        (
            "embed",
            "siglip2-embeddings embed INPUT... --out DIR-OR-FILE",
            without_http(Embed::command()),
        ),
        (
            "search",
            "siglip2-embeddings search FILE-OR-DIR... QUERY",
            without_http(Search::command()),
        ),
        (
            "conformance",
            "siglip2-embeddings conformance URL",
            without_http(Conformance::command()),
        ),
    ] {
        section(&mut text, title, usage, &command, &known);
        text.push_str(&format!("\n{also}\n"));
    }
    let usage = "siglip2-embeddings download NAME";
    section(&mut text, "download", usage, &Download::command(), &known);
    text.push_str("\nBeside these it takes the settings of the hub and of the log.\n");
    text
}

fn id(argument: &Arg) -> String {
    argument.get_id().to_string()
}

/// One command: a table for each heading of its help.
fn section(text: &mut String, title: &str, usage: &str, command: &Command, known: &[String]) {
    text.push_str(&format!("\n## {title}\n\n```text\n{usage}\n```\n"));
    let shown: Vec<&Arg> = command
        .get_arguments()
        .filter(|argument| !argument.is_hide_set() && !known.contains(&id(argument)))
        .filter(|argument| {
            let action = argument.get_action();
            !matches!(
                action,
                ArgAction::Help | ArgAction::HelpShort | ArgAction::Version
            )
        })
        .filter(|argument| !["help", "version"].contains(&argument.get_id().as_str()))
        .collect();
    let mut headings: Vec<Option<&str>> = Vec::new();
    for argument in &shown {
        if !headings.contains(&argument.get_help_heading()) {
            headings.push(argument.get_help_heading());
        }
    }
    for heading in headings {
        if let Some(heading) = heading {
            text.push_str(&format!("\n### {heading}\n"));
        }
        text.push_str("\n| setting | variable | default | |\n| --- | --- | --- | --- |\n");
        for argument in &shown {
            if argument.get_help_heading() == heading {
                text.push_str(&row(argument));
            }
        }
    }
}

/// A setting's row.
fn row(argument: &Arg) -> String {
    let code = |text: &str| match text {
        "" => String::new(),
        text => format!("`{text}`"),
    };
    let value = argument.get_value_names().unwrap_or_default().join(" ");
    let name = match argument.get_long() {
        Some(long) => format!("--{long}"),
        None => value,
    };
    let variable = argument.get_env().unwrap_or_default().to_string_lossy();
    let is_flag = matches!(argument.get_action(), ArgAction::SetTrue);
    let of_the_machine = OF_THE_MACHINE
        .iter()
        .find(|(name, _)| *name == argument.get_id());
    let default = match (of_the_machine, argument.get_default_values()) {
        (Some((_, words)), _) => (*words).to_owned(),
        (None, [default]) if !is_flag => code(&default.to_string_lossy()),
        (None, _) => String::new(),
    };
    let help = argument.get_long_help().or(argument.get_help());
    let mut help = one_line(&help.map(ToString::to_string).unwrap_or_default());
    if !help.is_empty() && !help.ends_with('.') {
        help.push('.');
    }
    let values = argument.get_possible_values();
    let values: Vec<String> = values
        .iter()
        .filter(|_| !is_flag)
        .filter_map(choice)
        .collect();
    if !values.is_empty() {
        help.push_str(&format!(" {}.", values.join("; ")));
    }
    format!(
        "| {} | {} | {} | {help} |\n",
        code(&name),
        code(&variable),
        default
    )
}

/// A value of a setting that has a few, and what it means.
fn choice(value: &PossibleValue) -> Option<String> {
    let help = value.get_help().map(|help| one_line(&help.to_string()));
    (!value.is_hide_set()).then(|| match help {
        Some(help) if !help.is_empty() => format!("`{}`: {help}", value.get_name()),
        _ => format!("`{}`", value.get_name()),
    })
}

/// Text as a cell of a table has it.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(what: What) -> String {
        String::from_utf8(generate(what).unwrap()).unwrap()
    }

    #[test]
    fn docs_settings_md_is_what_the_program_says() {
        let written = include_str!("../docs/settings.md");
        assert!(
            made(What::Settings) == written,
            "docs/settings.md is not current; write it again: \
             cargo run -- generate settings > docs/settings.md"
        );
    }

    #[test]
    fn every_flag_is_in_the_table_the_manual_and_the_completions() {
        let (table, manual) = (made(What::Settings), made(What::Man));
        let shells = [What::CompleteBash, What::CompleteFish, What::CompleteZsh].map(made);
        let mut flags = 0;
        for argument in Settings::command().get_arguments() {
            let Some(long) = argument.get_long().filter(|_| !argument.is_hide_set()) else {
                continue;
            };
            if ["help", "version"].contains(&long) {
                continue;
            }
            flags += 1;
            assert!(table.contains(&format!("| `--{long}` |")), "{long}");
            assert!(manual.contains(&long.replace('-', "\\-")), "{long}");
            assert!(shells.iter().all(|shell| shell.contains(long)), "{long}");
        }
        assert!(flags > 40, "{flags}");
        for subcommand in ["embed", "search", "conformance", "download"] {
            assert!(table.contains(&format!("\n## {subcommand}\n")));
            assert!(shells.iter().all(|shell| shell.contains(subcommand)));
        }
    }
}
