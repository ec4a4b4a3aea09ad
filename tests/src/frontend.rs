//! The code of docs/frontend.md and docs/protocol.md, extracted into a folder where Node runs it and the TypeScript compiler checks it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use deploy::scratch::Scratch;
use deploy::tools;
use tokio::process::Command;

use crate::databases;

/// A fenced block. Its info string names the language and the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// `js`, `ts`, `diff` …
    pub language: String,
    /// The file name; empty if the block has none.
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
            let Some(info) = line.trim_start().strip_prefix("```") else { continue };
            let indent = line.len() - line.trim_start().len();
            let (language, file) = info.split_once(' ').unwrap_or((info, ""));
            let text = lines.by_ref().take_while(|line| line.trim_start() != "```");
            let text = text.map(|line| format!("{}\n", line.get(indent..).unwrap_or_default())).collect();
            blocks.push(Self { language: language.into(), file: file.trim().into(), text });
        }
        blocks
    }

    /// The new side of a diff.
    pub fn after(&self) -> String {
        self.side('+')
    }

    /// The old side of a diff.
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

/// The text of a document, such as `protocol.md`.
///
/// # Panics
/// If it is not there.
pub fn document(name: &str) -> String {
    fs::read_to_string(tools::project().join("docs").join(name)).expect("the document is there")
}

/// A folder with the code of both documents, the client package, the event types, and the programs of `tests/frontend` that run them.
pub struct Code {
    folder: Scratch,
}

impl Code {
    /// Extracts the code. Each block becomes the file that it names; the old side of a diff becomes `before.ts`.
    ///
    /// # Panics
    /// If the packages can't be installed, or the folder can't be written.
    pub async fn unpacked() -> Self {
        let installing = tokio::task::spawn_blocking(tools::frontend).await;
        let packages = installing.expect("it does not panic").expect("the packages are installed");
        let folder = databases::folder();
        copy_files(&packages, folder.path());
        let package = tools::project().join("realtime-gateway/client");
        install(&packages.join("node_modules"), &package, folder.path());
        let code = Self { folder };
        // The compiler does not check a declaration file, so the types become a module.
        let types = fs::read_to_string(package.join("src/events.d.ts"));
        code.write("events.ts", &types.expect("the events have types"));
        let documents = document("frontend.md") + &document("protocol.md");
        for block in Block::all(&documents).iter().filter(|block| !block.file.is_empty()) {
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

    /// Writes a file into the folder.
    ///
    /// # Panics
    /// If it can't be written.
    pub fn write(&self, file: &str, text: &str) {
        fs::write(self.folder.path().join(file), text).expect("the file is written");
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The command that runs a program of `tests/frontend` with Node.
    pub fn program(&self, script: &str, arguments: &[&str]) -> Command {
        let mut node = Command::new("node");
        node.arg(self.folder.path().join(script)).args(arguments);
        node
    }

    /// The errors of the TypeScript compiler; empty if there are none.
    ///
    /// # Panics
    /// If Node can't be run.
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

/// Makes the folder's `node_modules`: the installed packages, and a copy of the client package, which then takes its own
/// packages from there, too.
fn install(packages: &Path, client: &Path, folder: &Path) {
    let (copy, modules) = (folder.join("church-live"), folder.join("node_modules"));
    for made in [&copy.join("src"), &modules] {
        fs::create_dir_all(made).expect("the folder is made");
    }
    copy_files(client, &copy);
    copy_files(&client.join("src"), &copy.join("src"));
    symlink(copy, modules.join("church-live")).expect("a link is made");
    for package in fs::read_dir(packages).expect("the packages are there").flatten() {
        symlink(package.path(), modules.join(package.file_name())).expect("a link is made");
    }
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("the folder is there").flatten() {
        if entry.path().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("the file is copied");
        }
    }
}
