//! Commands for an operator's shell, built from labels that somebody else wrote.
//!
//! A label is foreign: whoever may start a container chooses its text. So every value is quoted for a POSIX shell,
//! nothing can be mistaken for an option, and a value that no shell line should hold at all (control characters,
//! invisible or direction-changing ones) yields no command rather than a quoted oddity.

use super::Remedy;
use crate::evidence::{Compose, Engine};

/// `docker compose` for one project: where to stand, and which name and files to give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Invocation {
    change_directory: Option<String>,
    command: String,
}

impl Invocation {
    /// Reads a container's compose labels. `None` if no safe command can be told from them.
    pub(super) fn of(compose: &Compose) -> Option<Self> {
        let directory = &*compose.working_dir;
        let seen_from_there = |files: &[Box<str>]| -> Option<Vec<String>> {
            files.iter().map(|file| path(below(file, directory))).collect()
        };
        let (files, env_files) = (seen_from_there(&compose.config_files)?, seen_from_there(&compose.env_files)?);
        // `-` is a project that was read from standard input: what it said is gone.
        if compose.config_files.iter().any(|file| &**file == "-") {
            return None;
        }
        // Without a directory, relative files and compose's own search would depend on where the operator stands.
        let self_contained =
            !files.is_empty() && compose.config_files.iter().chain(&compose.env_files).all(|file| is_absolute(file));
        if !(is_absolute(directory) || directory.is_empty() && self_contained) {
            return None;
        }
        // Always by its name: a file's own `name:` and an operator's `COMPOSE_PROJECT_NAME` come before the directory's, and
        // `down` of another project is the last thing that anybody needs.
        let mut command = format!("docker compose -p {}", name(&compose.project)?);
        // Compose resolves relative paths from the directory of the first file, unless it is told otherwise (compose-go,
        // ProjectOptions.GetWorkingDir).
        let elsewhere = compose.config_files.first().is_some_and(|file| parent(file, directory) != trimmed(directory));
        if elsewhere && !directory.is_empty() {
            command += " --project-directory .";
        }
        for (option, files) in [(" --env-file ", env_files), (" -f ", files)] {
            for file in files {
                command += option;
                command += &file;
            }
        }
        let change_directory = match directory {
            "" => None,
            directory => Some(format!("cd {}", quote(directory)?)),
        };
        Some(Self { change_directory, command })
    }

    /// The lines to paste: each of the given subcommands, after the change of directory. None runs where the one before it
    /// has failed: in another directory the same names may be another's files. Windows PowerShell cannot be told so.
    pub(super) fn lines(&self, subcommands: &[&str]) -> String {
        let mut lines: Vec<String> = self.change_directory.iter().cloned().collect();
        lines.extend(subcommands.iter().map(|subcommand| format!("{} {subcommand}", self.command)));
        let is_windows = self.change_directory.as_ref().is_some_and(|it| it.contains(r":\"));
        lines.join(if is_windows { "\n" } else { " &&\n" })
    }
}

/// A name (of a container, service, network or project) as one word that is no option.
pub(super) fn name(name: &str) -> Option<String> {
    if name.is_empty() || name.starts_with('-') { None } else { quote(name) }
}

/// A word that a POSIX shell reads back as the same text; `None` for text that has no place in a shell line.
pub(super) fn quote(text: &str) -> Option<String> {
    if text.chars().any(is_treacherous) {
        return None;
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+:,./-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return Some(text.to_owned());
    }
    Some(format!("'{}'", text.replace('\'', r"'\''")))
}

/// Characters that act rather than are read (Unicode Technical Report 36).
pub(crate) fn is_treacherous(c: char) -> bool {
    // C0, DEL and C1: terminals and line-based logs act on them.
    c.is_control()
        || matches!(c,
            // Soft hyphen, zero-width and joining characters, and line separators: two names that look the same, are not.
            '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{2065}'
            // Bidirectional marks, embeddings, overrides and isolates: text that reads differently from what it is.
            | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}'
            // Byte order mark, interlinear annotations, tag characters.
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn path(path: &str) -> Option<String> {
    if path.is_empty() {
        return None;
    }
    if path.starts_with('-') { quote(&format!("./{path}")) } else { quote(path) }
}

/// The file as seen from the directory, if it lies below it.
fn below<'a>(file: &'a str, directory: &str) -> &'a str {
    if directory.is_empty() {
        return file;
    }
    let rest = file.strip_prefix(trimmed(directory)).and_then(|rest| rest.strip_prefix('/'));
    rest.filter(|rest| !rest.is_empty()).unwrap_or(file)
}

/// The directory of a file that is absolute, or relative to `directory`.
fn parent<'a>(file: &'a str, directory: &'a str) -> &'a str {
    // In a Windows path either may stand between two names.
    let separators: &[char] = if is_absolute(file) && !file.starts_with('/') { &['/', '\\'] } else { &['/'] };
    match file.rsplit_once(separators) {
        Some((parent, _)) => parent,
        None => trimmed(directory),
    }
}

fn trimmed(directory: &str) -> &str {
    directory.trim_end_matches('/')
}

/// A POSIX path from the root, or a Windows one with a drive, as Docker Desktop writes it.
fn is_absolute(path: &str) -> bool {
    let bytes = path.as_bytes();
    path.starts_with('/') || bytes.len() > 2 && bytes[0].is_ascii_alphabetic() && bytes[1..3] == *b":\\"
}

/// Has commands for Docker said to the engine that is there. Podman takes the same words, but for two.
pub(super) fn in_words_of<'a>(engine: &Engine, remedies: impl Iterator<Item = &'a mut Remedy>) {
    if !engine.is_podman() {
        return;
    }
    for remedy in remedies {
        let line = |line: &str| match line.strip_prefix("docker ") {
            // It cannot filter by it.
            Some(rest) if rest.starts_with("ps --filter publish=") => "podman port --all".to_owned(),
            Some(rest) => format!("podman {rest}"),
            None => line.to_owned(),
        };
        remedy.command = remedy.command.split('\n').map(line).collect::<Vec<_>>().join("\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compose(project: &str, directory: &str, files: &[&str]) -> Compose {
        Compose {
            project: project.into(),
            service: "cvat_grafana".into(),
            working_dir: directory.into(),
            config_files: files.iter().map(|&file| file.into()).collect(),
            env_files: vec![],
            depends_on: vec![],
            one_off: false,
        }
    }

    fn up(project: &str, directory: &str, files: &[&str]) -> Option<String> {
        Invocation::of(&compose(project, directory, files)).map(|invocation| invocation.lines(&["up -d"]))
    }

    #[test]
    fn environment_files_are_given_again() {
        let files = ["/srv/cvat/prod.env".into(), "/etc/common.env".into()].into();
        let compose = Compose { env_files: files, ..compose("cvat", "/srv/cvat", &["/srv/cvat/a.yml"]) };
        let lines = Invocation::of(&compose).map(|invocation| invocation.lines(&["up -d"]));
        let want =
            "cd /srv/cvat &&\ndocker compose -p cvat --env-file prod.env --env-file /etc/common.env -f a.yml up -d";
        assert_eq!(lines.as_deref(), Some(want));
    }

    #[test]
    fn files_below_the_directory_are_relative_and_others_absolute() {
        for (project, directory, files, want) in [
            (
                "cvat",
                "/srv/cvat",
                &["/srv/cvat/docker-compose.yml", "/etc/anteroom/override.yml"][..],
                "cd /srv/cvat &&\ndocker compose -p cvat -f docker-compose.yml -f /etc/anteroom/override.yml up -d",
            ),
            // The name begins alike, but it is another directory.
            (
                "cvat",
                "/srv/cvat",
                &["/srv/cvat/a.yml", "/srv/cvat-old/b.yml"],
                "cd /srv/cvat &&\ndocker compose -p cvat -f a.yml -f /srv/cvat-old/b.yml up -d",
            ),
            ("cvat", "/srv/cvat/", &["/srv/cvat/a.yml"], "cd /srv/cvat/ &&\ndocker compose -p cvat -f a.yml up -d"),
            // The first file decides the project's directory, unless compose is told.
            (
                "cvat",
                "/srv/cvat",
                &["/srv/cvat/sub/a.yml", "/srv/cvat/b.yml"],
                "cd /srv/cvat &&\ndocker compose -p cvat --project-directory . -f sub/a.yml -f b.yml up -d",
            ),
            // The first generation of compose wrote relative names.
            (
                "cvat",
                "/srv/cvat",
                &["docker-compose.yml"],
                "cd /srv/cvat &&\ndocker compose -p cvat -f docker-compose.yml up -d",
            ),
            ("cvat", "/srv/cvat", &[], "cd /srv/cvat &&\ndocker compose -p cvat up -d"),
            ("cvat", "", &["/srv/cvat/a.yml"], "docker compose -p cvat -f /srv/cvat/a.yml up -d"),
            ("app", "/", &["/a.yml"], "cd / &&\ndocker compose -p app -f a.yml up -d"),
            (
                "cvat",
                r"C:\cvat",
                &[r"C:\cvat\a.yml"],
                "cd 'C:\\cvat'\ndocker compose -p cvat -f 'C:\\cvat\\a.yml' up -d",
            ),
            (
                "cvat",
                r"C:\cvat",
                &[r"C:\other\a.yml"],
                "cd 'C:\\cvat'\ndocker compose -p cvat --project-directory . -f 'C:\\other\\a.yml' up -d",
            ),
        ] {
            assert_eq!(up(project, directory, files).as_deref(), Some(want), "{directory} {files:?}");
        }
    }

    #[test]
    fn nothing_runs_in_a_directory_that_could_not_be_entered() {
        let lines = Invocation::of(&compose("cvat", "/nowhere/cvat", &[])).map(|it| it.lines(&["down", "up -d"]));
        let script = format!("docker() {{ echo it runs; }}\n{}", lines.expect("the labels are sound"));
        let ran = |script: &str| {
            let output = std::process::Command::new("sh").args(["-c", script]).output().expect("a shell");
            String::from_utf8(output.stdout).expect("text")
        };
        assert_eq!(ran(&script), "");
        assert_eq!(ran(&script.replace("/nowhere/cvat", "/")), "it runs\nit runs\n");
    }

    #[test]
    fn labels_that_tell_no_safe_command_give_none() {
        for (project, directory, files) in [
            ("cvat", "", &["a.yml"][..]),
            ("cvat", "", &[]),
            ("cvat", "relative", &["a.yml"]),
            ("cvat", "/srv/cvat", &["-"]),
            ("cvat", "/srv/cvat", &[""]),
            ("cvat", "/srv/cvat\nreboot", &[]),
            ("cvat", "/srv/cvat", &["/srv/cvat/a\u{1b}[2K.yml"]),
            ("cvat", "/srv/cvat", &["/srv/cvat/\u{202e}lmy.a"]),
            ("-v", "/srv/cvat", &[]),
            ("", "/srv/cvat", &[]),
            ("a\rb", "/srv/cvat", &[]),
        ] {
            assert_eq!(up(project, directory, files), None, "{project:?} {directory:?} {files:?}");
        }
    }

    #[test]
    fn hostile_words_are_quoted_so_that_a_shell_reads_them_back() {
        for (text, want) in [
            ("docker-compose.yml", "docker-compose.yml"),
            ("", "''"),
            ("two words", "'two words'"),
            ("$(reboot)", "'$(reboot)'"),
            ("`reboot`;&|<>*?!#~", "'`reboot`;&|<>*?!#~'"),
            ("it's", r"'it'\''s'"),
            ("=ls", "'=ls'"),
            ("größe", "'größe'"),
        ] {
            assert_eq!(quote(text).as_deref(), Some(want));
        }
        for special in "$`\"\\!#&()*;<=>?[]^{|}~ ".chars() {
            assert_eq!(quote(&format!("a{special}b")), Some(format!("'a{special}b'")));
        }
        for text in ["a\nb", "a\rb", "\0", "\u{7f}", "\u{9b}31m", "a\u{200b}", "\u{2066}x", "\u{feff}"] {
            assert_eq!(quote(text), None, "{text:?}");
        }
    }

    #[test]
    fn nothing_can_be_mistaken_for_an_option() {
        assert_eq!(name("-v"), None);
        assert_eq!(name(""), None);
        assert_eq!(name("cvat_grafana").as_deref(), Some("cvat_grafana"));
        assert_eq!(path("-f.yml").as_deref(), Some("./-f.yml"));
    }
}
