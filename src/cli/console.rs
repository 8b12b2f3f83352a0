//! The console: one thread owns standard output and standard error, so that a terminal that is stopped or a pipe
//! that nobody reads never holds up the event loop.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::options::{LogLevel, Output};
use super::screen::{Form, Item, REFRESH, Screen};
use super::table::{Room, terminal_size};
use super::view::{self, Sightings, View};
use crate::core::{GroupStanding, Identity};
use crate::net::Watcher;
use crate::wire::{Event, LoadAnswer, NodeEntry};

/// Items that wait to be shown. A burst of a thousand peers that time out at once fits; more is noise.
const WAITING: usize = 4096;

/// How long the end waits for what is still to be shown.
const FLUSH_WITHIN: Duration = Duration::from_millis(300);

/// The short id that log lines carry, once it is known. One node a process.
static SHORT_ID: OnceLock<String> = OnceLock::new();

/// The sending end, shared by the watcher and the logger.
#[derive(Clone)]
struct Feed {
    items: Sender<Option<Item>>,
    dropped: Arc<AtomicU64>,
}

impl Feed {
    fn offer(&self, item: Item) {
        if self.items.try_send(Some(item)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The console of a running node.
pub(super) struct Console {
    feed: Feed,
    form: Form,
    sightings: Sightings,
    ended: Receiver<()>,
}

impl Console {
    /// Starts the thread and sends the log there. `address` is where the node listens.
    pub(super) fn start(output: Output, level: LogLevel, address: &str) -> io::Result<Console> {
        let form = form(output, io::stdout().is_terminal(), io::stderr().is_terminal(), ansi_works());
        let live = matches!(form, Form::Table { live: true, .. });
        let colour = live && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let room = move || {
            let (width, height) = if live { terminal_size() } else { (u16::MAX, u16::MAX) };
            Room { width, height, colour }
        };
        let screen = Screen::new(form, address.to_owned(), io::stdout(), io::stderr(), room);
        let console = Console::over(screen, form, WAITING)?;
        start_log(level, console.feed.clone());
        Ok(console)
    }

    fn over<O, E>(screen: Screen<O, E>, form: Form, waiting: usize) -> io::Result<Console>
    where
        O: Write + Send + 'static,
        E: Write + Send + 'static,
    {
        let (items, shown) = bounded(waiting);
        let (end, ended) = bounded(0);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        thread::Builder::new().name("console".to_owned()).spawn(move || {
            show_until_end(screen, &shown, &counter);
            // Wakes who waits for the end.
            drop(end);
        })?;
        Ok(Console { feed: Feed { items, dropped }, form, sightings: Sightings::default(), ended })
    }

    /// Tells that the node listens, and puts its id on every log line from here on.
    pub(super) fn announce(&self, identity: &Identity, address: &str) {
        let short = identity.server_id.short();
        // A second node in one process keeps the mark of the first; only tests do that.
        let _ = SHORT_ID.set(short.to_owned());
        let line = match self.form {
            Form::Json => format!("{}\n", view::listening_json(identity, address, view::unix_now())),
            Form::Text | Form::Table { .. } => format!("[{short}] Listening on {address}\n"),
        };
        self.feed.offer(Item::Out(line));
    }

    /// Shows what is outstanding, for at most 0.3 s, and ends the thread.
    pub(super) fn finish(self) {
        if self.feed.items.send_timeout(None, FLUSH_WITHIN).is_ok() {
            // Either it has ended, or the streams are not read: both are the end.
            let _: Result<(), RecvTimeoutError> = self.ended.recv_timeout(FLUSH_WITHIN);
        }
    }
}

impl Watcher for Console {
    fn registry(&mut self, identity: &Identity, load: &LoadAnswer, group: Option<GroupStanding>, nodes: &[NodeEntry]) {
        let unix = view::unix_now();
        self.feed.offer(Item::Registry(Box::new(View {
            identity: identity.clone(),
            load: load.clone(),
            group,
            nodes: nodes.to_vec(),
            seen: self.sightings.of(nodes, unix),
            taken: Instant::now(),
            unix,
        })));
    }

    fn event(&mut self, event: &Event) {
        match self.form {
            Form::Json => self.feed.offer(Item::Out(format!("{}\n", view::event_json(event, view::unix_now())))),
            Form::Text | Form::Table { .. } => log::info!("{}", view::event_text(event)),
        }
    }
}

fn show_until_end<O: Write, E: Write>(mut screen: Screen<O, E>, items: &Receiver<Option<Item>>, dropped: &AtomicU64) {
    loop {
        let received = match screen.wants_refresh() {
            true => items.recv_timeout(REFRESH),
            false => items.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match received {
            Ok(Some(item)) => screen.show(item),
            Err(RecvTimeoutError::Timeout) => screen.show(Item::Refresh),
            Ok(None) | Err(RecvTimeoutError::Disconnected) => return,
        }
        let count = dropped.swap(0, Ordering::Relaxed);
        if count > 0 {
            screen.dropped(count);
        }
    }
}

fn form(output: Output, out_is_terminal: bool, err_is_terminal: bool, ansi: bool) -> Form {
    let live = out_is_terminal && ansi;
    match output {
        Output::Json => Form::Json,
        Output::Text => Form::Text,
        Output::Auto if !live => Form::Text,
        Output::Auto | Output::Table => Form::Table { live, shared: live && err_is_terminal },
    }
}

/// Whether the terminal knows the escape sequences of the live table.
fn ansi_works() -> bool {
    // The old console of Windows knows none and sets none of these; newer terminals there do.
    let known = if cfg!(windows) { ["WT_SESSION", "TERM"].as_slice() } else { &["TERM"] };
    known.iter().filter_map(env::var_os).any(|value| !value.is_empty() && value != "dumb")
}

/// Sends the log to the console. Of libraries only warnings, save with `trace`.
fn start_log(level: LogLevel, feed: Feed) {
    use log::LevelFilter;
    let filter = match level {
        LogLevel::Off => LevelFilter::Off,
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
        LogLevel::Trace => LevelFilter::Trace,
    };
    let libraries = if level == LogLevel::Trace { filter } else { filter.min(LevelFilter::Warn) };
    // Fails only where a logger stands already, which a test may have set.
    let _: Result<(), log::SetLoggerError> = env_logger::Builder::new()
        .filter_level(libraries)
        .filter_module(env!("CARGO_PKG_NAME"), filter)
        .target(env_logger::Target::Pipe(Box::new(LogPipe(feed))))
        .write_style(env_logger::WriteStyle::Never)
        .format(|line, record| {
            let time = line.timestamp_millis();
            match SHORT_ID.get() {
                Some(id) => writeln!(line, "{time} {:<5} [{id}] {}", record.level(), record.args()),
                None => writeln!(line, "{time} {:<5} {}", record.level(), record.args()),
            }
        })
        .try_init();
}

/// Where the logger writes: each write is a whole record.
struct LogPipe(Feed);

impl Write for LogPipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.offer(Item::Log(bytes.to_vec()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::view;
    use super::*;
    use crate::wire::ServerId;
    use std::sync::{Condvar, Mutex};

    /// A stream that takes nothing until it is opened.
    #[derive(Clone, Default)]
    struct Gate(Arc<Inner>);

    #[derive(Default)]
    struct Inner {
        /// Whether it is open, and what was written.
        state: Mutex<(bool, Vec<u8>)>,
        opened: Condvar,
    }

    impl Gate {
        fn open(&self) {
            self.0.state.lock().unwrap().0 = true;
            self.0.opened.notify_all();
        }
        fn text(&self) -> String {
            String::from_utf8(self.0.state.lock().unwrap().1.clone()).unwrap()
        }
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0.opened.wait_while(self.0.state.lock().unwrap(), |state| !state.0).unwrap();
            state.1.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn console(gate: &Gate, waiting: usize) -> Console {
        let room = || Room { width: 80, height: 24, colour: false };
        let screen = Screen::new(Form::Text, String::new(), gate.clone(), gate.clone(), room);
        Console::over(screen, Form::Text, waiting).unwrap()
    }

    #[test]
    fn a_stream_that_nobody_reads_holds_up_neither_the_node_nor_its_end() {
        let gate = Gate::default();
        let mut stuck = console(&gate, 4);
        let view = view(vec![]);
        // Far more than fits: each call returns, or this test never ends.
        for _ in 0..1000 {
            stuck.registry(&view.identity, &view.load, view.group, &view.nodes);
        }
        stuck.finish();
        gate.open();
    }

    #[test]
    fn what_was_left_out_is_counted() {
        let gate = Gate::default();
        let mut slow = console(&gate, 4);
        let view = view(vec![]);
        for _ in 0..1000 {
            slow.registry(&view.identity, &view.load, view.group, &view.nodes);
        }
        gate.open();
        slow.finish();
        let text = gate.text();
        let shown = text.matches("registry").count();
        let left_out: usize =
            text.lines().filter_map(|line| line.split_once(" lines were left out")?.0.parse::<usize>().ok()).sum();
        assert!(shown >= 4 && left_out > 900, "{text}");
        assert_eq!(shown + left_out, 1000, "{text}");
    }

    #[test]
    fn the_node_announces_itself_in_the_seeds_words() {
        let gate = Gate::default();
        gate.open();
        let console = console(&gate, 4);
        let server_id = ServerId::new("ab12cd34-0000-4000-8000-000000000001").unwrap();
        console.announce(&Identity { server_id, name: "a".to_owned() }, "127.0.0.1:9101");
        console.finish();
        assert_eq!(gate.text(), "[ab12cd34] Listening on 127.0.0.1:9101\n");
    }

    #[test]
    fn the_form_follows_the_terminal_unless_it_is_asked_for() {
        assert_eq!(form(Output::Auto, true, true, true), Form::Table { live: true, shared: true });
        assert_eq!(form(Output::Auto, false, true, true), Form::Text);
        assert_eq!(form(Output::Auto, true, true, false), Form::Text);
        assert_eq!(form(Output::Table, false, true, true), Form::Table { live: false, shared: false });
        assert_eq!(form(Output::Json, true, true, true), Form::Json);
    }
}
