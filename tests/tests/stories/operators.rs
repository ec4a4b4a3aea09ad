//! How `ops` reports errors.

use std::process::Output;

use deploy::services::binary;
use tests::broker::TestBroker;
use tests::databases::{Database, Kind};
use tokio::process::Command;

async fn ops(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary("ops").unwrap());
    command.args(arguments).env_clear().envs(environment.iter().copied());
    command.output().await.unwrap()
}

/// Arguments, environment, and the setting that the error must name.
type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);

#[tokio::test(flavor = "multi_thread")]
async fn every_command_exits_with_2_on_a_wrong_setting_and_names_it() {
    let database = Database::fresh(Kind::Sqlite).await;
    let url = [("DATABASE_URL", database.url.as_str())];
    let broker = |url| [("NATS_URL", url), ("NATS_PASSWORD", "secret")];
    let cases: [Case<'_>; 8] = [
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
    ];
    for (arguments, environment, named) in cases {
        let output = ops(arguments, environment).await;
        let said = String::from_utf8_lossy(&output.stderr);
        let is_named = said.contains(named) || said.contains(&named.to_lowercase().replace('_', "-"));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(is_named && !said.contains("hidden"), "{arguments:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_error_is_reported_verbatim() {
    let broker = TestBroker::start().await;
    let options = broker.options("provisioner");
    let password = secrecy::ExposeSecret::expose_secret(&options.nats_password).to_owned();
    let url = broker.url().replace("nats://", "nats://somebody:hidden@");
    let environment = [("NATS_URL", url.as_str()), ("NATS_PASSWORD", password.as_str())];
    let output = ops(&["provision", "--replicas", "3"], &environment).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("replicas > 1 not supported"), "{said}");
    let wrong = [("NATS_URL", url.as_str()), ("NATS_PASSWORD", "wrong")];
    let output = ops(&["provision"], &wrong).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("can't connect"), "{said}");
    assert!(!said.contains("hidden") && !said.contains("wrong"), "{said}");
}
