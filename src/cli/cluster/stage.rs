//! The cluster as it runs: starts the nodes, gives them jobs, kills whom it was told to kill, hears them all, and ends them all.
//!
//! ```text
//!   started ── all see each other, workers at home ──> jobs come ── all ended, workers at home ──> judged, ended
//!      └ within 25 s, or it failed                       └ --for is over, Ctrl-C, the jobs' master is dead: the same
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, bounded, select, unbounded};

use super::child::{Child, how};
use super::jobs::{self, Tally};
use super::look::{self, Counts, Look};
use super::merge::{LogLine, Merge, WINDOW};
use super::plan::{Plan, Who};
use super::story::{Phase, Story};
use crate::cli::exit;
use crate::cli::loans::without_counts;

/// How long the nodes may take until all see each other and all workers are at home.
const READY: Duration = Duration::from_secs(25);

/// How long nodes that are told to end may take.
const END: Duration = Duration::from_secs(2);

/// How long it goes on when the master that has the jobs is dead: what becomes of the others is worth seeing.
const BEREFT: Duration = Duration::from_secs(10);

/// How long workers whose master is dead may take to find another one, and the log to tell the last phase, when all else is done.
const ORPHANS: Duration = Duration::from_secs(5);

/// How often counts are told when no worker has moved.
const COUNTS_EVERY: Duration = Duration::from_secs(1);

/// Between two looks at the clock.
const TURN: Duration = Duration::from_millis(20);

/// How often other ports are tried when one turns out to be taken.
const TRIES: u32 = 5;

/// What the threads tell.
pub(super) enum Note {
    /// A line of a node's log.
    Log { who: Who, line: String },
    /// A node has ended, and its log with it.
    Ended { who: Who },
    /// How a master stands; `None`: it cannot be asked.
    Look { who: Who, look: Option<Look> },
    /// So many jobs were accepted; or why not, one sentence.
    Submitted(Result<u32, String>),
}

/// Something to show.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    /// The nodes are started, with their state here.
    Begins { dir: PathBuf },
    /// All see each other, and all workers are at home.
    Ready,
    /// The first master gets the jobs now.
    JobsCome,
    /// A line of a node's log, ids replaced by names.
    Log { who: Who, level: String, text: String },
    /// How a master stands now.
    Counts { who: Who, counts: Counts },
    /// A phase is seen for the first time, by this event at this node.
    Phase { phase: Phase, who: Who, text: String },
    /// What was done to the cluster, or went wrong in it.
    Said(String),
    /// It is over.
    Ends(Box<Summary>),
}

/// What it came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Summary {
    /// Whether all went well.
    pub(super) fine: bool,
    /// Jobs that were accepted.
    pub(super) accepted: u32,
    /// How they ended; `None`: the master that has them cannot be asked.
    pub(super) tally: Option<Tally>,
    /// Of those that ended OK, how many were done by workers of other masters.
    pub(super) by_others: u64,
    /// From when the jobs came until all had ended, or until now.
    pub(super) took: Duration,
    /// When each phase was first seen, after the jobs had come.
    pub(super) phases: Vec<(Phase, Duration)>,
    /// From saturation to the first job that was done by a worker of another master.
    pub(super) help_after: Option<Duration>,
    /// Workers that live and are not at home.
    pub(super) away: Vec<String>,
    /// Nodes that live.
    pub(super) living: usize,
    /// What went wrong, one sentence each.
    pub(super) troubles: Vec<String>,
}

/// Shows a cluster to people.
pub(super) trait Show {
    /// Something has happened, so many seconds after the start. An error ends the cluster.
    fn show(&mut self, plan: &Plan, at: Duration, item: &Item) -> io::Result<()>;
}

/// Why nothing came of it.
enum Trouble {
    /// One port is taken.
    PortTaken(String),
    /// One sentence.
    Failed(String),
}

/// Runs a cluster until it is over. The exit code says whether all went well.
pub(super) fn run(mut plan: Plan, show: &mut dyn Show) -> ExitCode {
    let failed = |what: &str| {
        eprintln!("error: {what}");
        ExitCode::from(exit::FAILURE)
    };
    // Jobs of another cluster, which lie there, would be taken for those of this one.
    if let Some(dir) =
        plan.keep_dir.as_deref().filter(|dir| fs::read_dir(dir).is_ok_and(|mut all| all.next().is_some()))
    {
        eprintln!("error: --keep-dir {}: it is not empty; expected a new directory, or an empty one", dir.display());
        return ExitCode::from(exit::USAGE);
    }
    let signals = match signals() {
        Ok(signals) => signals,
        Err(error) => return failed(&format!("signals cannot be caught: {error}")),
    };
    for tries in 1.. {
        let outcome = plan.choose_ports().map_err(Trouble::Failed).and_then(|()| {
            let dir = Directory::new(plan.keep_dir.as_deref())?;
            Stage::new(&plan, dir.path.clone(), &mut *show).play(&signals)
        });
        return match outcome {
            Ok(true) => ExitCode::from(exit::OK),
            Ok(false) => ExitCode::from(exit::FAILURE),
            Err(Trouble::PortTaken(_)) if plan.may_choose_again() && tries < TRIES => continue,
            Err(Trouble::PortTaken(what)) => {
                failed(&what);
                ExitCode::from(exit::PORT_TAKEN)
            }
            Err(Trouble::Failed(what)) => failed(&what),
        };
    }
    ExitCode::from(exit::FAILURE)
}

/// Ctrl-C and what else asks this process to end, from now on.
fn signals() -> io::Result<Receiver<()>> {
    let (tell, told) = bounded(8);
    #[cfg(unix)]
    {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM])?;
        let hear = move || signals.forever().all(|_| tell.send(()).is_ok());
        std::thread::Builder::new().name("signals".to_owned()).spawn(hear)?;
    }
    #[cfg(not(unix))]
    ctrlc::set_handler(move || drop(tell.try_send(()))).map_err(io::Error::other)?;
    Ok(told)
}

/// Where the state and the logs are. A temporary one is removed when it is dropped.
struct Directory {
    path: PathBuf,
    kept: bool,
}

impl Directory {
    fn new(keep: Option<&Path>) -> Result<Directory, Trouble> {
        let (path, made) = match keep {
            Some(path) => (path.to_owned(), fs::create_dir_all(path)),
            None => {
                let word = uuid::Uuid::new_v4().simple().to_string();
                let name = format!("mutirao-cluster-{}-{}", std::process::id(), &word[..8]);
                let path = std::env::temp_dir().join(name);
                let made = create_own(&path);
                (path, made)
            }
        };
        made.and_then(|()| path.canonicalize())
            .map(|path| Directory { path, kept: keep.is_some() })
            .map_err(|error| Trouble::Failed(format!("{}: {error}", path.display())))
    }
}

/// A new directory that nobody else may look into.
fn create_own(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.kept {
            // What is left of it, the system clears away with its temporary files.
            let _: io::Result<()> = fs::remove_dir_all(&self.path);
        }
    }
}

/// Milliseconds since 1970, as the logs of the nodes have them.
fn clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

struct Stage<'a> {
    plan: &'a Plan,
    dir: PathBuf,
    shows: &'a mut dyn Show,
    tell: Sender<Note>,
    notes: Receiver<Note>,
    children: BTreeMap<Who, Child>,
    looks: BTreeMap<Who, Look>,
    /// What was told of each master, and when.
    told: BTreeMap<Who, (Counts, Instant)>,
    /// Names of the nodes by their ids.
    names: BTreeMap<String, String>,
    story: Story,
    merge: Merge<Item>,
    /// Time of the last line of each node, for those that bear none.
    stamps: BTreeMap<Who, u64>,
    began: u64,
    /// When the jobs came, by both clocks.
    came: Option<(Instant, u64)>,
    kills: VecDeque<(Duration, Who)>,
    accepted: Option<u32>,
    /// When all jobs had ended.
    all_ended: Option<Instant>,
    /// Since when all is done, but that workers of dead masters look for another one.
    settled: Option<Instant>,
    /// When the master that has the jobs died.
    bereft: Option<Instant>,
    troubles: Vec<String>,
    /// Nobody reads what is shown.
    deaf: bool,
}

impl<'a> Stage<'a> {
    fn new(plan: &'a Plan, dir: PathBuf, shows: &'a mut dyn Show) -> Stage<'a> {
        let (tell, notes) = unbounded();
        Stage {
            plan,
            dir,
            shows,
            tell,
            notes,
            children: BTreeMap::new(),
            looks: BTreeMap::new(),
            told: BTreeMap::new(),
            names: BTreeMap::new(),
            story: Story::default(),
            merge: Merge::default(),
            stamps: BTreeMap::new(),
            began: clock(),
            came: None,
            kills: plan.kills.iter().copied().collect(),
            accepted: None,
            all_ended: None,
            settled: None,
            bereft: None,
            troubles: Vec::new(),
            deaf: false,
        }
    }

    /// Everything, from the first start to the last end. Whether all went well.
    fn play(mut self, signals: &Receiver<()>) -> Result<bool, Trouble> {
        self.push(Item::Begins { dir: self.dir.clone() });
        for who in self.plan.all() {
            self.start(who)?;
        }
        let started = Instant::now();
        while !self.is_over() {
            let note = select! {
                recv(self.notes) -> note => note.ok(),
                recv(signals) -> _ => {
                    self.say("told to end");
                    self.troubles.push("it was told to end before all was done".to_owned());
                    break;
                }
                default(TURN) => None,
            };
            // All that has come at once, so that what is told is up to date.
            for note in note.into_iter().chain(self.notes.clone().try_iter()) {
                self.hear(note)?;
            }
            if self.came.is_none() {
                if self.is_ready() {
                    self.give_jobs()?;
                } else if started.elapsed() >= READY {
                    let missing = self.missing();
                    self.flush(true);
                    return Err(Trouble::Failed(format!("not ready within {} s: {missing}", READY.as_secs())));
                }
            }
            self.kill_who_is_due();
            self.see_whether_all_are_home();
            self.flush(false);
        }
        let summary = self.judge();
        self.hear_the_last()?;
        self.flush(true);
        self.end(signals);
        let fine = summary.fine;
        self.push(Item::Ends(Box::new(summary)));
        self.flush(true);
        Ok(fine)
    }

    fn start(&mut self, who: Who) -> Result<(), Trouble> {
        let name = self.plan.name(who);
        let options = self.plan.options(who, &self.dir);
        let log = self.dir.join(format!("{name}.log"));
        let failed = |error: io::Error| Trouble::Failed(format!("{name} cannot be started: {error}"));
        let child = Child::start(who, &options, &log, self.tell.clone()).map_err(failed)?;
        self.children.insert(who, child);
        if self.plan.is_master(who) {
            look::watch(who, self.plan.address(who), self.tell.clone()).map_err(failed)?;
        }
        Ok(())
    }

    fn hear(&mut self, note: Note) -> Result<(), Trouble> {
        match note {
            Note::Log { who, line } => self.hear_line(who, &line),
            Note::Ended { who } => return self.hear_end(who),
            Note::Look { who, look: Some(look) } => self.hear_look(who, look),
            Note::Look { who, look: None } => drop(self.looks.remove(&who)),
            Note::Submitted(Ok(accepted)) => self.accepted = Some(accepted),
            Note::Submitted(Err(why)) => {
                self.accepted = Some(0);
                let what = format!("the jobs could not be submitted: {why}");
                self.say(&what);
                self.troubles.push(what);
            }
        }
        Ok(())
    }

    fn hear_line(&mut self, who: Who, line: &str) {
        if let Some(child) = self.children.get_mut(&who) {
            child.logged(line);
        }
        let LogLine { at, level, text } = LogLine::parse(line);
        let at = at.or_else(|| self.stamps.get(&who).copied()).unwrap_or_else(clock);
        self.stamps.insert(who, at);
        let phase = if self.plan.is_master(who) { self.story.line(who, &text, at) } else { None };
        // What the counts are from just before it says: those that stand between the lines are better.
        let text = without_counts(&text).to_owned();
        if let Some(phase) = phase {
            self.merge.push(at, who.0, Item::Phase { phase, who, text: text.clone() });
        }
        self.merge.push(at, who.0, Item::Log { who, level, text });
    }

    /// A node is gone: as was to be, or by itself.
    fn hear_end(&mut self, who: Who) -> Result<(), Trouble> {
        let Some(child) = self.children.remove(&who) else { return Ok(()) };
        self.looks.remove(&who);
        let (name, told) = (self.plan.name(who), child.told);
        let (status, last) = child.bury();
        if who == Who(0) {
            self.bereft = Some(Instant::now());
        }
        if told {
            return Ok(());
        }
        if self.came.is_none() && status.and_then(|status| status.code()) == Some(i32::from(exit::PORT_TAKEN)) {
            return Err(Trouble::PortTaken(format!("{name}: {}", last.last().map_or("port taken", String::as_str))));
        }
        let what = format!("{name} has ended by itself: {}", how(status));
        let mut text = format!("{what}; the end of its log:");
        last.iter().for_each(|line| text += &format!("\n      {line}"));
        self.say(&text);
        self.troubles.push(what);
        Ok(())
    }

    fn hear_look(&mut self, who: Who, look: Look) {
        if !self.children.contains_key(&who) {
            return;
        }
        self.names.entry(look.id.to_string()).or_insert_with(|| self.plan.name(who));
        for worker in &look.workers {
            if !self.names.contains_key(worker.id.as_str())
                && let Some(known) = self.plan.workers().find(|known| self.plan.name(*known) == worker.name)
            {
                self.names.insert(worker.id.to_string(), worker.name.clone());
                self.story.belongs(worker.id.as_str(), self.plan.home(known));
            }
        }
        let counts = look.counts;
        self.looks.insert(who, look);
        let worth = match self.told.get(&who) {
            None => true,
            Some((before, _)) if before.places() != counts.places() => true,
            Some((before, when)) => *before != counts && when.elapsed() >= COUNTS_EVERY,
        };
        if worth && self.came.is_some() {
            self.told.insert(who, (counts, Instant::now()));
            self.push(Item::Counts { who, counts });
        }
        let (accepted, ended) = (self.accepted.map(u64::from), counts.done + counts.failed);
        if who == Who(0) && self.all_ended.is_none() && accepted.is_some_and(|accepted| ended >= accepted) {
            self.all_ended = Some(Instant::now());
            self.tell_counts();
        }
    }

    /// Tells how all masters stand, as far as that was not told.
    fn tell_counts(&mut self) {
        let counts: Vec<(Who, Counts)> = self.looks.iter().map(|(who, look)| (*who, look.counts)).collect();
        for (who, counts) in counts {
            let before = self.told.insert(who, (counts, Instant::now()));
            if before.is_none_or(|(before, _)| before != counts) {
                self.push(Item::Counts { who, counts });
            }
        }
    }

    /// A text with names instead of ids.
    fn named(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (id, name) in &self.names {
            if text.contains(id.as_str()) {
                text = text.replace(id.as_str(), name);
            }
            let short = format!("({})", id.get(..8).unwrap_or(id));
            if text.contains(&short) {
                text = text.replace(&short, &format!("({name})"));
            }
        }
        text
    }

    /// Whether all see each other and all workers are at home.
    fn is_ready(&self) -> bool {
        let count = self.plan.masters().count();
        let sees = |who: Who| self.looks.get(&who).is_some_and(|look| look.members == count && look.alive >= count - 1);
        self.plan.masters().all(sees) && self.plan.workers().all(|worker| self.is_home(worker))
    }

    /// What is missing until all is ready.
    fn missing(&self) -> String {
        let count = self.plan.masters().count();
        let mut missing = Vec::new();
        for master in self.plan.masters() {
            let name = self.plan.name(master);
            match self.looks.get(&master) {
                None => missing.push(format!("{name} does not answer")),
                Some(look) if look.members != count || look.alive < count - 1 => missing.push(format!(
                    "{name} sees {} of {} other masters, {} of {count} members",
                    look.alive,
                    count - 1,
                    look.members
                )),
                Some(_) => {}
            }
        }
        let away = self.plan.workers().filter(|worker| !self.is_home(*worker));
        missing.extend(away.map(|worker| format!("{} is not at home", self.plan.name(worker))));
        missing.join(", ")
    }

    /// Whether a worker is where it belongs, and nowhere else. The workers of a dead master are at home at any other.
    fn is_home(&self, worker: Who) -> bool {
        let (name, home) = (self.plan.name(worker), self.plan.home(worker));
        let lives = self.children.contains_key(&home);
        let mut places = 0;
        let mut well = true;
        for (master, look) in &self.looks {
            for present in look.workers.iter().filter(|present| present.name == name) {
                places += 1;
                well &= present.here && (!lives || (*master == home && present.own));
            }
        }
        places == 1 && well
    }

    /// Workers that live and are not at home: those whose master lives, and those whose master is dead.
    fn away(&self) -> (Vec<String>, Vec<String>) {
        let lives = |worker: &Who| self.children.contains_key(worker);
        let away = self.plan.workers().filter(lives).filter(|worker| !self.is_home(*worker));
        let (own, orphans): (Vec<Who>, Vec<Who>) = away.partition(|worker| lives(&self.plan.home(*worker)));
        let names = |workers: Vec<Who>| workers.into_iter().map(|worker| self.plan.name(worker)).collect();
        (names(own), names(orphans))
    }

    /// Whether a master says that it has lent somebody.
    fn is_lending(&self) -> bool {
        self.looks.values().any(|look| look.counts.lent > 0)
    }

    fn give_jobs(&mut self) -> Result<(), Trouble> {
        self.push(Item::Ready);
        self.tell_counts();
        self.push(Item::JobsCome);
        self.came = Some((Instant::now(), clock()));
        let (address, tell) = (self.plan.address(Who(0)), self.tell.clone());
        jobs::submit(address, self.plan.jobs, self.plan.job, tell)
            .map_err(|error| Trouble::Failed(format!("no thread for the jobs: {error}")))
    }

    fn kill_who_is_due(&mut self) {
        let Some((came, _)) = self.came else { return };
        while let Some((after, who)) = self.kills.front().copied().filter(|(after, _)| came.elapsed() >= *after) {
            self.kills.pop_front();
            let name = self.plan.name(who);
            let Some(child) = self.children.get_mut(&who) else { continue };
            child.kill();
            let what = match (self.plan.is_master(who), who == Who(0)) {
                (true, true) => "its jobs wait on its disk; its workers go on elsewhere once they notice",
                (true, false) => "whom it has lent stays for its lease; the others look for another master",
                (false, _) => "what it ran is queued again once its master notices",
            };
            self.say(&format!("{name} is killed, {} after the jobs came: {what}", super::seconds(after)));
        }
    }

    fn see_whether_all_are_home(&mut self) {
        if self.came.is_none() || self.story.at(Phase::Redirected).is_none() {
            return;
        }
        let (own, orphans) = self.away();
        // A worker that is on its way is nowhere.
        if !own.is_empty() || !orphans.is_empty() || self.is_lending() {
            return self.story.not_home();
        }
        if let Some(phase) = self.story.all_home(clock()) {
            let living = self.plan.workers().filter(|worker| self.children.contains_key(worker)).count();
            let text = format!("all {living} workers are at home");
            let who = self.looks.keys().next().copied().unwrap_or(Who(0));
            self.push(Item::Phase { phase, who, text });
        }
    }

    fn is_over(&mut self) -> bool {
        let Some((came, _)) = self.came else { return self.deaf || !self.troubles.is_empty() };
        let (own, orphans) = self.away();
        let done = self.all_ended.is_some() && own.is_empty() && !self.is_lending();
        self.settled = if done { self.settled.or_else(|| Some(Instant::now())) } else { None };
        // The log, which has the last phases, may be slower than the look.
        let told = self.story.at(Phase::Saturated).is_none() || self.story.at(Phase::Released).is_some();
        let all = self.settled.is_some_and(|since| (orphans.is_empty() && told) || since.elapsed() >= ORPHANS);
        let limit = self.plan.limit.is_some_and(|limit| came.elapsed() >= limit);
        let bereft = self.bereft.is_some_and(|since| since.elapsed() >= BEREFT);
        let refused = self.accepted == Some(0);
        if all {
            self.spare_who_is_left();
        }
        all || limit || bereft || refused || self.deaf || self.children.is_empty()
    }

    /// All is done: who was to be killed later is not.
    fn spare_who_is_left(&mut self) {
        for (after, who) in std::mem::take(&mut self.kills) {
            let (name, after) = (self.plan.name(who), super::seconds(after));
            self.say(&format!("{name} is not killed: all was done before {after} after the jobs came"));
        }
    }

    fn judge(&mut self) -> Summary {
        let accepted = self.accepted.unwrap_or_default();
        let tally = match self.children.contains_key(&Who(0)) && self.came.is_some() {
            true => jobs::settled_tally(&self.plan.address(Who(0)), self.all_ended.is_some()).ok(),
            false => None,
        };
        let (came, came_at) = self.came.unwrap_or_else(|| (Instant::now(), clock()));
        let by_others = tally.iter().flat_map(|tally| &tally.by);
        let by_others =
            by_others.filter(|(worker, _)| self.story.is_of_another(worker, Who(0))).map(|(_, count)| count);
        let by_others = by_others.sum();
        let after = |at: u64| Duration::from_millis(at.saturating_sub(came_at));
        let phases = Phase::ALL.into_iter().filter_map(|phase| Some((phase, after(self.story.at(phase)?))));
        let phases = phases.collect();
        let (away, orphans) = self.away();
        if !orphans.is_empty() {
            self.troubles.push(format!("{} lost their master and have found no other one", orphans.join(", ")));
        }
        let all_ok = tally.as_ref().is_some_and(|tally| tally.ok == u64::from(self.plan.jobs) && tally.open == 0);
        if self.children.is_empty() {
            self.troubles.push("no node lives any more".to_owned());
        }
        Summary {
            fine: all_ok && away.is_empty() && self.troubles.is_empty() && accepted == self.plan.jobs,
            accepted,
            tally,
            by_others,
            took: self.all_ended.map_or_else(|| came.elapsed(), |ended| ended.saturating_duration_since(came)),
            phases,
            help_after: self.story.between(Phase::Saturated, Phase::Working).map(Duration::from_millis),
            away,
            living: self.children.len(),
            troubles: self.troubles.clone(),
        }
    }

    /// What was said until now is on its way.
    fn hear_the_last(&mut self) -> Result<(), Trouble> {
        let until = Instant::now() + Duration::from_millis(WINDOW);
        while let Ok(note) = self.notes.recv_deadline(until) {
            self.hear(note)?;
        }
        Ok(())
    }

    /// Ends every node: gently, and then not.
    fn end(&mut self, signals: &Receiver<()>) {
        self.children.values_mut().for_each(Child::ask_to_end);
        let until = Instant::now() + END;
        while !self.children.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            select! {
                recv(self.notes) -> note => {
                    if let Ok(Note::Ended { who }) = note {
                        self.children.remove(&who);
                    }
                }
                recv(signals) -> _ => break,
                default(left) => break,
            }
        }
        // Whoever is left is killed.
        self.children.clear();
    }

    fn say(&mut self, text: &str) {
        self.push(Item::Said(text.to_owned()));
    }

    fn push(&mut self, item: Item) {
        self.merge.push(clock(), usize::MAX, item);
    }

    /// Shows whose turn has come; `all`: whether it has come or not.
    fn flush(&mut self, all: bool) {
        let now = clock();
        while let Some((at, item)) = if all { self.merge.rest() } else { self.merge.due(now) } {
            let at = Duration::from_millis(at.saturating_sub(self.began));
            let item = match item {
                Item::Log { who, level, text } => Item::Log { who, level, text: self.named(&text) },
                Item::Phase { phase, who, text } => Item::Phase { phase, who, text: self.named(&text) },
                Item::Said(text) => Item::Said(self.named(&text)),
                item => item,
            };
            if !self.deaf && self.shows.show(self.plan, at, &item).is_err() {
                self.deaf = true;
            }
        }
    }
}
