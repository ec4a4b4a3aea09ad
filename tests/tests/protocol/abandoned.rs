//! Sessions that their clients abandon end and leave no memory in use.

use futures_util::future::join_all;
use tests::gateway::TestGateway;

use crate::polling::Polling;
use crate::upgrade::{PROBE, PROBED, query};
use crate::websocket::Websocket;
use crate::{PATIENT, assert_flat, polling_member};

/// Sessions at the same time.
const CROWD: usize = 400;

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_is_never_finished_ends_both_the_websocket_and_the_session() {
    let hasty = [PATIENT[0], ("GATEWAY_CONNECT_TIMEOUT", "3000")];
    let gateway = TestGateway::start(&hasty).await;
    let (silent, probing) = (polling_member(&gateway).await, polling_member(&gateway).await);
    gateway.until_count("church_gateway_sockets", 2.0).await;
    let Ok(mut says_nothing) = Websocket::request(&gateway, &query(&silent)).await else { panic!("refused") };
    let Ok(mut only_probes) = Websocket::request(&gateway, &query(&probing)).await else { panic!("refused") };
    only_probes.send(PROBE).await;
    assert_eq!(only_probes.frame().await.as_deref(), Some(PROBED));
    assert_eq!((says_nothing.frame().await, only_probes.frame().await), (None, None));
    tokio::join!(silent.until_closed(), probing.until_closed());
    gateway.until_count("church_gateway_sockets", 0.0).await;
}

/// Opens a session for each of a crowd, leaves some of them in the middle of an upgrade, and looks at each again only to
/// see that it has ended.
async fn come_and_go(gateway: &TestGateway) {
    let sessions = join_all((0..CROWD).map(|_| Polling::open(gateway))).await;
    let (upgrading, _) = sessions.split_at(CROWD / 4);
    for session in upgrading {
        // On a busy machine the session may have ended before.
        if let Ok(mut socket) = Websocket::request(gateway, &query(session)).await {
            socket.send(PROBE).await;
        }
    }
    join_all(sessions.iter().map(Polling::until_closed)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn abandoned_sessions_end_and_leave_no_memory_in_use() {
    let short = [
        ("GATEWAY_PING_TIMEOUT", "2000"),
        ("GATEWAY_CONNECT_TIMEOUT", "2000"),
        ("GATEWAY_CONNECTS_PER_SECOND", "0"),
        ("GATEWAY_ADDRESS_CONNECTS_PER_SECOND", "0"),
    ];
    let mut gateway = TestGateway::start(&short).await;
    come_and_go(&gateway).await;
    let before = gateway.peak_memory();
    for _ in 0..3 {
        come_and_go(&gateway).await;
    }
    assert_flat(&mut gateway, before);
    assert!(gateway.count("church_gateway_upgrades_total").await > 0.0);
}
