//! The ids of jobs: `<master>-<boot>-<count>`, made of their numbers and taken apart again.

use super::super::JobNumber;
use crate::wire::{JobId, ServerId};

/// The ids of one master.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ids {
    /// What all ids of this master begin with.
    prefix: Box<str>,
    boot: u32,
    /// What those of this start of the master begin with: all but the count.
    stem: Box<str>,
    /// The id that was spoken of last. Most are spoken of again at once.
    spoken: Option<(JobNumber, JobId)>,
}

impl Ids {
    /// The ids of a master that is started for the `boot`th time.
    pub(super) fn new(master: &ServerId, boot: u32) -> Ids {
        // Names of servers may have blanks; ids of jobs may not.
        let prefix: String = master.short().chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect();
        Ids { stem: format!("{prefix}-{boot}-").into(), prefix: prefix.into(), boot, spoken: None }
    }

    /// How often the master was started.
    pub(super) fn boot(&self) -> u32 {
        self.boot
    }

    /// This job is spoken of, under this id of its.
    pub(super) fn speak(&mut self, number: JobNumber, id: JobId) {
        self.spoken = Some((number, id));
    }

    /// The id of a job.
    pub(super) fn id(&self, number: JobNumber) -> JobId {
        if let Some((_, id)) = self.spoken.as_ref().filter(|(spoken, _)| *spoken == number) {
            return id.clone();
        }
        let id = if number.boot() == self.boot {
            joined(&self.stem, number.count())
        } else {
            JobId::new(format!("{}-{}-{}", self.prefix, number.boot(), number.count()))
        };
        id.expect("eight graphic characters and two numbers are an id")
    }

    /// The number of an id of this master, whether the job is kept or not.
    pub(super) fn place(&self, id: &JobId) -> Option<JobNumber> {
        if let Some(count) = id.as_str().strip_prefix(&*self.stem) {
            return JobNumber::new(self.boot, decimal(count)?);
        }
        let rest = id.as_str().strip_prefix(&*self.prefix)?.strip_prefix('-')?;
        let (boot, count) = rest.split_once('-')?;
        JobNumber::new(u32::try_from(decimal(boot)?).ok()?, decimal(count)?)
    }
}

/// The id with this stem and count. Made by hand: formatting costs several times as much, once for each job.
fn joined(stem: &str, count: u64) -> Option<JobId> {
    const MOST: usize = 64;
    let (mut text, mut at, mut rest) = ([0; MOST], MOST, count);
    loop {
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let begin = at.checked_sub(stem.len())?;
    text[begin..at].copy_from_slice(stem.as_bytes());
    JobId::new(std::str::from_utf8(&text[begin..]).ok()?)
}

/// A number as [`Ids::id`] writes it, without signs and leading zeros, so that a job has one id.
fn decimal(text: &str) -> Option<u64> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    canonical.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_is_three_parts_and_leads_back_to_its_number(
            master in "[ -~ç]{1,12}",
            boot in 0..1u32 << 24,
            other in 0..1u32 << 24,
            count in 0..1u64 << 40,
            few in any::<bool>(),
        ) {
            let master = ServerId::new(master).unwrap();
            let mut ids = Ids::new(&master, boot);
            for boot in [boot, other] {
                let number = JobNumber::new(boot, if few { count % 10 } else { count }).unwrap();
                let id = ids.id(number);
                let tail = format!("-{boot}-{}", number.count());
                let head = id.as_str().strip_suffix(&tail).unwrap();
                prop_assert_eq!(head.chars().count(), master.as_str().chars().count().min(8));
                prop_assert_eq!(ids.place(&id), Some(number));
                ids.speak(number, id.clone());
                prop_assert_eq!(ids.id(number), id.clone());
                for wrong in [format!("{head}-{boot}-0{count}"), format!("{head}-0{boot}-1"), format!("{head}-{boot}-")] {
                    let wrong = JobId::new(wrong).unwrap();
                    prop_assert_eq!(ids.place(&wrong), None, "{:?}", wrong);
                }
            }
        }
    }
}
