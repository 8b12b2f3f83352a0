//! A node that dies with the process that started it, whatever kills that one.
//!
//! Two ropes hold it. Its standard input is a pipe of which the starter has the only other end, so that it ends with the starter: this works
//! everywhere. And on Linux the system kills it when the starter is gone, even if it is stopped at that time.

use std::ffi::OsString;
use std::io::{self, Read};
use std::process::ExitCode;
use std::thread;

use crate::cli::exit;

/// The first argument that means this; the number of the starter's process follows, and then what `node` is called with.
pub(super) const WORD: &str = "__cluster-node";

/// The arguments of this process without those for a node of a cluster, which this one is tied for. `Err`: nobody is left whom it could be
/// tied to.
pub(in crate::cli) fn arguments(args: impl Iterator<Item = OsString>) -> Result<Vec<OsString>, ExitCode> {
    let mut args: Vec<OsString> = args.collect();
    if args.get(1).is_none_or(|first| first != WORD) {
        return Ok(args);
    }
    let starter = args.get(2).and_then(|number| number.to_str()?.parse::<i32>().ok());
    args.drain(1..args.len().min(3));
    let Some(starter) = starter else {
        eprintln!("error: this is a part of node cluster, and no command of its own");
        return Err(ExitCode::from(exit::USAGE));
    };
    match tie(starter) {
        true => Ok(args),
        false => Err(ExitCode::from(exit::FAILURE)),
    }
}

fn tie(starter: i32) -> bool {
    let watch = || {
        let mut input = io::stdin().lock();
        let mut nothing = [0; 64];
        loop {
            match input.read(&mut nothing) {
                Ok(0) => break,
                Err(error) if error.kind() != io::ErrorKind::Interrupted => break,
                // Nobody has anything to say.
                Ok(_) | Err(_) => {}
            }
        }
        std::process::exit(i32::from(exit::FAILURE));
    };
    let watches = thread::Builder::new().name("starter".to_owned()).spawn(watch).is_ok();
    #[cfg(unix)]
    return watches && crate::cli::elect::die_with(starter);
    #[cfg(not(unix))]
    return watches && starter != 0;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments_of(words: &[&str]) -> Option<Vec<String>> {
        let plain = |word: OsString| word.into_string().unwrap();
        let args = arguments(words.iter().map(OsString::from));
        args.ok().map(|args| args.into_iter().map(plain).collect())
    }

    #[test]
    fn what_is_no_node_of_a_cluster_is_left_alone() {
        for words in [&["node"][..], &["node", "worker", "--port", "1"], &["node", "x", WORD, "1"], &[]] {
            assert_eq!(arguments_of(words).unwrap(), words);
        }
    }

    #[test]
    fn without_a_starter_nothing_is_run() {
        assert_eq!(arguments_of(&["node", WORD]), None);
        assert_eq!(arguments_of(&["node", WORD, "x", "worker"]), None);
    }
}
