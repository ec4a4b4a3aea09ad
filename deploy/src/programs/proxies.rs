//! nginx and Caddy with the configurations of `deploy/proxy`, moved to other ports and into a folder. Everything else
//! in them is what an installation runs.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::program::{Program, complete};
use super::tools;

/// Where a proxy listens, and where the parts behind it are.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// HTTPS.
    pub https: SocketAddr,
    /// HTTP with nginx, the administration with Caddy.
    pub second: SocketAddr,
    /// message-api.
    pub api: SocketAddr,
    /// webhook-ingest.
    pub ingest: SocketAddr,
    /// Two gateways.
    pub gateways: [SocketAddr; 2],
    /// The product's own back end.
    pub back_end: SocketAddr,
}

impl Addresses {
    /// Any free-looking ports: for a check that binds nothing.
    pub(crate) fn documented() -> Self {
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            https: at(10_443),
            second: at(10_080),
            api: at(8080),
            ingest: at(8081),
            gateways: [at(8082), at(8083)],
            back_end: at(3000),
        }
    }

    /// Replaces the documented addresses of the parts.
    fn put_into(&self, conf: &str) -> String {
        let [first, second] = self.gateways;
        let parts =
            [(8080, self.api), (8081, self.ingest), (8082, first), (8083, second), (3000, self.back_end)];
        // By a mark first: a part's own port may be another part's documented one.
        let marked = parts.iter().enumerate().fold(conf.to_owned(), |conf, (mark, (port, _))| {
            conf.replace(&format!("127.0.0.1:{port}"), &format!("\u{1}{mark}\u{1}"))
        });
        parts.iter().enumerate().fold(marked, |conf, (mark, (_, address))| {
            conf.replace(&format!("\u{1}{mark}\u{1}"), &address.to_string())
        })
    }
}

/// Writes nginx's configuration for a folder. Returns the file.
///
/// # Errors
/// A file can't be written, or openssl is missing.
pub fn nginx_conf(folder: &Path, addresses: &Addresses) -> anyhow::Result<PathBuf> {
    let (certificate, key) = certificate(folder, "localhost")?;
    let here = |file: &str| folder.join(file).display().to_string();
    let shipped = fs::read_to_string(tools::project().join("deploy/proxy/nginx.conf"))?;
    let mut conf = addresses.put_into(&shipped);
    for (theirs, ours) in [
        ("listen 80;", format!("listen {};", addresses.second)),
        ("listen 443 ssl;", format!("listen {} ssl;", addresses.https)),
        ("church.example.org;", "localhost;".into()),
        ("/etc/letsencrypt/live/church.example.org/fullchain.pem", certificate.display().to_string()),
        ("/etc/letsencrypt/live/church.example.org/privkey.pem", key.display().to_string()),
        ("/var/log/nginx/access.log", here("access.log")),
        ("/var/log/nginx/error.log", here("error.log")),
        ("/run/nginx.pid", here("nginx.pid")),
        ("worker_processes auto;", "worker_processes 2;".into()),
    ] {
        anyhow::ensure!(conf.contains(theirs), "nginx.conf no longer says `{theirs}`");
        conf = conf.replace(theirs, &ours);
    }
    let file = folder.join("nginx.conf");
    fs::write(&file, conf)?;
    Ok(file)
}

/// Writes Caddy's configuration for a folder. Returns the file.
///
/// # Errors
/// A file can't be written, or openssl is missing.
pub fn caddyfile(folder: &Path, addresses: &Addresses) -> anyhow::Result<PathBuf> {
    let (certificate, key) = certificate(folder, "localhost")?;
    let shipped = fs::read_to_string(tools::project().join("deploy/proxy/Caddyfile"))?;
    let mut conf = addresses.put_into(&shipped);
    let site = format!(
        "https://localhost:{} {{\n\ttls {} {}",
        addresses.https.port(),
        certificate.display(),
        key.display()
    );
    let admin = format!("admin {}\n\tauto_https disable_redirects", addresses.second);
    for (theirs, ours) in
        [("admin 127.0.0.1:2019", admin), ("\n{$CHURCH_HOST:church.example.org} {", format!("\n{site}"))]
    {
        anyhow::ensure!(conf.contains(theirs), "the Caddyfile no longer says `{theirs}`");
        conf = conf.replace(theirs, &ours);
    }
    let file = folder.join("Caddyfile");
    fs::write(&file, conf)?;
    Ok(file)
}

/// nginx with this configuration. A HUP makes it read the file again.
///
/// # Errors
/// nginx is not installed.
pub fn nginx(conf: &Path) -> anyhow::Result<Program> {
    let mut program = Program::new("nginx", tools::on_path("nginx").context("nginx is not installed")?);
    program.arguments = ["-c", &conf.display().to_string(), "-g", "daemon off;"].map(String::from).into();
    Ok(program)
}

/// Caddy with this configuration.
///
/// # Errors
/// It can't be fetched.
pub fn caddy(conf: &Path) -> anyhow::Result<Program> {
    let mut program = Program::new("caddy", tools::caddy()?);
    program.arguments =
        ["run", "--adapter", "caddyfile", "--config", &conf.display().to_string()].map(String::from).into();
    let home = conf.parent().context("the file has no folder")?;
    program.environment = vec![("HOME".into(), home.display().to_string())];
    Ok(program)
}

/// Makes a certificate for a host and its key in this folder, signed by itself.
///
/// # Errors
/// openssl is missing or fails.
pub fn certificate(folder: &Path, host: &str) -> anyhow::Result<(PathBuf, PathBuf)> {
    let (certificate, key) = (certificate_in(folder), folder.join("key.pem"));
    let names = format!("subjectAltName=DNS:{host},IP:127.0.0.1");
    let request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    // rustls refuses a server that shows a CA's certificate.
    let no_ca = "basicConstraints=critical,CA:FALSE";
    let subject = ["-days", "2", "-subj", "/CN=church", "-addext", &names, "-addext", no_ca];
    let mut openssl = Command::new("openssl");
    openssl.args(request).args(subject).arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    complete(&mut openssl)?;
    Ok((certificate, key))
}

/// The certificate that a proxy in this folder shows.
pub fn certificate_in(folder: &Path) -> PathBuf {
    folder.join("certificate.pem")
}
