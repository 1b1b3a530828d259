//! An anteroom beside the containers, for pages that need no Docker and no Traefik: one that plays a story of its own
//! (`anteroom demo`), or one in front of an upstream that a scene makes.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::Context;
use serde_json::Value;

use crate::kept::Kept;
use crate::stack::Stack;

/// It runs as long as this lives.
pub struct Anteroom {
    pub address: SocketAddr,
    _program: Kept,
}

impl Anteroom {
    /// The program's own simulation: which story, and how long the service needs to start.
    #[track_caller]
    pub fn demo(stack: &Stack, scenario: &str, warmup: &str) -> Self {
        let arguments = ["demo", "--listen", "127.0.0.1:0", "--scenario", scenario, "--warmup", warmup];
        Self::start(stack, &arguments, &[], |line| line.split_once("http://")?.1.split('/').next()?.parse().ok())
    }

    /// In front of an upstream, without a container engine.
    #[track_caller]
    pub fn serve(stack: &Stack, upstream: SocketAddr, settings: &[(&str, &str)]) -> Self {
        let upstream = format!("http://{upstream}");
        let mut environment = vec![
            ("ANTEROOM_UPSTREAM", upstream.as_str()),
            ("ANTEROOM_LISTEN", "127.0.0.1:0"),
            ("ANTEROOM_ADMIN_LISTEN", "127.0.0.1:0"),
            ("ANTEROOM_LOG_FORMAT", "json"),
            ("DOCKER_HOST", "unix:///nowhere/docker.sock"),
        ];
        environment.extend(settings);
        Self::start(stack, &["serve"], &environment, |line| {
            serde_json::from_str::<Value>(line).ok()?["fields"]["listen"].as_str()?.parse().ok()
        })
    }

    #[track_caller]
    fn start(
        stack: &Stack,
        arguments: &[&str],
        environment: &[(&str, &str)],
        address: fn(&str) -> Option<SocketAddr>,
    ) -> Self {
        let started = Kept::start(stack.program(), arguments, environment).and_then(|mut program| {
            let address = program.listen(address).context("anteroom does not start")?;
            Ok(Self { address, _program: program })
        });
        started.unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Where a browser finds it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// An upstream that accepts every connection, and does this with it. It ends with the tests.
pub fn upstream(treat: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || treat(stream));
        }
    });
    address
}

/// Hears everything and says nothing.
pub fn silent(mut stream: TcpStream) {
    let mut bytes = [0; 1024];
    while matches!(stream.read(&mut bytes), Ok(1..)) {}
}

/// Hangs up as soon as it is asked something; whoever only connects finds it there.
pub fn curt(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 1024]);
}

/// An address where nobody listens, and nobody will while the tests run.
pub fn nobody() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 1))
}
