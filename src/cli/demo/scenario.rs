//! What happens in a demo: the stand-in service comes, goes or misbehaves, and a container engine that does not
//! exist tells of it. Every sighting says that it is simulated.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::cast::{Cast, Role};
use super::stand_in::{self, Database, Port};
use crate::engine::Sighting;
use crate::evidence::Status;

/// What goes wrong, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scenario {
    SlowStart,
    CrashLoop,
    Exited,
    Hang,
    Garbage,
    DependencyDown,
}

/// How long a looping container lives, and how long the engine waits before the next try.
const CRASH_AFTER: Duration = Duration::from_secs(1);
const RESTART_AFTER: Duration = Duration::from_secs(2);
/// So the loop is not known for one at first, and nobody has to wait long for it to be.
const CRASHES_BEFORE: u32 = 3;

impl Scenario {
    /// By the names that the command line takes.
    pub(super) const ALL: [(&'static str, Self); 6] = [
        ("slow-start", Self::SlowStart),
        ("crash-loop", Self::CrashLoop),
        ("exited", Self::Exited),
        ("hang", Self::Hang),
        ("garbage", Self::Garbage),
        ("dependency-down", Self::DependencyDown),
    ];

    /// What will be seen, for the person who started it.
    pub(super) fn story(self, warmup: Duration) -> String {
        let warmup = humantime::format_duration(warmup);
        match self {
            Self::SlowStart => format!(
                "The service needs {warmup} to start, and nothing listens until then. The page waits with you and turns\n  into the dashboard by itself."
            ),
            Self::CrashLoop => {
                "The container starts, dies with exit code 1 and is restarted, for ever. The page waits at first, and\n  says after two rounds that waiting is pointless.".to_owned()
            }
            Self::Exited => format!(
                "The service starts within {warmup}, serves the dashboard for as long, and then exits with code 1. Nobody\n  restarts it: after a few seconds of grace the page says so, with the command that would."
            ),
            Self::Hang => {
                "The service accepts connections and never answers. The page says that it runs but keeps silent.".to_owned()
            }
            Self::Garbage => {
                "On the service's port somebody speaks SSH. The page says that what came is not HTTP.".to_owned()
            }
            Self::DependencyDown => {
                "The service runs, but its database cvat_clickhouse has exited, so its health path answers 503.".to_owned()
            }
        }
    }

    /// Plays it until dropped, on an address where nothing listens yet, in front of whoever listens to `engine`.
    ///
    /// # Errors
    /// The system would not listen on the address.
    pub(super) async fn play(self, warmup: Duration, port: Port, engine: watch::Sender<Sighting>) -> io::Result<()> {
        let mut cast = Cast::new(engine);
        match self {
            Self::SlowStart => {
                cast.starts();
                sleep(warmup).await;
                stand_in::serve(port.listen()?, Database::Ok).await;
            }
            Self::CrashLoop => {
                cast.died_before(CRASHES_BEFORE, CRASH_AFTER + RESTART_AFTER, 1);
                loop {
                    cast.starts();
                    sleep(CRASH_AFTER).await;
                    cast.dies(1, Status::Restarting);
                    sleep(RESTART_AFTER).await;
                }
            }
            Self::Exited => {
                cast.starts();
                sleep(warmup).await;
                let address = port.address;
                // At its end every connection is closed, as when a process dies.
                let _ = timeout(warmup, stand_in::serve(port.listen()?, Database::Ok)).await;
                cast.dies(1, Status::Exited);
                // Nobody else may get the address. If somebody was faster, the page will say so.
                let _reserved = Port::at(address);
                std::future::pending::<()>().await;
            }
            Self::Hang => {
                cast.has_run();
                stand_in::accept(port.listen()?, swallow).await;
            }
            Self::Garbage => {
                cast.has_run();
                stand_in::accept(port.listen()?, speak_ssh).await;
            }
            Self::DependencyDown => {
                cast.loses(Role::ClickHouse, 1);
                cast.has_run();
                stand_in::serve(port.listen()?, Database::Failing).await;
            }
        }
        Ok(())
    }
}

/// Reads what comes, and says nothing.
async fn swallow(mut stream: TcpStream) {
    let mut buffer = [0; 1024];
    while matches!(stream.read(&mut buffer).await, Ok(read) if read > 0) {}
}

/// An SSH server speaks first (RFC 4253 §4.2).
async fn speak_ssh(mut stream: TcpStream) {
    if stream.write_all(b"SSH-2.0-OpenSSH_9.2p1 demo\r\n").await.is_ok() {
        swallow(stream).await;
    }
}
