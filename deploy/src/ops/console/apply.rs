//! Makes the changes that somebody asks for, and keeps them in the log of actions.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use common::revocation::Revocation;
use common::store::KeptQuery;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::action_log::{Action, ActionLog};
use super::answer::{answer, failure, refusal};
use super::change::{Change, EventIds, Reason, Which};
use super::command;
use super::mask;
use super::site::Site;
use super::work::Outcome;
use crate::ops::progress::Progress;
use crate::ops::replay::Asked;
use crate::ops::{audit, cancel, pauses, reprocess, retry, revocations};

/// What is refused without the flag.
const READ_ONLY: &str = "this console only reads; start it with --allow-changes, or copy the command";

/// Most findings of an audit that are shown: the page asks for all work again and again.
const FOUND: usize = 100;

/// `POST /api/changes`. Answers with the number of the work, which all changes are.
pub(super) async fn change(State(site): State<Site>, Json(change): Json<Change>) -> Response {
    let Some(log) = &site.actions else { return refusal(StatusCode::FORBIDDEN, READ_ONLY) };
    let command = change.command();
    // What can't be kept in the log is not done.
    if let Err(error) = record(log, &site, &command, ("started", "")) {
        return failure(&error);
    }
    let (worker, told) = (site.clone(), command.clone());
    let id = site.works.start(command, |progress| async move {
        let outcome = make(&worker, change, &progress).await;
        let (state, says) = match &outcome {
            Ok((says, _)) => ("done", says.clone()),
            Err(error) => ("failed", format!("{error:#}")),
        };
        if let Some(log) = &worker.actions {
            record(log, &worker, &told, (state, &mask::text(&says)))?;
        }
        outcome
    });
    Json(json!({ "work": id })).into_response()
}

/// `POST /api/audit`: reads only, so it needs no flag.
pub(super) async fn audit(State(site): State<Site>) -> Response {
    let worker = site.clone();
    let id = site.works.start(command::ops(&["audit"]), |progress| async move {
        tokio::select! {
            outcome = audited(&worker, false, &progress) => outcome,
            () = progress.stop.cancelled() => Err(anyhow::anyhow!("stopped")),
        }
    });
    Json(json!({ "work": id })).into_response()
}

/// `GET /api/work`: all work, the newest first.
pub(super) async fn works(State(site): State<Site>, headers: HeaderMap) -> Response {
    answer(&headers, "", Ok(site.works.all()))
}

/// `POST /api/work/{id}/stop`.
pub(super) async fn stop(State(site): State<Site>, Path(id): Path<u64>) -> Response {
    if site.works.stop(id) {
        return StatusCode::NO_CONTENT.into_response();
    }
    refusal(StatusCode::NOT_FOUND, "this work has ended")
}

/// `GET /api/actions`: the newest lines of the log.
pub(super) async fn actions(State(site): State<Site>, headers: HeaderMap) -> Response {
    let told = site.actions.as_ref().map(|log| Ok((log.path().display().to_string(), log.newest()?)));
    let told =
        told.transpose().map(|told| told.map(|(path, actions)| json!({ "path": path, "actions": actions })));
    answer(&headers, "", told)
}

fn record(
    log: &ActionLog,
    site: &Site,
    command: &str,
    (state, says): (&'static str, &str),
) -> anyhow::Result<()> {
    let operator = site.options.operator.author()?;
    let command = &mask::text(command);
    log.add(&Action { at: OffsetDateTime::now_utc(), operator: &operator, command, state, says })
}

async fn make(site: &Site, change: Change, progress: &Progress) -> Outcome {
    let (store, options) = (&site.store, &site.options);
    match change {
        Change::Cancel { id } => printed(&cancel::cancel(store, &id.to_string(), &options.operator).await?),
        Change::Retry { id, include_unresolved } => {
            let again = retry::Again {
                id: &id.to_string(),
                include_unresolved,
                operator: &options.operator,
                default_sender: &options.default_sender,
            };
            printed(&retry::retry(store, &again).await?)
        }
        Change::Pause { church } => {
            pauses::set(store, church, &options.operator).await?;
            printed(&pauses::read(store).await?)
        }
        Change::Resume { church } => {
            pauses::end(store, church.as_ref()).await?;
            printed(&pauses::read(store).await?)
        }
        Change::Reprocess { which } => reprocessed(site, which, false, progress).await,
        Change::Replay { church, since, message, rate } => {
            let asked = Asked { church, since: since.at, message, rate: rate.clamp(1, 200) };
            said(asked.run(options.broker.connect().await?, progress).await?)
        }
        Change::Revoke { church, whose } => {
            let revocation = Revocation::new(church, whose.person(), OffsetDateTime::now_utc())?;
            printed(&revocations::set(store, revocation).await?)
        }
        Change::UndoRevocation { church, whose } => {
            printed(&revocations::end(store, &church, whose.person()).await?)
        }
        Change::Repair => audited(site, true, progress).await,
    }
}

fn said(says: String) -> Outcome {
    Ok((says, Value::Null))
}

/// A report as a command prints it.
fn printed(report: &impl std::fmt::Display) -> Outcome {
    said(report.to_string().trim_end().to_owned())
}

/// Processes webhooks again, or says what would become of each.
pub(super) async fn reprocessed(site: &Site, which: Which, dry: bool, progress: &Progress) -> Outcome {
    let (event_ids, reason) = match which {
        Which::Events(EventIds(ids)) => (ids, None),
        Which::Reason(Reason(reason)) => (Vec::new(), Some(reason)),
    };
    let query =
        KeptQuery { event_ids, reason, until: Some(OffsetDateTime::now_utc()), ..KeptQuery::default() };
    let again =
        reprocess::Again { store: &site.store, default_number: site.default_number.clone(), query, dry };
    let report = again.run(progress).await?;
    Ok((report.sum(), serde_json::to_value(report)?))
}

async fn audited(site: &Site, repairs: bool, progress: &Progress) -> Outcome {
    let mut report = audit::audit(&site.store, &site.options.broker, repairs, progress).await?;
    let (says, lost, more) = (report.sum(), report.lost(), report.cut(FOUND));
    let mut told = serde_json::to_value(report)?;
    (told["lost"], told["moreFound"]) = (json!(lost), json!(more));
    Ok((says, told))
}
