//! Who runs a command that changes messages.

/// Who runs the command.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Operator {
    /// Your name, which is recorded
    #[arg(long = "as", id = "operator", env = "USER", value_name = "NAME", default_value = "unknown")]
    name: String,
}

impl Operator {
    /// The name as it is recorded, beside the ids of users.
    pub(super) fn author(&self) -> String {
        format!("operator:{}", self.name)
    }
}
