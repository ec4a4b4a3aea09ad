//! A session's token: it ends, and can be replaced before it does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::claims::{Claims, LEEWAY, TokenError};
use common::subject::ChurchId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use socketioxide::extract::{AckSender, Extension, State, TryData};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::gateway::Gateway;
use crate::member::Member;
use crate::metrics::Reason;
use crate::revocations::Revocations;

/// So long before its token's end a client is told of it.
const NOTICE: Duration = Duration::from_secs(60);
/// At least so often the clock is looked at: clocks are set, and some tokens end in a thousand years.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);
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
    claims: watch::Sender<Claims>,
    refreshed: Mutex<Option<Instant>>,
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
enum RefreshError {
    #[error("Authentication error: {0}")]
    Token(#[from] TokenError),
    #[error("Authentication error: token of another user")]
    Another,
    #[error("too many attempts, try again in a second")]
    TooSoon,
}

impl RefreshError {
    fn word(&self) -> &'static str {
        match self {
            Self::Token(error) => crate::handshake::word_of(*error),
            Self::Another => "another_user",
            Self::TooSoon => "too_soon",
        }
    }
}

impl Session {
    /// A session that lives as long as these claims, unless they are replaced.
    pub(crate) fn new(claims: Claims) -> Self {
        Self {
            church: claims.church_id.clone(),
            gone: CancellationToken::new(),
            claims: watch::Sender::new(claims),
            refreshed: Mutex::new(None),
        }
    }

    fn refresh(&self, gateway: &Gateway, request: Option<Refresh>) -> Result<i64, RefreshError> {
        let now = Instant::now();
        let mut refreshed = self.refreshed.lock().unwrap_or_else(PoisonError::into_inner);
        if refreshed.is_some_and(|last| now.duration_since(last) < BETWEEN_REFRESHES) {
            return Err(RefreshError::TooSoon);
        }
        *refreshed = Some(now);
        let token = match request.and_then(|request| request.token) {
            None | Some(Value::Null) => return Err(TokenError::Missing.into()),
            Some(Value::String(token)) => token,
            Some(_) => return Err(TokenError::Invalid.into()),
        };
        let fresh = gateway.verify(&token)?;
        let of_the_same = {
            let claims = self.claims.borrow();
            fresh.user_id == claims.user_id && fresh.church_id == claims.church_id
        };
        if !of_the_same {
            return Err(RefreshError::Another);
        }
        // An older token that comes late takes nothing away.
        self.claims.send_if_modified(|claims| {
            let longer = fresh.expires_at > claims.expires_at;
            if longer {
                *claims = fresh;
            }
            longer
        });
        Ok(self.claims.borrow().expires_at)
    }
}

/// Answers `auth:refresh`.
pub(crate) async fn refresh(
    TryData(request): TryData<Refresh>,
    ack: AckSender,
    Extension(session): Extension<Arc<Session>>,
    State(gateway): State<Arc<Gateway>>,
) {
    let answer = match session.refresh(&gateway, request.ok()) {
        Ok(exp) => Refreshed { ok: true, exp: Some(exp), error: None },
        Err(error) => {
            gateway.counters.auth_failures.get_or_create(&Reason { reason: error.word() }).inc();
            Refreshed { ok: false, exp: None, error: Some(error.to_string()) }
        }
    };
    // A socket that can't take the answer is about to be closed.
    let _ = ack.send(&answer);
}

/// Tells the client a minute before its token ends, and closes the transport when it has ended or was taken back.
pub(crate) async fn watch_token(gateway: Arc<Gateway>, member: Member, session: Arc<Session>) {
    let ending = async {
        tokio::select! {
            () = end_of_token(&member, &session) => "token_expired",
            () = revocation(&gateway.revocations, &session) => "token_revoked",
        }
    };
    if let Some(reason) = session.gone.run_until_cancelled(ending).await {
        debug!(church = %member.church, socket = %member.socket.id, reason, "the token is good no more");
        gateway.hub.close(&member, reason);
    }
}

/// Returns when the token was taken back. It may have been since it was checked.
async fn revocation(revocations: &Revocations, session: &Session) {
    let mut changes = revocations.changes();
    loop {
        if revocations.cover(&session.claims.borrow()) {
            return;
        }
        changes.next().await;
    }
}

async fn end_of_token(member: &Member, session: &Session) {
    let mut claims = session.claims.subscribe();
    loop {
        let (exp, remaining) = {
            let claims = claims.borrow_and_update();
            (claims.expires_at, claims.remaining(OffsetDateTime::now_utc()))
        };
        let before_notice = remaining.saturating_sub(NOTICE + LEEWAY);
        if !before_notice.is_zero() {
            tokio::select! {
                _ = claims.changed() => {}
                () = sleep(before_notice.min(LOOK_AGAIN)) => {}
            }
            continue;
        }
        // A socket whose queue is full is closed by whoever sends it something that counts.
        let _ = member.emit(EXPIRING, &serde_json::json!({"type": EXPIRING, "exp": exp}));
        tokio::select! {
            _ = claims.changed() => {}
            () = sleep(remaining) => return,
        }
    }
}
