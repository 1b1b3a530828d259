//! What is measured, each as a table.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;

use crate::Effort;
use crate::load::{self, Flow, Paced, Seen};
use crate::proxies::{Origin, Proxy, Running};

type Scenario = (&'static str, fn(Effort) -> Result<String>);

pub const ALL: [Scenario; 9] = [
    ("steady", steady),
    ("latency", latency),
    ("bulk", bulk),
    ("others", others),
    ("tunnel", tunnel),
    ("memory", memory),
    ("connections", connections),
    ("crowd", crowd),
    ("storm", storm),
];

fn start_all(upstream: u16) -> Result<Vec<Running>> {
    Proxy::here().into_iter().map(|proxy| proxy.start(upstream)).collect()
}

/// The middle of several figures.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// What one proxy took for one load.
struct Taken {
    seen: Seen,
    cpu: Duration,
}

impl Taken {
    fn each(&self) -> f64 {
        micros(self.cpu) / self.seen.requests
    }
}

/// One load on each proxy in turn, for so many seconds and round after round, so that what the machine does otherwise meets
/// all of them.
fn rounds(
    proxies: &[Running],
    effort: Effort,
    load: impl Fn(&Running, u32) -> Result<Seen>,
) -> Result<Vec<Vec<Taken>>> {
    let mut all: Vec<Vec<Taken>> = proxies.iter().map(|_| Vec::new()).collect();
    for _ in 0..effort.rounds {
        for (proxy, taken) in proxies.iter().zip(&mut all) {
            load(proxy, 1)?;
            let before = proxy.cpu()?;
            let seen = load(proxy, effort.seconds)?;
            taken.push(Taken { seen, cpu: proxy.cpu()? - before });
        }
    }
    Ok(all)
}

/// A figure of each proxy: the middle of its rounds.
fn medians(all: &[Vec<Taken>], figure: impl Fn(&Taken) -> f64) -> Vec<f64> {
    all.iter().map(|its| median(its.iter().map(&figure).collect())).collect()
}

/// Whether any of a proxy's answers was wrong.
fn errors(its: &[Taken]) -> &'static str {
    if its.iter().any(|it| it.seen.errors) { "yes" } else { "no" }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// A table with a ratio to the best of the others in its last column.
fn table(head: &str, proxies: &[Running], figures: &[f64], more: &[String]) -> String {
    let others = proxies.iter().zip(figures).filter(|(it, _)| it.proxy != Proxy::Anteroom).map(|(_, figure)| *figure);
    let best = others.fold(f64::INFINITY, f64::min);
    let mut text =
        format!("| proxy | {head} | ratio to the best peer |\n|{}\n", "---|".repeat(head.split('|').count() + 2));
    for ((proxy, figure), more) in proxies.iter().zip(figures).zip(more) {
        // A string takes whatever is written into it.
        let _ = writeln!(text, "| {} | {figure:.2} {more}| {:.2} |", proxy.proxy.name(), figure / best);
    }
    text
}

fn steady(effort: Effort) -> Result<String> {
    let origin = Origin::start()?;
    let proxies = start_all(origin.port)?;
    let all = rounds(&proxies, effort, |proxy, seconds| load::wrk(proxy.address, 64, seconds, "/"))?;
    let (p50, p99) = (medians(&all, |it| micros(it.seen.p50)), medians(&all, |it| micros(it.seen.p99)));
    let more: Vec<String> = all
        .iter()
        .zip(p50.iter().zip(&p99))
        .map(|(its, (p50, p99))| format!("| {p50:.0} | {p99:.0} | {} ", errors(its)))
        .collect();
    Ok(table("CPU µs per request | p50 µs | p99 µs | errors", &proxies, &medians(&all, Taken::each), &more))
}

fn latency(effort: Effort) -> Result<String> {
    let origin = Origin::start()?;
    let proxies = start_all(origin.port)?;
    let all = rounds(&proxies, effort, |proxy, seconds| load::wrk(proxy.address, 1, seconds, "/"))?;
    let more: Vec<String> = medians(&all, |it| micros(it.seen.p99)).iter().map(|p99| format!("| {p99:.0} ")).collect();
    Ok(table("p50 µs | p99 µs", &proxies, &medians(&all, |it| micros(it.seen.p50)), &more))
}

fn bulk(effort: Effort) -> Result<String> {
    let origin = Origin::start()?;
    let proxies = start_all(origin.port)?;
    let all = rounds(&proxies, effort, |proxy, seconds| load::wrk(proxy.address, 8, seconds, "/big"))?;
    let figures = medians(&all, |it| it.cpu.as_secs_f64() * 1e3 / (it.seen.requests * 10.0 / 1024.0));
    Ok(table("CPU ms per GiB", &proxies, &figures, &vec![String::new(); figures.len()]))
}

/// A browser's request as Traefik sends it on: with `Host`, eighteen fields.
const BROWSER: [&str; 17] = [
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-US,en;q=0.5",
    "Cookie: csrftoken=0123456789abcdef0123456789abcdef; sessionid=0123456789abcdef0123456789abcdef",
    "Dnt: 1",
    "Priority: u=0, i",
    "Referer: https://cvat.example.org/tasks?page=1",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Site: same-origin",
    "Upgrade-Insecure-Requests: 1",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "X-Forwarded-Host: cvat.example.org",
    "X-Forwarded-Port: 443",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Server: 0123456789ab",
    "X-Real-Ip: 192.0.2.1",
];

/// Requests other than the smallest, and HTTP/2.
fn others(effort: Effort) -> Result<String> {
    type Load<'a> = &'a dyn Fn(&Running, u32) -> Result<Seen>;
    let origin = Origin::start()?;
    let proxies = start_all(origin.port)?;
    let post = load::Post::of(1 << 10)?;
    let loads: [(&str, Load<'_>); 6] = [
        ("18 fields, and 18 in the answer", &|it, seconds| {
            load::wrk_with(it.address, 64, seconds, "/fields", &BROWSER)
        }),
        ("POST of 1 KiB", &|it, seconds| post.wrk(it.address, 64, seconds)),
        ("64 KiB", &|it, seconds| load::wrk(it.address, 64, seconds, "/64k")),
        ("HTTP/2, 200 bytes", &|it, seconds| load::h2load(it.http2, 16, 8, seconds, "/")),
        ("HTTP/2, 64 KiB", &|it, seconds| load::h2load(it.http2, 16, 8, seconds, "/64k")),
        ("HTTP/2, 10 MiB", &|it, seconds| load::h2load(it.http2, 8, 1, seconds, "/big")),
    ];
    let mut text = String::new();
    for (name, load) in loads {
        let all = rounds(&proxies, effort, load)?;
        let more: Vec<String> = all.iter().map(|its| format!("| {} ", errors(its))).collect();
        let head = format!("CPU µs, {name} | errors");
        text += &table(&head, &proxies, &medians(&all, Taken::each), &more);
        text.push('\n');
    }
    Ok(text)
}

fn tunnel(effort: Effort) -> Result<String> {
    let mut text = String::new();
    for (flow, head) in [(Flow::Messages, "CPU µs per message of 1 KiB and back"), (Flow::Bulk, "CPU ms per GiB")] {
        let proxies = start_all(load::tunnel_service(flow)?)?;
        let mut all: Vec<Vec<f64>> = proxies.iter().map(|_| Vec::new()).collect();
        for _ in 0..effort.rounds {
            for (proxy, costs) in proxies.iter().zip(&mut all) {
                let before = proxy.cpu()?;
                let number = if flow == Flow::Bulk { 2 } else { 16 };
                let passed = load::tunnels(proxy.address, flow, number, effort.seconds)?;
                let cpu = proxy.cpu()? - before;
                costs.push(match flow {
                    Flow::Messages => micros(cpu) / passed,
                    Flow::Bulk => cpu.as_secs_f64() * 1e3 / (passed / f64::from(1 << 30)),
                });
            }
        }
        let figures: Vec<f64> = all.into_iter().map(median).collect();
        text += &table(head, &proxies, &figures, &vec![String::new(); figures.len()]);
        text.push('\n');
    }
    Ok(text)
}

fn memory(_: Effort) -> Result<String> {
    const CONNECTIONS: usize = 2000;
    let origin = Origin::start()?;
    let proxies = start_all(origin.port)?;
    // nginx writes to its disk what they have yet to take: 10 MiB each.
    const SLOW: usize = 200;
    let mut text = "| proxy | ms to the first connection | MiB idle | KiB per idle connection | per slow client |\n\
                    |---|---|---|---|---|\n"
        .to_owned();
    for proxy in proxies {
        std::thread::sleep(Duration::from_secs(2));
        let idle = proxy.memory()?;
        let open = load::idle(proxy.address, CONNECTIONS)?;
        let each = (proxy.memory()? - idle) / CONNECTIONS as f64;
        drop(open);
        std::thread::sleep(Duration::from_secs(2));
        let before = proxy.memory()?;
        let slow = load::slow(proxy.address, SLOW, "/big")?;
        // The most that it had at a time, less what it had anyway: what one left behind, the next ones had of it.
        let each_slow = (proxy.memory()? - before.min(idle)) / SLOW as f64;
        drop(slow);
        let (name, started) = (proxy.proxy.name(), proxy.started_in.as_secs_f64() * 1e3);
        let _ = writeln!(text, "| {name} | {started:.0} | {:.1} | {each:.1} | {each_slow:.0} |", idle / 1024.0);
    }
    Ok(text)
}

/// What a request costs when there are more and more connections.
fn connections(effort: Effort) -> Result<String> {
    // HAProxy counts two descriptors for each, and 20,000 are what many systems allow a process.
    const NUMBERS: [u32; 4] = [10, 100, 1000, 9000];
    let origin = Origin::start()?;
    let mut text = "| proxy | CPU µs per request at 10 | 100 | 1,000 | 9,000 connections | p99 ms at 9,000 |\n|---|---|---|---|---|---|\n".to_owned();
    for proxy in start_all(origin.port)? {
        let _ = write!(text, "| {} ", proxy.proxy.name());
        let mut last = Seen::default();
        for number in NUMBERS {
            let before = proxy.cpu()?;
            last = load::wrk(proxy.address, number, effort.seconds, "/")?;
            let cost = micros(proxy.cpu()? - before) / last.requests;
            let _ = write!(text, "| {cost:.1}{} ", if last.errors { " (errors)" } else { "" });
        }
        let _ = writeln!(text, "| {:.0} |", last.p99.as_secs_f64() * 1e3);
    }
    Ok(text)
}

/// The same rate of requests over few connections, and over some of very many.
fn crowd(effort: Effort) -> Result<String> {
    const FEW: usize = 64;
    const OPEN: usize = 10_000;
    const ACTIVE: usize = 1_000;
    const RATE: u32 = 2_000;
    let origin = Origin::start()?;
    let mut text = format!(
        "| proxy | p50, p99 µs over {FEW} connections | p50, p99 µs over {ACTIVE} of {OPEN} | p99, ratio | CPU µs per request, both |\n\
         |---|---|---|---|---|\n"
    );
    for proxy in start_all(origin.port)? {
        let measure = |active: Vec<_>| -> Result<_> {
            let before = proxy.cpu()?;
            let (paced, active) = load::paced(active, RATE, effort.seconds)?;
            Ok((paced, micros(proxy.cpu()? - before) / paced.requests, active))
        };
        let mut rows = Vec::new();
        let (mut few, mut active) = (load::idle(proxy.address, FEW)?, load::idle(proxy.address, ACTIVE)?);
        for _ in 0..effort.rounds {
            let (one, its_cost, again) = measure(few)?;
            few = again;
            let idle = load::idle(proxy.address, OPEN - ACTIVE - FEW)?;
            let (other, cost, again) = measure(active)?;
            active = again;
            drop(idle);
            rows.push((one, its_cost, other, cost));
        }
        let of = |figure: fn(&(Paced, f64, Paced, f64)) -> f64| median(rows.iter().map(figure).collect());
        let (few99, many99) = (of(|it| micros(it.0.p99)), of(|it| micros(it.2.p99)));
        let _ = writeln!(
            text,
            "| {} | {:.0}, {few99:.0} | {:.0}, {many99:.0} | {:.2} | {:.1}, {:.1} |",
            proxy.proxy.name(),
            of(|it| micros(it.0.p50)),
            of(|it| micros(it.2.p50)),
            many99 / few99,
            of(|it| it.1),
            of(|it| it.3),
        );
    }
    Ok(text)
}

/// What it costs to say that a service is not there, to many who ask at once. The others have no such page.
fn storm(effort: Effort) -> Result<String> {
    // Ours, and nobody listens there.
    let nobody = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    nobody.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    let port = nobody.local_addr()?.as_socket().map_or(0, |address| address.port());
    let proxy = Proxy::Anteroom.start(port)?;
    let mut costs = Vec::new();
    for _ in 0..effort.rounds {
        let before = proxy.cpu()?;
        let fields = ["Prefer: wait=0", "Accept: text/html"];
        let seen = load::wrk_with(proxy.address, 64, effort.seconds, "/", &fields)?;
        costs.push(micros(proxy.cpu()? - before) / seen.requests);
    }
    Ok(format!("{:.1} µs of CPU time for each page\n", median(costs)))
}
