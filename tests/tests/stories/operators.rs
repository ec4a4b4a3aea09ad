//! How `ops` takes its settings and reports errors.

use common::store::Sender;
use tests::broker::TestBroker;
use tests::databases::{Database, Kind};
use tests::ops::ops;

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
