//! The version of all binaries.

/// Version and commit, as `--version` shows them: `0.1.0 (4f1c2d3e5a6b)`.
pub const VERSION: &str = env!("CHURCH_LIVE_VERSION");
