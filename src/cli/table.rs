//! Aligned tables that fit the terminal: narrow ones lose columns, then parts of cells; no line wraps.

use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Row, Table, presets};

use super::view::View;
use crate::core::GroupStanding;
use crate::wire::{GroupRole, LoadReport, NodeEntry, Status};

/// How much room there is, and whether colours are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Columns of the terminal.
    pub(super) width: u16,
    /// Rows of the terminal.
    pub(super) height: u16,
    /// Whether statuses are coloured.
    pub(super) colour: bool,
}

/// Columns and rows of the terminal; the usual 80 and 24 where it does not tell.
pub(super) fn terminal_size() -> (u16, u16) {
    terminal_size::terminal_size().map_or((80, 24), |(width, height)| (width.0, height.0))
}

/// One peer, ready to be shown; empty where something is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PeerRow {
    /// In the order of [`TITLES`].
    pub(super) cells: [String; 10],
}

/// The titles of the columns.
pub(super) const TITLES: [&str; 10] =
    ["NAME/ID", "ADDRESS", "ROLE", "STATUS", "SEEN", "RTT", "CPU", "PENDING", "SCORE", "LEARNT"];

/// The colour of a cell.
type Colouring = fn(&str) -> Color;

/// The columns of a table.
pub(super) struct Columns {
    /// Their titles.
    pub(super) titles: &'static [&'static str],
    /// Indexes of those that hold numbers.
    pub(super) numbers: &'static [usize],
    /// Indexes in the order in which a narrow terminal loses them.
    pub(super) dispensable: &'static [usize],
    /// The one that is coloured, and how.
    pub(super) coloured: Option<(usize, Colouring)>,
}

/// The columns of a table of peers.
const PEERS: Columns = Columns {
    titles: &TITLES,
    numbers: &[4, 5, 6, 7, 8],
    dispensable: &[9, 2, 8, 7, 5, 6, 4],
    coloured: Some((3, colour)),
};

impl PeerRow {
    /// The row of an entry whose ages have grown by `since`.
    pub(super) fn of(entry: &NodeEntry, since: Duration) -> PeerRow {
        let load = entry.load.as_ref();
        PeerRow {
            cells: [
                name_and_id(entry.name.as_deref(), entry.server_id.as_ref().map(|id| id.short())),
                entry.address.to_string(),
                entry.role.map(|role| role_text(role.as_str(), entry.leads)).unwrap_or_default(),
                entry.status.as_str().to_owned(),
                entry.last_seen.map(|age| age_text(age + since)).unwrap_or_default(),
                entry.rtt.map(|rtt| millis_text(crate::time::micros(rtt) as f64 / 1000.0)).unwrap_or_default(),
                load.map(|load| format!("{:.1} %", load.cpu.get() as f64 / 10.0)).unwrap_or_default(),
                load.map(|load| load.pending.to_string()).unwrap_or_default(),
                entry.score.map(|score| format!("{:.1}", score.0 as f64 / 1000.0)).unwrap_or_default(),
                entry.learnt.as_str().to_owned(),
            ],
        }
    }
}

/// `beta 2f1e0000`, or whichever of the two is known; the id alone where it is the name.
pub(super) fn name_and_id(name: Option<&str>, short: Option<&str>) -> String {
    match (name, short) {
        (Some(name), Some(short)) if name != short => format!("{name} {short}"),
        (name, short) => name.or(short).unwrap_or_default().to_owned(),
    }
}

/// `master`, or `master, leads`.
pub(super) fn role_text(role: &str, leads: bool) -> String {
    if leads { format!("{role}, leads") } else { role.to_owned() }
}

/// `1.2 s`, `12 min`, `3 h`, `2 d`.
pub(super) fn age_text(age: Duration) -> String {
    match age.as_secs() {
        0..60 => format!("{:.1} s", age.as_millis() as f64 / 1000.0),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// `640 B`, `12.5 KiB`, `1.0 GiB`.
pub(super) fn bytes_text(bytes: u64) -> String {
    let mut amount = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if amount < 1024.0 {
            break;
        }
        (amount, unit) = (amount / 1024.0, next);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{amount:.1} {unit}") }
}

/// The room of a listing that may be as long as it likes: as wide as the terminal, endless in a pipe.
pub(super) fn listing_room(terminal: bool, colour: bool) -> Room {
    Room { width: if terminal { terminal_size().0 } else { u16::MAX }, height: u16::MAX, colour }
}

/// `0.42 ms`, `120 ms`.
pub(super) fn millis_text(millis: f64) -> String {
    if millis < 100.0 { format!("{millis:.2} ms") } else { format!("{millis:.0} ms") }
}

/// The live table of a node: a line about itself, the titles, a line for each peer, at most `room.height - 1` lines.
pub(super) fn live(view: &View, address: &str, room: Room) -> Vec<String> {
    let since = view.taken.elapsed();
    let rows: Vec<PeerRow> = view.nodes.iter().map(|entry| PeerRow::of(entry, since)).collect();
    let mut lines = vec![fit(&header(view, address), room.width)];
    // The cursor needs a row below; what is left out needs one to say so.
    let space = usize::from(room.height).saturating_sub(3).max(1);
    if rows.len() <= space {
        lines.extend(peers(&rows, room));
    } else {
        let shown = space.saturating_sub(1).max(1);
        lines.extend(peers(&rows[..shown], room));
        lines.push(fit(&format!("… and {} more", rows.len() - shown), room.width));
    }
    lines
}

fn header(view: &View, address: &str) -> String {
    let own = &view.load;
    let who = name_and_id(Some(&view.identity.name), Some(view.identity.server_id.short()));
    let group = view.group.map(|group| format!("  {}", group_text(group))).unwrap_or_default();
    let mut text = format!("{who}  {address}{group}  {}", load_text(&own.load));
    if own.load.saturated {
        text += "  SATURATED";
    }
    if own.hot {
        text += "  HOT";
    }
    text
}

/// `leads at term 4`.
fn group_text(group: GroupStanding) -> String {
    let does = match group.role {
        GroupRole::Leader => "leads",
        GroupRole::Follower => "follows",
        GroupRole::Candidate => "stands",
        GroupRole::Learner => "learns",
        GroupRole::None => return "no group".to_owned(),
    };
    format!("{does} at term {}", group.term)
}

fn load_text(load: &LoadReport) -> String {
    format!(
        "CPU {:.1} %  memory {:.1} %  pending {}  running {}  workers {}",
        load.cpu.get() as f64 / 10.0,
        load.memory.get() as f64 / 10.0,
        load.pending,
        load.running,
        load.workers
    )
}

/// The titles and a line for each row, none wider than `room.width`.
pub(super) fn peers(rows: &[PeerRow], room: Room) -> Vec<String> {
    if rows.is_empty() {
        return vec![fit("no peers yet: name one with --peer HOST:PORT, or let one call", room.width)];
    }
    let cells: Vec<&[String]> = rows.iter().map(|row| row.cells.as_slice()).collect();
    grid(&PEERS, &cells, room)
}

/// The titles and a line for each row, none wider than `room.width`. Each row has a cell for each title.
pub(super) fn grid(table: &Columns, rows: &[&[String]], room: Room) -> Vec<String> {
    let mut columns: Vec<usize> = (0..table.titles.len()).collect();
    let mut dispensable = table.dispensable.iter();
    loop {
        let mut table = build(table, rows, &columns, room);
        let widths = table.column_max_content_widths();
        let needed: usize = widths.iter().map(|width| usize::from(*width) + GAP).sum();
        if needed <= usize::from(room.width) + GAP {
            return table.lines().collect();
        }
        match dispensable.next() {
            Some(column) => columns.retain(|kept| kept != column),
            None => {
                table.set_width(room.width.max(MIN_WIDTH)).set_content_arrangement(ContentArrangement::Dynamic);
                return table.lines().collect();
            }
        }
    }
}

/// Blanks between two columns.
const GAP: usize = 2;

/// Below this, cells have no room for a single letter each.
const MIN_WIDTH: u16 = 16;

fn build(definition: &Columns, rows: &[&[String]], columns: &[usize], room: Room) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_truncation_indicator("…");
    table.force_no_tty();
    if room.colour {
        table.enforce_styling();
    }
    let mut titles = Row::from(columns.iter().map(|column| Cell::new(definition.titles[*column])).collect::<Vec<_>>());
    titles.max_height(1);
    table.set_header(titles);
    for row in rows {
        let cells = columns.iter().map(|column| {
            let cell = Cell::new(&row[*column]);
            match definition.coloured {
                Some((coloured, colour)) if room.colour && coloured == *column => cell.fg(colour(&row[*column])),
                _ => cell,
            }
        });
        let mut line = Row::from(cells.collect::<Vec<_>>());
        line.max_height(1);
        table.add_row(line);
    }
    for (at, column) in columns.iter().enumerate() {
        let padded = table.column_mut(at).expect("every column has a title");
        padded.set_padding((0, if at + 1 == columns.len() { 0 } else { GAP as u16 }));
        if definition.numbers.contains(column) {
            padded.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn colour(status: &str) -> Color {
    match Status::parse(status) {
        Some(Status::Alive) => Color::Green,
        Some(Status::Timeout) => Color::Red,
        Some(Status::Left) => Color::DarkGrey,
        Some(Status::Unknown) | None => Color::Yellow,
    }
}

/// `text`, cut to `width` characters.
pub(super) fn fit(text: &str, width: u16) -> String {
    let width = usize::from(width);
    match text.char_indices().nth(width) {
        None => text.to_owned(),
        Some(_) if width == 0 => String::new(),
        Some(_) => text.chars().take(width - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::{entry, view};
    use super::*;

    const ROOM: Room = Room { width: 120, height: 24, colour: false };

    fn many(count: usize) -> View {
        let peer = |n: usize| entry(&format!("2f1e{n:04}-long-id"), &format!("host-{n}.lab:9102"), Status::Alive);
        view((0..count).map(peer).collect())
    }

    #[test]
    fn the_table_tells_who_where_and_how() {
        let lines = live(&many(1), "127.0.0.1:9101", ROOM);
        assert_eq!(
            lines[0],
            "alpha ab12cd34  127.0.0.1:9101  follows at term 4  CPU 12.3 %  memory 0.0 %  pending 7  running 0  workers 0"
        );
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&lines[1]), TITLES);
        assert_eq!(
            words(&lines[2]).join(" "),
            "beta 2f1e0000 host-0.lab:9102 master ALIVE 1.5 s 0.42 ms 0.0 % 0 0.1 configured"
        );
        let mut leader = many(1);
        leader.nodes[0].leads = true;
        assert!(live(&leader, "x", ROOM)[2].contains("master, leads"));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_none_is_split() {
        for width in 16..140 {
            let lines = live(&many(3), "127.0.0.1:9101", Room { width, ..ROOM });
            assert_eq!(lines.len(), 5, "at {width}: {lines:#?}");
            for line in &lines {
                assert!(line.chars().count() <= usize::from(width), "at {width}: {line:?}");
            }
        }
    }

    #[test]
    fn a_narrow_terminal_keeps_name_address_and_status() {
        let lines = live(&many(1), "127.0.0.1:9101", Room { width: 60, ..ROOM });
        for kept in ["NAME/ID", "ADDRESS", "STATUS", "SEEN"] {
            assert!(lines[1].contains(kept), "{kept}: {}", lines[1]);
        }
        assert!(!lines[1].contains("LEARNT"));
    }

    #[test]
    fn a_low_terminal_says_how_many_peers_it_leaves_out() {
        let lines = live(&many(50), "127.0.0.1:9101", Room { height: 10, ..ROOM });
        assert_eq!(lines.len(), 9);
        assert_eq!(lines.last().unwrap(), "… and 44 more");
        assert_eq!(live(&many(7), "x", Room { height: 10, ..ROOM }).len(), 9, "seven peers fit without a word");
    }

    #[test]
    fn colours_come_only_when_wanted() {
        let has_colour = |colour| live(&many(1), "x", Room { colour, ..ROOM }).concat().contains('\u{1b}');
        assert!(has_colour(true) && !has_colour(false));
    }

    #[test]
    fn without_peers_the_table_says_how_to_get_one() {
        assert!(live(&many(0), "x", ROOM)[1].contains("--peer HOST:PORT"));
    }

    #[test]
    fn bytes_have_the_unit_that_suits_them() {
        let texts = [0, 1023, 1024, 12_800, 1 << 30, u64::MAX].map(bytes_text);
        assert_eq!(texts, ["0 B", "1023 B", "1.0 KiB", "12.5 KiB", "1.0 GiB", "16777216.0 TiB"]);
    }

    #[test]
    fn ages_have_the_unit_that_suits_them() {
        let text = |seconds: f64| age_text(Duration::from_secs_f64(seconds));
        assert_eq!(text(1.25), "1.2 s");
        assert_eq!(text(90.0), "1 min");
        assert_eq!(text(10_800.0), "3 h");
        assert_eq!(text(400_000.0), "4 d");
    }
}
