//! The code of docs/frontend.md, taken out of it into a folder where Node runs it and the TypeScript compiler reads it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use deploy::scratch::Scratch;
use deploy::tools;
use tokio::process::Command;

use crate::databases;

/// A fenced block whose info string names its language and the file that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// `js`, `ts`, `diff` …
    pub language: String,
    /// Empty where it has none.
    pub file: String,
    /// The lines between the fences.
    pub text: String,
}

impl Block {
    /// All blocks of a Markdown text.
    pub fn all(markdown: &str) -> Vec<Self> {
        let mut blocks = Vec::new();
        let mut lines = markdown.lines();
        while let Some(line) = lines.next() {
            let Some(info) = line.strip_prefix("```") else { continue };
            let (language, file) = info.split_once(' ').unwrap_or((info, ""));
            let text = lines.by_ref().take_while(|line| *line != "```");
            let text = text.map(|line| format!("{line}\n")).collect();
            blocks.push(Self { language: language.into(), file: file.trim().into(), text });
        }
        blocks
    }

    /// What a diff leads to.
    pub fn after(&self) -> String {
        self.side('+')
    }

    /// What a diff comes from.
    pub fn before(&self) -> String {
        self.side('-')
    }

    fn side(&self, sign: char) -> String {
        let of_side = |line: &str| match line.chars().next() {
            None => Some("\n".to_owned()),
            Some(first) if first == ' ' || first == sign => Some(format!("{}\n", &line[1..])),
            Some(_) => None,
        };
        self.text.lines().filter_map(of_side).collect()
    }
}

/// The text of docs/frontend.md.
///
/// # Panics
/// It is not there.
pub fn document() -> String {
    let file = tools::project().join("docs/frontend.md");
    fs::read_to_string(file).expect("there is a document for front ends")
}

/// A folder with the document's code, the types of the events, and what `tests/frontend` has to run them.
pub struct Code {
    folder: Scratch,
}

impl Code {
    /// Takes the code out of the document. A block is the file that it names; the old side of a diff is `before.ts`.
    ///
    /// # Panics
    /// The packages can't be installed, or the folder can't be written.
    pub async fn unpacked() -> Self {
        let installing = tokio::task::spawn_blocking(tools::frontend).await;
        let packages = installing.expect("it does not panic").expect("the packages are installed");
        let folder = databases::folder();
        copy_files(&packages, folder.path());
        symlink(packages.join("node_modules"), folder.path().join("node_modules")).expect("a link is made");
        let code = Self { folder };
        // Declarations are not checked where they stand in a file of their own.
        let types = fs::read_to_string(tools::project().join("docs/events.d.ts"));
        code.write("events.ts", &types.expect("the events have types"));
        for block in Block::all(&document()).iter().filter(|block| !block.file.is_empty()) {
            match block.language.as_str() {
                "diff" => {
                    code.write(&block.file, &block.after());
                    code.write("before.ts", &block.before());
                }
                _ => code.write(&block.file, &block.text),
            }
        }
        code
    }

    /// Puts a file there.
    ///
    /// # Panics
    /// It can't be written.
    pub fn write(&self, file: &str, text: &str) {
        fs::write(self.folder.path().join(file), text).expect("the file is written");
    }

    /// A program of `tests/frontend`, to be run by Node.
    pub fn program(&self, script: &str, arguments: &[&str]) -> Command {
        let mut node = Command::new("node");
        node.arg(self.folder.path().join(script)).args(arguments);
        node
    }

    /// What the TypeScript compiler has against it; empty if nothing.
    ///
    /// # Panics
    /// Node can't be run.
    pub async fn complaints(&self) -> String {
        let mut compiler = self.program("node_modules/typescript/bin/tsc", &["--project"]);
        let output = compiler.arg(self.folder.path()).output().await.expect("node runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(
            said.is_empty(),
            output.status.success(),
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        said
    }
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("the folder is there").flatten() {
        if entry.path().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("the file is copied");
        }
    }
}
