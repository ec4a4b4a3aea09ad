//! The database runs and something in it is blocked: a row is locked, the disk is full.

use std::path::{Path, PathBuf};
use std::process::Command;

use deploy::traffic;
use futures_util::future::join_all;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tests::databases::{self, Kind};
use tests::eventually;
use tests::report::Report;
use tests::stack::TestStack;

use super::operators_doctor::{doctor, findings};
use super::{AUTHOR, CHURCH, SILENT};

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_answered_200_while_a_message_row_is_locked() {
    let stack = TestStack::start(Kind::Postgres).await;
    let locked = stack.send(CHURCH, AUTHOR, &[SILENT]).await;
    let of_locked = stack.until_accepted(1).await.remove(0);
    let churches: Vec<String> = (0..8).map(|n| format!("church{n}")).collect();
    let others = join_all(churches.iter().map(|church| stack.send(church, AUTHOR, &[SILENT]))).await;
    let mut entries = stack.until_accepted(9).await;
    entries.retain(|entry| entry.id != of_locked.id);
    eventually("the answers of Telnyx are recorded", async || {
        let shown = churches.iter().zip(&others).map(|(church, id)| stack.message(church, *id));
        join_all(shown).await.iter().all(|message| message["sentAt"].is_string()).then_some(())
    })
    .await;
    let mut other = PgConnection::connect(&stack.stack.file().database).await.unwrap();
    other.execute("begin").await.unwrap();
    let lock = sqlx::query("select id from messages where id = $1 for update").bind(locked);
    lock.execute(&mut other).await.unwrap();

    // On a busy machine an answer may be late. Another event is reported then: a repeated one is known already.
    let taken = async |entry, word| {
        eventually("a new webhook is answered 200", async || {
            let status = stack.report(&Report::of(entry, word)).await.status().as_u16();
            assert!([200, 503].contains(&status), "{status}");
            (status == 200).then_some(())
        })
        .await;
    };
    tokio::join!(taken(&of_locked, "delivered"), async {
        for word in ["sent", "delivered"] {
            join_all(entries.iter().map(|entry| taken(entry, word))).await;
        }
    });
    for (church, id) in churches.iter().zip(&others) {
        stack.until_status(church, *id, "delivered").await;
    }
    assert_eq!(stack.message(CHURCH, locked).await["status"], "pending");
    other.execute("rollback").await.unwrap();
    stack.until_status(CHURCH, locked, "delivered").await;
    // An event that was reported once more may still be parked.
    eventually("no webhook stays parked", async || (stack.audit().await.parked == 0).then_some(())).await;
    let audit = stack.audit().await;
    assert!(audit.is_sound(), "{audit:?}");
}

/// A small file system, unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    /// Returns `None` if this user may not mount file systems.
    fn mount(folder: &Path) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(folder);
        mount.output().ok()?.status.success().then(|| Self(folder.to_owned()))
    }

    fn fill(&self) {
        for size in [1 << 16, 1 << 12, 1] {
            let name = self.0.join(format!("ballast-{size}"));
            let mut file = std::fs::File::create(name).unwrap();
            let block = vec![0_u8; size];
            while std::io::Write::write_all(&mut file, &block).is_ok() {}
        }
    }

    fn free(&self) {
        for size in [1 << 16, 1 << 12, 1] {
            std::fs::remove_file(self.0.join(format!("ballast-{size}"))).unwrap();
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_sqlite_disk_loses_nothing_and_recovers_by_itself() {
    let folder = databases::folder();
    let Some(disk) = Disk::mount(&folder.path().join("disk")) else {
        eprintln!("skipped: only a user who may mount a file system can fill one");
        return;
    };
    let mut stack = TestStack::start_with(Kind::Sqlite, |options| {
        std::fs::create_dir_all(&options.state).unwrap();
        std::os::unix::fs::symlink(disk.0.join("church.db"), options.state.join("church.db")).unwrap();
    })
    .await;
    let first = stack.send(CHURCH, AUTHOR, &[SILENT]).await;
    let entry = stack.until_accepted(1).await.remove(0);
    let before = stack.stack.file().processes.clone();

    disk.fill();
    let (api, token) = (stack.stack.file().api.clone(), stack.token(CHURCH, AUTHOR));
    let send = || traffic::send(stack.stack.http(), &api, &token, "Service at ten", &[SILENT]);
    eventually("sends are refused", async || send().await.is_err().then_some(())).await;
    let ops = stack.stack.file().ops.clone();
    eventually("webhook-ingest is not ready, and says why", async || {
        // Webhooks and sends continue to come.
        let answer = stack.report(&Report::of(&entry, "sent")).await.status();
        assert!(answer == 503 || answer == 200, "{answer}");
        let _ = send().await;
        let (status, said) = stack.readiness(&ops.ingest).await;
        (status == 503 && said.contains("the disk of the database is full")).then_some(())
    })
    .await;
    eventually("message-api is degraded and still reads", async || {
        let (status, said) = stack.readiness(&ops.api).await;
        assert_eq!(status, 200, "{said}");
        said.contains("degraded: database_writes").then_some(())
    })
    .await;
    assert_eq!(stack.get(CHURCH, AUTHOR, "/api/messages/history").await.0, 200);
    let wrong = findings(&doctor(&stack, &[]).await, "wrong");
    assert!(wrong.contains(&"disk: 0 MiB are free for the database".to_owned()), "{wrong:?}");

    disk.free();
    eventually("a repeated webhook is answered 200", async || {
        (stack.report(&Report::of(&entry, "delivered")).await.status() == 200).then_some(())
    })
    .await;
    stack.until_status(CHURCH, first, "delivered").await;
    let late = stack.send(CHURCH, AUTHOR, &[super::DELIVERED]).await;
    stack.until_status(CHURCH, late, "delivered").await;
    for ops in [&ops.api, &ops.ingest] {
        eventually("the services are ready", async || {
            (stack.readiness(ops).await == (200, "ready\n".into())).then_some(())
        })
        .await;
    }
    for service in ["message-api", "webhook-ingest"] {
        assert!(stack.stack.is_running(service), "{service}");
        assert_eq!(stack.stack.file().processes[service], before[service], "the service was not restarted");
    }
    let audit = stack.audit().await;
    assert!(audit.is_sound(), "{audit:?}");
}
