//! What the pages of these programs share: files, and the question whether a request comes from this machine's browser.

mod files;
mod local;

pub(crate) use files::{SCRIPT, STYLE, file, html, shared};
pub(crate) use local::{is_ip, is_local, is_of_origin, names_this_machine};
