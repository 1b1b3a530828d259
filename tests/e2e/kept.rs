//! A program beside the containers, which ends with its owner, and at the latest with the tests, by whichever signal
//! those die.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};

/// Starts the program and ends it, by its own number, when there is no more to read: that is when this process has let
/// go of the pipe. The shell itself lets go of the standard output, so that its end is the program's.
const KEEP: &str =
    r#""$@" & program=$!; exec >/dev/null; trap '' INT TERM HUP; cat >/dev/null; kill $program; wait $program"#;

/// The program, as long as this lives.
pub struct Kept {
    keeper: Child,
    /// Held open, since a program that writes to a closed pipe dies of it.
    said: BufReader<ChildStdout>,
}

impl Kept {
    /// Starts it with no other environment than where programs are found, and `environment`.
    pub fn start<I: AsRef<OsStr>>(
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = I>,
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEP, "keeper"]).arg(&program).args(arguments).env_clear();
        keeper.envs(["PATH", "HOME"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        keeper.envs(environment.iter().copied());
        // A group of its own: an interrupt from the terminal goes to the whole group of the tests.
        keeper.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut keeper = keeper.spawn().with_context(|| format!("cannot start {:?}", program.as_ref()))?;
        let said = BufReader::new(keeper.stdout.take().context("the standard output is piped")?);
        Ok(Self { keeper, said })
    }

    /// Reads what it says until a line has what is looked for; an error if the program ends without that.
    pub fn listen<T>(&mut self, find: impl Fn(&str) -> Option<T>) -> Result<T> {
        let mut said = String::new();
        loop {
            let start = said.len();
            if self.said.read_line(&mut said)? == 0 {
                bail!("it has ended, and said: {said:?}");
            }
            if let Some(found) = find(&said[start..]) {
                return Ok(found);
            }
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        if let Err(error) = self.keeper.wait() {
            eprintln!("cannot wait for a program's end: {error}");
        }
    }
}
