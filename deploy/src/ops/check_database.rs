//! Checks what the database tells: its clock and schema, its disk, and what waits or is paused.

use std::time::Duration;

use common::event::timestamp;
use common::store::{KeptQuery, Outcome, Sender, Store, StoreError};
use time::OffsetDateTime;

use super::diagnosis::Diagnosis;
use super::output::counted;
use super::pauses::sentence;

/// Clocks may differ by this.
const SKEW: time::Duration = time::Duration::seconds(5);
/// An event that waits for longer than this is reported.
const WAITING: Duration = Duration::from_secs(30);
/// A webhook that is parked for longer than this is reported.
const PARKED: time::Duration = time::Duration::minutes(10);
/// Texts that were accepted in this time should have had a webhook by now.
const RECEIPTS: (time::Duration, time::Duration) = (time::Duration::days(1), time::Duration::minutes(10));
/// Free space below this is reported.
const SPACE: u64 = 1 << 30;

/// Checks the database. Returns the churches' senders.
pub(super) async fn check(store: &Store, diagnosis: &mut Diagnosis) -> Vec<Sender> {
    let checked = check_all(store, diagnosis).await;
    checked.unwrap_or_else(|error| {
        diagnosis.wrong(
            "database",
            format!("a check failed: {error}"),
            "see the schema above, and the database's log",
        );
        Vec::new()
    })
}

async fn check_all(store: &Store, diagnosis: &mut Diagnosis) -> Result<Vec<Sender>, StoreError> {
    clock(store, diagnosis).await?;
    disk(store, diagnosis);
    if !schema(store, diagnosis).await {
        return Ok(Vec::new());
    }
    indexes(store, diagnosis).await?;
    outbox(store, diagnosis).await?;
    webhooks(store, diagnosis).await?;
    pauses(store, diagnosis).await?;
    senders(store, diagnosis).await
}

async fn clock(store: &Store, diagnosis: &mut Diagnosis) -> Result<(), StoreError> {
    let ahead = store.clock().await? - OffsetDateTime::now_utc();
    if ahead.abs() <= SKEW {
        diagnosis.ok("clock", "agrees with the database's");
    } else {
        let says = format!("the database's is {} s ahead", ahead.whole_seconds());
        diagnosis.wrong("clock", says, "set both machines' clocks by NTP");
    }
    Ok(())
}

/// Whether the tables can be read.
async fn schema(store: &Store, diagnosis: &mut Diagnosis) -> bool {
    let start = "start webhook-ingest or message-api of this version, which brings it up to date";
    match store.schema().await {
        Ok(schema) if schema.found == Some(schema.known) => diagnosis.ok("schema", "is up to date"),
        Ok(schema) if schema.found > Some(schema.known) => {
            diagnosis.ok("schema", "is newer than this program, which does no harm");
        }
        Ok(schema) => {
            let found = schema.found.unwrap_or(0);
            diagnosis.wrong("schema", format!("is at migration {found} of {}", schema.known), start);
            return false;
        }
        Err(_) => {
            diagnosis.wrong("schema", "there is none", start);
            return false;
        }
    }
    true
}

async fn indexes(store: &Store, diagnosis: &mut Diagnosis) -> Result<(), StoreError> {
    let missing = store.missing_indexes().await?;
    for index in &missing {
        let says =
            format!("{} is not built yet; until then it takes long to find {}", index.name, index.finds);
        diagnosis.wrong("indexes", says, "a service builds it; its log has the reason if it can't");
    }
    if missing.is_empty() {
        diagnosis.ok("indexes", "all are built");
    }
    Ok(())
}

fn disk(store: &Store, diagnosis: &mut Diagnosis) {
    let Some(file) = store.file() else {
        return diagnosis.skipped("disk", "PostgreSQL does not tell how full its disk is; look there");
    };
    match rustix::fs::statvfs(&file) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let says = format!("{} MiB are free for the database", free >> 20);
            if free >= SPACE {
                diagnosis.ok("disk", says);
            } else {
                diagnosis.wrong("disk", says, "free space on it");
            }
        }
        Err(error) => diagnosis.wrong("disk", format!("can't be looked at: {error}"), "check the path"),
    }
}

async fn outbox(store: &Store, diagnosis: &mut Diagnosis) -> Result<(), StoreError> {
    let state = store.outbox_state().await?;
    if state.led {
        diagnosis.ok("relay", "a process relays the outbox");
    } else {
        let todo = "start webhook-ingest or message-api; at least one must reach database and broker";
        diagnosis.wrong("relay", "no process relays the outbox", todo);
    }
    let says = format!(
        "{} in the outbox, the oldest for {} s",
        counted(state.waiting, "waiting event"),
        state.oldest.as_secs()
    );
    if state.oldest < WAITING {
        diagnosis.ok("outbox", says);
    } else {
        diagnosis.wrong("outbox", says, "look for `outbox` and `nats` in the services' readiness");
    }
    if state.refused > 0 {
        let todo = "`ops audit` names them; raise the stream's limit, then `ops outbox retry`";
        diagnosis.wrong("refused events", format!("the stream refuses {}", state.refused), todo);
    }
    Ok(())
}

async fn webhooks(store: &Store, diagnosis: &mut Diagnosis) -> Result<(), StoreError> {
    let now = OffsetDateTime::now_utc();
    let last = store.last_webhook_at().await?.map(timestamp::to_text);
    let last = last.map_or("none came yet".into(), |last| format!("the last one came at {last}"));
    match store.webhooks_missing_since(now - RECEIPTS.0, now - RECEIPTS.1).await? {
        None => diagnosis.ok("webhooks", last),
        Some(since) => {
            let since = timestamp::to_text(since);
            let says = format!("{last}; texts accepted since {since} have none");
            diagnosis.wrong("webhooks", says, "check PUBLIC_WEBHOOK_URL and TELNYX_PUBLIC_KEY");
        }
    }
    let old = KeptQuery {
        outcome: Some(Outcome::Parked),
        until: Some(now - PARKED),
        limit: 1,
        ..KeptQuery::default()
    };
    if store.kept_webhooks(&old).await?.is_empty() {
        diagnosis.ok("parked", "no webhook is parked for long");
    } else {
        let todo = "`ops parked` lists them; another installation may use the same webhook URL";
        diagnosis.wrong("parked", "webhooks wait for a recipient that is not known", todo);
    }
    Ok(())
}

async fn pauses(store: &Store, diagnosis: &mut Diagnosis) -> Result<(), StoreError> {
    let pauses = store.pauses().await?;
    for pause in &pauses {
        diagnosis.wrong("paused", sentence(pause), format!("`{}` ends it", pause.resume_command()));
    }
    if pauses.is_empty() {
        diagnosis.ok("paused", "nothing is paused");
    }
    Ok(())
}

async fn senders(store: &Store, diagnosis: &mut Diagnosis) -> Result<Vec<Sender>, StoreError> {
    let held = store.held_senders(OffsetDateTime::now_utc()).await?;
    for sender in &held {
        let says =
            format!("one is held back by {} until {}", sender.reason, timestamp::to_text(sender.until));
        diagnosis.wrong(
            "senders",
            says,
            "`ops senders` lists them; check the number and the account at Telnyx",
        );
    }
    if held.is_empty() {
        diagnosis.ok("senders", "none is held back");
    }
    Ok(store.senders().await?.into_iter().map(|state| state.sender).collect())
}
