//! The architecture, as a test: `main → cli → instance → server → proxy → {watch, upstream} → core`, and a core that
//! imports nothing but itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The core: synchronous and total. It knows what is true and what it means, and no socket, clock or file.
const CORE: [&str; 16] = [
    "admission",
    "alarm",
    "backoff",
    "config",
    "diagnosis",
    "evidence",
    "headers",
    "line",
    "page",
    "patience",
    "phrase",
    "project",
    "readiness",
    "retry",
    "warmup",
    "words",
];

/// Crates that the core may use. `serde` and `serde_json` turn a problem document into text; `humantime` reads and
/// writes durations. All three are as pure as the core itself.
const CORE_CRATES: [&str; 8] = ["std", "core", "crate", "super", "self", "http", "serde", "serde_json"];
const CONFIG_CRATES: [&str; 1] = ["humantime"];
/// A compose file is YAML.
const PROJECT_CRATES: [&str; 1] = ["yaml_rust2"];

/// The shell, from the inside out: a module may use the core and those before it.
const SHELL: [&[&str]; 9] = [
    &["file", "lock"],
    &["telemetry", "surroundings", "engine", "memory", "tls", "brand", "spelling", "conduit"],
    &["upstream"],
    &["probe", "room"],
    &["visit"],
    &["watch"],
    &["proxy"],
    &["admin", "messenger", "server"],
    &["instance"],
];

#[test]
fn the_core_imports_nothing_but_itself() {
    for (path, text) in sources() {
        let module = top_module(&path);
        if !CORE.contains(&module.as_str()) {
            continue;
        }
        for (line, first) in imported_crates(&text) {
            let allowed = CORE_CRATES.contains(&first.as_str())
                || module == "config" && CONFIG_CRATES.contains(&first.as_str())
                || module == "project" && PROJECT_CRATES.contains(&first.as_str())
                // A function may bring the variants of an enum into its scope.
                || first.starts_with(char::is_uppercase)
                || is_own_child(&path, &first);
            assert!(allowed, "{}:{line} uses {first}", path.display());
        }
        for (line, used) in crate_modules(&text) {
            assert!(CORE.contains(&used.as_str()), "{}:{line} uses crate::{used}", path.display());
        }
        for forbidden in ["Instant::now(", "SystemTime::now(", "std::env", "std::fs", "std::net::Tcp", "std::thread"] {
            let line = production(&text).lines().position(|line| !is_comment(line) && line.contains(forbidden));
            assert_eq!(line, None, "{} uses {forbidden}", path.display());
        }
    }
}

#[test]
fn the_shell_imports_only_inwards() {
    let rank: BTreeMap<&str, usize> =
        SHELL.iter().enumerate().flat_map(|(rank, modules)| modules.iter().map(move |it| (*it, rank))).collect();
    for (path, text) in sources() {
        let module = top_module(&path);
        let Some(own) = rank.get(module.as_str()) else { continue };
        for (line, used) in crate_modules(&text) {
            let inwards =
                CORE.contains(&used.as_str()) || used == module || rank.get(used.as_str()).is_some_and(|its| its < own);
            assert!(inwards, "{}:{line} uses crate::{used}", path.display());
        }
    }
}

#[test]
fn every_module_has_its_place() {
    let mut known: Vec<&str> = CORE.to_vec();
    known.extend(SHELL.iter().copied().flatten());
    known.extend(["lib", "main", "cli"]);
    for (path, _) in sources() {
        assert!(known.contains(&top_module(&path).as_str()), "{} has no place in the layout", path.display());
    }
}

#[test]
fn no_file_is_longer_than_500_lines_and_main_than_100() {
    for (path, text) in sources() {
        let most = if path.ends_with("src/main.rs") { 100 } else { 500 };
        let lines = text.lines().count();
        assert!(lines <= most, "{} has {lines} lines", path.display());
    }
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().expect("src can be read") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs")
                && !is_test(path.strip_prefix(root).expect("below the root").strip_prefix("src").expect("below src"))
            {
                let text = std::fs::read_to_string(&path).expect("a source file can be read");
                files.push((path, text));
            }
        }
    }
    assert!(files.len() > 20, "the sources were found");
    files
}

/// Files that hold nothing but tests and what tests need.
fn is_test(path: &Path) -> bool {
    path.components().any(|part| {
        matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs" | "fixtures.rs" | "scenes" | "scenes.rs"))
    })
}

/// `src/proxy/hold.rs` and `src/proxy.rs` belong to `proxy`.
fn top_module(path: &Path) -> String {
    let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("below src");
    let first = inside.components().next().expect("a file").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// The first segment of each `use`, with its line; tests may use what they like.
fn imported_crates(text: &str) -> Vec<(usize, String)> {
    let uses = production(text).lines().enumerate().filter_map(|(line, text)| {
        let path = text.trim_start().trim_start_matches("pub ").strip_prefix("use ")?;
        // `$crate` is what a macro calls us.
        let path = path.trim_start_matches('$');
        Some((line + 1, path.split([':', ';', ' ', '{']).next().unwrap_or_default().to_owned()))
    });
    uses.collect()
}

/// Every `crate::module` that is named, with its line.
fn crate_modules(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (line, text) in production(text).lines().enumerate().filter(|(_, text)| !is_comment(text)) {
        for rest in text.split("crate::").skip(1) {
            let names = rest.strip_prefix('{').map_or(rest, |group| group.split('}').next().unwrap_or(group));
            let several = rest.starts_with('{');
            for name in names.split(',').take(if several { usize::MAX } else { 1 }) {
                let name: String = name.trim().chars().take_while(|it| it.is_alphanumeric() || *it == '_').collect();
                if !name.is_empty() {
                    found.push((line + 1, name));
                }
            }
        }
    }
    found
}

fn is_own_child(path: &Path, name: &str) -> bool {
    let folder = path.with_extension("");
    folder.join(format!("{name}.rs")).exists() || path.with_file_name(format!("{name}.rs")).exists()
}

/// What stands before a file's tests.
fn production(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text)
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}
