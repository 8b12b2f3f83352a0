//! A program in a pseudo-terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::screen::Screen;
use super::wait::wait_for;

/// A terminal of some size with a program in it, which is its foreground. Killed when dropped.
pub(crate) struct Terminal {
    child: Child,
    keyboard: File,
    written: Arc<Mutex<Vec<u8>>>,
    /// All that was written stands in `written`; nobody has the terminal open any more.
    reader: Option<thread::JoinHandle<()>>,
    size: (u16, u16),
}

impl Terminal {
    /// Starts `command` in a terminal of so many columns and rows. `setsid -c` gives the program the terminal as its
    /// own, so that Ctrl-C reaches it.
    pub(crate) fn start(command: &Command, width: u16, height: u16) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pseudo-terminal");
        grantpt(&master).expect("it is ours");
        unlockpt(&master).expect("it is ours");
        let name = ptsname(&master, Vec::new()).expect("it has a name");
        let slave = open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).expect("it opens");
        tcsetwinsize(&slave, Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 }).expect("any size");

        let mut session = Command::new("setsid");
        session.arg("-c").arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => session.env(key, value),
                None => session.env_remove(key),
            };
        }
        let copy = || slave.try_clone().expect("a descriptor can be copied");
        let child = session.stdin(copy()).stdout(copy()).stderr(copy()).spawn();
        let child = child.unwrap_or_else(|error| panic!("starting {session:?}: {error}"));

        let written = Arc::<Mutex<Vec<u8>>>::default();
        let reader = {
            let (written, display) = (Arc::clone(&written), master.try_clone().expect("a descriptor can be copied"));
            thread::spawn(move || read(display, &written))
        };
        Terminal { child, keyboard: File::from(master), written, reader: Some(reader), size: (width, height) }
    }

    /// Types.
    pub(crate) fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).expect("the terminal takes keys");
    }

    /// What stands on it now.
    pub(crate) fn screen(&self) -> Screen {
        let mut screen = Screen::new(usize::from(self.size.0), usize::from(self.size.1));
        screen.write(&self.written.lock().expect("no holder of this lock panics"));
        screen
    }

    /// Waits until the program ends and all that it wrote is on the screen.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = wait_for("the program in the terminal to end", || self.child.try_wait().expect("a child"));
        if let Some(reader) = self.reader.take() {
            reader.join().expect("reading ends with the terminal");
        }
        status
    }
}

/// Reads until the last program has closed the terminal, which is an error to whoever reads from its other side.
fn read(display: OwnedFd, written: &Mutex<Vec<u8>>) {
    let mut display = File::from(display);
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = display.read(&mut chunk) {
        written.lock().expect("no holder of this lock panics").extend_from_slice(&chunk[..count]);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- terminal\n{}", self.screen().rows().join("\n"));
        }
    }
}
