//! The configuration file: TOML with the names of the options as keys.
//!
//! ```toml
//! port = 9101
//! peer = ["127.0.0.1:9102", "lab-7:9101,dialect=2025-2"]
//! interval = 2
//! timeout = "6s"
//! ```

use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::options::OptionError;

/// Reads the file: the options of a node, or those of a worker. Errors name it, and the line and key that are wrong.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, OptionError> {
    let text = fs::read_to_string(path)
        .map_err(|error| OptionError(format!("--config {}: cannot be read: {error}", path.display())))?;
    parse(&text).map_err(|what| OptionError(format!("--config {}: {what}", path.display())))
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::options::{LogLevel, Output, RunArgs};
    use crate::cli::values::{Bytes, Discovery, Span};
    use crate::cli::worker::WorkerArgs;
    use std::time::Duration;

    fn parse(text: &str) -> Result<RunArgs, String> {
        super::parse(text)
    }

    #[test]
    fn every_option_of_a_worker_has_its_key() {
        let args: WorkerArgs = super::parse(
            "master = ['a:1', 'b:2,dialect=2025-2']\nslots = 4\nservices = 's'\nallow-exec = true\ngrace = '1m'\n\
             name = 'w'\nport = 0\nhost = '::1'\ninsecure = false\ninterval = 1\ntimeout = '3s'\ndata-dir = 'd'\n\
             fresh = false\nephemeral = false\ndiscovery = 6000\nlog-level = 'warn'\noutput = 'text'\n",
        )
        .unwrap();
        let debug = format!("{args:?}");
        assert_eq!(debug.matches("None").count(), 4, "only `config`, a dialect, and ports of workers: {debug}");
        let error = super::parse::<WorkerArgs>("peer = 'a:1'").unwrap_err();
        assert!(error.contains("peer") && error.contains("master"), "a worker has no peers: {error}");
    }

    #[test]
    fn every_option_has_its_key() {
        let args = parse(
            "port = 9102\nhost = '::1'\npeer = ['b:2,dialect=native,workers=3', 'a:1,workers=4,dialect=seed']\nadvertise = 'lab:1'\n\
             insecure = true\ninterval = 0.5\ntimeout = '3s'\nforget = 60\nforget-owner = 30\nlend = 'group'\nkeep = 0\ncap = 3\ncooldown = 1\nlease = 20\ngrace = 5\nname = 'b'\ngroup = 'g'\ndata-dir = 'd'\n\
             fresh = false\nephemeral = true\ncapacity = 10\nrelease = 5\nhold = '500ms'\ncpu-threshold = 62.5\n\
             log-level = 'debug'\noutput = 'json'\ndurability = 'os'\nmax-jobs = 5\nmax-bytes = '2G'\n\
             attempts = 2\njob-timeout = 60\nretry-pause = 0.5\nkeep-results = 7\nkeep-for = '1h'\nservices = 's'\n\
             allow-exec = true\ndiscovery = true\nexpect = 3\nelection = '1s'\nsupervisor = 'tls://lab:443'\n\
             supervisor-ca = 'ca.pem'\n",
        )
        .unwrap();
        assert_eq!((args.port, args.insecure, args.ephemeral), (Some(9102), Some(true), Some(true)));
        assert_eq!(args.interval, Some(Span(Duration::from_millis(500))));
        assert_eq!(args.peer.as_ref().map(|peers| peers.iter().map(|peers| peers.0.len()).sum()), Some(2));
        assert_eq!((args.max_bytes, args.discovery), (Some(Bytes(2 << 30)), Some(Discovery(Some(5000)))));
        assert_eq!((args.log_level, args.output), (Some(LogLevel::Debug), Some(Output::Json)));
        // A key that was forgotten here would be `None`: only the file's own path is.
        let debug = format!("{args:?}");
        assert_eq!(debug.matches("None").count(), 1, "only `config`: {debug}");
    }

    #[test]
    fn one_peer_needs_no_list() {
        let args = parse("peer = 'a:1'").unwrap();
        assert_eq!(args.peer.map(|peers| peers.len()), Some(1));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = parse("port = 1\nintervall = 2\n").unwrap_err();
        assert!(error.contains("line 2") && error.contains("intervall") && error.contains("interval"), "{error}");
        assert!(parse("config = 'other.toml'").is_err(), "a file includes no other");
    }

    #[test]
    fn a_bad_value_is_explained_with_its_line() {
        for (text, what) in [
            ("\nport = 70000", "65535"),
            ("\npeer = ['127.0.0.1']", "has no port"),
            ("\npeer = 5", "a peer such as"),
            ("\ninterval = 'soon'", "expected seconds"),
            ("\ninterval = true", "seconds"),
            ("\ninterval = -1", "expected a duration"),
            ("\nlog-level = 'loud'", "expected one of"),
            ("\nmax-bytes = -1", "number of bytes"),
            ("\ndiscovery = 0", "UDP port from 1"),
            ("\nsupervisor = 'ftp://a:1'", "tls://HOST:PORT"),
            ("\ndurability = 'often'", "fsync, os or memory"),
            ("\nport 7", "line 2"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(what) && error.contains("line 2"), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = read::<RunArgs>(Path::new("/nowhere/node.toml")).unwrap_err().0;
        assert!(error.starts_with("--config /nowhere/node.toml: cannot be read"), "{error}");
    }
}
