//! The version of all binaries.

/// Version and commit, as `--version` shows them: `0.1.0 (4f1c2d3e5a6b)`.
pub const VERSION: &str = env!("CHURCH_LIVE_VERSION");
/// The version alone: `0.1.0`.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");
/// The commit alone: `4f1c2d3e5a6b`; `debug build` where it is not known.
pub const REVISION: &str = env!("CHURCH_LIVE_REVISION");
