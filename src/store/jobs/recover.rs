//! What a restart finds in the log, and how it goes on from there.
//!
//! Reading changes nothing ([`scan`]); only a log that is understood as a whole is then put right ([`resume`]).

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use super::frame::{self, FRAME_HEAD_BYTES, Frame, HEADER_BYTES, Header, HeaderError};
use super::index::{JobIndex, Place, Places};
use super::log::{Log, Sizes, Start};
use super::record::{self, Change};
use crate::core::{JobNumber, JobSpec, StoredJob, StoredState};
use crate::store::StateError;
use crate::store::log::disk::Disk;
use crate::wire::ServerId;

/// What was found.
#[derive(Debug)]
pub(super) struct Scan {
    /// Where the log goes on.
    pub(super) start: Start,
    /// The jobs, ascending.
    pub(super) jobs: Vec<StoredJob>,
    /// The largest number of a job that was ever seen here.
    pub(super) highest: Option<JobNumber>,
    /// What is not kept, for people.
    pub(super) rolled_back: Option<String>,
    /// Bytes of the newest segment from here on may never have been synced.
    unconfirmed: u64,
    /// Whether something stands behind the end that must go.
    is_torn: bool,
    /// Files that are not needed.
    leftovers: Vec<u32>,
}

/// A job as its records tell it.
#[derive(Default)]
struct Found {
    put: Option<(Box<JobSpec>, u64, Place)>,
    state: Option<(StoredState, u64, Place)>,
}

/// What the newest segment tells.
struct Tail {
    end: u64,
    batch: u64,
    oldest: u32,
    unconfirmed: u64,
    torn: Option<String>,
}

/// Reads the whole log of `master`, at the wall clock `now`. Changes nothing.
pub(super) fn scan<D: Disk>(disk: &mut D, master: &ServerId, now: u64) -> Result<Scan, StateError> {
    let mut files = disk.list().map_err(io_error(disk, 1, "find"))?;
    let mut headers = BTreeMap::new();
    let mut leftovers = Vec::new();
    let mut notes = Vec::new();
    for &segment in files.iter().rev() {
        let bytes = disk.read(segment, 0, HEADER_BYTES).map_err(io_error(disk, segment, "read"))?;
        match Header::decode(&bytes) {
            Ok(header) => {
                headers.insert(segment, header);
            }
            // The newest may be one that a crash found unfinished, if nothing was ever written behind its header.
            Err(HeaderError::Torn) if headers.is_empty() && leftovers.is_empty() && !has_frames(disk, segment)? => {
                leftovers.push(segment);
                notes.push(format!("{} was not finished when the node crashed", disk.path(segment).display()));
            }
            Err(HeaderError::Torn) => return Err(damaged(disk, segment, 0, "its header is damaged")),
            Err(HeaderError::Foreign(what)) => return Err(damaged(disk, segment, 0, &what)),
        }
    }
    files.retain(|segment| headers.contains_key(segment));
    for (&segment, header) in &headers {
        if header.master != *master {
            let what = format!("it holds jobs of server {}; this is server {master}", header.master);
            return Err(damaged(disk, segment, 0, &what));
        }
        if header.segment != segment {
            return Err(damaged(disk, segment, 0, &format!("it is segment {} under another name", header.segment)));
        }
    }
    let Some((&newest, header)) = headers.last_key_value() else {
        let index = JobIndex::default();
        let older = BTreeMap::new();
        let start = Start { older, newest: 0, end: 0, size: 0, batch: 0, oldest: 1, index };
        let rolled_back = (!notes.is_empty()).then(|| notes.join("; "));
        let (jobs, highest) = (Vec::new(), None);
        return Ok(Scan { start, jobs, highest, rolled_back, unconfirmed: 0, is_torn: false, leftovers });
    };
    let last = read_all(disk, newest)?;
    let tail = read_tail(disk, newest, header, &last)?;
    notes.extend(tail.torn.clone());
    leftovers.extend(files.iter().filter(|segment| **segment < tail.oldest));

    let mut found = BTreeMap::new();
    let mut highest = None;
    let mut older = BTreeMap::new();
    let mut batch = None;
    for segment in tail.oldest..newest {
        let (Some(header), Some(next)) = (headers.get(&segment), headers.get(&(segment + 1))) else {
            let missing = if headers.contains_key(&segment) { segment + 1 } else { segment };
            return Err(damaged(disk, missing, 0, "the file is missing, and the log cannot be read without it"));
        };
        let bytes = read_all(disk, segment)?;
        let end = next.previous_end;
        let kept = usize::try_from(end).ok().filter(|end| *end >= HEADER_BYTES).and_then(|end| bytes.get(..end));
        let Some(kept) = kept else {
            let what = format!("it ends here; the next segment says that it ends at byte {end}");
            return Err(damaged(disk, segment, bytes.len() as u64, &what));
        };
        let first = header.first_batch;
        let last = apply(disk, segment, kept, *batch.get_or_insert(first), first, &mut found, &mut highest)?;
        if last.checked_add(1) != Some(next.first_batch) {
            let what = format!("it ends with batch {last}; the next segment begins with batch {}", next.first_batch);
            return Err(damaged(disk, segment, end, &what));
        }
        batch = Some(next.first_batch);
        older.insert(segment, end);
    }
    let first = header.first_batch;
    apply(disk, newest, &last[..tail.end as usize], batch.unwrap_or(first), first, &mut found, &mut highest)?;
    let (jobs, index) = collect(disk, newest, found, now)?;
    let size = last.len() as u64;
    Ok(Scan {
        start: Start { older, newest, end: tail.end, size, batch: tail.batch, oldest: tail.oldest, index },
        jobs,
        highest,
        rolled_back: (!notes.is_empty()).then(|| notes.join("; ")),
        unconfirmed: tail.unconfirmed,
        is_torn: tail.torn.is_some(),
        leftovers,
    })
}

/// Makes the log as it was found last, and goes on with it, at the wall clock `now`.
pub(super) fn resume<D: Disk>(
    mut disk: D,
    scan: Scan,
    master: &ServerId,
    fsync: bool,
    sizes: Sizes,
    now: u64,
) -> Result<Log<D>, StateError> {
    let Scan { mut start, unconfirmed, is_torn, leftovers, .. } = scan;
    for segment in leftovers {
        disk.remove(segment).map_err(io_error(&disk, segment, "remove"))?;
    }
    let (newest, end) = (start.newest, start.end);
    if newest != 0 {
        if is_torn {
            disk.truncate(newest, end).map_err(io_error(&disk, newest, "cut"))?;
            start.size = end;
        }
        // A sync that failed before the crash may have left these bytes in memory only, where no later sync finds
        // them. Written again, they are found.
        let length = usize::try_from(end - unconfirmed).unwrap_or(usize::MAX);
        let bytes = disk.read(newest, unconfirmed, length).map_err(io_error(&disk, newest, "read"))?;
        disk.write(newest, unconfirmed, &bytes).map_err(io_error(&disk, newest, "write"))?;
        disk.sync(newest).map_err(io_error(&disk, newest, "sync"))?;
    }
    disk.sync_dir().map_err(io_error(&disk, newest.max(1), "sync"))?;
    let mut log = Log::new(disk, start, master.clone(), fsync, sizes);
    let marked = if newest == 0 { log.begin_segment() } else { Ok(()) };
    marked.and_then(|()| log.mark(now)).map_err(|reason| {
        let path = log.disk.path(log.newest.max(1));
        StateError::Io { action: "use", path, error: io::Error::other(reason) }
    })?;
    Ok(log)
}

/// Follows the frames of the newest segment to its end.
fn read_tail<D: Disk>(disk: &D, segment: u32, header: &Header, file: &[u8]) -> Result<Tail, StateError> {
    let mut at = HEADER_BYTES;
    let mut batch = header.first_batch.saturating_sub(1);
    let mut oldest = header.oldest;
    let mut claimed = batch;
    let mut starts = Vec::new();
    while let Some(frame) = frame::parse(&file[at..]) {
        starts.push((frame.head.batch, at as u64));
        (batch, oldest) = (frame.head.batch, frame.head.oldest);
        claimed = claimed.max(frame.head.synced);
        at += frame.bytes;
    }
    let rest = &file[at..];
    let mut torn = None;
    if rest.iter().any(|byte| *byte != 0) {
        let mut later = 0;
        for (offset, frame) in frame::find(rest) {
            if frame.head.synced > batch {
                let what = format!(
                    "a batch that was stored is damaged; batch {} at byte {} says that it was whole",
                    frame.head.batch,
                    at + offset
                );
                return Err(damaged(disk, segment, at as u64, &what));
            }
            later += 1;
        }
        let bytes = rest.len() - rest.iter().rev().take_while(|byte| **byte == 0).count();
        let path = disk.path(segment);
        let more = if later > 0 { format!(" and {later} batches behind it") } else { String::new() };
        torn = Some(format!("{}: at byte {at}: a batch that was torn by a crash{more}, {bytes} bytes", path.display()));
    }
    if claimed > batch || oldest > segment {
        return Err(damaged(disk, segment, at as u64, "its last batch speaks of batches or segments to come"));
    }
    // With a frame behind it, the header was synced.
    let first = starts.iter().find(|(batch, _)| *batch > claimed).map_or(at as u64, |(_, at)| *at);
    let unconfirmed = if starts.is_empty() { 0 } else { first };
    Ok(Tail { end: at as u64, batch, oldest, unconfirmed, torn })
}

/// Applies the frames of `bytes`, a segment up to its end. Returns its last batch.
fn apply<D: Disk>(
    disk: &D,
    segment: u32,
    bytes: &[u8],
    expected: u64,
    first: u64,
    found: &mut BTreeMap<JobNumber, Found>,
    highest: &mut Option<JobNumber>,
) -> Result<u64, StateError> {
    if expected != first {
        let what = format!("it begins with batch {first}; expected batch {expected}");
        return Err(damaged(disk, segment, 0, &what));
    }
    let mut at = HEADER_BYTES;
    let mut next = first;
    while at < bytes.len() {
        let Some(frame) = frame::parse(&bytes[at..]) else {
            return Err(damaged(disk, segment, at as u64, "a batch that was stored is damaged"));
        };
        if frame.head.batch != next {
            let what = format!("batch {} stands here; expected batch {next}", frame.head.batch);
            return Err(damaged(disk, segment, at as u64, &what));
        }
        apply_frame(segment, at, &frame, found, highest).map_err(|what| damaged(disk, segment, at as u64, what))?;
        next += 1;
        at += frame.bytes;
    }
    Ok(next.saturating_sub(1))
}

fn apply_frame(
    segment: u32,
    at: usize,
    frame: &Frame<'_>,
    found: &mut BTreeMap<JobNumber, Found>,
    highest: &mut Option<JobNumber>,
) -> Result<(), &'static str> {
    let mut rest = frame.records;
    let mut at = at + FRAME_HEAD_BYTES;
    while !rest.is_empty() {
        let length = record::length(rest)?;
        let (bytes, behind) = rest.split_at(length);
        let record = record::decode(bytes)?;
        let place = Place { segment, at: at as u32, len: length as u32 };
        let stamp = record.stamp.unwrap_or(frame.head.stamp);
        *highest = (*highest).max(Some(record.number));
        // A state may come before its put: the put was copied forward, the state is where it was.
        match record.change {
            Change::Put(spec) => {
                let put = &mut found.entry(record.number).or_default().put;
                if put.is_some() && record.stamp.is_none() {
                    return Err("a job is stored a second time");
                }
                *put = Some((spec, stamp, place));
            }
            Change::State(state) => found.entry(record.number).or_default().state = Some((state, stamp, place)),
            Change::Remove => {
                found.remove(&record.number);
            }
        }
        at += length;
        rest = behind;
    }
    Ok(())
}

fn collect<D: Disk>(
    disk: &D,
    newest: u32,
    found: BTreeMap<JobNumber, Found>,
    now: u64,
) -> Result<(Vec<StoredJob>, JobIndex), StateError> {
    let age = |stamp: u64| Duration::from_millis(now.saturating_sub(stamp));
    let mut jobs = Vec::with_capacity(found.len());
    let mut index = JobIndex::default();
    for (number, job) in found {
        let Some((spec, accepted, put)) = job.put else {
            let what = format!("the state of job {} is stored, and the job is not", number.0);
            return Err(damaged(disk, newest, 0, &what));
        };
        let (state, stored, state_place) = match job.state {
            Some((state, stored, place)) => (state, stored, place),
            None => (StoredState::Open { attempt: 0, spared: 0 }, accepted, Place::default()),
        };
        index.set(number, Some(Places { put, state: state_place }));
        jobs.push(StoredJob { number, spec: *spec, state, age: age(accepted), state_age: age(stored) });
    }
    Ok((jobs, index))
}

fn has_frames<D: Disk>(disk: &mut D, segment: u32) -> Result<bool, StateError> {
    let bytes = read_all(disk, segment)?;
    Ok(frame::find(&bytes).next().is_some())
}

fn read_all<D: Disk>(disk: &mut D, segment: u32) -> Result<Vec<u8>, StateError> {
    let size = disk.size(segment).map_err(io_error(disk, segment, "read"))?;
    disk.read(segment, 0, usize::try_from(size).unwrap_or(usize::MAX)).map_err(io_error(disk, segment, "read"))
}

fn io_error<D: Disk>(disk: &D, segment: u32, action: &'static str) -> impl FnOnce(io::Error) -> StateError {
    let path = disk.path(segment);
    move |error| StateError::Io { action, path, error }
}

fn damaged<D: Disk>(disk: &D, segment: u32, at: u64, what: &str) -> StateError {
    let file = disk.path(segment);
    let dir = file.parent().unwrap_or(&file).display().to_string();
    StateError::Damaged {
        what: format!("at byte {at}: {what} (moving {dir} away gives up its jobs and keeps the id)"),
        file,
    }
}
