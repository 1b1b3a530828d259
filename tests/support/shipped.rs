//! The program as it is shipped: a release build, linked statically.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The checkout that is tested.
pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Names the host: without a named target the flags would reach build scripts and procedural macros, which are
/// shared libraries and cannot be linked statically.
pub fn host() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// The flags of `deploy/Dockerfile`, which says them twice: in what builds, and in what to do without a registry.
const FLAGS: &str =
    "-C target-feature=+crt-static -C llvm-args=-inlinedefault-threshold=60 -C link-arg=-Wl,-z,pack-relative-relocs";

/// One of its own: other flags in the usual one would throw away what `cargo test` has compiled.
const FOLDER: &str = "target/shipped";

/// Where it is, once it is compiled.
pub fn path() -> PathBuf {
    Path::new(ROOT).join(FOLDER).join(host()).join("release/anteroom")
}

/// Compiles it, if it was not compiled before.
///
/// # Errors
/// It does not compile.
pub fn compile() -> Result<PathBuf> {
    let dockerfile = std::fs::read_to_string(Path::new(ROOT).join("deploy/Dockerfile"))?;
    ensure!(dockerfile.matches(FLAGS).count() == 2, "deploy/Dockerfile builds with other flags than {FLAGS}");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(ROOT).args("build --quiet --release --locked --bin anteroom --target".split(' ')).arg(host());
    cargo.arg("--target-dir").arg(Path::new(ROOT).join(FOLDER)).env("RUSTFLAGS", FLAGS);
    // Cargo would prefer this one.
    cargo.env_remove("CARGO_ENCODED_RUSTFLAGS");
    // What cargo tells a test of its package: ring's build script would see a change since a build without it.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|its| name.to_string_lossy().starts_with(its)) {
            cargo.env_remove(name);
        }
    }
    let done = cargo.status().context("cargo does not run")?;
    ensure!(done.success(), "a release build fails");
    Ok(path())
}
