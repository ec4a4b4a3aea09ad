//! How `ops` takes its settings and reports errors.

use common::store::Sender;
use serde_json::json;
use tests::broker::TestBroker;
use tests::databases::{Database, Kind};
use tests::ops::{ops, ops_running};

/// Arguments, environment, and the setting that the error must name.
type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);

#[tokio::test(flavor = "multi_thread")]
async fn every_command_exits_with_2_on_a_wrong_setting_and_names_it() {
    let database = Database::fresh(Kind::Sqlite).await;
    let url = [("DATABASE_URL", database.url.as_str())];
    let broker = |url| [("NATS_URL", url), ("NATS_PASSWORD", "secret")];
    let cases: [Case<'_>; 9] = [
        (&["audit"], &[("DATABASE_URL", "mysql://localhost/church")], "DATABASE_URL"),
        (&["revocations"], &[], "DATABASE_URL"),
        (
            &["revoke", "--church", "grace", "--issued-before", "2999-01-01T00:00:00Z"],
            &url,
            "--issued-before",
        ),
        (&["revoke", "--church", "grace", "--user", "7", "--admin", "7"], &url, "--admin"),
        (&["sender", "--church", "grace", "--number", "5551230000"], &url, "--number"),
        (&["forget", "--phone", "5551230000"], &url, "--phone"),
        (&["provision"], &broker("http://me:hidden@127.0.0.1:1"), "NATS_URL"),
        (&["provision", "--nats-ca-file", "/nowhere/ca.pem"], &broker("nats://127.0.0.1:1"), "NATS_CA_FILE"),
        (&["audit", "--env-file", "/nowhere/.env"], &url, "--env-file"),
    ];
    for (arguments, environment, named) in cases {
        let said = ops(arguments, environment).await;
        let is_named = said.err.contains(named) || said.err.contains(&named.to_lowercase().replace('_', "-"));
        assert_eq!(said.code, 2, "{arguments:?}: {said:?}");
        assert!(is_named && !said.err.contains("hidden"), "{arguments:?}: {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_error_is_reported_verbatim_and_a_wrong_password_names_its_variable() {
    let broker = TestBroker::start().await;
    let options = broker.options("provisioner");
    let password = secrecy::ExposeSecret::expose_secret(&options.nats_password).to_owned();
    let url = broker.url().replace("nats://", "nats://somebody:hidden@");
    let environment = [("NATS_URL", url.as_str()), ("NATS_PASSWORD", password.as_str())];
    let said = ops(&["provision", "--replicas", "3"], &environment).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("replicas > 1 not supported"), "{said:?}");
    let mistaken = [("NATS_URL", url.as_str()), ("NATS_PASSWORD", "mistaken")];
    let said = ops(&["provision"], &mistaken).await;
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("NATS_PASSWORD: can't connect to the broker"), "{said:?}");
    assert!(!said.err.contains("hidden") && !said.err.contains("mistaken"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_come_from_a_file_and_reports_are_json_on_request() {
    let database = Database::fresh(Kind::Sqlite).await;
    database.migrated().await;
    let folder = tests::databases::folder();
    let file = folder.path().join(".env");
    std::fs::write(&file, format!("DATABASE_URL={}\nLOG=info\n", database.url)).unwrap();
    let file = file.display().to_string();
    let said = ops(&["--env-file", &file, "--json", "revoke", "--church", "grace", "--user", "7"], &[]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let said = ops(&["revocations", "--json", "--env-file", &file], &[]).await;
    let revoked = &said.json()[0];
    assert_eq!(
        (&revoked["churchId"], &revoked["claim"], &revoked["id"]),
        (&"grace".into(), &"userId".into(), &"7".into())
    );
    for words in [&["revocations"][..], &["revocations", "list"]] {
        let of_another = [words, &["--church", "hope", "--env-file", &file]].concat();
        assert_eq!(ops(&of_another, &[]).await.out, "no tokens are revoked\n");
    }
    let said = ops(&["audit", "--json", "--env-file", &file], &[]).await;
    assert_eq!((said.code, &said.json()["accepted"]), (0, &0.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_is_refused_names_the_church_that_has_the_number() {
    let database = Database::fresh(Kind::Sqlite).await;
    let store = database.migrated().await;
    let number = "+15550000001".to_owned();
    let sender =
        Sender { church_id: "hope".parse().unwrap(), number, messaging_profile_id: None, rate: None };
    store.set_sender(&sender).await.unwrap();
    let url = [("DATABASE_URL", database.url.as_str())];
    let said = ops(&["sender", "--church", "grace", "--number", "+15550000001"], &url).await;
    assert_eq!(said.code, 1);
    assert!(said.err.contains("--number: the church hope sends from this number"), "{said:?}");
    database
        .execute(
            "create trigger refuse before insert on senders begin select raise(abort, 'on purpose'); end",
        )
        .await;
    let said = ops(&["sender", "--church", "grace", "--number", "+15550000002"], &url).await;
    assert!(said.code == 1 && said.err.contains("on purpose"), "{said:?}");
    let said = ops(&["sender", "--help"], &[]).await;
    assert!(!said.out.contains("connections"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_keeps_what_the_command_does_not_name() {
    let database = Database::fresh(Kind::Sqlite).await;
    database.migrated().await;
    let url = [("DATABASE_URL", database.url.as_str())];
    let sender = async |more: &[&str]| {
        let said = ops(&[&["sender", "--church", "grace", "--json"], more].concat(), &url).await;
        assert_eq!(said.code, 0, "{more:?}: {said:?}");
        let sender = said.json();
        (sender["number"].clone(), sender["messagingProfileId"].clone(), sender["rate"].clone())
    };
    let said = ops(&["sender", "--church", "grace", "--rate", "3"], &url).await;
    assert!(said.code == 2 && said.err.contains("--number"), "{said:?}");
    let number = json!("+15550000001");
    let first = ["--number", "+1 (555) 000-0001", "--messaging-profile-id", "ours"];
    assert_eq!(sender(&first).await, (number.clone(), json!("ours"), json!(null)));
    assert_eq!(sender(&["--rate", "3"]).await, (number.clone(), json!("ours"), json!(3)));
    let moved = json!("+15550000002");
    assert_eq!(sender(&["--number", "+15550000002"]).await, (moved.clone(), json!("ours"), json!(3)));
    assert_eq!(sender(&["--no-messaging-profile-id"]).await, (moved.clone(), json!(null), json!(3)));
    assert_eq!(sender(&["--no-rate"]).await, (moved, json!(null), json!(null)));
    assert_eq!(sender(&["--remove"]).await, (json!(null), json!(null), json!(null)));
    let said = ops(&["sender", "--church", "grace", "--remove"], &url).await;
    assert!(said.code == 1 && said.err.contains("has no number of its own"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_can_find_nothing_gets_no_all_clear() {
    let database = Database::fresh(Kind::Sqlite).await;
    database.migrated().await;
    let url = [("DATABASE_URL", database.url.as_str())];
    for command in ["stuck", "failures", "parked", "webhooks", "churches"] {
        let said = ops(&[command, "--limit", "0"], &url).await;
        assert!(said.code == 2 && said.err.contains("--limit"), "{command}: {said:?}");
    }
    for command in [&["stuck", "--for"][..], &["failures", "--since"], &["webhooks", "--since"]] {
        let said = ops(&[command, &["2999-01-01T00:00:00Z"]].concat(), &url).await;
        assert!(said.code == 2 && said.err.contains("has not come yet"), "{command:?}: {said:?}");
    }
    let mistyped: [(&[&str], &str); 3] = [
        (&["stuck", "--church", "nowhere"], "nothing of the church nowhere is recorded"),
        (&["reprocess", "--event", "nope", "--yes"], "there is no webhook nope"),
        (&["connected", "--church", "grace", "--gateway-ops-urls", "nonsense"], "http://host:port"),
    ];
    for (command, says) in mistyped {
        let said = ops(command, &url).await;
        assert!(said.code > 0 && said.err.contains(says), "{command:?}: {said:?}");
    }
    let said = ops(&["failures", "--code", "nonsense"], &url).await;
    assert!(said.out.contains("looked for the code nonsense since"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_read_enough_is_no_error() {
    let database = Database::fresh(Kind::Sqlite).await;
    database.migrated().await;
    let url = [("DATABASE_URL", database.url.as_str())];
    let mut running = ops_running(&["senders"], &url);
    drop(running.stdout.take());
    let said = running.wait_with_output().await.unwrap();
    assert!(said.status.success() && said.stderr.is_empty(), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_below_what_the_stream_holds_must_be_asked_for() {
    let broker = TestBroker::start().await;
    let options = broker.options("provisioner");
    let password = secrecy::ExposeSecret::expose_secret(&options.nats_password).to_owned();
    let url = broker.url();
    let environment = [("NATS_URL", url.as_str()), ("NATS_PROVISIONER_PASSWORD", &password)];
    for limit in ["--max-mib", "--max-age-days"] {
        let said = ops(&["provision", limit, "0"], &environment).await;
        assert!(said.code == 2 && said.err.contains(limit), "{said:?}");
    }
    let relay = async_nats::jetstream::new(broker.client("message_api").await);
    let body = bytes::Bytes::from(vec![b' '; 60_000]);
    for number in 0..40 {
        relay.publish(format!("church.{number}.sent"), body.clone()).await.unwrap().await.unwrap();
    }
    let said = ops(&["provision", "--max-mib", "1"], &environment).await;
    assert!(said.code == 1 && said.err.contains("holds 2 MiB") && said.err.contains("--shrink"), "{said:?}");
    let said = ops(&["provision", "--max-mib", "1", "--shrink"], &environment).await;
    assert!(said.code == 0 && said.out.contains("max_bytes"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_settings_has_fresh_secrets_for_its_owner_alone_and_ops_reads_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tests::databases::folder();
    let files = ["one.env", "two.env"].map(|name| folder.path().join(name).display().to_string());
    for file in &files {
        let said = ops(&["init", file], &[]).await;
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let secrets = files.each_ref().map(|file| {
        let text = std::fs::read_to_string(file).unwrap();
        let is_secret =
            |line: &&str| !line.starts_with('#') && (line.contains("SECRET=") || line.contains("PASSWORD="));
        text.lines().filter(is_secret).map(str::to_owned).collect::<Vec<_>>()
    });
    assert_eq!(secrets[0].len(), 8);
    assert!(secrets[0].iter().all(|secret| !secrets[1].contains(secret)));
    let said = ops(&["init", &files[0]], &[]).await;
    assert!(said.code == 1 && said.err.contains("exists already"), "{said:?}");
    let database = Database::fresh(Kind::Sqlite).await;
    database.migrated().await;
    // A variable that is set already stays.
    let said = ops(&["--env-file", &files[0], "senders"], &[("DATABASE_URL", &database.url)]).await;
    assert_eq!(said.code, 0, "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn shells_can_complete_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let said = ops(&["completions", shell], &[]).await;
        assert_eq!(said.code, 0);
        for command in ["doctor", "message", "replay", "reprocess", "resume"] {
            assert!(said.out.contains(command), "{shell}: {command}");
        }
    }
}
