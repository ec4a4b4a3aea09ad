//! A client that does not read harms nobody else, is closed, and has everything once it reads again.

use deploy::stack::StackOptions;
use tests::client::Client;
use tests::databases::Kind;
use tests::eventually;
use tests::proxy::Proxy;
use tests::stack::TestStack;

use super::CHURCH;

/// Events that together are more than every buffer on the way can take.
const MANY: usize = 1_200;
/// Makes an event so heavy.
const WEIGHT: usize = 4_000;

fn impatient(options: &mut StackOptions) {
    options.environment.push(("realtime-gateway".into(), "GATEWAY_WRITE_STALL".into(), "2".into()));
}

/// Four clients of a church, of which two read, one stops to, and one gets a kilobyte a second.
async fn two_of_four_do_not_keep_up(transports: &str) {
    let stack = TestStack::start_with(Kind::Sqlite, impatient).await;
    let gateway = &stack.stack.file().gateways[0];
    let (stopped, trickling) = (Proxy::to(gateway).await, Proxy::to(gateway).await);
    let join = async |url: &str, user: &str| {
        let mut client = Client::start(url, &stack.token(CHURCH, user), &["--transports", transports]).await;
        client.until("connected").await;
        let is_upgraded = |client: &Client| client.seen().iter().any(|seen| seen.event == "upgrade");
        while transports.contains(',') && !is_upgraded(&client) {
            client.next().await;
        }
        client
    };
    let mut reads = [join(gateway, "one").await, join(gateway, "two").await];
    let mut slow = [join(&stopped.url(), "stopped").await, join(&trickling.url(), "trickling").await];
    stopped.hold_answers(true);
    trickling.trickle(Some(1_000));

    let announcer = stack.announcer().await;
    let mut events = announcer.announce(CHURCH, MANY, &"x".repeat(WEIGHT)).await;
    for client in &mut reads {
        client.until_event(events[MANY - 1]).await;
        assert_eq!(client.whole_events(), events);
    }
    let ops = &stack.stack.file().ops.gateways[0];
    let stalled = r#"church_gateway_disconnects_total{reason="stalled"}"#;
    eventually("those who do not keep up are closed", async || {
        (stack.count(ops, stalled).await >= 2.0).then_some(())
    })
    .await;
    eventually("their seats are free", async || {
        (stack.metric(ops, "church_gateway_sockets").await == 2.0).then_some(())
    })
    .await;

    events.extend(announcer.announce(CHURCH, 10, "").await);
    stopped.hold_answers(false);
    trickling.trickle(None);
    for client in reads.iter_mut().chain(&mut slow) {
        client.until_event(events[events.len() - 1]).await;
        assert_eq!(client.whole_events(), events);
    }
    for client in &slow {
        let recovered = client.recovered();
        assert!(recovered.len() > 1 && recovered[1..].iter().all(|recovered| *recovered), "{recovered:?}");
    }
    for client in &reads {
        assert_eq!(client.recovered(), [false], "nobody else was closed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_keep_up_delay_nobody_are_closed_and_resume_without_a_hole() {
    two_of_four_do_not_keep_up("websocket").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_keep_up_after_an_upgrade_are_closed_and_resume_as_well() {
    two_of_four_do_not_keep_up("polling,websocket").await;
}
