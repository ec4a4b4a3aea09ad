//! Checks the keys that verify tokens and webhooks.

use common::claims::{JwtOptions, TokenVerifier};
use webhook_ingest::signature::PublicKeys;

use super::diagnosis::Diagnosis;

/// The keys, as the services have them.
#[derive(clap::Args)]
pub(super) struct KeyOptions {
    #[command(flatten)]
    jwt: JwtOptions,
    /// Public keys of the Telnyx account, as webhook-ingest has them
    #[arg(long, env = "TELNYX_PUBLIC_KEY", value_name = "KEY")]
    telnyx_public_key: Option<String>,
}

/// Checks them.
pub(super) fn check(options: &KeyOptions, diagnosis: &mut Diagnosis) {
    if options.jwt.jwt_secret.is_empty() && options.jwt.jwt_public_key_file.is_empty() {
        diagnosis.skipped("token keys", "neither JWT_SECRET nor JWT_PUBLIC_KEY_FILE is set here");
    } else {
        match TokenVerifier::new(&options.jwt) {
            Ok(_) => diagnosis.ok("token keys", "can be read"),
            Err(error) => diagnosis.wrong("token keys", format!("{error:#}"), "correct the variable"),
        }
    }
    match options.telnyx_public_key.as_deref().map(PublicKeys::parse) {
        None => diagnosis.skipped("webhook keys", "TELNYX_PUBLIC_KEY is not set here"),
        Some(Ok(_)) => diagnosis.ok("webhook keys", "can be read"),
        Some(Err(error)) => diagnosis.wrong("webhook keys", error.to_string(), "correct the variable"),
    }
}
