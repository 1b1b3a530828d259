//! What is made from the code and checked in: the table of settings, the completions and the man page. They are made here
//! rather than by a command of the program, so that no binary carries what makes them.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anteroom::cli;
use anteroom::config::{Fallback, LATER, SETTINGS, Setting};
use clap_complete::{Shell, generate};
use clap_mangen::Man;

/// How the files are written anew.
const HOW: &str = "ANTEROOM_WRITE_GENERATED=1 cargo test --test generated";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Compares a file with what the code makes of it, or writes it.
fn is_as_made(file: &str, made: &str) {
    let path = root().join(file);
    if std::env::var_os("ANTEROOM_WRITE_GENERATED").is_some() {
        std::fs::write(&path, made).expect("the file can be written");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    let first = there.lines().zip(made.lines()).position(|(is, should)| is != should);
    let line = first.unwrap_or_else(|| there.lines().count().min(made.lines().count())) + 1;
    assert!(there == made, "{file} is not what the code says, from line {line} on. It is written anew by {HOW}");
}

#[test]
fn the_table_of_settings_is_that_of_the_code() {
    is_as_made("docs/settings.md", &settings());
}

#[test]
fn the_completions_are_those_of_the_command() {
    for (shell, file) in [(Shell::Bash, "anteroom.bash"), (Shell::Zsh, "_anteroom"), (Shell::Fish, "anteroom.fish")] {
        is_as_made(&format!("deploy/completions/{file}"), &completions(shell));
    }
}

#[test]
fn the_man_page_is_that_of_the_command() {
    is_as_made("docs/anteroom.1", &man().expect("a vector takes everything"));
}

fn settings() -> String {
    let mut text = String::from(
        "# Settings\n\n\
         <!-- Made from src/config/settings.rs by tests/generated.rs: change them there. -->\n\n\
         Every setting of `anteroom serve`, as a variable of the environment or as a flag of the same name: \
         `ANTEROOM_READY_PATH`\nis `--ready-path`. A flag wins over its variable, and an empty value counts as unset. A \
         value that is wrong is refused at\nthe start, all of them at once, with exit code 64.\n\n\
         | variable | default | meaning | takes |\n|---|---|---|---|\n",
    );
    for Setting { name, default, takes, meaning, .. } in SETTINGS {
        let default = match default {
            Fallback::Required => "required".to_owned(),
            // Commas are where a long one may be broken.
            Fallback::Value(value) => value.split(',').map(|part| format!("`{part}`")).collect::<Vec<_>>().join(", "),
            Fallback::Otherwise(words) => (*words).to_owned(),
        };
        row(&mut text, [&format!("`{name}`"), &default, meaning, takes]);
    }
    text.push_str(
        "\n## Not there yet\n\nRefused at the start rather than ignored, since whoever sets one relies on it.\n\n\
         | variable | what it will do |\n|---|---|\n",
    );
    for later in LATER {
        row(&mut text, [&format!("`{}`", later.name), later.meaning]);
    }
    text
}

fn row<const CELLS: usize>(table: &mut String, cells: [&str; CELLS]) {
    let cells = cells.map(|cell| cell.replace('|', "\\|").replace('<', "&lt;"));
    writeln!(table, "| {} |", cells.join(" | ")).expect("a string takes everything");
}

fn completions(shell: Shell) -> String {
    let mut made = Vec::new();
    generate(shell, &mut cli::command(), "anteroom", &mut made);
    String::from_utf8(made).expect("a completion is text")
}

/// One page for all: who looks for a flag should not have to know which page has it.
fn man() -> io::Result<String> {
    let mut command = cli::command().disable_help_subcommand(true);
    command.build();
    let whole = Man::new(command.clone()).manual("anteroom").source(format!("anteroom {}", env!("CARGO_PKG_VERSION")));
    let mut made = Vec::new();
    whole.render_title(&mut made)?;
    whole.render_name_section(&mut made)?;
    whole.render_synopsis_section(&mut made)?;
    whole.render_description_section(&mut made)?;
    for subcommand in command.get_subcommands() {
        let name = format!("anteroom {}", subcommand.get_name());
        let part = Man::new(subcommand.clone().bin_name(&name));
        let mut text = Vec::new();
        part.render_synopsis_section(&mut text)?;
        part.render_description_section(&mut text)?;
        part.render_options_section(&mut text)?;
        if subcommand.get_after_help().is_some() {
            part.render_extra_section(&mut text)?;
        }
        let text = String::from_utf8(text).expect("a man page is text");
        // A section of the page for each subcommand, whose own sections are parts of it.
        let parts = text.replace("\n.SH EXTRA\n", "\n.PP\n").replace("\n.SH ", "\n.SS ").replace(".SH SYN", ".SS SYN");
        made.extend(format!(".SH \"{}\"\n{}", name.to_uppercase(), parts.trim_start()).bytes());
    }
    let made = String::from_utf8(made).expect("a man page is text");
    // What a variable takes begins a line, as in help.
    let broken = SETTINGS.iter().map(|setting| format!("\n{} takes ", setting.name));
    Ok(broken.fold(made, |page, line| page.replace(&line, &format!("\n.br{line}"))) + SEE_ALSO)
}

const SEE_ALSO: &str = ".SH \"EXIT STATUS\"\n\
    0 it did what it was asked; 64 it was used wrongly, which no second attempt mends; 1 anything else. The doctor has\n\
    its own, which stand with it.\n\
    .SH \"SEE ALSO\"\nhttps://github.com/anteroom/anteroom/tree/main/docs\n";

/// A program that is needed to try what was made. `None`, said loudly, where there is none; with `ANTEROOM_E2E=required`
/// that is a failure.
fn tool(name: &str) -> Option<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|it| it.is_file());
    if found.is_none() {
        assert!(std::env::var("ANTEROOM_E2E").as_deref() != Ok("required"), "there is no {name}");
        eprintln!("there is no {name}: NOTHING IS PROVED HERE");
    }
    found.map(Command::new)
}

/// What a program prints that must have nothing to complain about.
fn output(mut tool: Command, arguments: &[&str]) -> String {
    let said = tool.args(arguments).current_dir(root()).output().expect("it runs");
    let complaints = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && complaints.is_empty(), "{arguments:?}: {complaints}");
    String::from_utf8_lossy(&said.stdout).into_owned()
}

/// The flags that begin with `--patience-`, in the order of the alphabet.
const PATIENCE: [&str; 3] = ["--patience-navigation", "--patience-request", "--patience-stream"];

fn words(text: &str) -> Vec<&str> {
    let mut words: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    words.sort_unstable();
    words
}

#[test]
fn bash_completes_flags_and_values() {
    let Some(bash) = tool("bash") else { return };
    let script = "source deploy/completions/anteroom.bash
        ask() { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
                _anteroom anteroom \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD - 1]}\"
                printf '%s\\n' \"${COMPREPLY[@]}\"; }
        ask anteroom serve --patience-; ask anteroom demo --scenario cra; ask anteroom doc; ask anteroom serve --docker-t
        complete -p anteroom";
    let said = output(bash, &["--norc", "-c", script]);
    let (offered, registered) = said.trim_end().rsplit_once('\n').expect("lines");
    let expected: Vec<&str> = PATIENCE.into_iter().chain(["crash-loop", "doctor"]).collect();
    assert_eq!(words(offered), expected, "and nothing that is refused anyway");
    assert!(registered.contains("-F _anteroom") && registered.ends_with(" anteroom"), "{registered}");
}

#[test]
fn fish_completes_flags_and_values() {
    let Some(fish) = tool("fish") else { return };
    let ask = "complete -C";
    let script = format!(
        "source deploy/completions/anteroom.fish; {ask} 'anteroom serve --patience-'; \
         {ask} 'anteroom demo --scenario cra'; {ask} 'anteroom doc'; {ask} 'anteroom serve --docker-t'"
    );
    let expected: Vec<&str> = PATIENCE.into_iter().chain(["crash-loop", "doctor"]).collect();
    assert_eq!(words(&output(fish, &["--no-config", "-c", &script])), expected);
}

#[test]
fn zsh_completes_flags() {
    let Some(zsh) = tool("zsh") else { return };
    // Completions of zsh work in its line editor alone, so it gets a terminal. What is waited for ends each step.
    let script = r"zmodload zsh/zpty
        zpty shell 'TERM=dumb zsh -f -i'
        zpty -w shell 'fpath=($PWD/deploy/completions $fpath); autoload -U compinit; compinit -D -u; print $((6 * 7))ready'
        zpty -r shell seen '*42ready*'
        zpty -w -n shell $'anteroom serve --patience-s\t'
        zpty -r shell seen '*--patience-stream*'
        zpty -w -n shell $'\C-uanteroom demo --scenario cra\t'
        zpty -r shell seen '*crash-loop*'
        print completed";
    let Some(mut limited) = tool("timeout") else { return };
    limited.arg("30").arg(zsh.get_program());
    assert_eq!(output(limited, &["-f", "-c", script]).trim(), "completed");
}

#[test]
fn the_man_page_can_be_read() {
    let Some(groff) = tool("groff") else { return };
    // All warnings but that of a value which is too long for a line.
    let page = output(groff, &["-man", "-Tutf8", "-ww", "-Wbreak", "-P-cbou", "docs/anteroom.1"]);
    for expected in SETTINGS.iter().map(|setting| setting.name).chain(["--scenario", "--watch", "EXIT STATUS"]) {
        assert!(page.contains(expected), "{expected}: {page}");
    }
}
