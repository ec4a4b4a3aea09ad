//! Texts that people send to a church.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::inbound::OptOut;
use crate::subject::ChurchId;

/// A text as its webhook brings it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundText {
    /// The numbers that it was sent to. The first one that is a church's sender decides whose it is.
    pub to: Vec<String>,
    /// The church of these numbers if none of them is a sender.
    pub default_church: Option<ChurchId>,
    /// Who sent it: a number in E.164, or a short code.
    pub from: String,
    /// The text; empty if it has only media.
    pub content: String,
    /// How many pictures or other media it has.
    pub media_count: u32,
    /// What it asks of the sender.
    pub opt_out: Option<OptOut>,
    /// When Telnyx received it.
    pub received_at: OffsetDateTime,
}

/// A text as front ends see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// Its id (UUID v7).
    pub id: Uuid,
    /// Its church.
    pub church_id: ChurchId,
    /// Who sent it.
    pub from: String,
    /// The text.
    pub content: String,
    /// How many media it has.
    pub media_count: i64,
    /// What it asks of the sender.
    pub opt_out: Option<OptOut>,
    /// When Telnyx received it.
    pub received_at: OffsetDateTime,
    /// When it was recorded. Pages are in this order.
    pub recorded_at: OffsetDateTime,
}

/// A page of a church's inbound texts.
#[derive(Debug, Clone, Default)]
pub struct InboundQuery {
    /// Rows at most.
    pub limit: u32,
    /// Only texts recorded before this one (time and id).
    pub before: Option<(OffsetDateTime, Uuid)>,
    /// Only texts recorded at or after this moment.
    pub updated_since: Option<OffsetDateTime>,
}

/// Which texts the church's back end is told of now.
#[derive(Debug, Clone, Copy)]
pub struct ForwardClaim {
    /// Texts at most.
    pub limit: u32,
    /// Now.
    pub now: OffsetDateTime,
    /// How long the texts are reserved. After that another process may take them.
    pub lease: Duration,
    /// Only texts recorded at or after this moment.
    pub not_before: OffsetDateTime,
}

/// A text that the church's back end is to be told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// The text.
    pub inbound: Inbound,
    /// The attempt.
    pub claim: Uuid,
    /// Its number, the first being 1.
    pub tries: u32,
}

/// Texts that the church's back end was not told of yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ForwardState {
    /// How many.
    pub waiting: i64,
    /// When the oldest of those that were tried before was recorded.
    pub tried_since: Option<OffsetDateTime>,
}
