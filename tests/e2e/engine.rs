//! The `docker` command, and the promise that nothing of a run is left behind.
//!
//! Processes, not the API: what is tested is what an operator types. Everything that a run makes carries the run's
//! name, as the label [`LABEL`] or as the compose project, and the [`Janitor`] removes by that name alone.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result, ensure};

/// On every image, and on every network that compose did not make; its value is the name of the run.
pub const LABEL: &str = "anteroom.e2e";

/// The `docker` command with a configuration of our own, where it finds the compose plugin of the tests.
#[derive(Clone)]
pub struct Engine {
    pub configuration: PathBuf,
}

impl Engine {
    /// Runs `docker` and returns what it printed; an error carries its complaint.
    pub fn docker<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Result<String> {
        let mut docker = self.environment(Command::new("docker"));
        docker.args(arguments);
        output(docker)
    }

    /// Runs commands as the operator would who copies them from a page.
    pub fn shell(&self, commands: &str) -> Result<String> {
        let mut shell = self.environment(Command::new("sh"));
        shell.args(["-euc", commands]);
        output(shell)
    }

    fn environment(&self, mut command: Command) -> Command {
        command.env("DOCKER_CONFIG", &self.configuration).env("DOCKER_BUILDKIT", "0");
        // They would rename or extend the project whose remedies are compared to the letter.
        for variable in ["COMPOSE_FILE", "COMPOSE_PROJECT_NAME", "COMPOSE_PROFILES", "COMPOSE_ENV_FILES"] {
            command.env_remove(variable);
        }
        command
    }
}

/// Runs a command to its end; what it printed is either the result or part of the error.
pub fn output(mut command: Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        write!(complaint, "{printed}")?;
    }
    ensure!(output.status.success(), "{command:?} ended with {}\n{complaint}", output.status);
    Ok(printed)
}

/// A process that outlives this one, by whichever signal it dies, and removes what the run has made.
///
/// It waits for the end of its standard input, which is the end of this process at the latest.
pub struct Janitor {
    sweeper: Child,
    waiting: Option<ChildStdin>,
}

impl Janitor {
    /// `projects` are those of compose; `directory` holds their files and is removed too.
    pub fn hire(run: &str, projects: &[String], directory: &Path) -> Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", SWEEP, "janitor", &format!("{LABEL}={run}")]).arg(directory).args(projects);
        // A group of its own: an interrupt from the terminal goes to the whole group of the tests.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut sweeper = command.spawn().context("cannot start the janitor")?;
        let waiting = sweeper.stdin.take();
        Ok(Self { sweeper, waiting })
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.waiting.take());
        if let Err(error) = self.sweeper.wait() {
            eprintln!("cannot wait for the janitor: {error}");
        }
    }
}

/// Three rounds at most, since a compose that was under way at a violent end may still have made a container.
const SWEEP: &str = r#"
trap '' INT TERM HUP
cat >/dev/null
label=$1 directory=$2
shift 2
for round in 1 2 3; do
    left=0
    for filter in "$label" $(printf 'com.docker.compose.project=%s ' "$@"); do
        containers=$(docker ps -aq --filter "label=$filter")
        [ -z "$containers" ] || { left=1; docker rm -fv $containers; }
        networks=$(docker network ls -q --filter "label=$filter")
        [ -z "$networks" ] || { left=1; docker network rm $networks; }
    done
    images=$(docker images -q --filter "label=$label" | sort -u)
    [ -z "$images" ] || { left=1; docker rmi -f $images; }
    [ $left = 1 ] || break
done
# What ran in the namespaces of a second engine may take a moment to end.
for try in 1 2 3 4 5; do
    rm -rf "$directory" && break
    sleep 1
done
find /sys/fs/cgroup -depth -type d -path "*/${label#*=}*" -exec rmdir {} +
"#;
