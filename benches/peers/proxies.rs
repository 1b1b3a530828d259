//! The proxies, each with one worker thread and the settings that an operator would give it for this job.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::shipped;

/// What can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    Nginx,
    Haproxy,
    Envoy,
    Traefik,
    Caddy,
    Anteroom,
}

impl Proxy {
    const ALL: [Self; 6] = [Self::Nginx, Self::Haproxy, Self::Envoy, Self::Traefik, Self::Caddy, Self::Anteroom];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Traefik => "traefik",
            Self::Caddy => "caddy",
            Self::Anteroom => "anteroom",
        }
    }

    fn program(self) -> PathBuf {
        match self {
            // A place of its own, so that what is measured is what is shipped.
            Self::Anteroom => shipped::path(),
            Self::Nginx | Self::Haproxy => self.name().into(),
            Self::Envoy | Self::Traefik | Self::Caddy => {
                PathBuf::from(std::env::var_os("ANTEROOM_BENCH_PEERS").unwrap_or_default()).join(self.name())
            }
        }
    }

    /// Those that are installed.
    pub fn here() -> Vec<Self> {
        let runs = |proxy: &Self| {
            let mut version = Command::new(proxy.program());
            // Each knows one of them; that it can be started is all that matters.
            version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
            version.status().is_ok()
        };
        Self::ALL.into_iter().filter(runs).collect()
    }

    /// Whether it speaks HTTP/2 in the clear only on a port of its own.
    fn has_port_for_http2(self) -> bool {
        matches!(self, Self::Nginx | Self::Haproxy)
    }

    fn configuration(self, folder: &Path, [listen, http2]: [u16; 2], upstream: u16) -> String {
        let folder = folder.display();
        match self {
            Self::Nginx => format!(
                "user root; worker_processes 1; daemon off; master_process off; pid {folder}/nginx.pid;\n\
                 error_log {folder}/nginx.err;\nevents {{ worker_connections 15000; }}\n\
                 http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 600;\n\
                 map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}\n\
                 upstream u {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 1000000000; }}\n\
                 server {{ listen 127.0.0.1:{listen} backlog=4096; listen 127.0.0.1:{http2} http2; location / {{ proxy_pass http://u;\n\
                 proxy_http_version 1.1; proxy_set_header Connection $connection_upgrade;\n\
                 proxy_set_header Upgrade $http_upgrade; proxy_set_header Host $host; }} }} }}\n"
            ),
            Self::Haproxy => format!(
                "global\n  nbthread 1\n  no strict-limits\n  maxconn 12000\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  \
                 timeout server 60s\n  timeout tunnel 1h\n  option http-keep-alive\n  http-reuse always\nfrontend f\n  \
                 bind 127.0.0.1:{listen} backlog 4096\n  bind 127.0.0.1:{http2} proto h2\n  default_backend b\nbackend b\n  \
                 server s 127.0.0.1:{upstream} pool-max-conn 1024\n"
            ),
            Self::Envoy => format!(
                "static_resources:\n  listeners:\n  - address: {{socket_address: {{address: 127.0.0.1, port_value: {listen}}}}}\n    \
                 filter_chains:\n    - filters:\n      - name: envoy.filters.network.http_connection_manager\n        typed_config:\n          \
                 \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n          \
                 stat_prefix: i\n          generate_request_id: false\n          upgrade_configs: [{{upgrade_type: websocket}}]\n          \
                 route_config: {{virtual_hosts: [{{name: v, domains: [\"*\"], routes: [{{match: {{prefix: \"/\"}}, route: {{cluster: o, timeout: 0s}}}}]}}]}}\n          \
                 http_filters: [{{name: envoy.filters.http.router, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]\n  \
                 clusters:\n  - name: o\n    type: STATIC\n    connect_timeout: 5s\n    \
                 circuit_breakers: {{thresholds: [{{max_connections: 12000, max_requests: 12000, max_pending_requests: 12000}}]}}\n    \
                 load_assignment: {{cluster_name: o, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}}}]}}]}}\n"
            ),
            Self::Traefik => format!(
                "entryPoints: {{web: {{address: \"127.0.0.1:{listen}\"}}}}\nproviders: {{file: {{filename: {folder}/dynamic.yml, watch: false}}}}\n\
                 log: {{level: FATAL}}\nglobal: {{checkNewVersion: false, sendAnonymousUsage: false}}\n"
            ),
            Self::Caddy => format!(
                "{{\n  admin off\n  auto_https off\n  servers {{\n    protocols h1 h2c\n  }}\n}}\nhttp://:{listen} {{\n  bind 127.0.0.1\n  reverse_proxy 127.0.0.1:{upstream} {{\n    \
                 transport http {{\n      keepalive_idle_conns_per_host 512\n    }}\n  }}\n}}\n"
            ),
            Self::Anteroom => String::new(),
        }
    }

    /// Starts it in front of an upstream.
    pub fn start(self, upstream: u16) -> Result<Running> {
        let folder = std::env::temp_dir().join(format!("anteroom-bench-{}-{}", std::process::id(), self.name()));
        fs::create_dir_all(&folder)?;
        let (port, other) = (free_port()?, free_port()?);
        let file = folder.join(if self == Self::Caddy { "Caddyfile" } else { "proxy.yml" });
        fs::write(&file, self.configuration(&folder, [port, other], upstream))?;
        let mut command = Command::new(self.program());
        match self {
            Self::Nginx => command.arg("-c").arg(&file),
            Self::Haproxy => command.arg("-f").arg(&file),
            Self::Envoy => command.arg("-c").arg(&file).args(["--concurrency", "1", "--log-level", "off"]),
            Self::Traefik => {
                let routes = format!(
                    "http:\n  routers: {{r: {{rule: \"PathPrefix(`/`)\", service: s, entryPoints: [web]}}}}\n  \
                     services: {{s: {{loadBalancer: {{servers: [{{url: \"http://127.0.0.1:{upstream}\"}}]}}}}}}\n"
                );
                fs::write(folder.join("dynamic.yml"), routes)?;
                command.arg(format!("--configFile={}", file.display())).env("GOMAXPROCS", "1")
            }
            Self::Caddy => {
                command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file).env("GOMAXPROCS", "1")
            }
            // With everything on that is on by default, and no engine, which the others do not ask either.
            Self::Anteroom => command
                .arg("serve")
                .env("ANTEROOM_LISTEN", format!("127.0.0.1:{port}"))
                .env("ANTEROOM_ADMIN_LISTEN", "127.0.0.1:0")
                .env("ANTEROOM_UPSTREAM", format!("http://127.0.0.1:{upstream}"))
                .env("ANTEROOM_THREADS", "1")
                .env("ANTEROOM_MAX_CONNECTIONS", "12000")
                .env("DOCKER_HOST", "unix:///nowhere/docker.sock"),
        };
        let log = File::create(folder.join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let began = Instant::now();
        let process = command.spawn().with_context(|| format!("{} does not run", self.name()))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let http2 = SocketAddr::from((Ipv4Addr::LOCALHOST, if self.has_port_for_http2() { other } else { port }));
        let mut running = Running { proxy: self, address, http2, started_in: Duration::ZERO, process, folder };
        running.wait(began)?;
        Ok(running)
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A proxy that runs. Dropping it ends it.
pub struct Running {
    pub proxy: Proxy,
    pub address: SocketAddr,
    /// Where it speaks HTTP/2 in the clear.
    pub http2: SocketAddr,
    /// From its start until it accepted a connection.
    pub started_in: Duration,
    process: Child,
    folder: PathBuf,
}

impl Running {
    fn wait(&mut self, began: Instant) -> Result<()> {
        while TcpStream::connect(self.address).is_err() {
            if began.elapsed() > Duration::from_secs(15) || self.process.try_wait()?.is_some() {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                bail!("{} does not listen: {log}", self.proxy.name());
            }
            sleep(Duration::from_millis(1));
        }
        self.started_in = began.elapsed();
        Ok(())
    }

    /// User and system time so far.
    pub fn cpu(&self) -> Result<Duration> {
        // proc(5): fields 14 and 15, in hundredths of a second, counted from behind the name, which may hold anything.
        let text = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let (_, fields) = text.rsplit_once(')').context("a name in brackets")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Resident memory, in KiB.
    pub fn memory(&self) -> Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a resident size")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The service behind them: an nginx with a small answer, one with many fields, and larger ones.
pub struct Origin {
    pub port: u16,
    process: Child,
    folder: PathBuf,
}

impl Origin {
    pub fn start() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("anteroom-bench-{}-origin", std::process::id()));
        fs::create_dir_all(&folder)?;
        let port = free_port()?;
        fs::write(folder.join("big"), vec![b'x'; 10 << 20])?;
        fs::write(folder.join("64k"), vec![b'x'; 64 << 10])?;
        let (file, shown) = (folder.join("nginx.conf"), folder.display());
        let padding = "a".repeat(160);
        // With nginx's own five, eighteen, by names that Grafana's answers have and others do.
        let names = [
            "Cache-Control",
            "Content-Security-Policy",
            "Cross-Origin-Opener-Policy",
            "Expires",
            "Permissions-Policy",
            "Pragma",
            "Referrer-Policy",
            "Strict-Transport-Security",
            "Vary",
            "X-Content-Type-Options",
            "X-Frame-Options",
            "X-Request-Id",
            "X-Xss-Protection",
        ];
        let fields: String = names.map(|name| format!("add_header {name} \"something of some length\"; ")).concat();
        let text = format!(
            "user root; worker_processes 1; daemon off; master_process off; pid {shown}/nginx.pid; error_log {shown}/err;\n\
             events {{ worker_connections 15000; }}\nhttp {{ access_log off; keepalive_requests 1000000000;\n\
             keepalive_timeout 600; default_type application/json; server {{ listen 127.0.0.1:{port} backlog=4096;\n\
             location / {{ return 200 '{{\"status\":\"ok\",\"padding\":\"{padding}\"}}'; }}\n\
             location /fields {{ {fields} return 200 'ok'; }}\n\
             location /big {{ root {shown}; }} location /64k {{ root {shown}; }} }} }}\n"
        );
        fs::write(&file, text)?;
        let process = Command::new("nginx").arg("-c").arg(&file).stdin(Stdio::null()).spawn().context("nginx")?;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            sleep(Duration::from_millis(5));
        }
        Ok(Self { port, process, folder })
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
