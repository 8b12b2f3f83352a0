//! House rules that a compiler does not check, each a law with a proof that it bites.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest file, in lines, without its tests.
const MAX_LINES: usize = 800;

/// The rooms of the house from the street inwards: a room knows its own rank and those behind it. Rooms of one
/// rank do not know each other.
const RANKS: [(&str, u8); 8] =
    [("cli", 0), ("net", 1), ("sim", 1), ("store", 2), ("service", 2), ("core", 3), ("wire", 4), ("time", 5)];

/// What a pure room may not know: clocks, chance, threads, sockets, collections in the order of a hash.
const IMPURE: [&str; 17] = [
    "Instant",
    "SystemTime",
    "UNIX_EPOCH",
    "rand",
    "getrandom",
    "new_v4",
    "RandomState",
    "thread",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "mio",
    "socket2",
    "HashMap",
    "HashSet",
    "DefaultHasher",
];

/// One Rust file of the repository.
struct Source {
    /// Its path from the repository's root, with `/`.
    path: String,
    text: String,
}

impl Source {
    /// Its lines without comments, and without the module of its tests, which ends the file.
    fn code(&self) -> impl Iterator<Item = &str> {
        let lines = self.text.lines().take_while(|line| *line != "#[cfg(test)]" && !self.is_of_tests());
        lines.map(|line| line.split_once("//").map_or(line, |(code, _)| code))
    }

    /// Whether it is a module of tests: its parent compiles it for them only.
    fn is_of_tests(&self) -> bool {
        ["/tests.rs", "/model.rs"].iter().any(|name| self.path.ends_with(name)) || self.path.contains("/tests/")
    }

    fn is_under(&self, room: &str) -> bool {
        self.path.starts_with(&format!("src/{room}/")) || self.path == format!("src/{room}.rs")
    }
}

/// Every Rust file below these directories of the repository.
fn sources(directories: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut waiting: Vec<PathBuf> = directories.iter().map(|directory| root.join(directory)).collect();
    let mut found = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            waiting.extend(entries.flatten().map(|entry| entry.path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let name = path.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
            found.push(Source { path: name, text });
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

/// Whether `code` has `word` as a word of its own.
fn has_word(code: &str, word: &str) -> bool {
    let part_of_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back().is_some_and(part_of_word);
        let after = code[at + word.len()..].chars().next().is_some_and(part_of_word);
        !before && !after
    })
}

/// Every break of a law by these files, as `path: what`.
type Law = fn(&Source) -> Vec<String>;

fn breaks(law: Law, files: &[Source]) -> Vec<String> {
    files.iter().flat_map(|file| law(file).into_iter().map(|what| format!("{}: {what}", file.path))).collect()
}

/// Asserts that a law holds in the repository and that it sees a break in each of `bad` (path and text).
fn law_holds(law: Law, directories: &[&str], bad: &[(&str, &str)], good: &[(&str, &str)]) {
    let file = |(path, text): &(&str, &str)| Source { path: (*path).to_owned(), text: (*text).to_owned() };
    for case in bad {
        assert!(!law(&file(case)).is_empty(), "the law does not bite on {case:?}");
    }
    for case in good {
        assert_eq!(law(&file(case)), Vec::<String>::new(), "the law bites on what is allowed: {case:?}");
    }
    let found = breaks(law, &sources(directories));
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_files_of_the_house_are_found() {
    let found: BTreeSet<String> = sources(&["src"]).into_iter().map(|source| source.path).collect();
    for path in ["src/lib.rs", "src/core/mod.rs", "src/wire/message.rs", "src/time.rs"] {
        assert!(found.contains(path), "{path} is not among {found:?}");
    }
}

fn pure_rooms(source: &Source) -> Vec<String> {
    if !source.is_under("core") && !source.is_under("wire") {
        return Vec::new();
    }
    let words =
        |line: &str| IMPURE.iter().filter(|word| has_word(line, word)).map(|word| format!("`{word}`")).collect();
    source.code().flat_map(|line| -> Vec<String> { words(line) }).collect()
}

#[test]
fn core_and_wire_know_no_clock_no_chance_no_thread_no_socket_and_no_hash_order() {
    let bad = [
        ("src/core/node.rs", "let now = std::time::Instant::now();"),
        ("src/core/a/b.rs", "use std::collections::{BTreeMap, HashMap};"),
        ("src/wire/line.rs", "use std::net::TcpStream;"),
        ("src/wire/line.rs", "std::thread::spawn(work);"),
        ("src/core/node.rs", "let id = Uuid::new_v4();"),
        ("src/core/rng.rs", "use rand::Rng;"),
    ];
    let good = [
        ("src/core/node.rs", "use std::net::SocketAddr; let operand = brand(rand_like); // Instant"),
        ("src/net/clock.rs", "Instant::now()"),
        ("src/core/node.rs", "fn x() {}\n#[cfg(test)]\nmod tests { use std::collections::HashSet; }"),
        ("src/core/queue/tests.rs", "let begun = Instant::now();"),
    ];
    law_holds(pure_rooms, &["src"], &bad, &good);
}

fn no_floats(source: &Source) -> Vec<String> {
    let has_float = |line: &&str| has_word(line, "f32") || has_word(line, "f64");
    let lines = source.code().filter(has_float).map(|line| format!("a float in what decides: `{}`", line.trim()));
    if source.is_under("core") { lines.collect() } else { Vec::new() }
}

#[test]
fn what_decides_computes_without_floats() {
    let bad = [("src/core/load.rs", "fn score(cpu: f64) {}"), ("src/core/load.rs", "let x = y as f32;")];
    let good = [("src/wire/message.rs", "fn score(cpu: f64) {}"), ("src/core/load.rs", "let leaf64 = 1;")];
    law_holds(no_floats, &["src"], &bad, &good);
}

/// The room of a path below `src`.
fn room_of(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("src/")?;
    Some(rest.split_once('/').map_or_else(|| rest.trim_end_matches(".rs"), |(room, _)| room))
}

fn one_way(source: &Source) -> Vec<String> {
    let rank = |room: &str| RANKS.iter().find(|(name, _)| *name == room).map(|(_, rank)| *rank);
    let Some(own) = room_of(&source.path) else { return Vec::new() };
    // `lib.rs` is the map of the house; `main.rs` and `bin` are its doors, which only `cli` opens.
    if ["lib", "main", "bin"].contains(&own) {
        return Vec::new();
    }
    let Some(own_rank) = rank(own) else { return vec![format!("`{own}` is no room of the house")] };
    let code: String = source.code().collect::<Vec<_>>().join(" ");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        // `crate::{a::X, b}` names several rooms.
        let rooms: Vec<&str> = match rest.strip_prefix('{') {
            Some(list) => outer_items(list),
            None => vec![first_word(rest)],
        };
        for room in rooms {
            match rank(room) {
                _ if room == own => {}
                Some(rank) if rank > own_rank => {}
                Some(_) => found.push(format!("`{own}` may not know `{room}`")),
                None => found.push(format!("`crate::{room}` is no room of the house")),
            }
        }
    }
    found
}

/// The identifier at the beginning of `text`.
fn first_word(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(text.len());
    &text[..end]
}

/// The first words of the items of a braced list, whose opening brace is already read.
fn outer_items(list: &str) -> Vec<&str> {
    let mut depth = 0;
    let mut items = vec![first_word(list.trim_start())];
    for (at, letter) in list.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => items.push(first_word(list[at + 1..].trim_start())),
            _ => {}
        }
    }
    items.retain(|item| !item.is_empty());
    items
}

#[test]
fn imports_go_one_way() {
    let bad = [
        ("src/core/node.rs", "use crate::net::Listener;"),
        ("src/wire/line.rs", "use crate::core::Config;"),
        ("src/net/mod.rs", "let x = crate::cli::main();"),
        ("src/net/mod.rs", "use crate::sim::World;"),
        ("src/time.rs", "use crate::wire::Address;"),
        ("src/core/node.rs", "use crate::{\n    time::Time,\n    store::Writer,\n};"),
        ("src/attic/mod.rs", ""),
        ("src/net/mod.rs", "use crate::attic::X;"),
    ];
    let good = [
        ("src/cli/run.rs", "use crate::{core::{Config, Node}, net, wire::Address};"),
        ("src/core/node.rs", "use crate::core::links::Links;"),
        ("src/core/node.rs", "// use crate::net::Listener;"),
        ("src/main.rs", "mutirao::cli::main()"),
    ];
    law_holds(one_way, &["src"], &bad, &good);
}

fn file_size(source: &Source) -> Vec<String> {
    let lines = source.text.lines().take_while(|line| *line != "#[cfg(test)]").count();
    let of_tests = source.is_of_tests() && lines <= 2 * MAX_LINES;
    if lines > MAX_LINES && !of_tests {
        vec![format!("{lines} lines; at most {MAX_LINES} without tests")]
    } else {
        Vec::new()
    }
}

#[test]
fn no_file_is_longer_than_its_idea() {
    let (long, short) = ("x\n".repeat(MAX_LINES + 1), "x\n".repeat(MAX_LINES));
    let tested = format!("{short}#[cfg(test)]\n{long}");
    let good = [("src/net/a.rs", short.as_str()), ("src/net/a.rs", tested.as_str())];
    law_holds(file_size, &["src", "tests"], &[("src/net/a.rs", &long)], &good);
}

fn named_rooms(source: &Source) -> Vec<String> {
    let parts = source.path.split(['/', '.']);
    let nameless = parts.filter(|part| ["utils", "util", "helpers", "misc", "common"].contains(part));
    nameless.map(|part| format!("`{part}` says nothing about what may go in")).collect()
}

#[test]
fn every_module_has_a_name_that_says_what_it_is() {
    let bad = [("src/net/utils.rs", ""), ("src/utils/a.rs", "")];
    law_holds(named_rooms, &["src", "tests"], &bad, &[("src/net/outils.rs", "")]);
}

fn reasons_to_ignore(source: &Source) -> Vec<String> {
    let attribute = concat!("#[", "ignore");
    let bare = |line: &&str| {
        let reason = line.trim_start().strip_prefix(attribute).map(|rest| rest.trim_start());
        reason.is_some_and(|rest| rest.strip_prefix("= \"").is_none_or(|reason| reason.len() <= "\"]".len()))
    };
    source.text.lines().filter(bare).map(|line| format!("no reason: `{}`", line.trim())).collect()
}

#[test]
fn every_ignored_test_says_why() {
    let bare = concat!("#[", "ignore]");
    let empty = concat!("#[", "ignore = \"\"]");
    let told = concat!("#[", "ignore = \"needs root\"]");
    law_holds(reasons_to_ignore, &["src", "tests"], &[("a.rs", bare), ("a.rs", empty)], &[("a.rs", told)]);
}

fn no_sleep(source: &Source) -> Vec<String> {
    let word = concat!("thread::", "sleep");
    let lines = source.text.lines().filter(|line| line.contains(word));
    lines.map(|line| format!("a test waits for a condition, not for a time: `{}`", line.trim())).collect()
}

#[test]
fn no_test_sleeps() {
    let sleeping = concat!("    std::thread::", "sleep(Duration::from_secs(1));");
    law_holds(no_sleep, &["tests", "src"], &[("tests/a.rs", sleeping)], &[("tests/a.rs", "fn asleep() {}")]);
}

fn nothing_left_open(source: &Source) -> Vec<String> {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("to", "do!"),
        concat!("unimpl", "emented!"),
    ];
    let found = |line: &str| {
        marks.iter().find(|mark| has_word(line, mark.trim_end_matches('!')) && line.contains(**mark)).copied()
    };
    source.text.lines().filter_map(found).map(|mark| format!("`{mark}`: an issue, not a mark in the code")).collect()
}

#[test]
fn nothing_is_marked_as_unfinished() {
    let (later, never) = (concat!("// TO", "DO: later"), concat!("    to", "do!()"));
    let bad = [("src/a.rs", later), ("src/a.rs", never)];
    law_holds(nothing_left_open, &["src", "tests"], &bad, &[("src/a.rs", "let todo_list = 1;")]);
}
