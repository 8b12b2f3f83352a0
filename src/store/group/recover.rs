//! What a restart finds in the log, and how it goes on from there.
//!
//! Reading changes nothing ([`scan`]); only a log that is understood as a whole is then put right ([`resume`]).

use std::io;

use super::frame::{self, Frame};
use super::log::{Log, Sizes, Start};
use super::record::{self, Line};
use crate::core::StoredGroup;
use crate::store::StateError;
use crate::store::log::disk::Disk;
use crate::wire::{GroupId, ServerId};

/// What was found.
#[derive(Debug)]
pub(super) struct Scan {
    /// What is stored; where nothing is, a fresh one.
    pub(super) group: StoredGroup,
    /// What is not kept, for people.
    pub(super) rolled_back: Option<String>,
    /// Where the log goes on.
    start: Start,
    /// Bytes from here on may never have been synced.
    unconfirmed: u64,
    /// Older files.
    leftovers: Vec<u32>,
}

/// Reads the log of `master`. Changes nothing. `fresh` is the state id where there is none yet.
pub(super) fn scan<D: Disk>(disk: &mut D, master: &ServerId, fresh: GroupId) -> Result<Scan, StateError> {
    let mut leftovers = disk.list().map_err(io_error(disk, 1, "find"))?;
    let Some(file) = leftovers.pop() else {
        let (start, group) = (Start::default(), StoredGroup::fresh(fresh));
        return Ok(Scan { group, rolled_back: None, start, unconfirmed: 0, leftovers });
    };
    let size = disk.size(file).map_err(io_error(disk, file, "read"))?;
    let length = usize::try_from(size).unwrap_or(usize::MAX);
    let bytes = disk.read(file, 0, length).map_err(io_error(disk, file, "read"))?;
    let damaged = |at: usize, what: &str| damaged(disk, file, at, what);

    let Some(first) = frame::parse(&bytes) else { return Err(damaged(0, "its first batch is damaged")) };
    let mut group = StoredGroup::fresh(fresh);
    begin(&first, file, master, &mut group).map_err(|what| damaged(0, &what))?;
    let (mut at, mut batch) = (first.bytes, first.batch);
    // The first frame was synced before the file had its name.
    let mut unconfirmed = at;
    while let Some(frame) = frame::parse(&bytes[at..]) {
        if frame.batch != batch + 1 {
            return Err(damaged(at, &format!("batch {} stands here; expected batch {}", frame.batch, batch + 1)));
        }
        apply(&frame, &mut group).map_err(|what| damaged(at, &what))?;
        unconfirmed = at;
        at += frame.bytes;
        batch = frame.batch;
    }
    let rest = &bytes[at..];
    let mut rolled_back = None;
    if !frame::is_blank(rest) {
        if let Some((offset, later)) = frame::find(rest).next() {
            let later = format!("batch {} at byte {}", later.batch, at + offset);
            return Err(damaged(at, &format!("a batch that was stored is damaged; {later} was written after it")));
        }
        let torn = rest.len() - rest.iter().rev().take_while(|byte| frame::is_blank(&[**byte])).count();
        let path = disk.path(file);
        rolled_back = Some(format!("{}: at byte {at}: a batch that was torn by a crash, {torn} bytes", path.display()));
    }
    let start = Start { file, end: at as u64, size, batch };
    Ok(Scan { group, rolled_back, start, unconfirmed: unconfirmed as u64, leftovers })
}

/// Reads the first frame of a file.
fn begin(frame: &Frame<'_>, file: u32, master: &ServerId, group: &mut StoredGroup) -> Result<(), String> {
    let mut lines = record::read_all(frame.body);
    let Some(Line::File { number, master: found }) = lines.next().transpose()? else {
        return Err("its first line is not FILE".to_owned());
    };
    if number != u64::from(file) {
        return Err(format!("it is file {number} under another name"));
    }
    if found != *master {
        return Err(format!("it holds the group of server {found}; this is server {master}"));
    }
    lines.try_for_each(|line| add(line?, group))
}

fn apply(frame: &Frame<'_>, group: &mut StoredGroup) -> Result<(), String> {
    record::read_all(frame.body).try_for_each(|line| add(line?, group))
}

fn add(line: Line, group: &mut StoredGroup) -> Result<(), String> {
    match line {
        Line::Write(write) => group.apply(write).map_err(str::to_owned),
        Line::File { .. } => Err("FILE stands in its middle".to_owned()),
    }
}

/// Makes the log as it was found last, and goes on with it. A new one lasts, with its state id, when this returns.
pub(super) fn resume<D: Disk>(mut disk: D, scan: &Scan, master: &ServerId, sizes: Sizes) -> Result<Log<D>, StateError> {
    let Scan { group, rolled_back, start, unconfirmed, leftovers } = scan;
    let mut start = *start;
    for segment in leftovers {
        disk.remove(*segment).map_err(io_error(&disk, *segment, "remove"))?;
    }
    // One that was being made, if there is one.
    let _: io::Result<()> = disk.remove(0);
    let (file, end) = (start.file, start.end);
    if file != 0 {
        if rolled_back.is_some() {
            disk.truncate(file, end).map_err(io_error(&disk, file, "cut"))?;
            start.size = end;
        }
        // A sync that failed before the crash may have left these bytes in memory only, where no later sync finds
        // them. Written again, they are found.
        let length = usize::try_from(end - unconfirmed).unwrap_or(usize::MAX);
        let bytes = disk.read(file, *unconfirmed, length).map_err(io_error(&disk, file, "read"))?;
        disk.write(file, *unconfirmed, &bytes).map_err(io_error(&disk, file, "write"))?;
        disk.sync(file).map_err(io_error(&disk, file, "sync"))?;
        // Nor was it told that its name lasts.
        disk.sync_dir().map_err(io_error(&disk, file, "sync"))?;
    }
    let mut log = Log::new(disk, start, group.clone(), master.clone(), sizes);
    let begun = if file == 0 { log.begin_file() } else { log.mark() };
    begun.map_err(|reason| {
        let path = log.disk.path(file.max(1));
        StateError::Io { action: "use", path, error: io::Error::other(reason) }
    })?;
    Ok(log)
}

fn io_error<D: Disk>(disk: &D, segment: u32, action: &'static str) -> impl FnOnce(io::Error) -> StateError {
    let path = disk.path(segment);
    move |error| StateError::Io { action, path, error }
}

fn damaged<D: Disk>(disk: &D, segment: u32, at: usize, what: &str) -> StateError {
    let file = disk.path(segment);
    let dir = file.parent().unwrap_or(&file).display().to_string();
    let way_out = format!("moving {dir} away makes this node a new member of its group, and keeps its id");
    StateError::Damaged { what: format!("at byte {at}: {what} ({way_out})"), file }
}
