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
fn every_shape_of_the_sign_ins_claims_is_accepted() {
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
fn each_defect_of_a_token_has_its_own_error() {
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
fn a_token_issued_in_the_future_is_refused() {
    for ahead in [120.0, 86_400.0, f64::MAX] {
        let claims = json!({"userId":"u","churchId":"c","exp":now() + 200_000,"iat":now() as f64 + ahead});
        assert_eq!(verify(&claims), Err(TokenError::Invalid), "{ahead} s");
    }
}

#[test]
fn a_token_with_critical_extensions_is_refused() {
    let claims = json!({"userId":"u","churchId":"c","exp":now() + 60});
    let verifier = TokenVerifier::new(&options(&[SECRET])).unwrap();
    for crit in [vec![], vec!["exp".to_owned()], vec!["b64".to_owned(), "x".to_owned()]] {
        let header = Header { crit: Some(crit.clone()), ..Header::default() };
        let token = encode(&header, &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap();
        assert_eq!(verifier.verify(&token), Err(TokenError::Invalid), "{crit:?}");
    }
}

#[test]
fn the_error_of_a_malformed_church_id_says_the_form_and_why() {
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
fn all_configured_secrets_are_accepted() {
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
fn issuer_and_audience_are_checked_if_configured() {
    let strict =
        JwtOptions { jwt_issuer: Some("us".into()), jwt_audience: Some("sms".into()), ..options(&[SECRET]) };
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
fn a_configuration_error_names_its_variable() {
    let both = JwtOptions { jwt_public_key_file: vec!["key.pem".into()], ..options(&[SECRET]) };
    for (options, variable) in
        [(options(&[]), "JWT_SECRET"), (options(&["short"]), "JWT_SECRET"), (both, "JWT_SECRET")]
    {
        let error = TokenVerifier::new(&options).err().unwrap();
        assert!(error.to_string().contains(variable), "{error}");
    }
}
