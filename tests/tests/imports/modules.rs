//! The files of a crate, and which paths lead from one to another.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::circles::Edges;
use crate::tokens::{Token, tokens};

/// A path as written, with `super` and `self` already counted from the file's module.
type Segments = Vec<String>;

/// Deepest chain of re-exports that is followed.
const DEEPEST: u8 = 16;

#[derive(Debug)]
struct Import {
    /// The name that it binds; `*` for all names.
    name: String,
    path: Segments,
    is_public: bool,
}

#[derive(Debug, Default)]
struct Module {
    children: Vec<String>,
    imports: Vec<Import>,
    /// Paths outside of imports.
    paths: Vec<Segments>,
    /// What is defined here.
    items: BTreeSet<String>,
}

/// All modules of a crate by their path, `room::door`; the root's is empty.
pub(crate) struct Modules(BTreeMap<String, Module>);

impl Modules {
    /// Reads the root file and all modules that it declares.
    pub(crate) fn read(root: &Path, read: &dyn Fn(&Path) -> Option<String>) -> Self {
        let mut modules = Self(BTreeMap::new());
        let folder = root.parent().unwrap();
        modules.add(String::new(), &read(root).unwrap(), folder, read);
        modules
    }

    fn add(&mut self, path: String, text: &str, folder: &Path, read: &dyn Fn(&Path) -> Option<String>) {
        let module = Reader::new(text).read();
        let children = module.children.clone();
        self.0.insert(path.clone(), module);
        for child in children {
            let inside = folder.join(&child);
            let text = read(&inside.with_extension("rs")).or_else(|| read(&inside.join("mod.rs")));
            let text = text.unwrap_or_else(|| panic!("no file of the module {}", inside.display()));
            self.add(joined(&path, &child), &text, &inside, read);
        }
    }

    /// Which module uses which.
    pub(crate) fn edges(&self) -> Edges {
        let mut edges = Edges::new();
        for (from, module) in &self.0 {
            let of_imports = module.imports.iter().filter_map(|import| {
                let to = self.target(from, &import.path, DEEPEST)?;
                let is_re_export = import.is_public && is_inside(&to, from);
                (!is_re_export).then_some(to)
            });
            let of_paths = module.paths.iter().filter_map(|path| self.target(from, path, DEEPEST));
            edges.extend(
                of_imports.chain(of_paths).filter(|to| to != from).map(|to| (shown(from), shown(&to))),
            );
        }
        edges
    }

    /// The module that defines what a path names; `None` for what belongs to another crate.
    fn target(&self, from: &str, path: &[String], deepest: u8) -> Option<String> {
        let (first, rest) = path.split_first()?;
        let deeper = deepest.checked_sub(1)?;
        let module = self.0.get(from)?;
        match first.as_str() {
            "crate" => self.within("", rest, deeper),
            "self" => self.within(from, rest, deeper),
            "super" => self.within(from.rsplit_once("::").map_or("", |(parent, _)| parent), rest, deeper),
            child if module.children.iter().any(|one| one == child) => self.within(from, path, deeper),
            _ => None,
        }
    }

    fn within(&self, module: &str, path: &[String], deepest: u8) -> Option<String> {
        let deeper = deepest.checked_sub(1)?;
        let Some((name, rest)) = path.split_first() else { return Some(module.to_owned()) };
        let here = self.0.get(module)?;
        if name == "super" {
            return self.target(module, path, deeper);
        }
        if here.children.contains(name) {
            return self.within(&joined(module, name), rest, deeper);
        }
        if here.items.contains(name) {
            return Some(module.to_owned());
        }
        if let Some(import) = here.imports.iter().find(|import| import.name == *name) {
            let path: Vec<_> = import.path.iter().chain(rest).cloned().collect();
            return self.target(module, &path, deeper).or_else(|| Some(module.to_owned()));
        }
        let of_all = here.imports.iter().filter(|import| import.name == "*").find_map(|import| {
            let target = self.target(module, &import.path, deeper)?;
            let is_there = self.0.get(&target)?.items.contains(name);
            is_there.then_some(target)
        });
        of_all.or_else(|| Some(module.to_owned()))
    }
}

fn joined(module: &str, child: &str) -> String {
    if module.is_empty() { child.to_owned() } else { format!("{module}::{child}") }
}

fn is_inside(module: &str, parent: &str) -> bool {
    parent.is_empty() || module.strip_prefix(parent).is_some_and(|rest| rest.starts_with("::"))
}

fn shown(module: &str) -> String {
    if module.is_empty() { "crate".to_owned() } else { module.to_owned() }
}

/// Reads one file.
struct Reader {
    tokens: Vec<Token>,
    at: usize,
    module: Module,
    /// For each open brace whether it is an inline module's.
    braces: Vec<bool>,
}

impl Reader {
    fn new(text: &str) -> Self {
        Self { tokens: tokens(text), at: 0, module: Module::default(), braces: Vec::new() }
    }

    fn read(mut self) -> Module {
        while self.at < self.tokens.len() {
            if self.are(&["#", "[", "cfg", "(", "test", ")", "]"]) {
                self.skip_item();
            } else if self.are(&["use"]) && !self.is_at(1, "<") {
                self.import();
            } else if self.are(&["mod"]) && self.is_at(2, ";") {
                self.module.children.extend(self.word(1));
                self.at += 3;
            } else if self.are(&["mod"]) && self.is_at(2, "{") {
                self.braces.push(true);
                self.at += 3;
            } else {
                self.other();
            }
        }
        self.module
    }

    fn other(&mut self) {
        const ITEMS: [&str; 8] = ["struct", "enum", "trait", "type", "fn", "const", "static", "union"];
        if self.are(&["{"]) {
            self.braces.push(false);
        } else if self.are(&["}"]) {
            self.braces.pop();
        } else if self.braces.is_empty() && ITEMS.iter().any(|item| self.are(&[item])) {
            self.module.items.extend(self.word(1));
        } else if self.is_at(1, "::") && !self.follows_path() {
            let path = self.path();
            if let Some(path) = self.path_from_file(path) {
                self.module.paths.push(path);
            }
            return;
        }
        self.at += 1;
    }

    /// Skips the item behind an attribute.
    fn skip_item(&mut self) {
        let mut depth = 0;
        while let Some(token) = self.tokens.get(self.at) {
            let (opens, closes) = (token.is("{"), token.is("}"));
            let ends = closes && depth == 1 || token.is(";") && depth == 0;
            depth = if opens {
                depth + 1
            } else if closes {
                depth - 1
            } else {
                depth
            };
            self.at += 1;
            if ends {
                return;
            }
        }
    }

    fn import(&mut self) {
        let is_public =
            self.at > 0 && (self.tokens[self.at - 1].is("pub") || self.tokens[self.at - 1].is(")"));
        self.at += 1;
        let mut trees = Vec::new();
        self.tree(&[], &mut trees);
        for (path, name) in trees {
            if let Some(path) = self.path_from_file(path) {
                self.module.imports.push(Import { name, path, is_public });
            }
        }
    }

    /// One branch of an import, up to its comma, brace or semicolon: paths, each with the name that it binds.
    fn tree(&mut self, prefix: &[String], trees: &mut Vec<(Segments, String)>) {
        let mut path = prefix.to_vec();
        loop {
            if self.are(&["{"]) {
                self.at += 1;
                while !self.are(&["}"]) {
                    self.tree(&path, trees);
                    self.at += usize::from(self.are(&[","]));
                }
                self.at += 1;
                return;
            }
            if self.are(&["*"]) {
                self.at += 1;
                return trees.push((path, "*".into()));
            }
            let Some(word) = self.word(0) else { return self.at += 1 };
            // `room::{self}` names the room.
            if word != "self" || path.is_empty() {
                path.push(word);
            }
            self.at += 1;
            if !self.are(&["::"]) {
                break;
            }
            self.at += 1;
        }
        let mut name = path.last().cloned().unwrap_or_default();
        if self.are(&["as"]) {
            name = self.word(1).unwrap_or_default();
            self.at += 2;
        }
        trees.push((path, name));
    }

    fn path(&mut self) -> Segments {
        let mut path: Vec<_> = self.word(0).into_iter().collect();
        self.at += 1;
        while self.are(&["::"])
            && let Some(word) = self.word(1)
        {
            path.push(word);
            self.at += 2;
        }
        path
    }

    /// The path as it is seen from the file's module: `super` leaves inline modules first.
    fn path_from_file(&self, path: Segments) -> Option<Segments> {
        let inline = self.braces.iter().filter(|is_module| **is_module).count();
        let supers = path.iter().take_while(|segment| *segment == "super").count();
        match supers.min(inline) {
            0 if inline > 0 && path.first().is_some_and(|first| first != "crate") => None,
            0 => Some(path),
            left => Some([vec!["self".to_owned()], path[left..].to_vec()].concat()),
        }
    }

    fn follows_path(&self) -> bool {
        self.at > 0 && (self.tokens[self.at - 1].is("::") || self.tokens[self.at - 1].is("."))
    }

    fn are(&self, texts: &[&str]) -> bool {
        texts.iter().enumerate().all(|(offset, text)| self.is_at(offset, text))
    }

    fn is_at(&self, offset: usize, text: &str) -> bool {
        self.tokens.get(self.at + offset).is_some_and(|token| token.is(text))
    }

    fn word(&self, offset: usize) -> Option<String> {
        match self.tokens.get(self.at + offset)? {
            Token::Word(word) => Some(word.clone()),
            _ => None,
        }
    }
}
