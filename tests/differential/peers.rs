//! nginx and HAProxy, as an operator would put them before a service.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tokio::net::{TcpListener, TcpStream};

use super::support::soon;

/// A running proxy; ends when it is dropped.
pub struct Peer {
    pub address: SocketAddr,
    pub version: String,
    process: Child,
    folder: PathBuf,
}

impl Peer {
    pub async fn nginx(origin: SocketAddr) -> Option<Self> {
        let version = version("nginx", "-v")?;
        Some(
            Self::start("nginx", version, |folder, address| {
                let configuration = format!(
                    "daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
                events {{ worker_connections 64; }}
                http {{
                  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
                  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
                  server {{ listen {address}; location / {{
                    proxy_pass http://{origin}; proxy_http_version 1.1; proxy_set_header Host $http_host;
                    proxy_set_header Connection \"\"; proxy_ignore_client_abort on;
                  }} }}
                }}"
                );
                (configuration, vec!["-p", folder, "-e", "stderr", "-c"].into_iter().map(str::to_owned).collect())
            })
            .await,
        )
    }

    pub async fn haproxy(origin: SocketAddr) -> Option<Self> {
        let version = version("haproxy", "-v")?;
        Some(
            Self::start("haproxy", version, |_, address| {
                let configuration = format!(
                    "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n\
                frontend f\n bind {address}\n default_backend b\nbackend b\n server s {origin}\n"
                );
                (configuration, vec!["-db".to_owned(), "-f".to_owned()])
            })
            .await,
        )
    }

    /// `write` says configuration and arguments; the file's path is the last of them.
    async fn start(program: &str, version: String, write: impl Fn(&str, SocketAddr) -> (String, Vec<String>)) -> Self {
        // It must be told a number. Another program may take it in between: then it ends, and gets another one.
        loop {
            let address = {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                listener.local_addr().expect("bound")
            };
            let folder = std::env::temp_dir().join(format!("anteroom-{program}-{}", address.port()));
            std::fs::create_dir_all(&folder).expect("a folder");
            let (configuration, arguments) = write(folder.to_str().expect("text"), address);
            let file = folder.join("conf");
            std::fs::write(&file, configuration).expect("a file");
            let log = std::fs::File::create(folder.join("log")).expect("a file");
            let process = Command::new(program)
                .args(arguments)
                .arg(&file)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .expect("it was found before");
            let mut peer = Self { address, version: version.clone(), process, folder };
            if peer.listens().await {
                return peer;
            }
            let log = std::fs::read_to_string(peer.folder.join("log")).unwrap_or_default();
            assert!(log.contains("in use"), "{program} does not start: {log}");
        }
    }

    async fn listens(&mut self) -> bool {
        soon(async {
            loop {
                if TcpStream::connect(self.address).await.is_ok() {
                    return true;
                }
                if self.process.try_wait().expect("a child").is_some() {
                    return false;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What a program calls itself, if it is there.
fn version(program: &str, flag: &str) -> Option<String> {
    let output = Command::new(program).arg(flag).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().map(str::to_owned)
}
