//! Pages of a large church's history in a large database, as a front end reads them: through message-api.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::ensure;
use common::event::timestamp;
use deploy::services::API;
use serde::Deserialize;
use tests::load::filling::Amount;
use tests::load::record::church_id;
use tests::load::report::{Latencies, Table};
use tests::load::usage::Used;
use time::OffsetDateTime;

use crate::environment::{Complaints, Environment};
use crate::posting;
use crate::stage::{self, Stage};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Messages of all churches
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    messages: usize,
    /// Messages of the church that is read
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    church: usize,
    /// Churches
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    churches: usize,
    /// Pages of each row; where there are fewer, they are read again
    #[arg(long, default_value_t = 200, value_name = "N")]
    requests: usize,
    /// Messages on a page
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: u32,
}

/// The pages that are read by number.
const PAGES: u64 = 100;
/// Longest wait for a page; message-api gives up sooner.
const LIMIT: Duration = Duration::from_secs(60);
const STATUSES: [&str; 5] = ["pending", "sent", "delivered", "failed", "read"];
const HEADS: [&str; 10] = [
    "database",
    "filter",
    "matching",
    "pages by",
    "pages",
    "p50 ms",
    "p99 ms",
    "max ms",
    "message-api CPU us a page",
    "database CPU us a page",
];

/// What is asked for.
struct Ask {
    name: String,
    /// The query string without the place.
    query: String,
    status: Option<&'static str>,
    by_cursor: bool,
}

/// The parts of an answer that are read.
#[derive(Deserialize)]
struct Page {
    data: Vec<Message>,
    pagination: Pagination,
}

#[derive(Deserialize)]
struct Message {
    id: String,
    status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pagination {
    total: Option<u64>,
    pages: Option<u64>,
    next_cursor: Option<String>,
}

/// Pages that were read.
#[derive(Default)]
struct Pages {
    latencies: Latencies,
    matching: Option<u64>,
    /// Pages that say what they should not.
    wrong: u64,
}

/// Who reads, and where.
struct Reader<'s> {
    stage: &'s Stage,
    token: String,
    requests: usize,
}

pub(crate) async fn run(options: &Options, environment: &Environment) -> anyhow::Result<Complaints> {
    let title = format!(
        "history: {} messages on a page, {} of {} messages in the church, {} churches",
        options.limit, options.church, options.messages, options.churches
    );
    let (mut table, mut complaints) = (Table::new(title, &HEADS), Complaints::new());
    let every = options.messages / options.church.max(1);
    let amount = Amount::of_months(options.churches, options.messages, every);
    for database in &environment.databases {
        let mut stage = Box::pin(Stage::start(environment, *database)).await?;
        stage.fill(amount).await?;
        let token = stage.stack.token(&church_id(0), "reader", Duration::from_secs(3_600))?;
        let reader = Reader { stage: &stage, token, requests: options.requests };
        for ask in asks(options.limit) {
            let (pages, used) = reader.read_all(&ask).await?;
            let name = stage::name(*database);
            if pages.wrong > 0 {
                let wrong = pages.wrong;
                complaints.push(format!("history on {name}, {}: {wrong} pages are wrong", ask.name));
            }
            let count = pages.latencies.count();
            let database_cpu = posting::database_cpu(*database, &used, count);
            table.row(row(name, &ask, &pages, &used, database_cpu));
        }
        stage.stop().await;
    }
    table.print(&[]);
    Ok(complaints)
}

/// Every filter, by page and by cursor.
fn asks(limit: u32) -> Vec<Ask> {
    let since = |hours| {
        let time = timestamp::to_text(OffsetDateTime::now_utc() - time::Duration::hours(hours));
        (format!("updatedSince, {hours} h"), format!("&updatedSince={time}"), None)
    };
    let of_status = |status| (format!("status={status}"), format!("&status={status}"), Some(status));
    let filters = [("none".to_owned(), String::new(), None)].into_iter();
    let filters = filters.chain(STATUSES.map(of_status)).chain([1, 20].map(since));
    let both = |(name, query, status): (String, String, Option<&'static str>)| {
        [false, true].map(|by_cursor| Ask {
            name: name.clone(),
            query: format!("limit={limit}{query}"),
            status,
            by_cursor,
        })
    };
    filters.flat_map(both).collect()
}

impl Reader<'_> {
    /// Reads the pages of an ask from the first one on, again and again.
    async fn read_all(&self, ask: &Ask) -> anyhow::Result<(Pages, Used)> {
        // The first page is not in the result: it fills caches and opens the connection.
        self.read(&ask.query).await?;
        let (mut pages, meter) = (Pages::default(), self.stage.meter());
        let (mut place, mut number, mut seen) = (String::new(), 1, HashSet::new());
        for _ in 0..self.requests {
            let begun = Instant::now();
            let page = self.read(&format!("{}{place}", ask.query)).await?;
            let took = begun.elapsed();
            // Before a cursor there is a first page, which has no cursor and counts all that match.
            if !ask.by_cursor || !place.is_empty() || page.pagination.next_cursor.is_none() {
                pages.latencies.record(took);
            }
            pages.matching = pages.matching.or(page.pagination.total);
            pages.wrong += u64::from(!is_right(&page, ask.status, &mut seen));
            let next = match (ask.by_cursor, page.pagination.pages) {
                (true, _) => page.pagination.next_cursor.map(|cursor| format!("&cursor={cursor}")),
                (false, known) => {
                    (number < known.unwrap_or(0).min(PAGES)).then(|| format!("&page={}", number + 1))
                }
            };
            number = if next.is_some() { number + 1 } else { 1 };
            if next.is_none() {
                seen.clear();
            }
            place = next.unwrap_or_default();
        }
        Ok((pages, meter.stop()))
    }

    async fn read(&self, query: &str) -> anyhow::Result<Page> {
        let url = format!("{}/api/messages/history?{query}", self.stage.stack.file().api);
        let request = self.stage.stack.http().get(url).bearer_auth(&self.token).timeout(LIMIT);
        let answer = request.send().await?;
        let status = answer.status();
        let body = answer.text().await?;
        ensure!(status == 200, "a page with {query} is answered {status}: {body}");
        Ok(serde_json::from_str(&body)?)
    }
}

/// Whether the page has only what was asked for, and nothing that an earlier one had.
fn is_right(page: &Page, status: Option<&str>, seen: &mut HashSet<String>) -> bool {
    let matches = |found: &str| match status {
        None => true,
        // `sent` also finds what got further.
        Some("sent") => ["sent", "delivered", "read"].contains(&found),
        Some(status) => status == found,
    };
    page.data.iter().all(|message| matches(&message.status) && seen.insert(message.id.clone()))
}

fn row(database: String, ask: &Ask, pages: &Pages, used: &Used, database_cpu: String) -> Vec<String> {
    let count = pages.latencies.count();
    vec![
        database,
        ask.name.clone(),
        pages.matching.map(|total| total.to_string()).unwrap_or_default(),
        if ask.by_cursor { "cursor".into() } else { "number".into() },
        count.to_string(),
        pages.latencies.at(0.5),
        pages.latencies.at(0.99),
        pages.latencies.max(),
        format!("{:.0}", used.micros_per(API, count)),
        database_cpu,
    ]
}
