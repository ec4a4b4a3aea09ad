//! Verifies bearer tokens.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, TokenData, Validation};
use secrecy::SecretString;
use serde::Deserialize;
use time::OffsetDateTime;

use super::keys;
use super::person::{Claims, IdClaim, LEEWAY};
use crate::config::ConfigError;
use crate::subject::{ChurchId, InvalidChurchId};

/// Longest token that is looked at, in bytes.
pub const MAX_TOKEN_LEN: usize = 8 * 1024;
/// Longest user id, in bytes.
const MAX_USER_LEN: usize = 128;

/// How tokens are checked: `JWT_SECRET` or `JWT_PUBLIC_KEY_FILE`, never both.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Tokens")]
pub struct JwtOptions {
    /// HS256 secret of at least 32 bytes; several, comma separated, while one is being replaced
    #[arg(long, env = "JWT_SECRET", hide_env_values = true, value_delimiter = ',', value_name = "SECRET")]
    pub jwt_secret: Vec<SecretString>,
    /// PEM file with an RSA (RS256, 2048 bits or more), P-256 (ES256) or Ed25519 (EdDSA) public key; several, comma
    /// separated
    #[arg(long, env = "JWT_PUBLIC_KEY_FILE", value_delimiter = ',', value_name = "FILE")]
    pub jwt_public_key_file: Vec<PathBuf>,
    /// Refuse tokens of any other issuer (`iss`)
    #[arg(long, env = "JWT_ISSUER", value_parser = NonEmptyStringValueParser::new())]
    pub jwt_issuer: Option<String>,
    /// Refuse tokens that are not for this audience (`aud`)
    #[arg(long, env = "JWT_AUDIENCE", value_parser = NonEmptyStringValueParser::new())]
    pub jwt_audience: Option<String>,
}

/// Why a token is refused. The texts are part of the contract with front ends. The name in snake case is the label in
/// metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum TokenError {
    /// No token was sent.
    #[error("missing token")]
    Missing,
    /// Not a token, signed by an unknown key, or for another issuer or audience.
    #[error("invalid token")]
    Invalid,
    /// It has expired.
    #[error("token expired")]
    Expired,
    /// It was revoked.
    #[error("token revoked")]
    Revoked,
    /// It names no church.
    #[error("church missing")]
    ChurchMissing,
    /// Its church id is malformed.
    #[error("invalid token: {0}")]
    ChurchMalformed(#[from] InvalidChurchId),
}

/// Verifies tokens with keys that are parsed at the start.
#[derive(Clone)]
pub struct TokenVerifier {
    keys: std::sync::Arc<[(DecodingKey, Validation)]>,
}

/// Times may have a fraction (RFC 7519, NumericDate).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawClaims {
    user_id: Option<Id>,
    admin_id: Option<Id>,
    sub: Option<Id>,
    church_id: Option<Id>,
    /// Anything else than a text counts as no role.
    role: Option<serde_json::Value>,
    exp: f64,
    iat: Option<f64>,
}

/// An id, which sign-in writes as text or as a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(u64),
}

impl Id {
    fn into_text(self) -> Option<String> {
        match self {
            Self::Text(text) if text.is_empty() => None,
            Self::Text(text) => Some(text),
            Self::Number(number) => Some(number.to_string()),
        }
    }
}

impl TokenVerifier {
    /// Reads the keys.
    ///
    /// # Errors
    /// Names the variable that is missing, contradictory, too short or not a key.
    pub fn new(options: &JwtOptions) -> Result<Self, ConfigError> {
        let keys = match (options.jwt_secret.as_slice(), options.jwt_public_key_file.as_slice()) {
            ([], []) => {
                return Err(ConfigError::new(
                    "JWT_SECRET",
                    "set it (HS256), or JWT_PUBLIC_KEY_FILE (RS256, ES256, EdDSA)",
                ));
            }
            (secrets, []) => secrets.iter().map(keys::secret).collect::<Result<Vec<_>, _>>()?,
            ([], files) => files.iter().map(|file| keys::public(file)).collect::<Result<Vec<_>, _>>()?,
            _ => {
                return Err(ConfigError::new("JWT_SECRET", "set either it or JWT_PUBLIC_KEY_FILE, not both"));
            }
        };
        let keys = keys.into_iter().map(|(algorithm, key)| (key, validation(algorithm, options))).collect();
        Ok(Self { keys })
    }

    /// The claims of a token whose signature, time, issuer and audience hold.
    ///
    /// # Errors
    /// Says why the token is refused.
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        if token.is_empty() {
            return Err(TokenError::Missing);
        }
        if token.len() > MAX_TOKEN_LEN {
            return Err(TokenError::Invalid);
        }
        let mut refusal = TokenError::Invalid;
        for (key, validation) in &*self.keys {
            match jsonwebtoken::decode::<RawClaims>(token, key, validation) {
                Ok(token) => return claims(token, OffsetDateTime::now_utc()),
                Err(error) if matches!(error.kind(), ErrorKind::ExpiredSignature) => {
                    refusal = TokenError::Expired
                }
                Err(_) => {}
            }
        }
        Err(refusal)
    }
}

/// The token of an `Authorization` header's value. The scheme may be written in any case.
pub fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The claims of a token whose signature holds.
fn claims(token: TokenData<RawClaims>, now: OffsetDateTime) -> Result<Claims, TokenError> {
    // A verifier must understand all critical extensions (RFC 7515, 4.1.11). This one supports none.
    if token.header.crit.is_some() {
        return Err(TokenError::Invalid);
    }
    let raw = token.claims;
    // A token issued in the future would outlive its revocation.
    let newest = now + LEEWAY;
    if raw.iat.is_some_and(|at| at > newest.unix_timestamp() as f64) {
        return Err(TokenError::Invalid);
    }
    let church = raw.church_id.and_then(Id::into_text).ok_or(TokenError::ChurchMissing)?;
    let church_id = church.parse::<ChurchId>()?;
    let ids = [(IdClaim::UserId, raw.user_id), (IdClaim::AdminId, raw.admin_id), (IdClaim::Sub, raw.sub)];
    let user = ids.into_iter().find_map(|(claim, id)| Some((claim, id?.into_text()?)));
    let fits = |id: &str| id.len() <= MAX_USER_LEN && !id.chars().any(char::is_control);
    let (claim, user_id) = user.filter(|(_, id)| fits(id)).ok_or(TokenError::Invalid)?;
    let issued_at = raw.iat.map(|at| at as i64);
    let role = raw.role.and_then(|role| role.as_str().map(str::to_owned));
    Ok(Claims { user_id, claim, church_id, role, expires_at: raw.exp as i64, issued_at })
}

fn validation(algorithm: Algorithm, options: &JwtOptions) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.leeway = LEEWAY.as_secs();
    validation.validate_nbf = true;
    validation.set_required_spec_claims(&["exp"]);
    match &options.jwt_audience {
        Some(audience) => {
            validation.set_audience(&[audience]);
            validation.required_spec_claims.insert("aud".into());
        }
        None => validation.validate_aud = false,
    }
    if let Some(issuer) = &options.jwt_issuer {
        validation.set_issuer(&[issuer]);
        validation.required_spec_claims.insert("iss".into());
    }
    validation
}

#[cfg(test)]
mod tests;
