//! Manifests: a TOML file that names a program and what it can do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use toml::{Table, Value};

use crate::wire::{MAX_METHODS, ServiceName, ServiceOffer};

/// Longest line of a program that is read, where its manifest says nothing: the longest RESULT that fits the wire,
/// with the fields beside it.
const OUTPUT: usize = 64 * 1024;

/// The keys of a manifest, for `--help` and the manual.
pub fn manifest_help() -> &'static str {
    "\
name         the service: 1 to 64 letters, digits, _ and -
command      the program and its arguments: a list of texts. A program with a / in its name is looked for beside the
             manifest, any other in PATH
methods      what it can do: a list of 1 to 64 names
idempotent   those of them that may be done twice. Default none
concurrency  requests that it works on at a time, 1 to 1024. Default 1
timeout      longest time of one request, such as \"10s\" or \"500ms\". Default: only that of the request
memory       most memory of each of its processes, such as \"256MiB\" (address space; Linux only). Default no limit
output       longest line that it may write, \"1KiB\" to \"1MiB\". Default 64KiB
health       the method that is called to see whether it is well, or \"none\". Default none
interval     time between two of these calls, 100ms to 1h. Default 10s
dir          where it runs, relative to the manifest. Default the directory of the manifest
[env]        variables that are added to its environment: texts"
}

/// What a manifest says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Manifest {
    /// Its file.
    pub(super) file: PathBuf,
    /// What it offers.
    pub(super) offer: ServiceOffer,
    /// The program and its arguments.
    pub(super) command: Vec<String>,
    /// Requests in flight at a time.
    pub(super) concurrency: usize,
    /// Longest time of a request.
    pub(super) timeout: Option<Duration>,
    /// Most memory, in bytes.
    pub(super) memory: Option<u64>,
    /// Longest line, in bytes.
    pub(super) output: usize,
    /// The method that tells whether it is well.
    pub(super) health: Option<ServiceName>,
    /// How often it is asked.
    pub(super) interval: Duration,
    /// Where it runs.
    pub(super) dir: PathBuf,
    /// What is added to its environment.
    pub(super) env: BTreeMap<String, String>,
}

impl Manifest {
    /// Reads a manifest. The error names file, key and what was expected.
    pub(super) fn read(file: &Path, text: &str) -> Result<Manifest, String> {
        Manifest::parse(file, text).map_err(|error| format!("{}: {error}", file.display()))
    }

    fn parse(file: &Path, text: &str) -> Result<Manifest, String> {
        let mut keys = Keys(text.parse::<Table>().map_err(|error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            format!("line {line} is no TOML: {}", error.message())
        })?);
        let beside = file.parent().unwrap_or(Path::new("."));
        let is_name = "a name of 1 to 64 letters, digits, _ and -";
        let name =
            keys.take("name", is_name, |value| ServiceName::new(value.as_str()?))?.ok_or(missing("name", is_name))?;
        let is_command = "a list of texts, the program first";
        let command = keys.take("command", is_command, texts)?.ok_or(missing("command", is_command))?;
        if command.first().is_none_or(String::is_empty) || command.iter().any(|word| word.contains('\0')) {
            return Err(format!("`command` is {command:?}; expected {is_command}"));
        }
        let is_methods = format!("a list of 1 to {MAX_METHODS} names");
        let methods = keys.take("methods", &is_methods, names)?.ok_or(missing("methods", &is_methods))?;
        if methods.is_empty() || methods.len() > MAX_METHODS {
            return Err(format!("`methods` has {} names; expected {is_methods}", methods.len()));
        }
        let idempotent = keys.take("idempotent", "a list of names", names)?.unwrap_or_default();
        if let Some(method) = idempotent.iter().find(|method| !methods.contains(method)) {
            return Err(format!("`idempotent` has {method}; expected only names that `methods` has"));
        }
        let concurrency = keys.take("concurrency", "1 to 1024", |value| number(value, 1, 1024))?.unwrap_or(1);
        let is_time = "a time from 1 ms to 24 h, such as \"10s\"";
        let (ms, second, hour) = (Duration::from_millis(1), Duration::from_secs(1), Duration::from_secs(3600));
        let timeout = keys.take("timeout", is_time, |value| time(value, ms, 24 * hour))?;
        let is_interval = "a time from 100 ms to 1 h, such as \"10s\"";
        let interval = keys.take("interval", is_interval, |value| time(value, 100 * ms, hour))?.unwrap_or(10 * second);
        let memory =
            keys.take("memory", "a size from 1 MiB, such as \"256MiB\"", |value| size(value, 1 << 20, 1 << 50))?;
        let output = keys.take("output", "a size from 1 KiB to 1 MiB", |value| size(value, 1 << 10, 1 << 20))?;
        let is_health = "a method, or \"none\"";
        let health = keys.take("health", is_health, |value| ServiceName::new(value.as_str()?))?;
        let health = health.filter(|method| method.as_str() != "none");
        let dir = keys.take("dir", "a directory", |value| Some(beside.join(value.as_str()?)))?;
        let env = keys.take("env", "a table of texts", variables)?.unwrap_or_default();
        if let Some(key) = keys.0.keys().next() {
            let known =
                "name, command, methods, idempotent, concurrency, timeout, memory, output, health, interval, dir, env";
            return Err(format!("`{key}` is no key of a manifest; expected {known}"));
        }
        let output = output.map_or(OUTPUT, |bytes| bytes as usize);
        let dir = dir.unwrap_or_else(|| beside.to_owned());
        let (offer, file) = (ServiceOffer { name, methods, idempotent }, file.to_owned());
        Ok(Manifest { file, offer, command, concurrency, timeout, memory, output, health, interval, dir, env })
    }

    /// The command, with pipes to all its ends.
    pub(super) fn command(&self) -> Command {
        let (program, arguments) = self.command.split_first().expect("a manifest has a command");
        let mut command = Command::new(self.place_of(program));
        command.args(arguments).current_dir(&self.dir).envs(&self.env);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Where the program is: beside the manifest, or left to PATH.
    fn place_of(&self, program: &str) -> PathBuf {
        if !program.contains(['/', std::path::MAIN_SEPARATOR]) {
            return PathBuf::from(program);
        }
        let beside = self.file.parent().unwrap_or(Path::new(".")).join(program);
        // A relative place would be looked for in `dir`, on some systems.
        std::path::absolute(&beside).unwrap_or(beside)
    }

    /// The files that make up the program, as far as the command names them: its arguments may be scripts.
    pub(super) fn files(&self) -> impl Iterator<Item = PathBuf> {
        let named = self.command.iter().skip(1).map(|word| self.dir.join(word));
        let program = self.command.first().map(|program| self.place_of(program));
        program.into_iter().chain(named).filter(|path| path.is_file())
    }
}

/// The keys that were not read yet.
struct Keys(Table);

impl Keys {
    /// Reads a key. `None` where it is not there; the error says what it is and what was expected.
    fn take<T>(&mut self, key: &str, expected: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Option<T>, String> {
        let Some(value) = self.0.remove(key) else { return Ok(None) };
        match read(&value) {
            Some(read) => Ok(Some(read)),
            None => Err(format!("`{key}` is {}; expected {expected}", value.to_string().trim())),
        }
    }
}

fn missing(key: &str, expected: &str) -> String {
    format!("`{key}` is missing; expected {expected}")
}

fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|value| value.as_str().map(str::to_owned)).collect()
}

fn names(value: &Value) -> Option<Vec<ServiceName>> {
    value.as_array()?.iter().map(|value| ServiceName::new(value.as_str()?)).collect()
}

fn variables(value: &Value) -> Option<BTreeMap<String, String>> {
    let is_name = |name: &str| !name.is_empty() && !name.contains(['=', '\0']);
    let pair = |(name, value): (&String, &Value)| {
        let value = value.as_str().filter(|value| is_name(name) && !value.contains('\0'))?;
        Some((name.clone(), value.to_owned()))
    };
    value.as_table()?.iter().map(pair).collect()
}

fn number(value: &Value, least: usize, most: usize) -> Option<usize> {
    usize::try_from(value.as_integer()?).ok().filter(|number| (least..=most).contains(number))
}

/// A number and a unit behind it, such as `10s`.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn time(value: &Value, least: Duration, most: Duration) -> Option<Duration> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("min", 60_000), ("h", 3_600_000)];
    let time = match value {
        Value::Integer(seconds) => Duration::from_secs(u64::try_from(*seconds).ok()?),
        value => Duration::from_millis(with_unit(value.as_str()?, &units)?),
    };
    Some(time).filter(|time| (least..=most).contains(time))
}

fn size(value: &Value, least: u64, most: u64) -> Option<u64> {
    let units = [("", 1), ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let bytes = match value {
        Value::Integer(bytes) => u64::try_from(*bytes).ok()?,
        value => with_unit(value.as_str()?, &units)?,
    };
    Some(bytes).filter(|bytes| (least..=most).contains(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "name = \"n\"\ncommand = [\"./run\"]\nmethods = [\"a\", \"b\"]\n";

    fn read(text: &str) -> Result<Manifest, String> {
        Manifest::read(Path::new("/services/n.toml"), text)
    }

    #[test]
    fn the_least_manifest_has_the_defaults_of_the_help() {
        let manifest = read(LEAST).unwrap();
        assert_eq!((manifest.concurrency, manifest.timeout, manifest.memory, manifest.output), (1, None, None, 65536));
        assert_eq!((manifest.health.as_ref(), manifest.interval), (None, Duration::from_secs(10)));
        assert_eq!(manifest.dir, Path::new("/services"));
        assert_eq!(manifest.command().get_program(), "/services/run");
        assert_eq!(read(&LEAST.replace("./run", "python3")).unwrap().command().get_program(), "python3");
    }

    #[test]
    fn everything_can_be_said() {
        let rest = "idempotent = [\"a\"]\nconcurrency = 4\ntimeout = \"1500ms\"\nmemory = \"256 MiB\"\noutput = 2048\n\
                    health = \"b\"\ninterval = 5\ndir = \"work\"\n[env]\nA = \"b\"\n";
        let manifest = read(&format!("{LEAST}{rest}")).unwrap();
        assert_eq!(manifest.offer.idempotent, [ServiceName::new("a").unwrap()]);
        assert_eq!((manifest.concurrency, manifest.timeout), (4, Some(Duration::from_millis(1500))));
        assert_eq!((manifest.memory, manifest.output), (Some(256 << 20), 2048));
        assert_eq!((manifest.health, manifest.interval), (ServiceName::new("b"), Duration::from_secs(5)));
        assert_eq!((manifest.dir.as_path(), manifest.env["A"].as_str()), (Path::new("/services/work"), "b"));
        assert_eq!(read(&format!("{LEAST}health = \"none\"")).unwrap().health, None);
    }

    #[test]
    fn every_error_names_the_file_the_key_and_what_was_expected() {
        for (line, part) in [
            ("concurrency = 0", "`concurrency` is 0; expected 1 to 1024"),
            ("timeout = \"soon\"", "`timeout` is \"soon\"; expected a time from 1 ms to 24 h"),
            ("timeout = -1", "`timeout` is -1"),
            ("interval = \"1ms\"", "`interval` is \"1ms\"; expected a time from 100 ms"),
            ("memory = \"1KiB\"", "`memory` is \"1KiB\"; expected a size from 1 MiB"),
            ("memory = \"99999999999999999999GiB\"", "`memory` is"),
            ("output = \"2MiB\"", "`output` is \"2MiB\"; expected a size from 1 KiB to 1 MiB"),
            ("idempotent = [\"c\"]", "`idempotent` has c; expected only names that `methods` has"),
            ("health = 1", "`health` is 1; expected a method"),
            ("dir = 1", "`dir` is 1; expected a directory"),
            ("env = { A = 1 }", "`env` is { A = 1 }; expected a table of texts"),
            ("metods = []", "`metods` is no key of a manifest; expected name, command"),
            ("x = [", "line 4 is no TOML: "),
        ] {
            let error = read(&format!("{LEAST}{line}\n")).unwrap_err();
            assert!(error.starts_with("/services/n.toml: ") && error.contains(part), "{line}: {error}");
        }
        for (from, to, part) in [
            ("name = \"n\"\n", "", "`name` is missing; expected a name"),
            ("\"n\"", "\"a b\"", "`name` is \"a b\"; expected a name"),
            ("[\"./run\"]", "[]", "`command` is []; expected a list of texts"),
            ("[\"./run\"]", "\"./run\"", "`command` is \"./run\"; expected a list"),
            ("[\"a\", \"b\"]", "[]", "`methods` has 0 names; expected a list of 1 to 64"),
            ("[\"a\", \"b\"]", "[\"\"]", "`methods` is [\"\"]; expected"),
        ] {
            let error = read(&LEAST.replace(from, to)).unwrap_err();
            assert!(error.contains(part), "{to}: {error}");
        }
    }

    #[test]
    fn the_help_names_every_key() {
        let error = read(&format!("{LEAST}x = 1")).unwrap_err();
        let keys = error.split_once("expected ").unwrap().1;
        for key in keys.split(", ") {
            assert!(manifest_help().contains(key), "{key}");
        }
    }
}
