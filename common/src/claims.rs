//! Who calls: the claims of a bearer token, the same for HTTP and for the socket.
//!
//! Accepted are the shapes that the front end's sign-in has issued: `userId`, else `adminId`, else `sub`, and always
//! `churchId` and `exp`. The algorithm is pinned by the configured key and never taken from the token.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, TokenData, Validation};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::config::ConfigError;
use crate::subject::{ChurchId, InvalidChurchId};
use crate::token_keys;

/// The one leeway: a token is accepted so long after its `exp`, and a socket closed so long after it.
pub const LEEWAY: Duration = Duration::from_secs(30);
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

/// The claim of a token that names its user. Sign-in code numbers users and admins apart: user 7 and admin 7 are two
/// people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IdClaim {
    /// `userId`.
    UserId,
    /// `adminId`.
    AdminId,
    /// `sub`.
    Sub,
}

impl IdClaim {
    /// The claim's name in a token.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UserId => "userId",
            Self::AdminId => "adminId",
            Self::Sub => "sub",
        }
    }
}

/// One person of a church: an id, and the claim that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Person {
    /// The claim that names the person.
    pub claim: IdClaim,
    /// The id in that claim.
    pub id: String,
}

impl std::fmt::Display for Person {
    /// `userId:7`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.claim.as_str(), self.id)
    }
}

/// A verified caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Unique inside its church only.
    pub user_id: String,
    /// Which claim the user id comes from.
    pub claim: IdClaim,
    /// The church whose data the caller may see.
    pub church_id: ChurchId,
    /// When the token expires, in Unix seconds, without the leeway.
    pub expires_at: i64,
    /// When the token was issued, in Unix seconds, if it says so.
    pub issued_at: Option<i64>,
}

impl Claims {
    /// The caller as a person: the id together with the claim that names it.
    pub fn person(&self) -> Person {
        Person { claim: self.claim, id: self.user_id.clone() }
    }

    /// How long the token is still accepted, the leeway included; zero once it is over.
    pub fn remaining(&self, now: OffsetDateTime) -> Duration {
        let end = self.expires_at.saturating_add(LEEWAY.as_secs() as i64);
        Duration::from_secs(end.saturating_sub(now.unix_timestamp()).max(0) as u64)
    }
}

/// Why a token was refused. The texts are part of the contract with front ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There was none.
    #[error("missing token")]
    Missing,
    /// Not a token, not signed by a key of ours, or not for us.
    #[error("invalid token")]
    Invalid,
    /// Its time is over.
    #[error("token expired")]
    Expired,
    /// It was taken back before its time.
    #[error("token revoked")]
    Revoked,
    /// It names no church.
    #[error("church missing")]
    ChurchMissing,
    /// It names a church by an id of a wrong form.
    #[error("invalid token: {0}")]
    ChurchMalformed(#[from] InvalidChurchId),
}

/// Verifies tokens with keys that are parsed once.
#[derive(Clone)]
pub struct TokenVerifier {
    keys: std::sync::Arc<[(DecodingKey, Validation)]>,
}

/// Times are numbers and may have a fraction (RFC 7519, NumericDate).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawClaims {
    user_id: Option<Id>,
    admin_id: Option<Id>,
    sub: Option<Id>,
    church_id: Option<Id>,
    exp: f64,
    iat: Option<f64>,
}

/// An id as sign-in code really writes it: text, or a number.
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
    /// Names the variable that is missing, contradictory, too short or no key.
    pub fn new(options: &JwtOptions) -> Result<Self, ConfigError> {
        let keys = match (options.jwt_secret.as_slice(), options.jwt_public_key_file.as_slice()) {
            ([], []) => {
                return Err(ConfigError::new(
                    "JWT_SECRET",
                    "set it (HS256), or JWT_PUBLIC_KEY_FILE (RS256, ES256, EdDSA)",
                ));
            }
            (secrets, []) => secrets.iter().map(token_keys::secret).collect::<Result<Vec<_>, _>>()?,
            ([], files) => {
                files.iter().map(|file| token_keys::public(file)).collect::<Result<Vec<_>, _>>()?
            }
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
    /// Says which of the ways of being refused it is.
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

/// The token of an `Authorization` header's value, whatever the case of the word before it.
pub fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The claims of a token whose signature holds.
fn claims(token: TokenData<RawClaims>, now: OffsetDateTime) -> Result<Claims, TokenError> {
    // What a token calls critical must be understood (RFC 7515, 4.1.11), and nothing that it may name is known here.
    if token.header.crit.is_some() {
        return Err(TokenError::Invalid);
    }
    let raw = token.claims;
    // Issued in the future, it would outlive its revocation.
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
    Ok(Claims { user_id, claim, church_id, expires_at: raw.exp as i64, issued_at })
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
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn options(secrets: &[&str]) -> JwtOptions {
        JwtOptions {
            jwt_secret: secrets.iter().map(|s| SecretString::from(*s)).collect(),
            jwt_public_key_file: Vec::new(),
            jwt_issuer: None,
            jwt_audience: None,
        }
    }

    fn token(secret: &str, claims: &Value) -> String {
        encode(&Header::default(), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    }

    fn now() -> i64 {
        OffsetDateTime::now_utc().unix_timestamp()
    }

    fn verify(claims: &Value) -> Result<Claims, TokenError> {
        TokenVerifier::new(&options(&[SECRET])).unwrap().verify(&token(SECRET, claims))
    }

    #[test]
    fn both_token_shapes_of_the_front_end_are_accepted() {
        let exp = now() + 60;
        for (shape, user) in [
            (json!({"userId":"u1","churchId":"c1","email":"a@b","exp":exp}), "u1"),
            (json!({"adminId":"a1","churchId":"c1","role":"admin","iat":exp - 960,"exp":exp}), "a1"),
            (json!({"sub":"s1","churchId":"c1","exp":exp}), "s1"),
            (json!({"userId":7,"churchId":9,"iat":exp as f64 - 60.5,"exp":exp as f64 + 0.5}), "7"),
        ] {
            assert_eq!(verify(&shape).unwrap().user_id, user);
        }
    }

    #[test]
    fn each_wrong_token_has_its_own_refusal() {
        let exp = now() + 60;
        let cases = [
            (json!({"userId":"u","churchId":"c","exp":now() - 31}), TokenError::Expired),
            (json!({"userId":"u","exp":exp}), TokenError::ChurchMissing),
            (json!({"userId":"u","churchId":"","exp":exp}), TokenError::ChurchMissing),
            (json!({"userId":"u","churchId":"a.b","exp":exp}), TokenError::ChurchMalformed(InvalidChurchId)),
            (
                json!({"userId":"u","churchId":"c".repeat(65),"exp":exp}),
                TokenError::ChurchMalformed(InvalidChurchId),
            ),
            (json!({"churchId":"c","exp":exp}), TokenError::Invalid),
            (json!({"userId":"a\u{0}b","churchId":"c","exp":exp}), TokenError::Invalid),
            (json!({"userId":"u","churchId":"c"}), TokenError::Invalid),
            (json!({"userId":"u","churchId":"c","exp":exp,"nbf":now() + 120}), TokenError::Invalid),
        ];
        for (claims, refusal) in cases {
            assert_eq!(verify(&claims), Err(refusal), "{claims}");
        }
        let verifier = TokenVerifier::new(&options(&[SECRET])).unwrap();
        assert_eq!(verifier.verify(""), Err(TokenError::Missing));
        assert_eq!(verifier.verify("a.b.c"), Err(TokenError::Invalid));
        assert_eq!(verifier.verify(&"x".repeat(MAX_TOKEN_LEN + 1)), Err(TokenError::Invalid));
    }

    #[test]
    fn a_token_is_accepted_within_the_leeway() {
        assert!(verify(&json!({"userId":"u","churchId":"c","exp":now() - 20})).is_ok());
        assert!(verify(&json!({"userId":"u","churchId":"c","exp":now() + 60,"iat":now() + 20})).is_ok());
    }

    #[test]
    fn a_token_that_was_issued_in_the_future_is_refused() {
        for ahead in [120.0, 86_400.0, f64::MAX] {
            let claims =
                json!({"userId":"u","churchId":"c","exp":now() + 200_000,"iat":now() as f64 + ahead});
            assert_eq!(verify(&claims), Err(TokenError::Invalid), "{ahead} s");
        }
    }

    #[test]
    fn a_token_that_calls_something_critical_is_refused() {
        let claims = json!({"userId":"u","churchId":"c","exp":now() + 60});
        let verifier = TokenVerifier::new(&options(&[SECRET])).unwrap();
        for crit in [vec![], vec!["exp".to_owned()], vec!["b64".to_owned(), "x".to_owned()]] {
            let header = Header { crit: Some(crit.clone()), ..Header::default() };
            let token = encode(&header, &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap();
            assert_eq!(verifier.verify(&token), Err(TokenError::Invalid), "{crit:?}");
        }
    }

    #[test]
    fn a_malformed_church_is_refused_with_the_form_and_its_reason() {
        let said = TokenError::ChurchMalformed(InvalidChurchId).to_string();
        assert!(said.starts_with("invalid token: "), "{said}");
        assert!(said.contains("1 to 64 characters of A-Z, a-z, 0-9, _ and -, because"), "{said}");
    }

    #[test]
    fn the_algorithm_is_never_taken_from_the_token() {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let body = URL_SAFE_NO_PAD.encode(json!({"userId":"u","churchId":"c","exp":now() + 60}).to_string());
        let verifier = TokenVerifier::new(&options(&[SECRET])).unwrap();
        for header in [r#"{"alg":"none","typ":"JWT"}"#, r#"{"alg":"RS256"}"#, r#"{"alg":"HS512"}"#] {
            let unsigned = format!("{}.{body}.", URL_SAFE_NO_PAD.encode(header));
            assert_eq!(verifier.verify(&unsigned), Err(TokenError::Invalid), "{header}");
        }
    }

    #[test]
    fn while_a_secret_is_replaced_both_are_accepted() {
        let new = "fedcba9876543210fedcba9876543210";
        let verifier = TokenVerifier::new(&options(&[new, SECRET])).unwrap();
        let claims = json!({"userId":"u","churchId":"c","exp":now() + 60});
        assert!(verifier.verify(&token(SECRET, &claims)).is_ok());
        assert!(verifier.verify(&token(new, &claims)).is_ok());
        assert_eq!(verifier.verify(&token(&"z".repeat(32), &claims)), Err(TokenError::Invalid));
        let expired = json!({"userId":"u","churchId":"c","exp":now() - 60});
        assert_eq!(verifier.verify(&token(SECRET, &expired)), Err(TokenError::Expired));
    }

    #[test]
    fn issuer_and_audience_are_checked_when_they_are_configured() {
        let strict = JwtOptions {
            jwt_issuer: Some("us".into()),
            jwt_audience: Some("sms".into()),
            ..options(&[SECRET])
        };
        let verifier = TokenVerifier::new(&strict).unwrap();
        let with = |iss: &str, aud: &str| {
            verifier.verify(&token(
                SECRET,
                &json!({"userId":"u","churchId":"c","exp":now() + 60,"iss":iss,"aud":aud}),
            ))
        };
        assert!(with("us", "sms").is_ok());
        assert_eq!(with("them", "sms"), Err(TokenError::Invalid));
        assert_eq!(with("us", "mail"), Err(TokenError::Invalid));
        let bare = json!({"userId":"u","churchId":"c","exp":now() + 60});
        assert_eq!(verifier.verify(&token(SECRET, &bare)), Err(TokenError::Invalid));
    }

    #[test]
    fn a_wrong_configuration_names_its_variable() {
        let both = JwtOptions { jwt_public_key_file: vec!["key.pem".into()], ..options(&[SECRET]) };
        for (options, variable) in
            [(options(&[]), "JWT_SECRET"), (options(&["short"]), "JWT_SECRET"), (both, "JWT_SECRET")]
        {
            let error = TokenVerifier::new(&options).err().unwrap();
            assert!(error.to_string().contains(variable), "{error}");
        }
    }
}
