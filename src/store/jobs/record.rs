//! One change of a job as bytes, and back.

use std::time::Duration;

use crate::core::{JobEnd, JobNumber, JobSpec, JobWrite, StoredState};
use crate::wire::{JobStatus, Json, ServiceName};

/// The largest record, in bytes. A line of the wire is far smaller; a longer length can only be damage.
pub(super) const MAX_RECORD_BYTES: usize = 8 << 20;

/// Codes of the kinds. A code is never given a second meaning.
const PUT: u8 = 1;
const STATE: u8 = 2;
const REMOVE: u8 = 3;
const COPIED_PUT: u8 = 4;
const COPIED_STATE: u8 = 5;

/// Codes of the states.
const OPEN: u8 = 0;
const ENDED: u8 = 1;
const BEGUN: u8 = 2;
const OPEN_SPARED: u8 = 3;
const BEGUN_SPARED: u8 = 4;

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// About which job.
    pub(super) number: JobNumber,
    /// What.
    pub(super) change: Change,
    /// For a copy: when the original was written, in milliseconds of the wall clock. Others are as old as their frame.
    pub(super) stamp: Option<u64>,
}

/// What happened to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is there.
    Put(Box<JobSpec>),
    /// It is in this state.
    State(StoredState),
    /// It is gone.
    Remove,
}

/// Appends `write` to `to`. Returns the bytes it took.
pub(super) fn encode(write: &JobWrite, to: &mut Vec<u8>) -> usize {
    with_length(to, |to| match write {
        JobWrite::Put { number, spec } => {
            to.push(PUT);
            put_int(to, number.0);
            put_spec(to, spec);
        }
        JobWrite::State { number, state } => {
            to.push(STATE);
            put_int(to, number.0);
            put_state(to, state);
        }
        JobWrite::Remove { number } => {
            to.push(REMOVE);
            put_int(to, number.0);
        }
    })
}

/// Appends a copy of `record`, which was first written at `stamp`, to `to`. Returns the bytes it took. There are no
/// copies of a removal.
pub(super) fn encode_copy(record: &Record, stamp: u64, to: &mut Vec<u8>) -> usize {
    with_length(to, |to| {
        to.push(match record.change {
            Change::Put(_) => COPIED_PUT,
            Change::State(_) => COPIED_STATE,
            Change::Remove => unreachable!("a removal is never alive"),
        });
        put_int(to, record.number.0);
        put_int(to, stamp);
        match &record.change {
            Change::Put(spec) => put_spec(to, spec),
            Change::State(state) => put_state(to, state),
            Change::Remove => {}
        }
    })
}

/// The bytes of the first record of `bytes` with its length, or what is wrong with it.
pub(super) fn length(bytes: &[u8]) -> Result<usize, &'static str> {
    let head: [u8; 4] = bytes.get(..4).and_then(|head| head.try_into().ok()).ok_or("a record without a length")?;
    let length = u32::from_le_bytes(head) as usize;
    if length > MAX_RECORD_BYTES || length > bytes.len() - 4 {
        return Err("a record that is longer than its frame");
    }
    Ok(4 + length)
}

/// Reads one record; `bytes` are what [`length`] measured.
pub(super) fn decode(bytes: &[u8]) -> Result<Record, &'static str> {
    let mut reader = Reader { rest: bytes.get(4..).unwrap_or_default() };
    let kind = reader.byte()?;
    let number = JobNumber(reader.int()?);
    let stamp = if kind == COPIED_PUT || kind == COPIED_STATE { Some(reader.int()?) } else { None };
    let change = match kind {
        PUT | COPIED_PUT => Change::Put(Box::new(reader.spec()?)),
        STATE | COPIED_STATE => Change::State(reader.state()?),
        REMOVE => Change::Remove,
        _ => return Err("a record of an unknown kind"),
    };
    if !reader.rest.is_empty() {
        return Err("a record with more in it than belongs there");
    }
    Ok(Record { number, change, stamp })
}

/// The number of the job of a record and whether it is a put, a state or neither, without reading the rest.
pub(super) fn peek(bytes: &[u8]) -> Result<(JobNumber, Part), &'static str> {
    let mut reader = Reader { rest: bytes.get(4..).unwrap_or_default() };
    let part = match reader.byte()? {
        PUT | COPIED_PUT => Part::Put,
        STATE | COPIED_STATE => Part::State,
        REMOVE => Part::Remove,
        _ => return Err("a record of an unknown kind"),
    };
    Ok((JobNumber(reader.int()?), part))
}

/// What a record holds of its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// What it is.
    Put,
    /// How far it has come.
    State,
    /// That it is gone.
    Remove,
}

fn with_length(to: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> usize {
    let start = to.len();
    to.extend_from_slice(&[0; 4]);
    write(to);
    let length = to.len() - start - 4;
    // One that does not fit is refused by its size before it is written.
    let shown = u32::try_from(length).unwrap_or(u32::MAX);
    to[start..start + 4].copy_from_slice(&shown.to_le_bytes());
    4 + length
}

fn put_spec(to: &mut Vec<u8>, spec: &JobSpec) {
    put_text(to, spec.service.as_str());
    put_text(to, spec.method.as_str());
    put_text(to, spec.params.as_str());
    to.push(spec.priority);
    put_duration(to, spec.delay);
    put_duration(to, spec.timeout);
    put_int(to, spec.attempts.into());
    put_option(to, spec.key.as_deref());
}

fn put_state(to: &mut Vec<u8>, state: &StoredState) {
    match state {
        StoredState::Open { attempt, spared } => {
            to.push(if *spared == 0 { OPEN } else { OPEN_SPARED });
            put_int(to, (*attempt).into());
            put_spared(to, *spared);
        }
        StoredState::Begun { attempt, spared, worker } => {
            to.push(if *spared == 0 { BEGUN } else { BEGUN_SPARED });
            put_int(to, (*attempt).into());
            put_spared(to, *spared);
            put_text(to, worker);
        }
        StoredState::Ended(end) => {
            to.push(ENDED);
            to.push(status_code(end.status));
            put_int(to, end.attempt.into());
            put_option(to, end.worker.as_deref());
            put_option(to, end.result.as_ref().map(Json::as_str));
            put_option(to, end.reason.as_deref());
        }
    }
}

/// Attempts that do not count are written where there are any: the byte before them says so.
fn put_spared(to: &mut Vec<u8>, spared: u8) {
    if spared > 0 {
        to.push(spared);
    }
}

/// Seven bits a byte, the lowest first; the high bit says that more follow.
fn put_int(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn put_text(to: &mut Vec<u8>, text: &str) {
    put_int(to, text.len() as u64);
    to.extend_from_slice(text.as_bytes());
}

/// Nothing is 0, a text its length and one more.
fn put_option(to: &mut Vec<u8>, text: Option<&str>) {
    put_int(to, text.map_or(0, |text| text.len() as u64 + 1));
    to.extend_from_slice(text.unwrap_or_default().as_bytes());
}

fn put_duration(to: &mut Vec<u8>, duration: Duration) {
    put_int(to, duration.as_secs());
    put_int(to, duration.subsec_nanos().into());
}

fn status_code(status: JobStatus) -> u8 {
    match status {
        JobStatus::Delayed => 0,
        JobStatus::Queued => 1,
        JobStatus::Running => 2,
        JobStatus::Ok => 3,
        JobStatus::Nok => 4,
        JobStatus::Cancelled => 5,
        JobStatus::Buried => 6,
    }
}

fn status_of(code: u8) -> Option<JobStatus> {
    JobStatus::ALL.into_iter().find(|status| status_code(*status) == code)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, &'static str> {
        let (first, rest) = self.rest.split_first().ok_or("a record that is cut short")?;
        self.rest = rest;
        Ok(*first)
    }

    fn int(&mut self) -> Result<u64, &'static str> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number that is too large")
    }

    fn small(&mut self) -> Result<u32, &'static str> {
        u32::try_from(self.int()?).map_err(|_| "a number that is too large")
    }

    fn slice(&mut self, length: u64) -> Result<&'a str, &'static str> {
        let length = usize::try_from(length).ok().filter(|length| *length <= self.rest.len());
        let (text, rest) = self.rest.split_at(length.ok_or("a text that is longer than its record")?);
        self.rest = rest;
        std::str::from_utf8(text).map_err(|_| "a text that is not UTF-8")
    }

    fn text(&mut self) -> Result<&'a str, &'static str> {
        let length = self.int()?;
        self.slice(length)
    }

    fn option(&mut self) -> Result<Option<&'a str>, &'static str> {
        match self.int()? {
            0 => Ok(None),
            more => self.slice(more - 1).map(Some),
        }
    }

    fn duration(&mut self) -> Result<Duration, &'static str> {
        let seconds = self.int()?;
        let nanos = self.small()?;
        if nanos >= 1_000_000_000 {
            return Err("a duration with too many nanoseconds");
        }
        Ok(Duration::new(seconds, nanos))
    }

    fn name(&mut self) -> Result<ServiceName, &'static str> {
        ServiceName::new(self.text()?).ok_or("a name of a service that is none")
    }

    fn spec(&mut self) -> Result<JobSpec, &'static str> {
        Ok(JobSpec {
            service: self.name()?,
            method: self.name()?,
            // It was JSON when it was written, and the sum of the frame is right.
            params: Json::trusted(self.text()?),
            priority: self.byte()?,
            delay: self.duration()?,
            timeout: self.duration()?,
            attempts: self.small()?,
            key: self.option()?.map(Into::into),
        })
    }

    fn state(&mut self) -> Result<StoredState, &'static str> {
        match self.byte()? {
            OPEN => Ok(StoredState::Open { attempt: self.small()?, spared: 0 }),
            OPEN_SPARED => Ok(StoredState::Open { attempt: self.small()?, spared: self.byte()? }),
            BEGUN => Ok(StoredState::Begun { attempt: self.small()?, spared: 0, worker: self.text()?.into() }),
            BEGUN_SPARED => {
                let (attempt, spared) = (self.small()?, self.byte()?);
                Ok(StoredState::Begun { attempt, spared, worker: self.text()?.into() })
            }
            ENDED => Ok(StoredState::Ended(Box::new(JobEnd {
                status: status_of(self.byte()?).ok_or("an unknown status of a job")?,
                attempt: self.small()?,
                worker: self.option()?.map(Into::into),
                result: self.option()?.map(Json::trusted),
                reason: self.option()?.map(Into::into),
            }))),
            _ => Err("an unknown state of a job"),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::store::jobs) fn any_spec() -> impl Strategy<Value = JobSpec> {
        let key = proptest::option::of("[a-zé\"]{0,9}");
        let times = (0..u64::MAX, 0..1_000_000_000u32, 0..100_000u64);
        ("[a-z]{1,9}", "[A-Z_]{1,5}", "\\PC{0,40}", 0..=9u8, times, any::<u32>(), key).prop_map(
            |(service, method, text, priority, (seconds, nanos, milliseconds), attempts, key)| JobSpec {
                service: ServiceName::new(service).unwrap(),
                method: ServiceName::new(method).unwrap(),
                params: Json::string(&text),
                priority,
                delay: Duration::new(seconds, nanos),
                timeout: Duration::from_millis(milliseconds),
                attempts,
                key: key.map(Into::into),
            },
        )
    }

    pub(in crate::store::jobs) fn any_state() -> impl Strategy<Value = StoredState> {
        let text = || proptest::option::of("\\PC{0,20}");
        let spared = || any::<u8>();
        let end = (proptest::sample::select(&JobStatus::ALL[..]), any::<u32>(), text(), text(), text());
        prop_oneof![
            (any::<u32>(), spared()).prop_map(|(attempt, spared)| StoredState::Open { attempt, spared }),
            (any::<u32>(), spared(), "\\PC{0,20}").prop_map(|(attempt, spared, worker)| StoredState::Begun {
                attempt,
                spared,
                worker: worker.into()
            }),
            end.prop_map(|(status, attempt, worker, result, reason)| {
                StoredState::Ended(Box::new(JobEnd {
                    status,
                    attempt,
                    worker: worker.map(Into::into),
                    result: result.map(|text| Json::string(&text)),
                    reason: reason.map(Into::into),
                }))
            }),
        ]
    }

    fn any_write() -> impl Strategy<Value = JobWrite> {
        let number = any::<u64>().prop_map(JobNumber);
        let put = (number.clone(), any_spec()).prop_map(|(number, spec)| JobWrite::Put { number, spec });
        let state = (number.clone(), any_state()).prop_map(|(number, state)| JobWrite::State { number, state });
        prop_oneof![put, state, number.prop_map(|number| JobWrite::Remove { number })]
    }

    fn change(write: &JobWrite) -> Change {
        match write.clone() {
            JobWrite::Put { spec, .. } => Change::Put(Box::new(spec)),
            JobWrite::State { state, .. } => Change::State(state),
            JobWrite::Remove { .. } => Change::Remove,
        }
    }

    proptest! {
        #[test]
        fn a_record_reads_back_as_it_was_written(write in any_write(), stamp in any::<u64>()) {
            let mut bytes = Vec::new();
            prop_assert_eq!(encode(&write, &mut bytes), bytes.len());
            prop_assert_eq!(length(&bytes), Ok(bytes.len()));
            let record = decode(&bytes).unwrap();
            prop_assert_eq!(&record, &Record { number: write.number(), change: change(&write), stamp: None });
            prop_assert_eq!(peek(&bytes).unwrap().0, write.number());
            if record.change != Change::Remove {
                let mut copy = Vec::new();
                prop_assert_eq!(encode_copy(&record, stamp, &mut copy), copy.len());
                let expected = Record { stamp: Some(stamp), ..record };
                prop_assert_eq!(peek(&copy).unwrap(), (expected.number, peek(&bytes).unwrap().1));
                prop_assert_eq!(decode(&copy).unwrap(), expected);
            }
        }

        #[test]
        fn a_record_that_is_cut_is_refused(write in any_write(), cut in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            encode(&write, &mut bytes);
            let cut = cut.index(bytes.len());
            prop_assert!(length(&bytes[..cut]).is_err());
            prop_assert!(decode(&bytes[..cut]).is_err());
        }

        #[test]
        fn any_bytes_are_a_record_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = (length(&bytes), peek(&bytes), decode(&bytes));
        }
    }

    #[test]
    fn numbers_take_their_whole_range_and_no_more() {
        for value in [0, 127, 128, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            put_int(&mut bytes, value);
            assert_eq!(Reader { rest: &bytes }.int(), Ok(value));
        }
        assert!(Reader { rest: &[0xff; 10] }.int().is_err());
        let mut beyond = [0x80; 10];
        beyond[9] = 2;
        assert!(Reader { rest: &beyond }.int().is_err());
    }
}
