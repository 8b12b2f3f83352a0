//! What the console thread does with standard output and standard error.

use std::io::Write;
use std::time::Duration;

use super::table::{self, Room};
use super::view::{self, View};

/// The form of the registry on standard output, decided once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The seed's line.
    Text,
    /// JSON lines.
    Json,
    /// A table. `live`: redrawn in place on a terminal, with log lines scrolling above it.
    Table {
        /// Whether standard output is a terminal that can be drawn on.
        live: bool,
        /// Whether standard error goes to the same terminal, so that its lines would cut the table.
        shared: bool,
    },
}

/// Something to show.
#[derive(Debug)]
pub(super) enum Item {
    /// A whole line, newline included, for standard output.
    Out(String),
    /// Whole lines for standard error.
    Log(Vec<u8>),
    /// The registry.
    Registry(Box<View>),
    /// Time has passed: ages on a live table go on.
    Refresh,
}

/// Standard output and standard error, with what stands on them.
///
/// A stream that fails (a closed pipe, a full disk) is written to no more; the node runs on.
pub(super) struct Screen<O, E> {
    form: Form,
    /// Where this node listens, for the head of the table.
    address: String,
    out: Option<O>,
    err: Option<E>,
    /// Asks for the size of the terminal, which may change at any time.
    room: Box<dyn Fn() -> Room + Send>,
    latest: Option<View>,
    /// Lines of the live table that stand above the cursor.
    drawn: usize,
}

impl<O: Write, E: Write> Screen<O, E> {
    /// A screen on which nothing stands yet.
    pub(super) fn new(
        form: Form,
        address: String,
        out: O,
        err: E,
        room: impl Fn() -> Room + Send + 'static,
    ) -> Screen<O, E> {
        Screen { form, address, out: Some(out), err: Some(err), room: Box::new(room), latest: None, drawn: 0 }
    }

    /// Shows one item.
    pub(super) fn show(&mut self, item: Item) {
        match item {
            Item::Out(line) => self.above(|screen| screen.write_out(line.as_bytes()), true),
            Item::Log(lines) => {
                let shared = matches!(self.form, Form::Table { shared: true, .. });
                self.above(|screen| screen.write_err(&lines), shared);
            }
            Item::Registry(view) => match self.form {
                Form::Text => self.write_out(format!("{}\n", view::text_line(&view)).as_bytes()),
                Form::Json => self.write_out(format!("{}\n", view::json_line(&view)).as_bytes()),
                Form::Table { live: false, .. } => {
                    let lines = table::live(&view, &self.address, Room { height: u16::MAX, ..(self.room)() });
                    self.write_out(format!("{}\n\n", lines.join("\n")).as_bytes());
                }
                Form::Table { live: true, .. } => {
                    self.latest = Some(*view);
                    self.redraw();
                }
            },
            Item::Refresh => self.redraw(),
        }
    }

    /// Says that so many items were dropped because the streams are read too slowly.
    pub(super) fn dropped(&mut self, count: u64) {
        let line = format!("{count} lines were left out: standard output or standard error is read too slowly\n");
        self.show(Item::Log(line.into_bytes()));
    }

    /// Whether the table is drawn anew as time passes.
    pub(super) fn wants_refresh(&self) -> bool {
        self.drawn > 0
    }

    /// Writes where the table stands, and the table below it again.
    fn above(&mut self, write: impl FnOnce(&mut Self), cuts_the_table: bool) {
        let drawn = self.drawn > 0 && cuts_the_table;
        if drawn {
            self.erase();
        }
        write(self);
        if drawn {
            self.redraw();
        }
    }

    fn erase(&mut self) {
        let up = self.drawn;
        self.drawn = 0;
        self.write_out(format!("\x1b[{up}A\r\x1b[J").as_bytes());
    }

    fn redraw(&mut self) {
        let Some(view) = &self.latest else { return };
        let lines = table::live(view, &self.address, (self.room)());
        // One write, so that the terminal shows no table half drawn. Wrapping is off meanwhile: the count of lines
        // must be right for the next erasure, even where the terminal was made narrower just now.
        let up = if self.drawn > 0 { format!("\x1b[{}A\r", self.drawn) } else { String::new() };
        self.drawn = lines.len();
        let text = format!("{up}\x1b[?7l\x1b[J{}\n\x1b[?7h", lines.join("\n"));
        self.write_out(text.as_bytes());
    }

    fn write_out(&mut self, bytes: &[u8]) {
        if let Some(out) = &mut self.out
            && out.write_all(bytes).and_then(|()| out.flush()).is_err()
        {
            self.out = None;
        }
    }

    fn write_err(&mut self, bytes: &[u8]) {
        if let Some(err) = &mut self.err
            && err.write_all(bytes).and_then(|()| err.flush()).is_err()
        {
            self.err = None;
        }
    }
}

/// How often a live table is drawn anew when nothing happens.
pub(super) const REFRESH: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::super::view::tests::{entry, view};
    use super::*;
    use crate::wire::Status;
    use std::io;

    const ROOM: Room = Room { width: 80, height: 24, colour: false };

    fn shown(form: Form, items: Vec<Item>) -> (String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut screen = Screen::new(form, "127.0.0.1:9101".to_owned(), &mut out, &mut err, || ROOM);
        items.into_iter().for_each(|item| screen.show(item));
        drop(screen);
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    fn registry() -> Item {
        Item::Registry(Box::new(view(vec![entry("S1", "127.0.0.1:9102", Status::Alive)])))
    }

    #[test]
    fn text_and_json_are_one_line_each() {
        for (form, start) in [(Form::Text, "[ab12cd34] registry: {"), (Form::Json, "{\"event\":\"registry\"")] {
            let (out, err) = shown(form, vec![registry(), Item::Refresh, registry()]);
            assert_eq!(out.lines().count(), 2);
            assert!(out.lines().all(|line| line.starts_with(start)), "{out}");
            assert_eq!(err, "");
        }
    }

    #[test]
    fn a_live_table_is_redrawn_in_place_and_logs_scroll_above_it() {
        let form = Form::Table { live: true, shared: true };
        let (out, err) = shown(form, vec![registry(), registry(), Item::Log(b"a line\n".to_vec())]);
        // Three lines stand: head, titles, one peer. Up before the second drawing, and before the log line.
        assert_eq!(out.matches("\x1b[3A\r").count(), 2, "{out:?}");
        assert_eq!(out.matches("NAME/ID").count(), 3, "{out:?}");
        assert_eq!(err, "a line\n");
    }

    #[test]
    fn logs_that_go_elsewhere_leave_the_table_alone() {
        let form = Form::Table { live: true, shared: false };
        let (out, _) = shown(form, vec![registry(), Item::Log(b"a line\n".to_vec())]);
        assert_eq!(out.matches("NAME/ID").count(), 1, "{out:?}");
    }

    #[test]
    fn a_table_in_a_pipe_has_no_control_characters() {
        let form = Form::Table { live: false, shared: false };
        let (out, _) = shown(form, vec![registry(), Item::Refresh]);
        assert!(!out.contains('\x1b') && out.ends_with("\n\n"), "{out:?}");
    }

    #[test]
    fn a_closed_pipe_is_written_to_once() {
        struct Closed(usize);
        impl Write for &mut Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                self.0 += 1;
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (mut closed, mut err) = (Closed(0), Vec::new());
        let mut screen = Screen::new(Form::Text, String::new(), &mut closed, &mut err, || ROOM);
        screen.show(registry());
        screen.show(registry());
        screen.dropped(7);
        drop(screen);
        assert_eq!(closed.0, 1);
        assert!(String::from_utf8(err).unwrap().starts_with("7 lines were left out"));
    }
}
