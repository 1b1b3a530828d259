//! `anteroom demo`: the main job on an upstream inside the same process, without Docker and Traefik.
//!
//! Proxy, watcher and pages are those of `serve`; only the service behind them is a stand-in, and the container
//! engine's word is made up, and labelled so.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Command};
use tokio::select;

use self::scenario::Scenario;
use self::stand_in::Port;
use super::serve::{Signals, block_on, until_signal};
use super::{Failure, input};
use crate::config::{self, Config};
use crate::instance::Instance;
use crate::telemetry;

mod cast;
mod scenario;
mod stand_in;

/// Nobody else on the network is to see it. The configuration has other defaults, which it would fall back on.
const LISTEN: &str = "127.0.0.1:8080";
/// A demo speaks by its pages.
const LOG: &str = "error";

/// What a demo can be asked for.
pub(super) fn command() -> Command {
    let scenarios = PossibleValuesParser::new(Scenario::ALL.map(|(name, _)| name));
    Command::new("demo").about("Try it on a made-up service, without Docker and Traefik").args([
        Arg::new("listen")
            .long("listen")
            .value_name("ADDRESS")
            .default_value(LISTEN)
            .help("where to open the demo; port 0 lets the system choose"),
        Arg::new("warmup")
            .long("warmup")
            .value_name("DURATION")
            .default_value("15s")
            .value_parser(humantime::parse_duration)
            .help("how long the service needs to start"),
        Arg::new("scenario")
            .long("scenario")
            .value_name("NAME")
            .default_value("slow-start")
            .value_parser(scenarios)
            .help("what happens to the service"),
        Arg::new("log").long("log").value_name("FILTER").default_value(LOG).help("what is logged"),
    ])
}

/// Plays until it is told to stop.
///
/// # Errors
/// As for `serve`.
pub(super) fn run(given: &ArgMatches) -> Result<(), Failure> {
    let scenario = Scenario::ALL.into_iter().find(|(name, _)| Some(*name) == text(given, "scenario").as_deref());
    let (_, scenario) = scenario.expect("clap has checked the name, and there is a default");
    let warmup = *given.get_one::<Duration>("warmup").expect("there is a default");
    block_on(async {
        let port = Port::reserve().map_err(Failure::Run)?;
        let config = configure(given, port.address)?;
        let _log = telemetry::init(&config.log, config.log_format).map_err(Failure::Run)?;
        let (signals, mut last_call) = (Signals::listen()?, Signals::listen()?);
        let instance = Instance::bind(config).map_err(Failure::DemoListen)?;
        announce(instance.address().map_err(Failure::Run)?, scenario, warmup);
        until_signal(instance, signals, |link| async move {
            select! {
                played = scenario.play(warmup, port, link.sightings) => if let Err(error) = played {
                    tracing::error!(%error, "the stand-in cannot go on");
                },
                // The service ends first, and with it the dashboard's WebSocket, for which draining would wait.
                _ = last_call.next() => {}
            }
        })
        .await
    })
}

fn text(given: &ArgMatches, name: &str) -> Option<String> {
    given.get_one::<String>(name).cloned()
}

/// What `serve` would run with for this. The environment is left out: a demo should be the same for everybody.
fn configure(given: &ArgMatches, upstream: SocketAddr) -> Result<Config, Failure> {
    let fixed = [
        ("upstream", format!("http://{upstream}")),
        ("ready-path", stand_in::HEALTH_PATH.to_owned()),
        // Long enough to be seen, short enough to be waited for.
        ("grace", "5s".to_owned()),
        ("admin-listen", "127.0.0.1:0".to_owned()),
    ];
    let chosen = [("listen", LISTEN), ("log", LOG)].map(|(name, default)| {
        // An empty one counts as unset.
        let value = text(given, name).filter(|value| !value.trim().is_empty());
        (name, value.unwrap_or_else(|| default.to_owned()))
    });
    let flags: Vec<(String, String)> =
        fixed.into_iter().chain(chosen).map(|(name, value)| (name.to_owned(), value)).collect();
    config::parse(input(&flags, &[])).map(|(config, _)| config).map_err(Failure::Settings)
}

fn announce(listening: SocketAddr, scenario: Scenario, warmup: Duration) {
    let mut address = listening;
    match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    let story = scenario.story(warmup);
    // A closed standard output is no reason not to play.
    let _ = writeln!(
        io::stdout(),
        "anteroom in front of a made-up analytics service.\n\n  \
         Open http://{address}/analytics/\n\n  \
         {story}\n\n  \
         No Docker is asked: what the pages tell of containers is simulated.\n  \
         Ctrl-C stops it. Other stories: --scenario {}\n",
        Scenario::ALL.map(|(name, _)| name).join("|")
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_flag_is_an_unset_one_and_opens_the_demo_to_nobody_else() {
        for words in [&["demo"][..], &["demo", "--listen", "", "--log", " "]] {
            let config = configure(&command().get_matches_from(words), ([127, 0, 0, 1], 1).into());
            let config = config.expect("all of it is right");
            assert_eq!((config.listen.to_string().as_str(), config.log.as_str()), (LISTEN, LOG), "{words:?}");
        }
    }
}
