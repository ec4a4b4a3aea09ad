//! The configurations of nginx and Caddy.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::programs::program::complete;
use crate::programs::proxies;
use crate::programs::scratch::Scratch;
use crate::programs::tools;

/// Lets nginx read its configuration, with a certificate of its own and in a folder of its own.
pub(super) fn check_nginx() -> anyhow::Result<()> {
    let folder = Scratch::new()?;
    let conf = proxies::nginx_conf(folder.path(), &proxies::Addresses::documented())?;
    complete(Command::new("nginx").arg("-t").arg("-c").arg(conf).arg("-p").arg(folder.path()))
}

/// Lets Caddy read its configuration, and compares its form with Caddy's own.
pub(super) fn check_caddy() -> anyhow::Result<()> {
    let caddy = tools::caddy()?;
    let file = tools::project().join("deploy/proxy/Caddyfile");
    let folder = Scratch::new()?;
    let run = |arguments: &[&str], file: &Path| {
        let mut command = Command::new(&caddy);
        complete(command.args(arguments).arg(file).env("HOME", folder.path()))
    };
    run(&["validate", "--adapter", "caddyfile", "--config"], &file)?;
    run(&["fmt", "--diff"], &file).context("`caddy fmt --overwrite` puts it into Caddy's form")
}
