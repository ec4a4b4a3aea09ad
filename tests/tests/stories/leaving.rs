//! Clients that are gone leave nothing behind.

use futures_util::future::join_all;
use serde_json::json;
use tests::client::Client;
use tests::databases::Kind;
use tests::eventually;
use tests::load::socketio;
use tests::stack::TestStack;

use super::{AUTHOR, CHURCH, SILENT};

/// Sockets of one crowd, all in one process.
const CROWD: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_went_or_were_killed_leave_no_socket_and_no_room() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let gateway = &stack.stack.file().gateways[0];
    let crowd = async |church: &str, transports: &str| {
        let sockets = CROWD.to_string();
        let arguments = ["--sockets", &sockets, "--transports", transports];
        Client::start(gateway, &stack.token(church, AUTHOR), &arguments).await
    };
    // Clients on polling are not among the killed: they would be noticed by their silence only, after 45 seconds.
    let (goes, polls) = (crowd(CHURCH, "websocket").await, crowd("hope", "polling").await);
    let (killed, upgraded) = (crowd(CHURCH, "websocket").await, crowd("faith", "polling,websocket").await);
    let mut crowds = [goes, polls, killed, upgraded];
    let all_in = crowds.iter_mut().zip(["connected", "connected", "connected", "upgrade"]);
    join_all(all_in.map(async |(crowd, last)| {
        for wanted in ["connected", last] {
            while crowd.seen().iter().filter(|seen| seen.event == wanted).count() < CROWD {
                crowd.next().await;
            }
        }
    }))
    .await;

    let ops = &stack.stack.file().ops.gateways[0];
    let counted = async || {
        (stack.metric(ops, "church_gateway_sockets").await, stack.metric(ops, "church_gateway_rooms").await)
    };
    assert_eq!(counted().await, (4.0 * CROWD as f64, 3.0));
    stack.send(CHURCH, AUTHOR, &[SILENT]).await;
    for crowd in &mut crowds[..1] {
        while crowd.packets().count() < CROWD {
            crowd.next().await;
        }
    }

    let [goes, polls, killed, upgraded] = crowds;
    drop((killed, upgraded));
    tokio::join!(goes.stop(), polls.stop());
    eventually("nobody is left", async || (counted().await == (0.0, 0.0)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_go_in_the_moment_in_which_they_are_let_in_leave_no_seat() {
    let stack = TestStack::start_with(Kind::Sqlite, |options| {
        // All of them come from one address.
        let limit = "GATEWAY_ADDRESS_CONNECTS_PER_SECOND".into();
        options.environment.push(("realtime-gateway".into(), limit, "0".into()));
    })
    .await;
    let (address, ops) = (stack.gateway_address(0), &stack.stack.file().ops.gateways[0]);
    let auth = json!({"token": stack.token(CHURCH, AUTHOR)});
    for _ in 0..1_000 {
        drop(socketio::Client::connect(address, &auth).await.unwrap());
    }
    for number in 0..1_000 {
        socketio::Client::hurry(address, &auth, number % 3).await.unwrap();
    }
    eventually("nobody is left", async || {
        let sockets = stack.metric(ops, "church_gateway_sockets").await;
        (sockets == 0.0 && stack.metric(ops, "church_gateway_rooms").await == 0.0).then_some(())
    })
    .await;
}
