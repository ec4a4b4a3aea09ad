//! How long a socket may stay: until its token ends or is taken back, unless a longer one takes the token's place.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::claims::{Claims, IdClaim, LEEWAY, Person, TokenError};
use common::subject::ChurchId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use socketioxide::extract::{AckSender, Extension, SocketRef, State, TryData};
use time::OffsetDateTime;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::gateway::Gateway;
use crate::metrics::Reason;
use crate::rooms::room::Seat;
use crate::rooms::subscriber::Unsent;

/// So long before its token's end a client is told of it, in seconds.
const NOTICE: i64 = 60;
/// How often the clock is looked at. One look for all sockets: a timer for each would cost a tenth of its memory.
const TICK: Duration = Duration::from_secs(1);
/// The event that tells it.
const EXPIRING: &str = "auth:expiring";
/// Between two attempts of one client to replace its token.
const BETWEEN_REFRESHES: Duration = Duration::from_secs(1);

/// What a socket keeps of its own session. It must not hold the socket, or neither would ever be freed.
pub(crate) struct Session {
    /// The church of its token.
    pub(crate) church: ChurchId,
    /// Cancelled once the socket has left.
    pub(crate) gone: CancellationToken,
    refreshed: Mutex<Option<Instant>>,
}

/// How long a socket may stay.
pub(crate) struct Term {
    /// When its token was issued, in Unix seconds.
    pub(crate) issued_at: Option<i64>,
    /// Which of its claims names the user.
    pub(crate) claim: IdClaim,
    expires_at: i64,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    Noticed,
    Over,
}

/// What a socket's time says.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    /// To tell it that its token ends soon, at this Unix second.
    Notice(i64),
    /// To close it.
    End,
}

impl Term {
    /// As long as the token of these claims.
    pub(crate) fn of(claims: &Claims) -> Self {
        let (issued_at, claim, expires_at) = (claims.issued_at, claims.claim, claims.expires_at);
        Self { issued_at, claim, expires_at, stage: Stage::Open }
    }

    /// Lengthens it, and gives its end in Unix seconds. A token that ends at the same time may replace one that was issued
    /// earlier, and is then not revoked together with it.
    ///
    /// # Errors
    /// It is over, or the token is no newer one: the same, or one that comes late and would take something away.
    pub(crate) fn extend(&mut self, fresh: &Claims) -> Result<i64, RefreshError> {
        if self.stage == Stage::Over {
            return Err(RefreshError::TooLate);
        }
        if (fresh.expires_at, fresh.issued_at) <= (self.expires_at, self.issued_at) {
            return Err(RefreshError::NotNewer);
        }
        *self = Self::of(fresh);
        Ok(self.expires_at)
    }

    fn due(&self, now: i64) -> Due {
        let end = self.expires_at.saturating_add(LEEWAY.as_secs() as i64);
        match self.stage {
            Stage::Open | Stage::Noticed if now >= end => Due::End,
            Stage::Open if now >= self.expires_at.saturating_sub(NOTICE) => Due::Notice(self.expires_at),
            _ => Due::Nothing,
        }
    }

    /// Notes that the client was told.
    fn noticed(&mut self) {
        self.stage = Stage::Noticed;
    }

    /// Ends it, if it has not ended yet.
    pub(crate) fn end(&mut self) -> bool {
        std::mem::replace(&mut self.stage, Stage::Over) != Stage::Over
    }
}

/// What a client sends to replace its token.
#[derive(Deserialize)]
pub(crate) struct Refresh {
    token: Option<Value>,
}

/// The acknowledgement: `{ok: true, exp}` or `{ok: false, error}`.
#[derive(Debug, Serialize)]
pub(crate) struct Refreshed {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Why a token was not replaced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RefreshError {
    /// The new one is refused.
    #[error("Authentication error: {0}")]
    Token(#[from] TokenError),
    /// It is of another user or church.
    #[error("Authentication error: token of another user")]
    Another,
    /// The new one gains nothing: it is the same, or an older one.
    #[error("the token is no newer than the one in use, send a fresh one")]
    NotNewer,
    /// The connection is about to end.
    #[error("too late, the connection is being closed")]
    TooLate,
    /// The client tried a moment ago.
    #[error("too many attempts, try again in a second")]
    TooSoon,
}

impl RefreshError {
    fn word(&self) -> &'static str {
        match self {
            Self::Token(error) => crate::session::connect::word_of(*error),
            Self::Another => "another_user",
            Self::NotNewer => "not_newer",
            Self::TooLate => "too_late",
            Self::TooSoon => "too_soon",
        }
    }
}

impl Session {
    /// A session of a church's socket.
    pub(crate) fn new(church: ChurchId) -> Self {
        Self { church, gone: CancellationToken::new(), refreshed: Mutex::new(None) }
    }

    fn refresh(
        &self,
        gateway: &Gateway,
        socket: &SocketRef,
        request: Option<Refresh>,
    ) -> Result<i64, RefreshError> {
        self.may_try_again()?;
        let token = match request.and_then(|request| request.token) {
            None | Some(Value::Null) => return Err(TokenError::Missing.into()),
            Some(Value::String(token)) => token,
            Some(_) => return Err(TokenError::Invalid.into()),
        };
        let fresh = gateway.verify(&token)?;
        if fresh.church_id != self.church {
            return Err(RefreshError::Another);
        }
        gateway.hub.extend(socket, &fresh, &gateway.revocations)
    }

    fn may_try_again(&self) -> Result<(), RefreshError> {
        let now = Instant::now();
        let mut refreshed = self.refreshed.lock().unwrap_or_else(PoisonError::into_inner);
        if refreshed.is_some_and(|last| now.duration_since(last) < BETWEEN_REFRESHES) {
            return Err(RefreshError::TooSoon);
        }
        *refreshed = Some(now);
        Ok(())
    }
}

/// Answers `auth:refresh`.
pub(crate) async fn refresh(
    socket: SocketRef,
    TryData(request): TryData<Refresh>,
    ack: AckSender,
    Extension(session): Extension<Arc<Session>>,
    State(gateway): State<Arc<Gateway>>,
) {
    let answer = match session.refresh(&gateway, &socket, request.ok()) {
        Ok(exp) => Refreshed { ok: true, exp: Some(exp), error: None },
        Err(error) => {
            gateway.counters.auth_failures.get_or_create(&Reason { reason: error.word() }).inc();
            Refreshed { ok: false, exp: None, error: Some(error.to_string()) }
        }
    };
    // A socket that can't take the answer is about to be closed.
    let _ = ack.send(&answer);
}

/// Tells clients a minute before their tokens end, and closes the transports of those whose token has ended or was
/// taken back.
pub(crate) async fn watch_tokens(gateway: Arc<Gateway>) {
    let mut revoked = gateway.revocations.changes();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => look_at_clock(&gateway),
            () = revoked.next() => gateway.hub.each_seat(|seat| end_if_revoked(&gateway, seat)),
        }
    }
}

/// A socket whose time was over at the last look has left by now, or nobody was told that it left.
fn look_at_clock(gateway: &Gateway) {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let mut left_over = Vec::new();
    gateway.hub.each_seat(|seat| match seat.term.stage {
        Stage::Over => left_over.push(seat.member.clone()),
        Stage::Open | Stage::Noticed => tell_time(gateway, seat, now),
    });
    left_over.iter().for_each(|member| gateway.clear_up(member));
}

fn tell_time(gateway: &Gateway, seat: &mut Seat, now: i64) {
    match seat.term.due(now) {
        Due::Nothing => {}
        // Nothing comes before the first packet.
        Due::Notice(_) if !seat.welcomed => {}
        Due::Notice(exp) => match seat.member.emit(EXPIRING, &json!({"type": EXPIRING, "exp": exp})) {
            Ok(()) => seat.term.noticed(),
            // It is told a little later.
            Err(Unsent::Full) => {}
            Err(Unsent::Gone) => seat.gone(),
        },
        Due::End => end(gateway, seat, "token_expired"),
    }
}

fn end_if_revoked(gateway: &Gateway, seat: &mut Seat) {
    let (member, term) = (&seat.member, &seat.term);
    let person = Person { claim: term.claim, id: member.user.to_string() };
    if gateway.revocations.cover(&member.church, &person, term.issued_at) {
        end(gateway, seat, "token_revoked");
    }
}

fn end(gateway: &Gateway, seat: &mut Seat, reason: &'static str) {
    if !seat.term.end() {
        return;
    }
    debug!(church.id = %seat.member.church, socket.id = %seat.member.socket.id, reason, "the token is good no more");
    gateway.hub.close(&seat.member, reason);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(expires_at: i64) -> Claims {
        let church_id = "grace".parse().unwrap();
        Claims { user_id: "ann".into(), claim: IdClaim::UserId, church_id, expires_at, issued_at: None }
    }

    #[test]
    fn a_client_is_told_before_its_token_ends_and_closed_once_when_it_has() {
        let mut term = Term::of(&claims(1_000));
        assert_eq!(term.due(939), Due::Nothing);
        assert_eq!((term.due(940), term.due(941)), (Due::Notice(1_000), Due::Notice(1_000)));
        term.noticed();
        assert_eq!((term.due(942), term.due(1_029), term.due(1_030)), (Due::Nothing, Due::Nothing, Due::End));
        assert!(term.end());
        assert_eq!((term.due(1_031), term.end()), (Due::Nothing, false));
        assert!(matches!(term.extend(&claims(2_000)), Err(RefreshError::TooLate)));
    }

    #[test]
    fn a_newer_token_extends_and_any_other_is_refused_and_takes_nothing_away() {
        let mut term = Term::of(&claims(1_000));
        term.noticed();
        let issued = |second| Claims { issued_at: Some(second), ..claims(2_000) };
        for newer in [claims(2_000), issued(100), issued(101)] {
            assert_eq!(term.extend(&newer).unwrap(), 2_000);
            for old in [claims(1_500), claims(2_000), newer] {
                assert!(matches!(term.extend(&old), Err(RefreshError::NotNewer)));
            }
        }
        assert_eq!((term.due(1_030), term.due(1_940)), (Due::Nothing, Due::Notice(2_000)));
        assert_eq!(Term::of(&claims(i64::MAX)).due(i64::MAX - 61), Due::Nothing);
    }

    #[test]
    fn a_token_that_ends_within_a_minute_is_told_of_at_once() {
        assert_eq!(Term::of(&claims(1_000)).due(1_010), Due::Notice(1_000));
    }
}
