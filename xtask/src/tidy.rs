//! The house rules that no lint of the compiler knows, as tests.
//!
//! A rule is a function from one file to what is wrong with it. Exceptions are rows of a table with
//! a reason ([`ALLOWED`], [`UNSAFE`]) or, for long files, a line in the file itself
//! (`// tidy: long because …`). A word or a line that is allowed and no longer there is a fault as well.

mod source;

use source::{Source, all_sources};

/// Lines a file may have without saying why.
const MAX_LINES: usize = 400;

/// What no source may contain, outside comments that explain it.
const FORBIDDEN: [&str; 5] = ["TODO", "FIXME", "dbg!", "thread::sleep", "#[ignore"];

/// Folders of one machine: whatever is there is nowhere else.
const MACHINE_FOLDERS: [&str; 3] = ["/work/", "/root/", "/home/"];

/// Exceptions to [`FORBIDDEN`] and [`MACHINE_FOLDERS`]: file, words, reason.
const ALLOWED: [(&str, &[&str], &str); 4] = [
    (
        "xtask/src/tidy.rs",
        &["TODO", "FIXME", "dbg!", "thread::sleep", "#[ignore", "/work/", "/root/", "/home/"],
        "names what it forbids",
    ),
    (
        "tests/src/lab/patience.rs",
        &["thread::sleep"],
        "the one place that pauses between two looks at a state",
    ),
    (
        "lb-userspace/src/flows/mod.rs",
        &["thread::sleep"],
        "a thread of its own, idle between walks",
    ),
    (
        "lb-userspace/src/terminate/mod.rs",
        &["thread::sleep"],
        "a thread of its own, at rest between two looks",
    ),
];

/// Where `unsafe` may be: files or folders, and what for.
const UNSAFE: [(&str, &str); 10] = [
    ("lb-common/src/abi/", "promises that what lies in maps is plain data"),
    ("lb-common/src/net.rs", "promises that addresses are plain data"),
    ("lb-ebpf/src/bench/", "measures: calls helpers and reads its maps in place"),
    (
        "lb-ebpf/src/call.rs",
        "reads and writes the calls of processes; calls the helpers that know sockets",
    ),
    ("lb-ebpf/src/frame.rs", "reads packets after a bounds check; calls the checksum helpers"),
    ("lb-ebpf/src/tc.rs", "sends an answer back: calls the redirect helper"),
    ("lb-ebpf/src/tables/", "reads and writes map values in place"),
    ("lb-userspace/src/datapath/query.rs", "asks the kernel which programs are attached"),
    ("lb-userspace/src/datapath/sys.rs", "makes system calls that nobody offers"),
    ("lb-userspace/src/maps/", "memory-maps arrays and makes the bpf system call"),
];

/// Types that lie in maps are made of these alone.
const NOT_PLAIN: [&str; 6] = ["bool", "char", "usize", "isize", "Option", "&"];

fn has_a_module_doc(source: &Source) -> Vec<String> {
    let is_documented = source.text.starts_with("//!");
    (!is_documented).then(|| "does not start with `//!`".to_owned()).into_iter().collect()
}

fn is_short_or_says_why(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    let says_why = source.text.lines().any(|line| line.starts_with("// tidy: long because "));
    let fault = match (lines > MAX_LINES, says_why) {
        (true, false) => format!("has {lines} lines and no `// tidy: long because …`"),
        (false, true) => "says why it is long, but is not".to_owned(),
        _ => return Vec::new(),
    };
    vec![fault]
}

fn has_no_forbidden_word(source: &Source) -> Vec<String> {
    let forbidden = FORBIDDEN.iter().filter(|word| !is_allowed(source, word));
    forbidden.flat_map(|word| source.lines_with(|line| line.contains(word), word)).collect()
}

fn names_no_folder_of_a_machine(source: &Source) -> Vec<String> {
    let folders = MACHINE_FOLDERS.iter().filter(|folder| !is_allowed(source, folder));
    folders.flat_map(|folder| source.lines_with(|line| has_path(line, folder), folder)).collect()
}

fn is_safe_outside_the_listed_modules(source: &Source) -> Vec<String> {
    if UNSAFE.iter().any(|(path, _)| source.path.starts_with(path)) {
        return Vec::new();
    }
    source.lines_with(is_unsafe, "unsafe")
}

fn stores_plain_fields_only(source: &Source, enums: &[String]) -> Vec<String> {
    if !source.path.starts_with("lb-common/src/abi/") {
        return Vec::new();
    }
    let is_plain = |field: &str| {
        let mut words = field.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '&'));
        !words.any(|word| NOT_PLAIN.contains(&word) || enums.iter().any(|name| name == word))
            && !field.contains('&')
    };
    let fields = source.stored_fields();
    let faulty = fields.into_iter().filter(|field| !is_plain(field));
    faulty.map(|field| format!("stores `{field}`, which is not plain data")).collect()
}

fn is_allowed(source: &Source, word: &str) -> bool {
    ALLOWED.iter().any(|(path, words, _)| source.path == *path && words.contains(&word))
}

/// Whether `line` names a path that begins with `folder`, and not one that only contains it.
fn has_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !(c.is_alphanumeric() || "_-.}*/".contains(c)))
    })
}

/// Whether `line` has code that needs `unsafe`; attributes such as `#[unsafe(no_mangle)]` do not.
fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or(line);
    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe trait"]
        .iter()
        .any(|form| code.contains(form))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds every Rust file of the workspace against `rule`.
    #[track_caller]
    fn check_all(rule: impl Fn(&Source) -> Vec<String>) {
        let sources = all_sources();
        check_sources(sources.iter().filter(|source| source.is_rust()), rule);
    }

    #[track_caller]
    fn check_sources<'a>(
        sources: impl Iterator<Item = &'a Source>,
        rule: impl Fn(&Source) -> Vec<String>,
    ) {
        let describe = |source: &Source| -> Vec<String> {
            rule(source).into_iter().map(|fault| format!("{}: {fault}", source.path)).collect()
        };
        let faults: Vec<_> = sources.flat_map(describe).collect();
        assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    }

    /// Shows that `rule` finds as many faults in `text` as it should.
    #[track_caller]
    fn check(rule: impl Fn(&Source) -> Vec<String>, path: &str, text: &str, faults: usize) {
        let found = rule(&Source { path: path.to_owned(), text: text.to_owned() });
        assert_eq!(found.len(), faults, "{text}: {found:?}");
    }

    #[test]
    fn every_file_says_what_it_is() {
        check(has_a_module_doc, "a.rs", "//! A.\n", 0);
        check(has_a_module_doc, "a.rs", "// A.\n", 1);
        check_all(has_a_module_doc);
    }

    #[test]
    fn long_files_say_why() {
        let long = "x\n".repeat(MAX_LINES + 1);
        check(is_short_or_says_why, "a.rs", &long, 1);
        check(is_short_or_says_why, "a.rs", &format!("// tidy: long because so\n{long}"), 0);
        check(is_short_or_says_why, "a.rs", "// tidy: long because so\n", 1);
        check_all(is_short_or_says_why);
    }

    #[test]
    fn nothing_is_left_for_later_and_no_test_sleeps_or_is_skipped() {
        check(has_no_forbidden_word, "a.rs", "a();\n// TODO: b\ndbg!(c);\n", 2);
        check(has_no_forbidden_word, "a.rs", "std::thread::sleep(d);\n#[ignore]\n", 2);
        check(has_no_forbidden_word, "a.rs", "let todo = 1;\n", 0);
        check_all(has_no_forbidden_word);
    }

    #[test]
    fn no_file_names_a_folder_of_a_machine() {
        check(names_no_folder_of_a_machine, "a.md", "see /home/me/notes", 1);
        check(names_no_folder_of_a_machine, "a.md", "see `/root/x`", 1);
        check(names_no_folder_of_a_machine, "a.md", "see sys/root/x and net/work/", 0);
        check_sources(all_sources().iter(), names_no_folder_of_a_machine);
    }

    #[test]
    fn unsafe_code_is_only_where_it_is_expected() {
        check(is_safe_outside_the_listed_modules, "a.rs", "unsafe { b() }\nunsafe fn c() {}", 2);
        check(is_safe_outside_the_listed_modules, "a.rs", "// unsafe {\n#[unsafe(no_mangle)]", 0);
        check(is_safe_outside_the_listed_modules, "lb-ebpf/src/frame.rs", "unsafe { b() }", 0);
        let is_other = |source: &Source| source.path != "xtask/src/tidy.rs";
        let sources = all_sources();
        let rust = sources.iter().filter(|source| source.is_rust());
        check_sources(rust.filter(|s| is_other(s)), is_safe_outside_the_listed_modules);
    }

    #[test]
    fn what_lies_in_maps_is_plain_data() {
        let enums = ["Hook".to_owned()];
        let rule = |source: &Source| stores_plain_fields_only(source, &enums);
        let stored =
            |field: &str| format!("#[repr(C)]\npub struct S {{\n    /// Doc.\n    {field}\n}}\n");
        let path = "lb-common/src/abi/a.rs";
        check(rule, path, &stored("pub a: [u8; 4],"), 0);
        check(rule, path, &stored("pub a: bool,"), 1);
        check(rule, path, &stored("pub a: Option<u32>,"), 1);
        check(rule, path, &stored("pub a: Hook,"), 1);
        check(rule, path, &stored("pub a: &'static u8,"), 1);
        check(rule, path, "#[repr(transparent)]\npub struct S(pub Hook);\n", 1);
        check(rule, path, "pub struct InMemory {\n    a: bool,\n}\n", 0);
        check(rule, "lb-common/src/a.rs", &stored("pub a: bool,"), 0);

        let sources = all_sources();
        let ours = sources.iter().filter(|source| source.path.starts_with("lb-common/"));
        let enums: Vec<_> = ours.flat_map(Source::enums).collect();
        assert!(!enums.is_empty());
        check_all(|source| stores_plain_fields_only(source, &enums));
    }

    #[test]
    fn every_exception_is_needed() {
        for (path, words, reason) in ALLOWED {
            let sources = all_sources();
            let source = sources.iter().find(|source| source.path == path);
            let text = source.map_or("", |source| &source.text);
            let is_needed = words.iter().all(|word| text.contains(word));
            assert!(is_needed, "{path} ({reason}) no longer needs {words:?}");
        }
    }
}
