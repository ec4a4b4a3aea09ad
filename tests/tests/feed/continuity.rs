//! The gateway detects a different stream before it emits any of its events.

use std::fs;
use std::path::Path;

use tests::client::Client;
use tokio::task::JoinHandle;

use super::{CHURCH, NOWHERE, http, join, proxied};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The name of the client's next `connected` or event.
async fn first_news(client: &mut Client) -> String {
    let is_news = |event: &str| event == "connected" || event.starts_with("message:");
    client.until_one(|seen| is_news(&seen.event)).await.event
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_and_regrown_stream_is_detected_before_any_event_goes_out() {
    let (mut gateway, proxy) = proxied(&[]).await;
    let mut client = join(&gateway, "first").await;
    let data = gateway.broker().data();
    let saved = data.with_extension("saved");
    gateway.announcer().await.announce(CHURCH, 8, "").await;
    gateway.broker().kill().await;
    copy(&data, &saved);
    gateway.broker().restart().await;
    let events = gateway.announcer().await.announce(CHURCH, 2, "").await;
    client.until_event(events[1]).await;

    // The last two events are lost, as after a power cut, and other events take their sequences.
    proxy.lead_to(NOWHERE);
    gateway.broker().kill().await;
    fs::remove_dir_all(&data).unwrap();
    copy(&saved, &data);
    gateway.broker().restart().await;
    gateway.announcer().await.announce(CHURCH, 4, "").await;
    // Some events arrive as soon as the gateway is connected, before it can have asked the stream anything.
    let announcer = gateway.announcer().await;
    let announcing: JoinHandle<()> = tokio::spawn(async move {
        loop {
            announcer.announce(CHURCH, 1, "").await;
        }
    });
    proxy.lead_to(&http(gateway.broker()));
    assert_eq!(first_news(&mut client).await, "connected");
    announcing.abort();
    assert_eq!(client.recovered(), [false, false]);
    let last = gateway.announcer().await.announce(CHURCH, 1, "").await[0];
    client.until_event(last).await;
}
