//! How a node starts, and how it says why it does not: options, state, exit codes.

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use support::NodeProcess;
use support::ports::free_port;
use support::process::{Process, command, run};
use support::wait_until;

/// The options may not be used like this.
const EXIT_USAGE: i32 = 2;
const EXIT_PORT_TAKEN: i32 = 3;
const EXIT_STATE_IN_USE: i32 = 4;
const EXIT_STATE_UNUSABLE: i32 = 5;

/// Runs a node that must not start; returns its exit code and what it said.
fn refused(args: &[&str]) -> (Option<i32>, String) {
    let output = run(args);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The file of this name below `directory`.
fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path());
    let (directories, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let here = files.into_iter().find(|path| path.file_name().is_some_and(|found| found == name));
    here.or_else(|| directories.iter().find_map(|directory| find(directory, name)))
}

/// A state directory in which a node has run on `port`.
fn used_state(port: u16) -> tempfile::TempDir {
    let state = tempfile::tempdir().unwrap();
    let node = NodeProcess::start_on(port, &["--data-dir", state.path().to_str().unwrap()]);
    node.assert_healthy();
    state
}

#[test]
fn a_taken_port_is_exit_3_and_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let (code, text) = refused(&["--port", &port, "--ephemeral"]);
    assert_eq!(code, Some(EXIT_PORT_TAKEN), "{text}");
    assert!(text.contains(&port), "{text}");
}

#[test]
fn state_that_another_process_holds_is_exit_4() {
    let port = free_port();
    let state = used_state(port);
    let lock = find(state.path(), "lock").expect("a node that ran leaves its lock file");
    let open = || fs::File::options().read(true).write(true).open(&lock).unwrap();
    let held = open();
    held.lock().unwrap();
    let args = ["--port", &port.to_string(), "--data-dir", state.path().to_str().unwrap()];
    let (code, text) = refused(&args);
    assert_eq!(code, Some(EXIT_STATE_IN_USE), "{text}");
    assert!(text.contains("in use"), "{text}");
    drop(held);
    // A process that another test is just starting may hold a copy of the lock until it is the program it shall be.
    wait_until("the lock to be free", || open().try_lock().is_ok());
    NodeProcess::start_on(port, &args[2..]).assert_healthy();
}

#[test]
fn a_damaged_identity_is_exit_5_and_fresh_gets_over_it() {
    let port = free_port();
    let state = used_state(port);
    let identity = find(state.path(), "identity.json").expect("a node that ran leaves its identity");
    for damaged in ["", "{", "[]", r#"{"format":1}"#, r#"{"format":1,"server_id":""}"#] {
        fs::write(&identity, damaged).unwrap();
        let args = ["--port", &port.to_string(), "--data-dir", state.path().to_str().unwrap()];
        let (code, text) = refused(&args);
        assert_eq!(code, Some(EXIT_STATE_UNUSABLE), "with `{damaged}`: {text}");
        assert!(text.contains("identity.json") && text.contains("--fresh"), "{text}");
        assert_eq!(fs::read_to_string(&identity).unwrap(), damaged, "a refused start changes nothing");
    }
    let args = ["--data-dir", state.path().to_str().unwrap(), "--fresh"];
    let fresh = NodeProcess::start_on(port, &args);
    let id = fresh.server_id();
    drop(fresh);
    assert_eq!(NodeProcess::start_on(port, &args[..2]).server_id(), id, "the new identity is durable");
}

#[test]
fn options_that_cannot_be_are_exit_2_and_named() {
    let wrong: [(&[&str], &str); 12] = [
        (&["--peer", "nonsense"], "--peer"),
        (&["--peer", "127.0.0.1:0"], "--peer"),
        (&["--peer", "256.0.0.1:9102"], "--peer"),
        (&["--peer", "127.0.0.1:9102,dialect=klingon"], "--peer"),
        (&["--interval", "6", "--timeout", "6"], "interval"),
        (&["--interval", "7", "--timeout", "6"], "interval"),
        (&["--interval", "soon"], "--interval"),
        (&["--host", "0.0.0.0"], "--insecure"),
        (&["--host", "::"], "--insecure"),
        (&["--port", "65536"], "--port"),
        (&["--name", ""], "--name"),
        (&["--wings"], "--wings"),
    ];
    for (args, named) in wrong {
        let (code, text) = refused(&[args, &["--ephemeral"]].concat());
        assert_eq!(code, Some(EXIT_USAGE), "{args:?}: {text}");
        assert!(text.contains(named), "{args:?} does not name {named}: {text}");
    }
}

#[test]
fn an_open_address_needs_the_word_insecure() {
    let node = NodeProcess::start(&["--host", "0.0.0.0", "--insecure"]);
    node.assert_healthy();
}

#[test]
fn an_ephemeral_node_has_another_id_each_time() {
    let first = NodeProcess::start(&[]).server_id();
    assert_ne!(NodeProcess::start(&[]).server_id(), first);
}

fn name_of(node: &NodeProcess) -> String {
    let hello = node.ask(r#"{"TASK":"HELLO"}"#);
    hello["NAME"].as_str().unwrap_or_else(|| panic!("no NAME in {hello}")).to_owned()
}

#[test]
fn the_command_line_goes_before_the_environment_and_that_before_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("node.toml");
    fs::write(&file, "name = \"from-the-file\"\ninterval = 0.5\ntimeout = 1.5\nephemeral = true\n").unwrap();
    let start = |env: Option<&str>, flag: Option<&str>| {
        let port = free_port();
        let mut command = command(["--port", &port.to_string(), "--config", file.to_str().unwrap()]);
        command.args(flag.iter().flat_map(|name| ["--name", name]));
        command.envs(env.map(|name| ("NODE_NAME", name)));
        NodeProcess::listening(Process::spawn(&mut command), port).expect("the port was free")
    };
    let node = start(None, None);
    assert_eq!(name_of(&node), "from-the-file");
    let hello = node.ask(r#"{"TASK":"HELLO"}"#);
    assert_eq!((&hello["INTERVAL_MS"], &hello["TIMEOUT_MS"]), (&500.into(), &1500.into()), "{hello}");
    assert_eq!(name_of(&start(Some("from-the-environment"), None)), "from-the-environment");
    assert_eq!(name_of(&start(Some("from-the-environment"), Some("from-the-line"))), "from-the-line");
}

#[test]
fn a_file_with_an_unknown_option_is_exit_2_and_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("node.toml");
    fs::write(&file, "nome = \"x\"\n").unwrap();
    let (code, text) = refused(&["--config", file.to_str().unwrap(), "--ephemeral"]);
    assert_eq!(code, Some(EXIT_USAGE), "{text}");
    assert!(text.contains("nome"), "{text}");
}

#[test]
fn help_and_version_end_with_zero_under_both_names() {
    for program in [env!("CARGO_BIN_EXE_node"), env!("CARGO_BIN_EXE_mutirao")] {
        for option in ["--help", "--version"] {
            let output = std::process::Command::new(program).arg(option).output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{program} {option}");
            assert!(!output.stdout.is_empty(), "{program} {option} says nothing");
        }
    }
}

#[test]
fn send_in_a_pipe_prints_the_answer_as_it_came() {
    let node = NodeProcess::start(&[]);
    let output = run(["send", &node.address(), r#"{"TASK":"HEARTBEAT"}"#]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let mut client = node.client();
    client.send_line(r#"{"TASK":"HEARTBEAT"}"#);
    assert_eq!(String::from_utf8_lossy(&output.stdout), client.line() + "\n");
}

#[test]
fn send_and_status_to_nobody_fail_and_say_whom_they_called() {
    let nobody = format!("127.0.0.1:{}", free_port());
    for args in [vec!["send", &nobody, r#"{"TASK":"LOAD"}"#], vec!["status", &nobody]] {
        let output = run(&args);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code().is_some_and(|code| code != 0), "{args:?}");
        assert!(text.contains(&nobody), "{args:?}: {text}");
    }
}

#[test]
fn status_shows_the_node_and_its_registry() {
    let peer = NodeProcess::start(&["--name", "beta"]);
    let node = NodeProcess::start(&["--name", "alpha", "--peer", &peer.address()]);
    node.wait_status(&peer.address(), "ALIVE");
    let output = run(["status", &node.address()]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    for word in ["alpha", "beta", "ALIVE", &peer.address(), &node.server_id()[..8]] {
        assert!(text.contains(word), "status does not show {word}:\n{text}");
    }
}
