//! `ops.env`: the settings with which `ops` operates a stack. Only its owner can read it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::stack_file::OpsUrls;
use crate::programs::private_file::write_private;
use crate::programs::services::{FROM, Wiring};

/// Its path in a state folder.
pub(super) fn path(state: &Path) -> PathBuf {
    state.join("ops.env")
}

/// Writes it, for `ops --env-file`.
///
/// # Errors
/// The file can't be written.
pub(super) fn write(state: &Path, wiring: &Wiring, ops: &OpsUrls) -> anyhow::Result<()> {
    let gateways = ops.gateways.join(",");
    let mut text = String::new();
    for (name, value) in [
        ("DATABASE_URL", &*wiring.database_url),
        ("NATS_URL", &wiring.nats_url),
        ("API_OPS_URLS", &ops.api),
        ("INGEST_OPS_URLS", &ops.ingest),
        ("GATEWAY_OPS_URLS", &gateways),
        ("JWT_SECRET", &wiring.jwt_secret),
        ("TELNYX_API_KEY", &wiring.telnyx_api_key),
        ("TELNYX_BASE_URL", &wiring.telnyx_url),
        ("TELNYX_FROM", FROM),
        ("TELNYX_PUBLIC_KEY", &wiring.telnyx_public_key),
        ("PUBLIC_WEBHOOK_URL", &wiring.ingest_url),
    ] {
        writeln!(text, "{name}={}", literal(value))?;
    }
    if let Some(file) = &wiring.nats_ca_file {
        writeln!(text, "NATS_CA_FILE={}", literal(&file.display().to_string()))?;
    }
    for (user, password) in &wiring.nats_passwords {
        writeln!(text, "NATS_{}_PASSWORD={}", user.to_uppercase(), literal(password))?;
    }
    write_private(&path(state), text.as_bytes())
}

/// A value that is taken as it stands.
fn literal(value: &str) -> String {
    format!("'{}'", value.replace('\'', "'\\''"))
}
