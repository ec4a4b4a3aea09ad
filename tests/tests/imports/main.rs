//! Modules of a crate never import each other in circles, so that each can be read and tested from the ones below it.
//!
//! A module is a file. An edge is any path in it that leads into another file of the crate, in a `use` or anywhere else,
//! outside `#[cfg(test)]`. A name that a file merely re-exports leads to where it is defined. `mod child;` and
//! `pub use child::Name` in a parent are no edges.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what fails here fails a test")]

mod circles;
mod modules;
mod tokens;

use std::path::{Path, PathBuf};

use modules::Modules;

/// The workspace's crates; `tests` itself holds no product.
const CRATES: [&str; 5] = ["common", "message-api", "webhook-ingest", "realtime-gateway", "deploy"];

#[test]
fn no_crate_has_modules_that_import_each_other_in_circles() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    for root in CRATES.iter().flat_map(|name| roots(&workspace.join(name).join("src"))) {
        let read = |file: &Path| std::fs::read_to_string(file).ok();
        for circle in circles::of(&Modules::read(&root, &read).edges()) {
            let root = root.strip_prefix(workspace).unwrap().display();
            found.push(format!("{root}:\n    {}", circle.join("\n    ")));
        }
    }
    assert!(found.is_empty(), "modules import each other in circles\n{}", found.join("\n"));
}

/// The library's root file, and that of each program of several files.
fn roots(src: &Path) -> Vec<PathBuf> {
    let programs = std::fs::read_dir(src.join("bin")).into_iter().flatten();
    let programs = programs.map(|folder| folder.unwrap().path().join("main.rs"));
    [src.join("lib.rs")].into_iter().chain(programs).filter(|root| root.exists()).collect()
}

/// The edges of a crate that is given as text, each as `from -> to`.
fn edges(files: &[(&str, &str)]) -> Vec<String> {
    let read = |file: &Path| {
        let text = files.iter().find(|(name, _)| Path::new(name) == file);
        text.map(|(_, text)| (*text).to_owned())
    };
    let edges = Modules::read(Path::new("lib.rs"), &read).edges();
    edges.iter().map(|(from, to)| format!("{from} -> {to}")).collect()
}

#[test]
fn an_edge_is_any_path_into_another_file() {
    let lib = "mod a; mod b; mod c; pub use a::A; fn f() { b::f() }";
    let a = "use crate::{b::{self, B as Other}, c::*}; pub struct A;";
    let b = "pub struct B; pub fn f() { let _ = super::c::C; }";
    let found = edges(&[("lib.rs", lib), ("a.rs", a), ("b.rs", b), ("c/mod.rs", "pub struct C;")]);
    assert_eq!(found, ["a -> b", "a -> c", "b -> c", "crate -> b"]);
}

#[test]
fn a_re_exported_name_leads_to_where_it_is_defined() {
    let room = "mod door; mod wall; pub use door::Door; use wall::Wall; pub use wall::paint::*; struct Room;";
    let door = "use super::Wall; use crate::room::{Door, Paint}; pub struct Door(super::Room);";
    let found = edges(&[
        ("lib.rs", "mod room;"),
        ("room/mod.rs", room),
        ("room/door.rs", door),
        ("room/wall.rs", "mod paint; pub struct Wall;"),
        ("room/wall/paint.rs", "pub struct Paint;"),
    ]);
    let expected = [
        "room -> room::wall",
        "room::door -> room",
        "room::door -> room::wall",
        "room::door -> room::wall::paint",
    ];
    assert_eq!(found, expected);
}

#[test]
fn tests_comments_texts_and_inline_modules_make_no_edges() {
    let a = r##"
        // crate::b::X
        /// [`crate::b`]
        const TEXT: &str = "crate::b::X"; const RAW: &str = r#"crate::b::"X"#; const QUOTE: char = '"';
        fn f<'a>(x: &'a str) -> impl Sized + use<'a> { x }
        pub mod inline { pub fn g() { super::f("") } }
        #[cfg(test)] mod harness;
        #[cfg(test)] mod tests { use crate::b::X; }
        #[cfg(test)] use crate::b::X;
    "##;
    assert_eq!(edges(&[("lib.rs", "mod a; mod b;"), ("a.rs", a), ("b.rs", "pub struct X;")]), [""; 0]);
}

#[test]
fn a_circle_is_told_by_its_edges_alone() {
    let edges = [("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("d", "e"), ("e", "d"), ("f", "a")];
    let edges = edges.map(|(from, to)| (from.to_owned(), to.to_owned())).into();
    assert_eq!(circles::of(&edges), [vec!["a -> b", "b -> c", "c -> a"], vec!["d -> e", "e -> d"]]);
}
