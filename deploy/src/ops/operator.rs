//! Who runs a command that changes messages.

use common::config::ConfigError;

/// Who runs the command.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Operator {
    /// Your name, which is recorded; needed where USER is empty
    #[arg(long = "as", id = "operator", env = "USER", value_name = "NAME")]
    name: Option<String>,
}

impl Operator {
    /// The name as it is recorded, beside the ids of users.
    ///
    /// # Errors
    /// No name is given.
    pub(super) fn author(&self) -> Result<String, ConfigError> {
        match self.name.as_deref().map(str::trim).filter(|name| !name.is_empty()) {
            Some(name) => Ok(format!("operator:{name}")),
            None => {
                Err(ConfigError::new("--as", "is needed, because USER is empty; give your name: --as NAME"))
            }
        }
    }
}
