//! The files of the repository, and what can be read from one without parsing Rust.

use std::fs;
use std::path::Path;

/// Folders that hold nothing of ours.
const NOT_OURS: [&str; 2] = ["target", ".git"];
/// Endings of files that people write.
const WRITTEN: [&str; 7] = ["rs", "toml", "md", "yaml", "yml", "json", "txt"];

/// One file.
#[derive(Debug)]
pub(super) struct Source {
    /// From the root of the repository on, with `/`.
    pub(super) path: String,
    /// All of it.
    pub(super) text: String,
}

impl Source {
    /// Whether it is Rust.
    pub(super) fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|ending| ending == "rs")
    }

    /// `line N: what` for every line of which `is_faulty` is true.
    pub(super) fn lines_with(&self, is_faulty: impl Fn(&str) -> bool, what: &str) -> Vec<String> {
        let lines = self.text.lines().zip(1..).filter(|(line, _)| is_faulty(line));
        lines.map(|(_, number)| format!("line {number}: {what}")).collect()
    }

    /// The names of the enums it declares.
    pub(super) fn enums(&self) -> Vec<String> {
        let declarations = self.text.lines().filter_map(|line| line.trim().split_once("enum "));
        declarations
            .filter(|(before, _)| before.is_empty() || before.starts_with("pub"))
            .map(|(_, name)| name.chars().take_while(|c| c.is_alphanumeric()).collect())
            .collect()
    }

    /// The types of all fields of its structs with a fixed layout (`repr(C)`, `repr(transparent)`).
    pub(super) fn stored_fields(&self) -> Vec<String> {
        let after_repr = self.text.split("#[repr(").skip(1);
        let structs = after_repr.filter(|rest| rest.starts_with('C') || rest.starts_with("transp"));
        structs.flat_map(fields_of_first_struct).collect()
    }
}

/// The types of the fields of the item that `text` begins with, if that is a struct.
fn fields_of_first_struct(text: &str) -> Vec<String> {
    let mut lines = text.lines().skip(1).map(str::trim).skip_while(|l| l.starts_with(['#', '/']));
    let Some(head) = lines.next().filter(|line| line.contains("struct ")) else {
        return Vec::new();
    };
    if let Some((_, tuple)) = head.split_once('(') {
        return vec![tuple.trim_end_matches([';', ')']).to_owned()];
    }
    let body = lines.take_while(|line| *line != "}").filter(|line| !line.starts_with(['#', '/']));
    body.filter_map(|line| line.split_once(": ")).map(|(_, r#type)| r#type.to_owned()).collect()
}

/// Every file of the repository that people write, in order of path.
pub(super) fn all_sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root");
    let mut sources = Vec::new();
    collect(root, root, &mut sources);
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(sources.iter().any(|source| source.path == "xtask/src/main.rs"), "found the sources");
    sources
}

fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("read a folder of the repository") {
        let path = entry.expect("read a folder of the repository").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("names are UTF-8");
        if path.is_dir() && !NOT_OURS.contains(&name) {
            collect(root, &path, sources);
        } else if is_written(&path) {
            let shown = path.strip_prefix(root).expect("below the root").display().to_string();
            let text = fs::read_to_string(&path).expect("what people write is UTF-8");
            sources.push(Source { path: shown, text });
        }
    }
}

fn is_written(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    let is_script = path.parent().is_some_and(|folder| folder.file_name() == Some(".ci".as_ref()));
    path.is_file() && (is_script || ending.is_some_and(|ending| WRITTEN.contains(&ending)))
}
