//! `ops init`: a file of settings with fresh secrets.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;

use super::output::Output;
use super::secret::secret;
use crate::programs::nats;
use crate::programs::private_file::write_private;

/// What a person has to fill in; the rest of the settings has defaults.
const TO_FILL_IN: &str = "
# Of the account at Telnyx; message-api, webhook-ingest and `ops doctor` need them.
#TELNYX_API_KEY=
#TELNYX_PUBLIC_KEY=
#TELNYX_FROM=+15551234567
#TELNYX_MESSAGING_PROFILE_ID=
#PUBLIC_WEBHOOK_URL=https://hooks.example.org
#CORS_ORIGINS=https://app.example.org
#DEFAULT_COUNTRY=US
";

#[derive(clap::Args)]
pub(super) struct Init {
    /// The file to write; it must not exist
    #[arg(default_value = ".env")]
    file: PathBuf,
}

/// Only the file's owner can read it.
pub(super) fn run(options: &Init, output: Output) -> anyhow::Result<ExitCode> {
    let file = &options.file;
    if file.exists() {
        bail!("{} exists already; its secrets may be in use", file.display());
    }
    write_private(file, settings()?.as_bytes())?;
    output.say(format!("wrote {} with fresh secrets; fill in what begins with #", file.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn settings() -> anyhow::Result<String> {
    let mut text = String::from(
        "# Settings of the installation. Keep this file secret.\n\n\
         DATABASE_URL=sqlite:/var/lib/church-live/church.db\n\
         NATS_URL=nats://127.0.0.1:4222\n\n\
         # Passwords of nats.conf. Give each service its own: NATS_USER=message_api with\n\
         # NATS_PASSWORD=<the value of NATS_MESSAGE_API_PASSWORD>, and so on.\n",
    );
    for user in nats::USERS {
        // nats.conf reads a value that begins with a digit as a number.
        writeln!(text, "NATS_{}_PASSWORD=p{}", user.to_uppercase(), secret()?)?;
    }
    writeln!(
        text,
        "\n# Verifies the front ends' tokens. Take that of your sign-in service instead, if it has one."
    )?;
    writeln!(text, "JWT_SECRET={}", secret()?)?;
    writeln!(
        text,
        "# The product's own back end knows message-api by this.\nRECIPIENTS_SECRET={}",
        secret()?
    )?;
    text.push_str(TO_FILL_IN);
    Ok(text)
}
