//! One running CVAT: [`Stack::up`] starts it, [`Stack::grafana`] breaks it, [`Stack::ask`] asks it through Traefik,
//! and [`Stack::reset`] makes it whole for the next scene.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering::Relaxed};

use anyhow::{Context, Result, ensure};

use crate::ask::Ask;
use crate::container::Container;
use crate::engine::{Engine, LABEL};
use crate::prepare::{Image, ROOT, Stage};

/// The cookie of a user whom CVAT's server lets in.
pub const LOGGED_IN: &str = "sessionid=valid";

/// In the environment of Grafana, where ClickHouse's password is in a real one. Nobody may ever see it.
pub const SECRET: &str = "correct-horse-battery-staple";

const FILES: [&str; 3] =
    ["docker-compose.yml", "components/serverless/docker-compose.serverless.yml", "docker-compose.override.yml"];

/// Where CVAT defines the router of `/analytics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// CVAT up to 2.2x: a file, and two variables of Traefik.
    FileProvider,
    /// Later CVAT: labels on `cvat_grafana`.
    Labels,
}

impl Layout {
    pub const ALL: [Self; 2] = [Self::FileProvider, Self::Labels];

    /// As the names of the scenes begin.
    pub fn name(self) -> &'static str {
        match self {
            Self::FileProvider => "file_provider",
            Self::Labels => "labels",
        }
    }

    /// The override under test.
    pub fn anteroom(self) -> PathBuf {
        let file = match self {
            Self::FileProvider => "docker-compose.anteroom.yml",
            Self::Labels => "docker-compose.anteroom-labels.yml",
        };
        Path::new(ROOT).join("deploy/cvat").join(file)
    }
}

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
}

impl Stack {
    /// Writes the compose files, starts everything and waits until Grafana answers through Traefik.
    pub fn up(stage: &Stage, layout: Layout) -> Result<Self> {
        let project = stage.project(layout);
        let directory = stage.directory.join(&project);
        write_files(&directory, layout, &project)?;
        let images = format!(
            "STAGE={project}\nLOGGED_IN={LOGGED_IN}\nSECRET={SECRET}\nANTEROOM_IMAGE={}\nSTUB_IMAGE={}\nTRAEFIK_IMAGE={}\n",
            stage.tag(Image::Anteroom),
            stage.tag(Image::Stub),
            stage.tag(Image::Traefik)
        );
        let (engine, run) = (stage.engine.clone(), stage.run.clone());
        let (port, soiled) = (AtomicU16::new(0), AtomicBool::new(true));
        let stack = Self { layout, engine, run, project, directory, images, port, soiled };
        stack.reset()?;
        Ok(stack)
    }

    /// A request of a user who is logged in, through Traefik.
    pub fn ask(&self, path: &str) -> Ask {
        Ask::new(self.port.load(Relaxed), path)
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
    }

    /// Runs compose with this stack's three files.
    #[track_caller]
    pub fn compose(&self, words: &str) {
        self.run(&self.remedy(&[words]));
    }

    /// Runs commands as the operator would who copies them from a page.
    #[track_caller]
    pub fn run(&self, commands: &str) {
        self.soil();
        self.engine.shell(commands).unwrap_or_else(|error| panic!("{error:#}"));
        self.find_port().unwrap_or_else(|error| panic!("{error:#}"));
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
        let compose = format!("docker compose -f {}", FILES.join(" -f "));
        let lines = words.iter().map(|words| format!("{compose} {words}"));
        std::iter::once(format!("cd {}", self.directory.display())).chain(lines).collect::<Vec<_>>().join("\n")
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

    #[track_caller]
    pub fn docker(&self, words: &[&str]) -> String {
        self.engine.docker(words).unwrap_or_else(|error| panic!("{error:#}"))
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
        self.engine.docker(["rm", "-f", self.grafana().name()])?;
        let other = format!("{}_other", self.project);
        if !self.engine.docker(["network", "ls", "-q", "--filter", &format!("name={other}")])?.is_empty() {
            self.engine.docker(["network", "rm", &other])?;
        }
        fs::write(self.directory.join(".env"), &self.images)?;
        self.engine.shell(&self.remedy(&["up -d --remove-orphans"]))?;
        self.find_port()?;
        self.ask("/analytics/").until("Grafana answers", |answer| answer.is_from("grafana"));
        // Traefik takes up to two seconds to notice a new container.
        self.ask("/tasks").until("CVAT's user interface answers", |answer| answer.is_from("ui"));
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

    fn find_port(&self) -> Result<()> {
        // Not `port`: its answer would be an error between `down` and `up`.
        let format = r#"{{range index .NetworkSettings.Ports "8080/tcp"}}{{.HostPort}}{{end}}"#;
        let port = self.engine.docker(["inspect", "--format", format, self.container("traefik").name()])?;
        self.port.store(port.trim().parse().with_context(|| format!("Traefik's port is {port:?}"))?, Relaxed);
        Ok(())
    }
}

fn write_files(directory: &Path, layout: Layout, project: &str) -> Result<()> {
    let stage = Path::new(ROOT).join("tests/e2e/stage");
    let own = stage.join(layout.name().replace('_', "-"));
    copy(&own.join("docker-compose.yml"), &directory.join(FILES[0]))?;
    copy(&stage.join(FILES[1]), &directory.join(FILES[1]))?;
    if layout == Layout::FileProvider {
        let rules = "components/analytics/grafana_conf.yml";
        copy(&own.join(rules), &directory.join(rules))?;
    }
    // The override as it is, but for the one name that two stacks on one engine cannot share.
    let text = fs::read_to_string(layout.anteroom())?;
    let named = "container_name: anteroom\n";
    ensure!(text.matches(named).count() == 1, "{} no longer says {named:?}", layout.anteroom().display());
    fs::write(directory.join(FILES[2]), text.replace(named, &format!("container_name: {project}_anteroom\n")))?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().context("a file is in a folder")?;
    fs::create_dir_all(folder)?;
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}
