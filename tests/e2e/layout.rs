//! The two ways in which CVAT defines the router of `/analytics`, and the compose files of a stack for each.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::shipped::ROOT;

/// As an operator gives them to compose, and so as every remedy has to name them.
pub const FILES: [&str; 3] =
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

    /// Writes the compose files of a stack, and what they mount.
    pub fn write_files(self, directory: &Path, project: &str) -> Result<()> {
        let stage = Path::new(ROOT).join("tests/e2e/stage");
        let own = stage.join(self.name().replace('_', "-"));
        copy(&own.join("docker-compose.yml"), &directory.join(FILES[0]))?;
        copy(&stage.join(FILES[1]), &directory.join(FILES[1]))?;
        if self == Self::FileProvider {
            let rules = "components/analytics/grafana_conf.yml";
            copy(&own.join(rules), &directory.join(rules))?;
        }
        // The override as it is, but for the one name that two stacks on one engine cannot share.
        let text = fs::read_to_string(self.anteroom())?;
        let named = "container_name: anteroom\n";
        ensure!(text.matches(named).count() == 1, "{} no longer says {named:?}", self.anteroom().display());
        fs::write(directory.join(FILES[2]), text.replace(named, &format!("container_name: {project}_anteroom\n")))?;
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().context("a file is in a folder")?;
    fs::create_dir_all(folder)?;
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}
