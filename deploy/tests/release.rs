//! What a release says of itself.

#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

use std::path::Path;
use std::process::Command;

use deploy::release::{PROGRAMS, oldest_glibc};
use deploy::scratch::Scratch;
use deploy::services::binary;
use deploy::tools;

/// The version that the build script of `common` gives to a release build of this source.
fn version(source: &Path, script: &Path) -> String {
    let mut build = Command::new(script);
    build.current_dir(source.join("common")).env("PROFILE", "release").env_remove("CHURCH_LIVE_COMMIT");
    // Git must not find the checkout that this test runs in.
    let parent = source.parent().unwrap();
    let output = build.env("GIT_CEILING_DIRECTORIES", parent).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let line = said.lines().find_map(|line| line.strip_prefix("cargo:rustc-env=CHURCH_LIVE_VERSION="));
    line.unwrap().to_owned()
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git").args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_release_knows_its_commit_in_a_checkout_and_in_a_source_archive_without_git() {
    let folder = Scratch::new().unwrap();
    let (checkout, archive) = (folder.path().join("checkout"), folder.path().join("archive"));
    let script = folder.path().join("build-script");
    let project = tools::project();
    let mut rustc = Command::new("rustc");
    rustc.arg("--edition=2024").arg(project.join("common/build.rs")).arg("-o").arg(&script);
    assert!(rustc.env("CARGO_PKG_VERSION", "1.2.3").status().unwrap().success());
    for place in [&checkout, &archive] {
        std::fs::create_dir_all(place.join("common")).unwrap();
    }
    for file in ["COMMIT", ".gitattributes", "common/build.rs"] {
        std::fs::copy(project.join(file), checkout.join(file)).unwrap();
    }
    git(&checkout, &["init", "-q"]);
    git(&checkout, &["add", "."]);
    let author = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
    git(&checkout, &[&author[..], &["commit", "-qm", "test: one commit"]].concat());
    git(&checkout, &["archive", "-o", "../archive.tar", "HEAD"]);
    assert!(
        Command::new("tar").args(["-xf", "../archive.tar"]).current_dir(&archive).status().unwrap().success()
    );

    let commit = git(&checkout, &["rev-parse", "--short=12", "HEAD"]);
    assert_eq!(version(&checkout, &script), format!("1.2.3 ({commit})"));
    let archived = version(&archive, &script);
    let short = archived.trim_start_matches("1.2.3 (").trim_end_matches(')');
    assert!(short.len() >= 7 && commit.starts_with(short), "{archived} of {commit}");
    std::fs::remove_file(archive.join("COMMIT")).unwrap();
    assert_eq!(version(&archive, &script), "1.2.3 (unknown commit)");
}

#[test]
fn every_program_says_the_same_version() {
    let said = PROGRAMS.map(|name| {
        let output = Command::new(binary(name).unwrap()).arg("--version").output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().strip_prefix(name).unwrap().to_owned()
    });
    assert!(said.iter().all(|version| *version == said[0]), "{said:?}");
}

#[test]
fn the_needed_glibc_is_the_one_that_objdump_finds() {
    let program = binary("ops").unwrap();
    let Ok(output) = Command::new("objdump").arg("-T").arg(&program).output() else { return };
    let symbols = String::from_utf8(output.stdout).unwrap();
    let versions = symbols
        .split("GLIBC_2.")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u32>().ok());
    assert_eq!(oldest_glibc([program.as_path()]).unwrap(), versions.max());
}
