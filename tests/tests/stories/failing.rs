//! A failing story keeps the data that is needed to find out why.

use std::path::Path;
use std::process::Command;

use tests::databases::Kind;
use tests::stack::TestStack;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "fails on purpose; the story below runs it"]
async fn fails_on_purpose() {
    let _stack = TestStack::start(Kind::Sqlite).await;
    panic!("on purpose");
}

#[test]
fn a_failing_story_keeps_its_folder_and_prints_the_ends_of_its_logs() {
    let failing = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "failing::fails_on_purpose", "--ignored"])
        .output()
        .unwrap();
    assert!(!failing.status.success());
    let said = String::from_utf8_lossy(&[failing.stdout, failing.stderr].concat()).into_owned();
    let kept = said.lines().find_map(|line| line.strip_prefix("kept ")).map(Path::new);
    let kept = kept.unwrap_or_else(|| panic!("no folder in {said}"));
    for process in ["message-api", "webhook-ingest", "realtime-gateway-1", "nats-server"] {
        let log = kept.join("logs").join(process).with_extension("log");
        let last = std::fs::read_to_string(&log).unwrap().lines().last().unwrap().to_owned();
        assert!(said.contains(&format!("--- {} ends with\n", log.display())), "{said}");
        assert!(said.contains(&last), "{process}: {said}");
    }
    assert!(kept.join("church.db").is_file());
    std::fs::remove_dir_all(kept).unwrap();
}
