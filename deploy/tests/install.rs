//! The commands of docs/install.md lead from the archive to a delivered text. They run in a root folder of their own: an
//! overlay over this machine's, in namespaces of its own, so that they may write to /opt and /etc and use the documented
//! ports. It needs root, `unshare`, nginx and curl. `make check` runs it where they are.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what fails here fails a test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use deploy::release::Package;
use deploy::scratch::Scratch;
use deploy::simulator::{Pace, Settings, Simulator};
use deploy::tools;
use tokio::net::TcpListener;

const HOST: &str = "church.test";
const KEY: &str = "KEY-of-the-test";
/// Names the archive to the process inside the namespaces.
const ARCHIVE: &str = "CHURCH_LIVE_ARCHIVE";
const TEST: &str = "the_commands_of_install_md_lead_from_the_archive_to_a_delivered_text";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, nginx and curl; `make check` runs it"]
async fn the_commands_of_install_md_lead_from_the_archive_to_a_delivered_text() {
    if let Some(archive) = std::env::var_os(ARCHIVE) {
        return install(Path::new(&archive)).await;
    }
    let folder = Scratch::new().unwrap();
    let this = std::env::current_exe().unwrap();
    let programs = this.ancestors().nth(2).unwrap();
    let archive = Package::of(programs).unwrap().pack(folder.path()).unwrap();
    let mut inside = Command::new("unshare");
    inside.args(["--mount", "--net", "--pid", "--fork", "--kill-child"]).arg(&this);
    inside.args([TEST, "--exact", "--ignored", "--nocapture"]).env(ARCHIVE, archive);
    // The simulator's webhooks come to the host by its name, over TLS.
    inside.env("SSL_CERT_FILE", folder.path().join("certificate.pem"));
    run(&mut inside);
}

/// Runs the document's commands, with a simulated Telnyx beside them.
async fn install(archive: &Path) {
    let folder = archive.parent().unwrap();
    let root = root(folder, archive);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let telnyx = format!("http://{}", listener.local_addr().unwrap());
    let seed = STANDARD.encode([7; 32]);
    let settings = Settings { api_key: KEY.into(), seed, pace: Pace::default(), book: None };
    let simulator = Simulator::start(listener, settings).unwrap();
    let values = format!(
        "HOST={HOST}\nJWT_SECRET='a secret of at least 32 bytes with spaces'\nTELNYX_API_KEY={KEY}\n\
         TELNYX_PUBLIC_KEY={}\nCHURCH=grace\nNUMBER=+12025550100\nPHONE=+12025550101\n",
        simulator.signer().public_key()
    );
    let document = fs::read_to_string(tools::project().join("docs/install.md")).unwrap();
    let simulated = format!(
        "for file in message-api ops; do echo TELNYX_BASE_URL={telnyx} >> /etc/church-live/$file.env; done\n"
    );
    let first = "systemctl start church-nats";
    let script = commands(&document, &values).replace(first, &format!("{simulated}{first}"));
    let mut commands = Command::new("chroot");
    commands.arg(&root).args(["bash", "-euo", "pipefail", "-c", &script]);
    for variable in ["CURL_CA_BUNDLE", "SSL_CERT_FILE"] {
        commands.env(variable, format!("/etc/letsencrypt/live/{HOST}/fullchain.pem"));
    }
    tokio::task::spawn_blocking(move || run(&mut commands)).await.unwrap();
    assert_eq!(simulator.totals().0, 1, "one text was sent");
}

/// The blocks of commands, in order. The values are the test's, and what needs the Internet is left out.
fn commands(document: &str, values: &str) -> String {
    let blocks = document.split("```sh\n").collect::<Vec<_>>();
    let code = |text: &str| text.split("```").next().unwrap().to_owned();
    let chosen = blocks.windows(2).map(|two| match two[0].trim_end() {
        before if before.ends_with("<!-- your values -->") => values.to_owned(),
        before if before.ends_with("<!-- not run -->") => String::new(),
        _ => code(two[1]),
    });
    chosen.collect()
}

/// This machine's root folder under a layer that takes all writes.
fn root(folder: &Path, archive: &Path) -> PathBuf {
    let layer = folder.join("layer");
    let at = |name: &str| layer.join(name);
    let root = at("root");
    fs::create_dir_all(&layer).unwrap();
    mount(&["-t", "tmpfs", "layer"], &layer);
    for name in ["upper", "work", "root"] {
        fs::create_dir(at(name)).unwrap();
    }
    let layers = format!("lowerdir=/,upperdir={},workdir={}", at("upper").display(), at("work").display());
    mount(&["-t", "overlay", "overlay", "-o", &layers], &root);
    mount(&["-t", "proc", "proc"], &root.join("proc"));
    mount(&["--rbind", "/dev"], &root.join("dev"));
    mount(&["-t", "tmpfs", "run"], &root.join("run"));
    run(Command::new("ip").args(["link", "set", "lo", "up"]));
    for file in [archive.to_owned(), archive.with_extension("gz.sha256")] {
        fs::copy(&file, root.join("root").join(file.file_name().unwrap())).unwrap();
    }
    let hosts = folder.join("hosts");
    fs::write(&hosts, format!("127.0.0.1 localhost {HOST}\n")).unwrap();
    fs::copy(&hosts, root.join("etc/hosts")).unwrap();
    mount(&["--bind", &hosts.display().to_string()], Path::new("/etc/hosts"));
    let systemctl = tools::project().join("tests/python/systemctl.py");
    run(Command::new("install").args(["-m", "755"]).arg(systemctl).arg(root.join("usr/bin/systemctl")));
    certificate(folder, &root);
    root
}

/// What section 6 gets from a public authority.
fn certificate(folder: &Path, root: &Path) {
    let (certificate, key) = deploy::proxies::certificate(folder, HOST).unwrap();
    let live = root.join(format!("etc/letsencrypt/live/{HOST}"));
    fs::create_dir_all(&live).unwrap();
    fs::copy(certificate, live.join("fullchain.pem")).unwrap();
    fs::copy(key, live.join("privkey.pem")).unwrap();
}

fn mount(arguments: &[&str], at: &Path) {
    run(Command::new("mount").args(arguments).arg(at));
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}
