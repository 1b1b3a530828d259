//! What a request and an idle connection cost, counted and not timed: instructions, heap allocations and memory are the
//! same on a noisy machine.
//!
//! The program is run twice for each kind of request, with some and with more of them; what the second run takes more,
//! divided by how many more requests it had, is what one of them takes. `benches/cost.txt` says what it was when somebody
//! last looked: another figure, by more than [`TOLERANCE`], fails, whichever way. With `ANTEROOM_WRITE_COST=1` the
//! figures are written there instead. Where compiler or C library are others, they are shown and not judged.
//!
//! valgrind counts: its callgrind the instructions of the release build that is shipped, without those of the kernel; its
//! memcheck the allocations of the build that is tested. What is shipped is resident as the kernel says. Without valgrind
//! nothing is counted: this says so and passes, unless `ANTEROOM_E2E=required`.

#[path = "../tests/support/shipped.rs"]
mod shipped;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// Of what was written down. Another compiler or C library may need new figures; the same ones give the same within a
/// few thousandths.
const TOLERANCE: f64 = 0.02;
/// The same for requests that are held: whether one that is let go finds a connection that another one has just given
/// back, and how often the upstream was looked for meanwhile, is chance. Seen are 2 % either way.
const TOLERANCE_OF_CHANCE: f64 = 0.06;
/// The same for memory: a page that another thread touches meanwhile is five bytes of each connection.
const TOLERANCE_OF_PAGES: f64 = 0.1;
/// As `cargo test` calls it.
const NAME: &str = "what_a_request_costs";
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/cost.txt");
/// An answer of a service such as Grafana's to a small question.
const SMALL: usize = 200;
const BULK: usize = 1 << 20;
/// How much of an answer is under way at a time: with its head, one segment of the loopback device. How often it is read
/// and written would be chance otherwise.
const SEGMENT: usize = 60 << 10;

/// A page that was made is given to others for less than this.
const STALE: Duration = Duration::from_millis(250);
/// How long a piece of an answer may take: valgrind is slow.
const LONGEST: Duration = Duration::from_secs(60);

/// A kind of request, or of connection.
#[derive(Clone, Copy)]
enum Kind {
    Small,
    Bulk,
    Held,
    Diagnosed,
    /// A connection that rests after one request.
    Idle,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Small, Self::Bulk, Self::Held, Self::Diagnosed, Self::Idle];

    const fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Bulk => "bulk-1-mib",
            Self::Held => "held",
            Self::Diagnosed => "diagnosed",
            Self::Idle => "idle-connection",
        }
    }

    /// How many in the one run, and how many in the other.
    const fn numbers(self, tool: Tool) -> (usize, usize) {
        match (self, tool) {
            (Self::Small, Tool::Allocations) => (200, 1200),
            (Self::Small, _) => (500, 2500),
            (Self::Bulk, _) => (20, 120),
            // Not every machine has files for more: a held request takes one on each side of both, and 1,024 are usual.
            (Self::Held, _) => (60, 300),
            (Self::Idle, _) => (100, 900),
            // In turns of eight.
            (Self::Diagnosed, _) => (96, 600),
        }
    }
}

/// What counts.
#[derive(Clone, Copy)]
enum Tool {
    Instructions,
    Allocations,
    Memory,
}

impl Tool {
    const ALL: [Self; 3] = [Self::Instructions, Self::Allocations, Self::Memory];

    const fn name(self) -> &'static str {
        match self {
            Self::Instructions => "instructions",
            Self::Allocations => "allocations",
            Self::Memory => "bytes",
        }
    }

    /// Whether it has something to say of these that is not chance.
    const fn counts(self, kind: Kind) -> bool {
        match (self, kind) {
            (Self::Memory, Kind::Idle) => true,
            // Whether a request that is let go finds a connection that another one has just given back.
            (Self::Memory, _) | (_, Kind::Idle) | (Self::Allocations, Kind::Held) => false,
            (Self::Instructions | Self::Allocations, _) => true,
        }
    }

    /// What runs a program so that it is counted.
    fn command(self, program: &Path) -> Command {
        let switches: &[&str] = match self {
            Self::Instructions => &["--tool=callgrind", "--callgrind-out-file=/dev/null"],
            Self::Allocations => &["--tool=memcheck", "--leak-check=no", "--undef-value-errors=no"],
            Self::Memory => return Command::new(program),
        };
        let mut valgrind = Command::new("valgrind");
        valgrind.args(switches).arg(program);
        valgrind
    }

    /// The count in what is printed at the end; of memory, in what the kernel says before it.
    fn read(self, report: &str, memory: &str) -> Option<f64> {
        let (before, after) = match self {
            Self::Instructions => ("Collected : ", ""),
            Self::Allocations => ("total heap usage: ", " allocs"),
            Self::Memory => {
                let kib = memory.split_once("Rss:")?.1.split_once("kB")?.0;
                return Some(kib.trim().parse::<f64>().ok()? * 1024.0);
            }
        };
        let rest = report.split_once(before)?.1.lines().next()?;
        let number = if after.is_empty() { rest } else { rest.split_once(after)?.0 };
        number.replace(',', "").trim().parse().ok()
    }
}

/// Whether `cargo test` with these words asks for this test.
fn is_meant(words: &[String]) -> bool {
    let is_it = |word: &str| NAME.contains(word);
    let skips = words.iter().zip(words.iter().skip(1)).filter(|(flag, _)| *flag == "--skip").map(|(_, word)| word);
    let skipped: Vec<&String> = skips.collect();
    let mut filters = words.iter().filter(|word| !word.starts_with('-') && !skipped.contains(word)).peekable();
    !skipped.iter().any(|word| is_it(word)) && (filters.peek().is_none() || filters.any(|word| is_it(word)))
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // As a runner of tests asks for their names.
    if words.iter().any(|word| word == "--list") {
        if !words.iter().any(|word| word == "--ignored") {
            println!("{NAME}: test");
        }
        return ExitCode::SUCCESS;
    }
    if !is_meant(&words) {
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("valgrind is missing: nothing was counted");
        let is_required = std::env::var("ANTEROOM_E2E").as_deref() == Ok("required");
        return if is_required { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    match count().and_then(|counted| judge(&counted)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn count() -> Result<BTreeMap<String, f64>> {
    let shipped = shipped::compile()?;
    let tested = PathBuf::from(env!("CARGO_BIN_EXE_anteroom"));
    let mut counted = BTreeMap::new();
    for tool in Tool::ALL {
        let program = match tool {
            Tool::Instructions | Tool::Memory => &shipped,
            // A static program brings its own allocator along, which memcheck does not know.
            Tool::Allocations => &tested,
        };
        for kind in Kind::ALL.into_iter().filter(|kind| tool.counts(*kind)) {
            let name = format!("{} {}", kind.name(), tool.name());
            let (few, many) = kind.numbers(tool);
            let each = || -> Result<f64> {
                let (less, more) = (run(program, tool, kind, few)?, run(program, tool, kind, many)?);
                Ok((more - less) / (many - few) as f64)
            };
            counted.insert(name.clone(), each().context(name)?);
        }
    }
    Ok(counted)
}

/// Compares with what was written down, and says everything.
fn judge(counted: &BTreeMap<String, f64>) -> Result<()> {
    let compiler = compiler()?;
    let text: String = counted.iter().fold(format!("{compiler}\n"), |mut text, (name, count)| {
        // A string takes whatever is written into it.
        let _ = writeln!(text, "{name} {count:.1}");
        text
    });
    if std::env::var_os("ANTEROOM_WRITE_COST").is_some() {
        print!("{text}");
        return fs::write(BASELINE, text).context(BASELINE);
    }
    let written = fs::read_to_string(BASELINE).context(BASELINE)?;
    let written_by = written.lines().next().unwrap_or_default();
    let written: BTreeMap<&str, f64> = written
        .lines()
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(name, count)| Some((name, count.parse().ok()?)))
        .collect();
    if written_by != compiler {
        println!("not judged: {BASELINE} is of {written_by}, and this is {compiler}\n{text}");
        return Ok(());
    }
    let mut wrong = 0;
    for (name, count) in counted {
        let before = written.get(name.as_str()).copied().unwrap_or(f64::NAN);
        let change = count / before - 1.0;
        // What cannot be compared is wrong, too.
        let tolerance = match name {
            _ if name.starts_with(Kind::Held.name()) => TOLERANCE_OF_CHANCE,
            _ if name.ends_with(Tool::Memory.name()) => TOLERANCE_OF_PAGES,
            _ => TOLERANCE,
        };
        let is_same = change.abs() <= tolerance || (count - before).abs() <= 0.1;
        wrong += usize::from(!is_same);
        println!("test {name} ... {} ({count:.1}, {:+.1} %)", if is_same { "ok" } else { "FAILED" }, change * 100.0);
    }
    ensure!(wrong == 0, "{wrong} figures are not those of {BASELINE}: mend it, or say why and write new ones");
    println!("\ntest result: ok. {} passed; 0 failed", counted.len());
    Ok(())
}

/// With its target, and the C library that is linked: others make other instructions.
fn compiler() -> Result<String> {
    let said = |command: &mut Command| -> Result<String> { Ok(String::from_utf8(command.output()?.stdout)?) };
    let rustc = said(Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV"))?;
    let of = |name: &str| rustc.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).context("rustc -vV");
    let libc = said(Command::new("getconf").arg("GNU_LIBC_VERSION")).unwrap_or_default();
    Ok(format!("rustc {} {} {}", of("release:")?, of("host:")?, libc.trim()))
}

/// Runs the program for so many requests, and counts.
fn run(program: &Path, tool: Tool, kind: Kind, requests: usize) -> Result<f64> {
    let mut upstream = Upstream::reserve()?;
    if matches!(kind, Kind::Small | Kind::Bulk | Kind::Idle) {
        upstream.listen(kind)?;
    }
    let mut anteroom = Anteroom::start(program, tool, upstream.address)?;
    let mut open = Vec::new();
    match kind {
        Kind::Idle => {
            for _ in 0..requests {
                open.push(ask(anteroom.address, &[request("GET", "*/*", "en")], SMALL, &upstream.taken)?);
            }
            // hyper's part of the last ones is kept for a second.
            thread::sleep(Duration::from_secs(2));
        }
        Kind::Small => {
            drop(ask(anteroom.address, &vec![request("GET", "*/*", "en"); requests], SMALL, &upstream.taken)?)
        }
        Kind::Bulk => drop(ask(anteroom.address, &vec![request("GET", "*/*", "en"); requests], BULK, &upstream.taken)?),
        Kind::Diagnosed => {
            let mut client = connect(anteroom.address)?;
            let pages = pages();
            for _ in 0..requests / pages.len() {
                each(&mut client, &pages, 0, &upstream.taken)?;
                thread::sleep(STALE);
            }
        }
        Kind::Held => {
            // In the first seconds of a start it looks for the upstream all the time if somebody waits.
            thread::sleep(Duration::from_secs(5));
            let request = "GET / HTTP/1.1\r\nHost: cvat.example.org\r\nPrefer: wait=60\r\n\r\n";
            let clients: Vec<TcpStream> = (0..requests)
                .map(|_| {
                    let mut client = TcpStream::connect(anteroom.address)?;
                    client.write_all(request.as_bytes())?;
                    client.set_read_timeout(Some(LONGEST))?;
                    Ok(client)
                })
                .collect::<Result<_>>()?;
            thread::sleep(Duration::from_secs(2));
            // Asked once, however many there are: it costs, too.
            ensure!(anteroom.held()? == requests, "not all are held within two seconds");
            upstream.listen(kind)?;
            clients.into_iter().try_for_each(|client| answer(&mut BufReader::new(client), SMALL, &upstream.taken))?;
        }
    }
    anteroom.count(tool)
}

fn request(method: &str, accept: &str, language: &str) -> String {
    let length = if method == "GET" { "" } else { "Content-Length: 0\r\n" };
    format!(
        "{method} /analytics/api/ds/query?ds_type=clickhouse HTTP/1.1\r\nHost: cvat.example.org\r\nAccept: {accept}\r\n\
         Accept-Language: {language}\r\nCookie: sessionid=0123456789abcdef\r\nUser-Agent: Mozilla/5.0\r\n{length}\
         Prefer: wait=0\r\n\r\n"
    )
}

/// Requests that get a page each, other than those of the others.
fn pages() -> Vec<String> {
    let kinds = [("text/html", "en"), ("text/html", "zh"), ("text/plain", "en"), ("text/plain", "zh")];
    let all =
        ["GET", "POST"].iter().flat_map(|method| kinds.map(|(accept, language)| request(method, accept, language)));
    all.collect()
}

fn connect(address: SocketAddr) -> Result<BufReader<TcpStream>> {
    let client = TcpStream::connect(address)?;
    client.set_read_timeout(Some(LONGEST))?;
    Ok(BufReader::new(client))
}

/// Each on one connection, which stays open.
fn ask(address: SocketAddr, requests: &[String], length: usize, taken: &Sender<()>) -> Result<BufReader<TcpStream>> {
    let mut client = connect(address)?;
    each(&mut client, requests, length, taken)?;
    Ok(client)
}

/// One after the other. A length of 0 is a page of ours, whatever its own.
fn each(client: &mut BufReader<TcpStream>, requests: &[String], length: usize, taken: &Sender<()>) -> Result<()> {
    for request in requests {
        client.get_mut().write_all(request.as_bytes())?;
        answer(client, length, taken)?;
    }
    Ok(())
}

fn answer(client: &mut BufReader<TcpStream>, wanted: usize, taken: &Sender<()>) -> Result<()> {
    let (mut head, mut line) = (String::new(), String::new());
    while line != "\r\n" {
        line.clear();
        ensure!(client.read_line(&mut line)? > 0, "the connection ended: {head}");
        head.push_str(&line);
    }
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let length: usize = length.with_context(|| format!("no length: {head}"))?;
    ensure!(
        head.starts_with("HTTP/1.1 200 ") && length == wanted || head.starts_with("HTTP/1.1 503 ") && wanted == 0,
        "{head}"
    );
    for (number, segment) in vec![0; length].chunks_mut(SEGMENT).enumerate() {
        if number > 0 {
            // Nobody is busy with the one before any more.
            thread::sleep(Duration::from_millis(2));
            taken.send(())?;
        }
        client.read_exact(segment)?;
    }
    Ok(())
}

/// The service behind it.
struct Upstream {
    address: SocketAddr,
    /// Told of each segment of a large answer that its client has read, but the last: then the next one is written.
    taken: Sender<()>,
    is_taken: Arc<Mutex<Receiver<()>>>,
    socket: Option<socket2::Socket>,
}

impl Upstream {
    /// A port that is ours, and refuses.
    fn reserve() -> Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        let address = socket.local_addr()?.as_socket().context("an address")?;
        let (taken, is_taken) = channel();
        Ok(Self { address, taken, is_taken: Arc::new(Mutex::new(is_taken)), socket: Some(socket) })
    }

    fn listen(&mut self, kind: Kind) -> Result<()> {
        let socket = self.socket.take().context("it listens already")?;
        socket.listen(1024)?;
        let listener: TcpListener = socket.into();
        let length = if matches!(kind, Kind::Bulk) { BULK } else { SMALL };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
        let body = vec![b'x'; length];
        let mut segments: Vec<Vec<u8>> = body.chunks(SEGMENT).map(Vec::from).collect();
        segments[0].splice(..0, head.into_bytes());
        let is_taken = Arc::clone(&self.is_taken);
        // They end with the process.
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (segments, is_taken) = (segments.clone(), Arc::clone(&is_taken));
                thread::spawn(move || serve(connection, &segments, &is_taken));
            }
        });
        Ok(())
    }
}

/// Answers until the other side has enough, which may be at once: a probe asks for nothing.
fn serve(mut connection: TcpStream, segments: &[Vec<u8>], is_taken: &Mutex<Receiver<()>>) -> Result<()> {
    let (mut read, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let taken = connection.read(&mut piece)?;
        if taken == 0 {
            return Ok(connection.shutdown(Shutdown::Both)?);
        }
        read.extend_from_slice(&piece[..taken]);
        while let Some(end) = read.windows(4).position(|it| it == b"\r\n\r\n") {
            read.drain(..end + 4);
            for (number, segment) in segments.iter().enumerate() {
                if number > 0 {
                    is_taken.lock().expect("nobody panics").recv()?;
                }
                connection.write_all(segment)?;
            }
        }
    }
}

/// The program, with all that it does unless told otherwise. Dropping it ends it.
struct Anteroom {
    process: Child,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Anteroom {
    fn start(program: &Path, tool: Tool, upstream: SocketAddr) -> Result<Self> {
        let mut process = tool
            .command(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .env_clear()
            .env("ANTEROOM_UPSTREAM", format!("http://{upstream}"))
            .env("ANTEROOM_THREADS", "1")
            .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
            // `rep movsb` counts as many instructions as it copies bytes, and from which length on glibc takes it depends on
            // the processor.
            .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-ERMS")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("it does not run")?;
        let mut lines = BufReader::new(process.stdout.take().context("it is piped")?).lines();
        let mut anteroom = Self { process, address: upstream, admin: upstream };
        let address = |line: &str, name: &str| line.split_once(name)?.1.split(' ').next()?.parse().ok();
        let started = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| Some((address(&line, " listen=")?, address(&line, " admin_listen=")?)));
        (anteroom.address, anteroom.admin) = started.context("it does not listen")?;
        // The first probe is over.
        let mut rest = lines.by_ref().map_while(Result::ok);
        rest.find(|line| line.contains("upstream is ")).context("it never looks for its upstream")?;
        // The log is read to its end, as a collector does.
        thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Ok(anteroom)
    }

    /// How many requests it holds now.
    fn held(&self) -> Result<usize> {
        let mut admin = TcpStream::connect(self.admin)?;
        admin.set_read_timeout(Some(LONGEST))?;
        admin.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        admin.read_to_string(&mut text)?;
        let held = text.lines().find_map(|line| line.strip_prefix("anteroom_requests_held "));
        held.and_then(|held| held.trim().parse().ok()).context("no gauge")
    }

    /// Asks it to stop, and reads the count.
    fn count(&mut self, tool: Tool) -> Result<f64> {
        // Counted page by page; what `status` says is late by some for each thread (proc(5)).
        let memory = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process.id()))?;
        let stopped = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status()?;
        ensure!(stopped.success(), "it has ended already");
        let mut report = String::new();
        self.process.stderr.take().context("it is piped")?.read_to_string(&mut report)?;
        let status = self.process.wait()?;
        match tool.read(&report, &memory) {
            Some(count) if status.success() => Ok(count),
            _ => bail!("{status}: {report}"),
        }
    }
}

impl Drop for Anteroom {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
