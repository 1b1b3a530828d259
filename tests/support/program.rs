//! The program itself, as a process of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use super::soon;

/// Ends with the test.
pub struct Program {
    process: Child,
    pub address: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Program {
    /// One worker before an upstream, where the shell has said so much before.
    pub fn start(upstream: SocketAddr, before: &str) -> Self {
        let process = Command::new("sh")
            .args(["-c", &format!("{before}\nexec \"$0\" serve"), env!("CARGO_BIN_EXE_anteroom")])
            .env_clear()
            .env("ANTEROOM_LISTEN", "127.0.0.1:0")
            .env("ANTEROOM_ADMIN_LISTEN", "127.0.0.1:0")
            .env("ANTEROOM_UPSTREAM", format!("http://{upstream}"))
            .env("ANTEROOM_THREADS", "1")
            .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut process = process.expect("it starts");
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
        let address = lines
            .find_map(|line| line.split_once(" listen=")?.1.split(' ').next()?.parse().ok())
            .expect("it says where");
        let log = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&log);
        // It must not have to wait for us.
        std::thread::spawn(move || lines.for_each(|line| kept.lock().expect("nobody panics").push_str(&(line + "\n"))));
        Self { process, address, log }
    }

    /// What it has in memory, in KiB.
    pub fn memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Waits until this stands in its log.
    pub async fn says(&self, text: &str) {
        let is_said = || self.log.lock().expect("nobody panics").contains(text);
        soon(async {
            while !is_said() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        })
        .await;
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
