//! The live table, in a real pseudo-terminal.
#![cfg(target_os = "linux")]

mod support;

use std::process::Command;

use support::NodeProcess;
use support::ports::free_port;
use support::process::command;
use support::screen::Screen;
use support::terminal::Terminal;
use support::{wait_for, wait_until};

const HEIGHT: u16 = 24;
const FAST: [&str; 4] = ["--interval", "0.2", "--timeout", "2"];

/// A node that shows the live table, and its peer.
struct Shown {
    terminal: Terminal,
    peer: NodeProcess,
}

impl Shown {
    /// Starts both, and waits until the table shows the peer ALIVE.
    fn start(width: u16, more: impl FnOnce(&mut Command)) -> Shown {
        let peer = NodeProcess::start(&FAST);
        let (port, address) = (free_port().to_string(), peer.address());
        let args = [&FAST[..], &["--port", &port, "--peer", &address, "--ephemeral"]].concat();
        let mut command = command(args);
        command.env("TERM", "xterm").env_remove("NO_COLOR");
        more(&mut command);
        let shown = Shown { terminal: Terminal::start(&command, width, HEIGHT), peer };
        shown.wait_status("ALIVE");
        shown
    }

    /// The screen once the table shows the peer with this status.
    fn wait_status(&self, status: &str) -> Screen {
        wait_for(&format!("the table to show {status}"), || {
            let screen = self.terminal.screen();
            let rows = screen.rows();
            let table = Table::find(&rows)?;
            (table.peers.len() == 1 && table.cell(0, "STATUS") == status).then_some(screen)
        })
    }

    /// Waits until the table was drawn so many times more.
    fn wait_drawings(&self, count: usize) -> Screen {
        let wanted = self.terminal.screen().moves_up + count;
        wait_until("the table to be drawn again", || self.terminal.screen().moves_up >= wanted);
        self.terminal.screen()
    }
}

/// The table at the end of a screen.
struct Table<'a> {
    /// Index of the row of titles.
    at: usize,
    titles: &'a str,
    /// The rows below.
    peers: Vec<&'a str>,
}

impl<'a> Table<'a> {
    /// The last table, if the rows below its titles are complete: the cursor stands below them.
    fn find(rows: &'a [String]) -> Option<Table<'a>> {
        let at = rows.iter().rposition(|row| row.contains("NAME/ID"))?;
        let peers = rows[at + 1..].iter().map(String::as_str).take_while(|row| !row.is_empty()).collect();
        Some(Table { at, titles: &rows[at], peers })
    }

    /// The word in a row that begins in the column where this title begins.
    fn cell(&self, peer: usize, title: &str) -> &'a str {
        let start = self.titles.find(title).unwrap_or_else(|| panic!("no title {title} in `{}`", self.titles));
        let mut letters = self.peers[peer].char_indices().skip(self.titles[..start].chars().count());
        let from = letters.next().map_or("", |(from, _)| &self.peers[peer][from..]);
        from.split(' ').next().unwrap_or_default()
    }
}

/// How many tables stand: a redraw that missed its place leaves a second one.
fn tables(screen: &Screen) -> usize {
    screen.rows().iter().filter(|row| row.contains("NAME/ID")).count()
}

#[test]
fn the_table_is_aligned_and_redrawn_in_place_with_the_log_above() {
    let shown = Shown::start(120, |_| {});
    let screen = shown.wait_drawings(10);
    let rows = screen.rows();
    let table = Table::find(&rows).expect("it was drawn");
    assert_eq!(table.cell(0, "ADDRESS"), shown.peer.address(), "{rows:#?}");
    assert_eq!(table.cell(0, "NAME/ID"), &shown.peer.server_id()[..8], "{rows:#?}");
    assert_eq!(tables(&screen), 1, "{rows:#?}");
    let event = format!("] ALIVE {}", shown.peer.address());
    let log = rows.iter().position(|row| row.contains(&event)).expect("the event is in the log");
    assert!(log < table.at, "the log stands above the table: {rows:#?}");
    assert!(screen.styles > 0, "a status has a colour");
    assert_eq!(screen.lost, "");
}

#[test]
fn a_killed_peer_is_timeout_in_the_table_and_in_the_log_above() {
    let mut shown = Shown::start(120, |_| {});
    shown.peer.process.kill();
    shown.wait_status("TIMEOUT");
    let event = format!("] TIMEOUT {}", shown.peer.address());
    wait_until("the event in the log, above the one table", || {
        let screen = shown.terminal.screen();
        let rows = screen.rows();
        let log = rows.iter().position(|row| row.contains(&event));
        let table = Table::find(&rows);
        log.zip(table).is_some_and(|(log, table)| log < table.at) && tables(&screen) == 1
    });
}

#[test]
fn nothing_is_wider_than_a_narrow_terminal() {
    let shown = Shown::start(40, |_| {});
    let screen = shown.wait_drawings(10);
    let rows = screen.rows();
    assert_eq!(screen.lost, "", "lines of the table are cut to the width: {rows:#?}");
    assert_eq!(tables(&screen), 1, "{rows:#?}");
    let table = Table::find(&rows).expect("it was drawn");
    assert_eq!(table.cell(0, "STATUS"), "ALIVE", "{rows:#?}");
}

#[test]
fn no_color_means_no_colour() {
    let shown = Shown::start(80, |command| {
        command.env("NO_COLOR", "1");
    });
    let screen = shown.wait_drawings(5);
    assert_eq!(screen.styles, 0);
}

#[test]
fn ctrl_c_leaves_the_cursor_on_a_fresh_line_and_ends_with_zero() {
    let mut shown = Shown::start(100, |_| {});
    shown.terminal.press(b"\x03");
    let status = shown.terminal.wait();
    assert_eq!(status.code(), Some(0));
    let screen = shown.terminal.screen();
    let rows = screen.rows();
    let (row, column) = screen.cursor();
    assert_eq!((row, column), (rows.len() - 1, 0), "{rows:#?}");
    assert_eq!(rows[row], "", "the line of the cursor is fresh: {rows:#?}");
    assert!(screen.wraps, "the terminal wraps again");
    assert_eq!(tables(&screen), 1, "{rows:#?}");
    assert!(rows.iter().any(|row| row.contains("STOPPING")), "{rows:#?}");
}
