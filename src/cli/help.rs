//! What `--help` and the man page teach beside the options, and the two names of the program.

use std::env;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::ValueEnum;

use super::exit;

/// The names under which the program is installed. `node` is also the name of Node.js, hence the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ProgramName {
    /// `node`
    Node,
    /// `mutirao`
    Mutirao,
}

impl ProgramName {
    /// The name as typed.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            ProgramName::Node => "node",
            ProgramName::Mutirao => "mutirao",
        }
    }

    /// The name under which this process was called; `node` where it is another.
    pub(super) fn called() -> ProgramName {
        env::args_os().next().map_or(ProgramName::Node, |path| ProgramName::of(Path::new(&path)))
    }

    fn of(path: &Path) -> ProgramName {
        match path.file_stem() {
            Some(stem) if stem == ProgramName::Mutirao.as_str() => ProgramName::Mutirao,
            _ => ProgramName::Node,
        }
    }
}

/// The part of `--help` before the options.
pub(super) fn long_about() -> &'static str {
    "A node of mutirão: it listens on one TCP port, asks its peers every interval whether they are alive, and keeps a \
     registry of who answers, how fast, and how busy they are. Anyone can ask it, in lines of JSON. It takes jobs, \
     and workers that do them.\n\n\
     Without a subcommand a node is run until Ctrl-C or SIGTERM, which tells the peers goodbye; a second Ctrl-C ends \
     it at once."
}

/// The part of `--help` after the options.
pub(super) fn after(name: ProgramName) -> String {
    let name = name.as_str();
    let codes: String = exit::TABLE.iter().map(|(code, meaning)| format!("  {code:>3}  {meaning}\n")).collect();
    format!(
        "\
Examples:
  The first minute: a cluster on this machine, with captions; and without:
    {name} demo
    {name} cluster --kill m2@2

  Two nodes, each in a terminal of its own. Stop one with Ctrl-C and the other
  shows LEFT, kill it and it shows TIMEOUT; start it again and it is ALIVE,
  under the same id:
    {name} --port 9101 --peer 127.0.0.1:9102
    {name} --port 9102 --peer 127.0.0.1:9101

  Ask one of them, from a third terminal:
    printf '{{\"TASK\":\"HEARTBEAT\"}}\\n' | nc 127.0.0.1 9101
    {name} send 127.0.0.1:9101 LOAD
    {name} send --follow 127.0.0.1:9101 EVENTS
    {name} status 127.0.0.1:9101

  A farm: a master, a worker, and jobs for it (a job's one copy lies on the disk
  of the master that accepted it):
    {name} --port 9101
    {name} worker --master 127.0.0.1:9101 --allow-exec
    {name} submit --wait primes.count '{{\"n\":100000}}'
    {name} submit --wait shell.run -- uname -a
    {name} submit --file jobs.ndjson
    {name} jobs
    {name} workers
    {name} call 127.0.0.1:9101 system.info

  A command of your own, of which one runs in the whole cluster at a time:
    {name} elect backup -- ./backup.sh
    {name} lease ls

  A peer of an older generation, whose dialect is known beforehand:
    {name} --peer lab-7:9101,dialect=2025-2

  One that serves its workers on another port:
    {name} --peer lab-7:9101,workers=9102

Where options come from:
  Each option is also an environment variable, NODE_ and its name (NODE_PORT,
  NODE_DATA_DIR), and a key of the TOML file that --config names (port,
  data-dir). The command line counts more than the environment, the environment
  more than the file, the file more than the default. Of --peer, the whole list
  of the source that counts most is taken. An empty variable is no value; a flag
  is turned off again by --ephemeral=false. A configuration file:
    port = 9101
    peer = [\"127.0.0.1:9102\", \"lab-7:9101,dialect=2025-2\"]
    timeout = \"6s\"

State:
  The id of a node survives restarts. It is kept in a directory for this
  machine, address and port under --data-dir, by default
    $XDG_STATE_HOME/mutirao, or ~/.local/state/mutirao
    ~/Library/Application Support/mutirao on macOS
    %LOCALAPPDATA%\\mutirao on Windows
  With --port 0 nothing is kept, save with --data-dir: one id for port 0.

Exit codes:
{codes}  Of submit --wait shell.run -- COMMAND and elect NAME -- COMMAND it is that of
  the command.
"
    )
}

/// Examples that are written with `node`, under this name.
pub(super) fn under(name: ProgramName, examples: &str) -> String {
    examples.replace("  node ", &format!("  {} ", name.as_str()))
}

/// Writes a generated text to standard output. A reader that has enough of it is no failure.
pub(super) fn print(text: &[u8]) -> ExitCode {
    match io::stdout().write_all(text).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("error: standard output: {error}");
            ExitCode::from(exit::FAILURE)
        }
        _ => ExitCode::from(exit::OK),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_goes_by_the_name_it_was_called_by() {
        assert_eq!(ProgramName::of(Path::new("/usr/bin/mutirao")), ProgramName::Mutirao);
        assert_eq!(ProgramName::of(Path::new("target/debug/node")), ProgramName::Node);
        assert_eq!(ProgramName::of(Path::new("something-else")), ProgramName::Node);
    }

    #[test]
    fn help_shows_examples_under_the_name_and_every_exit_code() {
        let text = after(ProgramName::Mutirao);
        assert!(text.contains("mutirao --port 9101 --peer 127.0.0.1:9102"));
        // Wider lines would be broken by the parser's own wrapping.
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        for (code, meaning) in exit::TABLE {
            assert!(text.contains(&format!("{code:>3}  {meaning}")), "{code}");
        }
    }
}
