//! One running CVAT: [`Stack::up`] starts it, [`Stack::grafana`] breaks it, [`Stack::ask`] asks it through Traefik,
//! and [`Stack::reset`] makes it whole for the next scene.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::ask::Ask;
use crate::container::Container;
use crate::engine::{Engine, LABEL};
use crate::layout::{FILES, Layout};
use crate::prepare::{Image, Stage};
use crate::shipped::ROOT;

/// The cookie of a user whom CVAT's server lets in.
pub const LOGGED_IN: &str = "sessionid=valid";

/// In the environment of Grafana, where ClickHouse's password is in a real one. Nobody may ever see it.
pub const SECRET: &str = "correct-horse-battery-staple";

/// Traefik's `providersThrottleDuration` of two seconds, and some time to act.
const TRAEFIK_THROTTLE: Duration = Duration::from_millis(2500);

/// A CVAT that runs, with anteroom in it.
pub struct Stack {
    pub layout: Layout,
    engine: Engine,
    run: String,
    pub project: String,
    directory: PathBuf,
    /// The part of `.env` that no scene changes.
    images: String,
    port: AtomicU16,
    /// Whether a scene has touched anything.
    soiled: AtomicBool,
    /// As the engine wrote it, when Traefik was last seen to have followed.
    anteroom_runs_since: Mutex<String>,
}

impl Stack {
    /// Writes the compose files, starts everything and waits until Grafana answers through Traefik.
    pub fn up(stage: &Stage, layout: Layout, company: u8) -> Result<Self> {
        let project = stage.project(layout, company);
        let directory = stage.directory.join(&project);
        layout.write_files(&directory, &project)?;
        let images = format!(
            "STAGE={project}\nLOGGED_IN={LOGGED_IN}\nSECRET={SECRET}\nANTEROOM_IMAGE={}\nSTUB_IMAGE={}\nTRAEFIK_IMAGE={}\n",
            stage.tag(Image::Anteroom),
            stage.tag(Image::Stub),
            stage.tag(Image::Traefik)
        );
        let (engine, run) = (stage.engine.clone(), stage.run.clone());
        let (port, soiled, anteroom_runs_since) = (AtomicU16::new(0), AtomicBool::new(true), Mutex::default());
        let stack = Self { layout, engine, run, project, directory, images, port, soiled, anteroom_runs_since };
        stack.reset()?;
        Ok(stack)
    }

    /// A request of a user who is logged in, through Traefik.
    pub fn ask(&self, path: &str) -> Ask {
        Ask::new(self.port.load(Relaxed), path)
    }

    /// Where a browser finds it.
    pub fn url(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.port.load(Relaxed))
    }

    /// A file or folder that goes with the stack.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The anteroom that is in the image, which is static: it runs outside of a container, too.
    pub fn program(&self) -> PathBuf {
        self.directory.with_file_name("anteroom").join("program")
    }

    /// Where Grafana notes each POST that it has carried out; it outlives the container.
    pub fn ledger(&self) -> PathBuf {
        self.directory.join("ledger/posts")
    }

    /// The target: what most scenes break.
    pub fn grafana(&self) -> Container<'_> {
        self.container("cvat_grafana")
    }

    /// The container of a compose service.
    pub fn container(&self, service: &str) -> Container<'_> {
        Container::new(self, service)
    }

    /// Changes variables of `.env` and lets compose carry that out, e.g. `GRAFANA_DELAY` in milliseconds.
    #[track_caller]
    pub fn set(&self, variables: &[(&str, &str)]) {
        self.soil();
        let lines: String = variables.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        fs::write(self.directory.join(".env"), format!("{}{lines}", self.images)).expect("the stack's folder is ours");
        self.compose("up -d --remove-orphans");
        self.wait_for_traefik().unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// The same, where compose is to fail.
    #[track_caller]
    pub fn set_in_vain(&self, variables: &[(&str, &str)]) {
        self.soil();
        let lines: String = variables.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        fs::write(self.directory.join(".env"), format!("{}{lines}", self.images)).expect("the stack's folder is ours");
        let run = self.engine.shell(&self.remedy(&["up -d --no-deps cvat_grafana"]));
        assert!(run.is_err(), "compose has started it: {variables:?}");
    }

    /// The name of CVAT's network.
    pub fn network(&self) -> String {
        format!("{}_cvat", self.project)
    }

    /// Runs compose with this stack's three files.
    #[track_caller]
    pub fn compose(&self, words: &str) {
        self.run(&self.remedy(&[words]));
    }

    /// Puts a new anteroom in the place of the one that runs, which has learned from the scenes before.
    #[track_caller]
    pub fn renew_anteroom(&self) {
        self.compose("up -d --force-recreate --no-deps anteroom");
        self.wait_for_traefik().unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// Runs commands as the operator would who copies them from a page.
    #[track_caller]
    pub fn run(&self, commands: &str) {
        self.soil();
        self.engine.shell(commands).unwrap_or_else(|error| panic!("{error:#}"));
        self.find_port().unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// What commands print, whether they succeed or not.
    pub fn shell(&self, commands: &str) -> Result<String> {
        self.engine.shell(commands)
    }

    /// What compose makes of a file of the checkout, alone or with an override.
    #[track_caller]
    pub fn configuration(&self, file: &str, over: Option<&Path>) -> serde_json::Value {
        let file = Path::new(ROOT).join(file);
        let files: Vec<&Path> = std::iter::once(file.as_path()).chain(over).collect();
        let files: String = files.iter().map(|file| format!(" -f '{}'", file.display())).collect();
        let printed = self.engine.shell(&format!("docker compose{files} config --format json"));
        let printed = printed.unwrap_or_else(|error| panic!("{error:#}"));
        serde_json::from_str(&printed).expect("compose prints JSON")
    }

    /// The lines that a page has to print: the folder, then compose with the files that this stack was started with.
    pub fn remedy(&self, words: &[&str]) -> String {
        let compose = format!("docker compose -p {} -f {}", self.project, FILES.join(" -f "));
        let lines = words.iter().map(|words| format!("{compose} {words}"));
        std::iter::once(format!("cd {}", quoted(&self.directory))).chain(lines).collect::<Vec<_>>().join(" &&\n")
    }

    /// What cured the report that this project exists for.
    pub fn classic_remedy(&self) -> String {
        self.remedy(&["down", "up -d --remove-orphans"])
    }

    /// The name of a network that only this scene uses; the janitor removes it, too.
    #[track_caller]
    pub fn other_network(&self) -> String {
        let name = format!("{}_other", self.project);
        let label = format!("{LABEL}={}", self.run);
        self.docker(&["network", "create", "--label", &label, &name]);
        name
    }

    /// Starts one more anteroom on CVAT's network, without an engine, and returns where it is published. It is called
    /// `another`, and the janitor removes it, too.
    #[track_caller]
    pub fn another_anteroom(&self, options: &[&str]) -> u16 {
        self.soil();
        let (name, network) = (format!("{}_another", self.project), format!("{}_cvat", self.project));
        let label = format!("{LABEL}={}", self.run);
        let image = self.container("anteroom").inspect("{{.Config.Image}}");
        let mut words = vec!["run", "--detach", "--name", &name, "--network", &network, "--label", &label];
        words.extend(["--publish", "127.0.0.1::8080"]);
        words.extend(options);
        words.push(&image);
        self.docker(&words);
        let format = r#"{{range index .NetworkSettings.Ports "8080/tcp"}}{{.HostPort}}{{end}}"#;
        self.container("another").inspect(format).parse().expect("a published port")
    }

    #[track_caller]
    pub fn docker(&self, words: &[&str]) -> String {
        self.try_docker(words).unwrap_or_else(|error| panic!("{error:#}"))
    }

    pub fn try_docker(&self, words: &[&str]) -> Result<String> {
        self.engine.docker(words)
    }

    /// The next scene needs a new Grafana.
    pub fn soil(&self) {
        self.soiled.store(true, Relaxed);
    }

    /// Makes the stack whole again, with a new Grafana if a scene has touched anything.
    pub fn reset(&self) -> Result<()> {
        if !self.soiled.load(Relaxed) {
            return Ok(());
        }
        // Paused or on the wrong network: whatever it was, nobody misses it.
        self.engine.docker(["rm", "-f", self.grafana().name(), self.container("another").name()])?;
        let other = format!("{}_other", self.project);
        if !self.engine.docker(["network", "ls", "-q", "--filter", &format!("name={other}")])?.is_empty() {
            self.engine.docker(["network", "rm", &other])?;
        }
        fs::write(self.directory.join(".env"), &self.images)?;
        self.engine.shell(&self.remedy(&["up -d --remove-orphans"]))?;
        self.find_port()?;
        self.ask("/analytics/").until("Grafana answers", |answer| answer.is_from("grafana"));
        self.wait_for_traefik()?;
        self.soiled.store(false, Relaxed);
        Ok(())
    }

    /// What to print when a scene has failed.
    pub fn report(&self) -> String {
        let filter = format!("label=com.docker.compose.project={}", self.project);
        let ps = self.engine.docker(["ps", "-a", "--filter", &filter, "--format", "{{.Names}}\t{{.Status}}"]);
        let mut report = format!("\n--- containers\n{}", ps.unwrap_or_else(|error| format!("{error:#}")));
        for service in ["anteroom", "traefik", "cvat_grafana"] {
            let log = self.engine.shell(&format!("docker logs --tail 40 {}_{service} 2>&1", self.project));
            report += &format!("--- {service}\n{}", log.unwrap_or_else(|error| format!("{error:#}")));
        }
        report
    }

    /// Traefik applies what it hears of the engine up to two seconds late, and in the order in which it hears it. So
    /// after a change of anteroom's container, where the labels are, its routers may be there, go, and come again.
    fn wait_for_traefik(&self) -> Result<()> {
        let mut seen = self.anteroom_runs_since.lock().map_err(|_| anyhow!("a scene has panicked while it waited"))?;
        let since = self.engine.docker(["inspect", "-f", "{{.State.StartedAt}}", self.container("anteroom").name()])?;
        if *seen == since {
            return Ok(());
        }
        let has_gone_right = Cell::new(Instant::now());
        self.ask("/analytics/").for_status().until("Traefik's routes are settled", |status| {
            if status.value("x-anteroom-state").is_none() || !self.ask("/tasks").send().is_from("ui") {
                has_gone_right.set(Instant::now());
            }
            has_gone_right.get().elapsed() > TRAEFIK_THROTTLE
        });
        *seen = since;
        Ok(())
    }

    fn find_port(&self) -> Result<()> {
        // Not `port`: its answer would be an error between `down` and `up`.
        let format = r#"{{range index .NetworkSettings.Ports "8080/tcp"}}{{.HostPort}}{{end}}"#;
        let port = self.engine.docker(["inspect", "--format", format, self.container("traefik").name()])?;
        self.port.store(port.trim().parse().with_context(|| format!("Traefik's port is {port:?}"))?, Relaxed);
        Ok(())
    }
}

/// As a shell needs it, where the checkout lies in a folder with a space in its name.
fn quoted(directory: &Path) -> String {
    let path = directory.display().to_string();
    let plain = path.chars().all(|c| c.is_ascii_alphanumeric() || "_@%+:,./-".contains(c));
    if plain { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}
