//! The `nats` CLI, as docs/operations.md shows it and as each of the broker's users may use it.

use std::path::PathBuf;
use std::process::{Output, Stdio};

use deploy::tools;
use futures_util::StreamExt as _;
use tests::databases::Kind;
use tests::eventually;
use tests::stack::TestStack;
use tokio::process::Command;

use super::{AUTHOR, CHURCH, DELIVERED};

/// What the commands of a heading say. `{message}` stands for the message's id.
const SAID: [(&str, &[&str]); 13] = [
    ("Contexts", &["Context \"church-ops\"", "Context \"church-sys\""]),
    ("Which churches have events, and how many?", &["church.hope.sent", "church.grace.status"]),
    (
        "What happened in a church?",
        &["pending: 0 ", "church.grace.sent", "message:delivered", "Item: CHURCH#2 received", "{message}"],
    ),
    ("What happened to one message?", &["\"message:sent\"", "\"message:delivered\"", "{message}"]),
    ("What happens in a church now?", &["live.church.grace.sent", "message:sent"]),
    (
        "How do gateways emit events again?",
        &[
            "Replay Policy: Instant",
            "Replay Policy: Original",
            "Unprocessed Messages: 0",
            "Paused CHURCH",
            "resumed",
        ],
    ),
    ("Which consumers are there, and what is pending?", &["replay-sequence", "replay-paced", "Unprocessed"]),
    (
        "Is the stream healthy?",
        &[
            "Subjects: church.*.*",
            "Last Sequence:",
            "No deleted messages",
            "OK CHURCH",
            "OK JetStream",
            "Valid message",
        ],
    ),
    ("Is the connection healthy?", &["OK Connection", "User: ops", "Server Statistics"]),
    (
        "Which servers are there, and who is connected?",
        &["Server Overview", "JetStream Summary", "message_api", "Accounts Overview"],
    ),
    ("Is the cluster healthy?", &["no cluster information"]),
    ("What happens to consumers and the stream now?", &["Consumer Create Action"]),
    ("The nats CLI", &[]),
];

/// Commands, and the users that may run them.
const COMMANDS: [(&str, &[&str]); 18] = [
    ("stream info CHURCH", &["ops", "gateway", "provisioner"]),
    ("stream get CHURCH 1", &["ops"]),
    ("stream ls", &["ops"]),
    ("sub 'church.grace.*' --stream CHURCH --all --terminate-at-end", &["ops"]),
    ("consumer add CHURCH {user} --ephemeral --pull --ack none --defaults", &["ops"]),
    ("consumer ls CHURCH", &["ops"]),
    ("consumer info CHURCH held", &["ops"]),
    ("consumer pause CHURCH held 1h -f", &["ops"]),
    ("consumer rm CHURCH {user}-gone -f", &["ops"]),
    ("consumer cluster step-down CHURCH held", &[]),
    ("account report statistics", &["ops", "sys"]),
    ("server check connection", &["ops", "sys"]),
    ("pub -J church.grace.status '{}'", &["ingest", "message_api"]),
    ("stream edit CHURCH --description edited -f", &["provisioner"]),
    ("stream cluster step-down CHURCH", &[]),
    ("stream purge CHURCH -f", &[]),
    ("stream rm CHURCH -f", &[]),
    ("server report jetstream", &["sys"]),
];

/// Commands of docs/operations.md between two fences.
struct Block {
    heading: String,
    note: String,
    code: String,
}

/// The blocks of the section about the CLI.
fn blocks() -> Vec<Block> {
    let document = std::fs::read_to_string(tools::project().join("docs/operations.md")).unwrap();
    let section = document.split("\n## ").find(|section| section.starts_with("The nats CLI")).unwrap();
    let (mut heading, mut note) = ("The nats CLI", "");
    let (mut blocks, mut code) = (Vec::new(), None);
    for line in section.lines() {
        match (&mut code, line) {
            (None, "```sh") => code = Some(String::new()),
            (Some(_), "```") => blocks.push(Block {
                heading: heading.into(),
                note: std::mem::take(&mut note).into(),
                code: code.take().unwrap(),
            }),
            (Some(code), line) => *code += &format!("{line}\n"),
            (None, line) => {
                heading = line.strip_prefix("### ").unwrap_or(heading);
                note = line.strip_prefix("<!-- ").and_then(|it| it.strip_suffix(" -->")).unwrap_or(note);
            }
        }
    }
    blocks
}

/// An operator's shell.
struct Shell {
    folder: PathBuf,
    environment: Vec<(String, String)>,
    values: String,
}

impl Shell {
    fn bash(&self, code: &str) -> Command {
        let mut bash = Command::new("bash");
        bash.args(["-euo", "pipefail", "-c", &format!("{}\n{code}", self.values)]);
        bash.current_dir(&self.folder).env_clear().envs(self.environment.iter().cloned());
        bash.stdin(Stdio::null()).kill_on_drop(true);
        bash
    }

    async fn run(&self, code: &str) -> Output {
        self.bash(code).output().await.unwrap()
    }
}

fn told(output: &Output) -> String {
    [&*output.stdout, &*output.stderr].map(String::from_utf8_lossy).concat()
}

/// A shell in which `nats` is the tested CLI.
async fn shell(stack: &TestStack) -> Shell {
    let cli = tokio::task::spawn_blocking(tools::nats_cli).await.unwrap().unwrap();
    let folder = stack.stack.state().join("operator");
    std::fs::create_dir(&folder).unwrap();
    let nats = &stack.stack.file().nats;
    let path = format!("{}:{}", cli.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut environment = vec![
        ("PATH".into(), path),
        ("XDG_CONFIG_HOME".into(), folder.display().to_string()),
        ("HOME".into(), folder.display().to_string()),
        ("NATS_URL".into(), nats.url.clone()),
    ];
    for user in ["ops", "sys"] {
        environment.push((format!("NATS_{}_PASSWORD", user.to_uppercase()), nats.users[user].clone()));
    }
    Shell { folder, environment, values: String::new() }
}

/// Runs commands that end only by Ctrl-C, and lets things happen until they have told of it.
async fn run_until_told(shell: &Shell, stack: &TestStack, code: &str, words: &[&str]) -> String {
    let file = shell.folder.join("told");
    let output = std::fs::File::create(&file).unwrap();
    let mut bash = shell.bash(&format!("exec {code}"));
    let mut running = bash.stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap();
    let told = eventually("the commands tell what happens", async || {
        stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
        // A consumer that comes and goes is an advisory.
        shell.run("nats sub 'church.grace.sent' --stream CHURCH --last --terminate-at-end").await;
        let told = String::from_utf8_lossy(&tokio::fs::read(&file).await.unwrap()).into_owned();
        words.iter().all(|word| told.contains(word)).then_some(told)
    })
    .await;
    running.kill().await.unwrap();
    told
}

/// Runs the commands to their end. Those of a cluster fail here.
async fn run_to_end(shell: &Shell, block: &Block) -> String {
    let output = shell.run(&block.code).await;
    assert_eq!(output.status.success(), block.note != "of a cluster", "{}: {}", block.code, told(&output));
    told(&output)
}

/// How many events gateways emitted again.
async fn replayed(stack: &TestStack) -> f64 {
    let gateway = &stack.stack.file().ops.gateways[0];
    stack.count(gateway, "church_gateway_replays_total{outcome=\"accepted\"}").await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Go for the nats CLI; `make check` runs it"]
async fn each_nats_command_of_the_operations_guide_does_what_the_guide_says() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let mut shell = shell(&stack).await;
    // Without a subscriber a gateway has nobody to emit to.
    let _watcher = stack.client(CHURCH, "watcher").await;
    stack.send("hope", AUTHOR, &[DELIVERED]).await;
    let message = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_status(CHURCH, message, "delivered").await;
    stack.until_announced().await;
    let values = [("church", CHURCH), ("message", &message.to_string()), ("sequence", "2"), ("since", "1h")];
    shell.values = values.map(|(name, value)| format!("{name}={value}")).join("\n");
    let mut said = std::collections::BTreeMap::<String, String>::new();
    for block in blocks() {
        let (_, words) = SAID.iter().find(|(heading, _)| *heading == block.heading).expect(&block.heading);
        let so_far = said.entry(block.heading.clone()).or_default();
        match &*block.note {
            "not run" => assert!(block.code.contains("natscli/nats@v0.5.0")),
            "your values" => {
                let names = block.code.lines().map(|line| line.split_once('=').unwrap().0);
                assert!(names.eq(values.map(|(name, _)| name)));
            }
            "until Ctrl-C" => *so_far += &run_until_told(&shell, &stack, &block.code, words).await,
            _ => {
                let before = replayed(&stack).await;
                *so_far += &run_to_end(&shell, &block).await;
                if block.code.contains("consumer add") {
                    eventually("the events are emitted again", async || {
                        (replayed(&stack).await >= before + 2.0).then_some(())
                    })
                    .await;
                }
            }
        }
    }
    for (heading, words) in SAID {
        for word in words {
            let word = word.replace("{message}", &message.to_string());
            let so_far = said.get(heading).unwrap_or_else(|| panic!("no heading {heading:?}"));
            assert!(so_far.contains(&word), "{heading}: no {word:?} in {so_far}");
        }
    }
    let cleaned = stack.ops(&["replay", "--clean"]).await;
    assert!(cleaned.out.contains("removed 2 consumers"), "{cleaned:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Go for the nats CLI; `make check` runs it"]
async fn each_user_of_the_broker_may_run_exactly_its_own_nats_commands() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let shell = shell(&stack).await;
    let message = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_status(CHURCH, message, "delivered").await;
    stack.until_announced().await;
    let ops = format!("nats --user ops --password '{}'", stack.stack.file().nats.users["ops"]);
    let made = format!("{ops} consumer add CHURCH held --pull --ack none --defaults --memory");
    assert!(shell.run(&made).await.status.success());
    let gone = format!("{ops} consumer add CHURCH ops-gone --pull --ack none --defaults --memory");
    assert!(shell.run(&gone).await.status.success());
    let users = &stack.stack.file().nats.users;
    let pairs = COMMANDS.iter().flat_map(|command| users.iter().map(move |user| (command, user)));
    let runs = pairs.map(|((command, allowed), (user, password))| {
        let inbox = match &**user {
            "ops" | "sys" => "_INBOX".into(),
            user => format!("_INBOX_{user}"),
        };
        let command = command.replace("{user}", user);
        let line = format!("nats --user {user} --password '{password}' --inbox-prefix {inbox} {command}");
        let shell = &shell;
        async move { (user, command, allowed.contains(&&**user), shell.run(&line).await) }
    });
    // Each denied command waits for 5 s or longer.
    let runs: Vec<_> = futures_util::stream::iter(runs).buffer_unordered(24).collect().await;
    for (user, command, may, output) in runs {
        assert_eq!(output.status.success(), may, "{user}: nats {command}: {}", told(&output));
    }
    let state = stack.stream().await;
    assert!(state.len() >= 2, "nothing was purged");
}
