//! TLS to the broker and to PostgreSQL with an authority of one's own, made by the commands of docs/runbook.md.

use std::path::Path;

use deploy::postgres::PrivateServer;
use deploy::processes::Processes;
use deploy::program::Program;
use deploy::services::{API, INGEST};
use tests::broker::TestBroker;
use tests::certificates::Authority;
use tests::databases::{Kind, folder};
use tests::eventually;
use tests::ops::ops;
use tests::stack::TestStack;

use super::{AUTHOR, CHURCH, DELIVERED};

/// PostgreSQL's URL with the settings of TLS.
fn verified(url: &str, host: &str, ca_file: &Path) -> String {
    let url = url.replace("127.0.0.1", host);
    format!("{url}?sslmode=verify-full&sslrootcert={}", ca_file.display())
}

/// Runs a service with other settings until its readiness says what is wanted.
async fn says(stack: &TestStack, mut program: Program, settings: &[(&str, &str)], wanted: &[&str]) {
    let folder = folder();
    let mut processes = Processes::new(folder.path()).unwrap();
    let port = deploy::ports::Port::free().unwrap();
    let ops = format!("127.0.0.1:{}", port.number());
    program.environment.extend(settings.iter().map(|(name, value)| ((*name).into(), (*value).into())));
    for listener in ["API_OPS_LISTEN", "INGEST_OPS_LISTEN"] {
        program.environment.push((listener.into(), ops.clone()));
    }
    for listener in ["API_LISTEN", "INGEST_LISTEN"] {
        program.environment.push((listener.into(), "127.0.0.1:0".into()));
    }
    processes.start(program).unwrap();
    eventually(&format!("it says {wanted:?}"), async || {
        let asked = stack.stack.http().get(format!("http://{ops}/readyz")).send().await.ok()?;
        let said = asked.text().await.ok()?;
        wanted.iter().all(|wanted| said.contains(wanted)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_delivered_over_tls_and_a_wrong_authority_or_name_is_refused_by_the_settings_name() {
    let (authority, other, folder) = (Authority::new(), Authority::new(), folder());
    let certificate = authority.certificate("church-1", "DNS:localhost,IP:127.0.0.1");
    let broker = TestBroker::start_with_tls(&certificate, authority.ca_file()).await;
    let of_database = authority.certificate("database", "DNS:localhost");
    let starting = PrivateServer::start_with_tls(folder.path(), &of_database.certificate, &of_database.key);
    let postgres = starting.await.unwrap();
    let url = postgres.database("church").unwrap();
    let database = verified(&url, "localhost", &authority.ca_file());
    let stack = TestStack::start_with(Kind::Sqlite, |options| {
        options.broker = Some(broker.access("localhost"));
        for service in [API, INGEST] {
            options.environment.push((service.into(), "DATABASE_URL".into(), database.clone()));
        }
    })
    .await;
    let mut browser = stack.client(CHURCH, AUTHOR).await;
    let message = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_status(CHURCH, message, "delivered").await;
    browser.until("message:delivered").await;

    let wrong_ca = other.ca_file().display().to_string();
    let api = || stack.stack.wiring().message_api(0, 0).unwrap();
    let right = ("DATABASE_URL", &*database);
    says(&stack, api(), &[right, ("NATS_CA_FILE", &wrong_ca)], &["nats", "NATS_CA_FILE", "authority"]).await;
    let wrong = verified(&url, "localhost", &other.ca_file());
    let words = ["not ready: database", "sslrootcert in DATABASE_URL", "authority"];
    says(&stack, api(), &[("DATABASE_URL", &wrong)], &words).await;

    // The servers' certificates don't name the hosts by which they are called here.
    let address_alone = authority.certificate("church-2", "IP:127.0.0.1");
    let broker = TestBroker::start_with_tls(&address_alone, authority.ca_file()).await;
    let nats = broker.access("localhost").url;
    says(&stack, api(), &[right, ("NATS_URL", &nats)], &["nats", "does not name the address in NATS_URL"])
        .await;
    let ca_file = authority.ca_file().display().to_string();
    let said = ops(
        &["provision"],
        &[("NATS_URL", &nats), ("NATS_CA_FILE", &ca_file), ("NATS_PROVISIONER_PASSWORD", "p0")],
    )
    .await;
    assert!(said.code == 1 && said.err.contains("does not name the address in NATS_URL"), "{said:?}");
    let wrong = verified(&url, "127.0.0.1", &authority.ca_file());
    let said = ops(&["senders"], &[("DATABASE_URL", &wrong)]).await;
    assert!(said.code == 1 && said.err.contains("does not name the address in DATABASE_URL"), "{said:?}");
}
