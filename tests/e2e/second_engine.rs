//! A Docker engine of our own that may be restarted, since the one that the tests use is other people's too.
//!
//! It lives in namespaces of its own (network, mounts, processes), which end with one process, and that one at the
//! latest with the tests: then the kernel kills every process in them, unmounts what they have mounted, and the rules
//! of the packet filter are gone with the network. What is left is a folder and cgroups that are empty: the janitor's.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::ask::poll;
use crate::engine::output;

/// The engine, and what runs beside it in its network.
pub struct SecondEngine {
    /// Ends with its standard input, and all the rest with it.
    keeper: Child,
    /// The first process of the namespaces, as it is numbered outside of them.
    inside: u32,
    directory: PathBuf,
    cgroup: String,
    options: &'static [&'static str],
}

/// A `/run` of its own: the other engine's sockets and locks are out of sight. dash collects the processes whose
/// parents have gone.
const KEEP: &str = "ip link set lo up && mount -t tmpfs tmpfs /run && echo ready && cat >/dev/null; exit 0";

impl SecondEngine {
    /// Where those find it who run beside it.
    pub const HOST: &str = "unix:///run/docker.sock";

    /// Starts one whose files are in `directory`, with `options` besides.
    pub fn start(directory: &Path, run: &str, options: &'static [&'static str]) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let mut keeper = Command::new("unshare");
        keeper.args("--net --mount --pid --fork --kill-child --mount-proc sh -c".split(' ')).arg(KEEP);
        let mut keeper = keeper.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot unshare")?;
        let mut said = String::new();
        if let Some(stdout) = keeper.stdout.take() {
            BufReader::new(stdout).read_line(&mut said)?;
        }
        let number = keeper.id();
        let children = fs::read_to_string(format!("/proc/{number}/task/{number}/children"))?;
        let inside = children.trim().parse().with_context(|| format!("children of unshare: {children:?}"));
        let (directory, cgroup) = (directory.to_owned(), format!("{run}-second"));
        let engine = Self { keeper, inside: inside?, directory, cgroup, options };
        ensure!(said == "ready\n", "the namespaces are not ready");
        engine.start_daemon()?;
        Ok(engine)
    }

    /// What keeps this machine from having one, if anything.
    pub fn missing() -> Option<String> {
        let mut unshare = Command::new("unshare");
        unshare.args("--net --mount --pid --fork --kill-child --mount-proc dockerd --version".split(' '));
        output(unshare).err().map(|error| format!("{error:#}"))
    }

    /// Where the `docker` command finds it: a path that is short enough for a socket, wherever the checkout is.
    pub fn host(&self) -> String {
        format!("unix:///proc/{}/root/run/docker.sock", self.inside)
    }

    /// What lies in it goes with the engine.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn docker(&self, words: &[&str]) -> Result<String> {
        let mut docker = Command::new("docker");
        docker.args(["--host", &self.host()]).args(words);
        output(docker)
    }

    /// What SIGTERM and a new start do to it, as `systemctl restart docker` does; `between` happens while it is away.
    pub fn restart(&self, between: impl FnOnce()) -> Result<()> {
        let pid = format!("/proc/{}/root/run/docker.pid", self.inside);
        let mut kill = self.inside("kill");
        kill.arg(fs::read_to_string(&pid)?.trim());
        output(kill)?;
        poll(|| (!Path::new(&pid).exists()).then_some(())).context("the engine does not end")?;
        between();
        self.start_daemon()
    }

    fn start_daemon(&self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.directory.join("log"))?;
        // The machine's own configuration is the other engine's.
        let configuration = self.directory.join("daemon.json");
        fs::write(&configuration, "{}")?;
        let mut daemon = self.inside("dockerd");
        daemon.arg("--config-file").arg(configuration);
        daemon.args(["--host", Self::HOST, "--exec-root", "/run/docker", "--pidfile", "/run/docker.pid"]);
        daemon.arg("--data-root").arg(self.directory.join("data"));
        daemon.args(["--storage-driver", "vfs", "--cgroup-parent", &self.cgroup]).args(self.options);
        self.spawn(daemon, log)?;
        poll(|| self.docker(&["version"]).ok()).map(drop).with_context(|| format!("no engine\n{}", self.log("log")))
    }

    /// Runs a program beside it; its output is in the log of that name.
    pub fn run(&self, program: &Path, arguments: &[&str], environment: &[(&str, &str)], log: &str) -> Result<()> {
        let log = File::create(self.directory.join(log))?;
        let mut command = self.inside(program);
        command.args(arguments).envs(environment.iter().copied());
        self.spawn(command, log)
    }

    /// The end of a log.
    pub fn log(&self, name: &str) -> String {
        let log = fs::read_to_string(self.directory.join(name)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn inside(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.inside.to_string()).args(["--net", "--mount", "--pid", "--"]).arg(program);
        command
    }

    /// Nobody waits for it: it ends with the namespaces.
    fn spawn(&self, mut command: Command, log: File) -> Result<()> {
        let mut child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        std::thread::spawn(move || child.wait());
        Ok(())
    }

    /// From now on this thread's new connections begin in the engine's network.
    pub fn enter_network(&self) {
        const CLONE_NEWNET: i32 = 0x4000_0000;
        unsafe extern "C" {
            fn setns(namespace: i32, kind: i32) -> i32;
        }
        let network = File::open(format!("/proc/{}/ns/net", self.inside)).expect("the namespaces live as long as we");
        // SAFETY: the C library's, with its documented signature; the descriptor is open, and the thread is ours.
        let entered = unsafe { setns(network.as_raw_fd(), CLONE_NEWNET) };
        assert_eq!(entered, 0, "{}", std::io::Error::last_os_error());
    }
}

impl Drop for SecondEngine {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
        // Two of these in a row start from nothing. What is left after a violent end, the janitor removes.
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            eprintln!("cannot remove {}: {error}", self.directory.display());
        }
    }
}
