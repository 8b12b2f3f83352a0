//! Replays the corpora of the fuzz targets, so that what they once found stays found without a fuzzer.

use std::fs;
use std::path::Path;

#[path = "../fuzz/bodies/core.rs"]
mod core;
#[path = "../fuzz/bodies/line.rs"]
mod line;
#[path = "../fuzz/bodies/message.rs"]
mod message;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 12, "{} is all but empty", folder.display());
    for file in files {
        println!("{}", file.display());
        run(&fs::read(&file).unwrap());
    }
}

#[test]
fn the_corpus_of_line_framing_holds() {
    replay("line", line::run);
}

#[test]
fn the_corpus_of_message_decoding_holds() {
    replay("message", message::run);
}

#[test]
fn the_corpus_of_core_inputs_holds() {
    replay("core", core::run);
}
