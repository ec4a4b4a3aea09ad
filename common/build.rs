//! Compiles again when a migration is added, and tells the code its version and commit.

use std::process::Command;

/// The commit, for a build that knows it better.
const COMMIT: &str = "CHURCH_LIVE_COMMIT";

fn main() {
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-env-changed={COMMIT}");
    let revision = build();
    println!("cargo:rustc-env=CHURCH_LIVE_VERSION={} ({revision})", env!("CARGO_PKG_VERSION"));
    println!("cargo:rustc-env=CHURCH_LIVE_REVISION={revision}");
}

/// The commit of a release build. A debug build would compile everything again after each commit.
fn build() -> String {
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return "debug build".into();
    }
    let given = std::env::var(COMMIT).ok();
    given.or_else(archived).or_else(checked_out).unwrap_or_else(|| "unknown commit".into())
}

/// The commit of a source archive: `git archive` writes it into the file `COMMIT`.
fn archived() -> Option<String> {
    println!("cargo:rerun-if-changed=../COMMIT");
    let commit = std::fs::read_to_string("../COMMIT").ok()?.trim().to_owned();
    (!commit.starts_with("$Format")).then_some(commit)
}

/// The commit of the checkout.
fn checked_out() -> Option<String> {
    println!("cargo:rerun-if-changed={}", git(&["rev-parse", "--git-path", "logs/HEAD"])?);
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
