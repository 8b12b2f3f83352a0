//! What stands on a terminal after some bytes: a model of as much of one as the live table uses.

/// A terminal of a fixed size. Rows that scroll off the top are kept.
pub(crate) struct Screen {
    width: usize,
    height: usize,
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// Whether what goes beyond the last column continues on the next row.
    pub(crate) wraps: bool,
    /// Letters that went beyond the last column while wrapping was off: they are lost on a real terminal.
    pub(crate) lost: String,
    /// How often the cursor was moved up.
    pub(crate) moves_up: usize,
    /// How often a colour or another style was set.
    pub(crate) styles: usize,
}

impl Screen {
    /// An empty screen.
    pub(crate) fn new(width: usize, height: usize) -> Screen {
        Screen {
            width,
            height,
            rows: vec![Vec::new()],
            row: 0,
            column: 0,
            wraps: true,
            lost: String::new(),
            moves_up: 0,
            styles: 0,
        }
    }

    /// Writes `bytes`. A letter or a sequence that is not complete at their end is left out. Panics on a control
    /// sequence that the model does not know: then it cannot tell what stands.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let mut letters = text.trim_end_matches(char::REPLACEMENT_CHARACTER).chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\r' => self.column = 0,
                '\n' => self.down(),
                '\u{1b}' => {
                    let rest = letters.as_str();
                    let Some(end) = rest.find(|letter: char| letter.is_ascii_alphabetic()) else { return };
                    self.control(&rest[..=end]);
                    letters = rest[end + 1..].chars();
                }
                letter if letter.is_control() => panic!("the model does not know {letter:?}"),
                letter => self.put(letter),
            }
        }
    }

    fn control(&mut self, sequence: &str) {
        let body = sequence.strip_prefix('[');
        let body = body.unwrap_or_else(|| panic!("the model does not know ESC {sequence:?}"));
        let (parameter, command) = body.split_at(body.len() - 1);
        match (parameter, command) {
            ("?7", "h") => self.wraps = true,
            ("?7", "l") => self.wraps = false,
            ("" | "0", "J") => {
                self.rows.truncate(self.row + 1);
                self.rows[self.row].truncate(self.column);
            }
            (count, "A") => {
                let count = if count.is_empty() { 1 } else { count.parse().expect("the number of rows to go up") };
                // The cursor stops at the top: what has scrolled off cannot be reached.
                self.row = self.row.saturating_sub(count).max(self.top());
                self.moves_up += 1;
            }
            (_, "m") => self.styles += 1,
            _ => panic!("the model does not know ESC {sequence:?}"),
        }
    }

    /// The row at the top of the window.
    fn top(&self) -> usize {
        self.rows.len().saturating_sub(self.height)
    }

    fn down(&mut self) {
        self.row += 1;
        if self.row == self.rows.len() {
            self.rows.push(Vec::new());
        }
    }

    fn put(&mut self, letter: char) {
        if self.column == self.width {
            if !self.wraps {
                self.lost.push(letter);
                return;
            }
            self.down();
            self.column = 0;
        }
        let row = &mut self.rows[self.row];
        if row.len() <= self.column {
            row.resize(self.column + 1, ' ');
        }
        row[self.column] = letter;
        self.column += 1;
    }

    /// Every row so far, without blanks at its end.
    pub(crate) fn rows(&self) -> Vec<String> {
        self.rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned()).collect()
    }

    /// Index of the row that the cursor is on, and its column.
    pub(crate) fn cursor(&self) -> (usize, usize) {
        (self.row, self.column)
    }
}
