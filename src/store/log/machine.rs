//! A disk of a machine that crashes, loses power and fails, as its test wants.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::disk::Disk;

/// Bytes that a disk writes as a whole.
const SECTOR: usize = 64;

#[derive(Clone, Default)]
struct SimFile {
    /// What survives a power cut.
    synced: Vec<u8>,
    /// Writes since then that a sync would store.
    pending: Vec<(usize, Vec<u8>)>,
    /// What is read.
    current: Vec<u8>,
}

impl SimFile {
    fn write(&mut self, at: usize, bytes: &[u8]) {
        assert!(at <= self.current.len(), "a write behind the end leaves a hole");
        overlay(&mut self.current, at, bytes);
        self.pending.push((at, bytes.to_vec()));
    }

    fn sync(&mut self) {
        for (at, bytes) in self.pending.drain(..) {
            overlay(&mut self.synced, at, &bytes);
        }
    }
}

fn overlay(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    // A file whose earlier bytes were lost reads as zeroes there.
    file.resize(file.len().max(at + bytes.len()), 0);
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Fault {
    /// The process ends: this operation and all after it do nothing.
    Crash,
    /// The operation fails. A part of a write may have happened; of others nothing.
    Fail,
    /// The operation fails, and has happened all the same. A sync that fails forgets what was to be synced.
    FailAfter,
}

/// What a power cut keeps of what was not synced.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum Keep {
    /// The first bytes, and names that were synced.
    Bytes(usize),
    /// Everything, names too.
    All,
    /// Any sectors and any names, by this seed.
    Sectors(u64),
}

#[derive(Clone, Default)]
struct Machine {
    inodes: Vec<SimFile>,
    names: BTreeMap<u32, usize>,
    synced_names: BTreeMap<u32, usize>,
    operations: usize,
    /// From which operation on, how many, what.
    fault: Option<(usize, usize, Fault)>,
    crashed: bool,
}

/// A handle on the machine; clones are of the same machine.
#[derive(Clone, Default)]
pub(in crate::store) struct SimDisk(Arc<Mutex<Machine>>);

impl SimDisk {
    /// Lets `count` operations from number `from` on (counted from now) go wrong.
    pub(in crate::store) fn fail(&self, from: usize, count: usize, fault: Fault) {
        let mut machine = self.0.lock().unwrap();
        machine.operations = 0;
        machine.fault = Some((from, count, fault));
    }

    /// Lets everything work again, after a crash of the process too: what was written is still there.
    pub(in crate::store) fn heal(&self) {
        let mut machine = self.0.lock().unwrap();
        machine.fault = None;
        machine.crashed = false;
    }

    pub(in crate::store) fn operations(&self) -> usize {
        self.0.lock().unwrap().operations
    }

    pub(in crate::store) fn has_crashed(&self) -> bool {
        self.0.lock().unwrap().crashed
    }

    /// Bytes that were not synced.
    pub(in crate::store) fn unsynced(&self) -> usize {
        let machine = self.0.lock().unwrap();
        machine.inodes.iter().flat_map(|file| &file.pending).map(|(_, bytes)| bytes.len()).sum()
    }

    /// The machine after a power cut.
    pub(in crate::store) fn power_cut(&self, keep: Keep) -> SimDisk {
        let mut machine = self.0.lock().unwrap().clone();
        let mut seed = if let Keep::Sectors(seed) = keep { seed } else { 0 };
        let mut flip = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 62 & 1 == 1
        };
        let mut left = if let Keep::Bytes(left) = keep { left } else { usize::MAX };
        for file in &mut machine.inodes {
            let before = file.synced.clone();
            for (at, bytes) in std::mem::take(&mut file.pending) {
                let kept = bytes.len().min(left);
                left -= kept;
                if kept > 0 {
                    overlay(&mut file.synced, at, &bytes[..kept]);
                }
            }
            if let Keep::Sectors(_) = keep {
                if flip() && before.len() < file.synced.len() {
                    // The new length was never stored.
                    file.synced.truncate(before.len());
                }
                let mut old = before;
                old.resize(file.synced.len(), 0);
                for (sector, old) in file.synced.chunks_mut(SECTOR).zip(old.chunks(SECTOR)) {
                    if flip() {
                        sector.copy_from_slice(old);
                    }
                }
            }
            file.current = file.synced.clone();
        }
        let names = match keep {
            Keep::Bytes(_) => machine.synced_names.clone(),
            Keep::All => machine.names.clone(),
            Keep::Sectors(_) => {
                let mut names = machine.synced_names.clone();
                let both: Vec<u32> = names.keys().chain(machine.names.keys()).copied().collect();
                for name in both {
                    match machine.names.get(&name) {
                        Some(inode) if flip() => drop(names.insert(name, *inode)),
                        None if flip() => drop(names.remove(&name)),
                        _ => {}
                    }
                }
                names
            }
        };
        machine.names = names.clone();
        machine.synced_names = names;
        machine.fault = None;
        machine.crashed = false;
        SimDisk(Arc::new(Mutex::new(machine)))
    }

    /// The same machine with one byte of a file changed.
    pub(in crate::store) fn flipped(&self, segment: u32, at: usize, bits: u8) -> SimDisk {
        let mut machine = self.0.lock().unwrap().clone();
        let inode = machine.names[&segment];
        machine.inodes[inode].current[at] ^= bits;
        SimDisk(Arc::new(Mutex::new(machine)))
    }

    /// The same machine with a file that ends here.
    pub(in crate::store) fn cut(&self, segment: u32, to: usize) -> SimDisk {
        let mut machine = self.0.lock().unwrap().clone();
        let file = machine.file(segment);
        file.sync();
        file.current.truncate(to);
        file.synced.truncate(to);
        SimDisk(Arc::new(Mutex::new(machine)))
    }

    /// The same machine without a file, or with it under another name.
    pub(in crate::store) fn renamed(&self, segment: u32, to: Option<u32>) -> SimDisk {
        let mut machine = self.0.lock().unwrap().clone();
        let inode = machine.names.remove(&segment).unwrap();
        machine.names.extend(to.map(|to| (to, inode)));
        SimDisk(Arc::new(Mutex::new(machine)))
    }

    fn operation(&self, work: impl FnOnce(&mut Machine, Option<Fault>)) -> io::Result<()> {
        let mut machine = self.0.lock().unwrap();
        let number = machine.operations;
        machine.operations += 1;
        if machine.crashed {
            return Err(io::Error::other("crashed"));
        }
        let fault = machine.fault.filter(|(from, count, _)| (*from..from + count).contains(&number));
        match fault.map(|(_, _, fault)| fault) {
            None => {
                work(&mut machine, None);
                Ok(())
            }
            Some(fault) => {
                machine.crashed = fault == Fault::Crash;
                work(&mut machine, Some(fault));
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
        }
    }
}

impl Machine {
    fn file(&mut self, segment: u32) -> &mut SimFile {
        let inode = self.names[&segment];
        &mut self.inodes[inode]
    }
}

impl Disk for SimDisk {
    fn list(&mut self) -> io::Result<Vec<u32>> {
        Ok(self.0.lock().unwrap().names.keys().copied().filter(|segment| *segment > 0).collect())
    }

    fn size(&mut self, segment: u32) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().file(segment).current.len() as u64)
    }

    fn read(&mut self, segment: u32, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut machine = self.0.lock().unwrap();
        let bytes = &machine.file(segment).current;
        let from = (at as usize).min(bytes.len());
        Ok(bytes[from..bytes.len().min(from.saturating_add(length))].to_vec())
    }

    fn create(&mut self, segment: u32) -> io::Result<()> {
        self.operation(|machine, fault| {
            if fault.is_none_or(|fault| fault == Fault::FailAfter) {
                machine.inodes.push(SimFile::default());
                machine.names.insert(segment, machine.inodes.len() - 1);
            }
        })
    }

    fn write(&mut self, segment: u32, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.operation(|machine, fault| {
            let kept = match fault {
                // What a crash keeps of it is the power cut's affair.
                None | Some(Fault::Crash | Fault::FailAfter) => bytes.len(),
                Some(Fault::Fail) => bytes.len() / 2,
            };
            machine.file(segment).write(at as usize, &bytes[..kept]);
        })
    }

    fn sync(&mut self, segment: u32) -> io::Result<()> {
        self.operation(|machine, fault| match fault {
            None => machine.file(segment).sync(),
            Some(Fault::Crash | Fault::Fail) => {}
            // The system has tried, has failed, and takes the pages for clean: the next sync does not store them.
            Some(Fault::FailAfter) => machine.file(segment).pending.clear(),
        })
    }

    fn truncate(&mut self, segment: u32, to: u64) -> io::Result<()> {
        self.operation(|machine, fault| {
            if fault.is_none_or(|fault| fault == Fault::FailAfter) {
                let file = machine.file(segment);
                file.sync();
                file.current.truncate(to as usize);
                file.synced.truncate(to as usize);
            }
        })
    }

    fn remove(&mut self, segment: u32) -> io::Result<()> {
        self.operation(|machine, fault| {
            if fault.is_none_or(|fault| fault == Fault::FailAfter) {
                machine.names.remove(&segment);
            }
        })
    }

    fn rename(&mut self, from: u32, to: u32) -> io::Result<()> {
        self.operation(|machine, fault| {
            if fault.is_none_or(|fault| fault == Fault::FailAfter) {
                let inode = machine.names.remove(&from).expect("only what is there is renamed");
                machine.names.insert(to, inode);
            }
        })
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        self.operation(|machine, fault| {
            if fault.is_none_or(|fault| fault == Fault::FailAfter) {
                machine.synced_names = machine.names.clone();
            }
        })
    }

    fn path(&self, segment: u32) -> PathBuf {
        PathBuf::from(format!("dir/log-{segment:08}.log"))
    }
}
