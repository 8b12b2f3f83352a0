//! A loan between two masters as real processes, held at any of its steps: jobs that wait at gates, parties that are suspended, killed
//! and started anew. What must hold at the end is [`Lab::settle`].
//!
//! The borrower has a worker `b1` of its own, the owner has `w` alone, which is the one that is lent. Each runs one job at a time.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::{Client, Line};
use super::netns::{Machine, PORT};
use super::ports::free_port;
use super::process::{NodeProcess, Output, Process, command};
use super::wait::{DEADLINE, pause, wait_for, wait_until};

/// Jobs that saturate a master: one runs, and the others are above the capacity.
const JOBS: usize = 7;

/// How long a master that was suspended may take to notice that a worker has left it meanwhile.
const NOTICED: Duration = Duration::from_secs(1);

/// What every master is told beside its place.
const MASTER: [&str; 18] = [
    "--cpu-threshold",
    "0",
    "--expect",
    "2",
    "--hold",
    "0.1",
    "--capacity",
    "4",
    "--release",
    "2",
    "--cooldown",
    "0.2",
    "--grace",
    "1",
    "--lease",
    "1.5",
    "--forget-owner",
    "60",
];

/// What every node is told.
const QUICK: [&str; 6] = ["--interval", "0.2", "--timeout", "1", "--log-level", "info"];

/// Whoever takes part in a loan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Party {
    Borrower,
    Owner,
    Worker,
}

/// How far a loan has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// The request lies at the owner, which has not read it.
    Asked,
    /// The borrower is answered, and the worker has not read its order.
    Agreed,
    /// The worker has left its owner and calls the borrower, which has not read that.
    Redirected,
    /// It runs a job of the borrower.
    Working,
    /// The same, and its lease was renewed more than once.
    Renewing,
    /// It was released, and ends what it runs.
    Leaving,
    /// Its owner wants it back, and it ends what it runs.
    Recalled,
    /// It is at home again.
    Home,
}

/// A node that can be killed and started anew on the same state. Fields are dropped in this order: it ends before its machine goes.
pub(crate) struct Node {
    name: &'static str,
    process: Option<Process>,
    suspended: bool,
    /// What it logged, in each of its lives.
    logs: Vec<Output>,
    args: Vec<String>,
    /// Where a master listens.
    port: Option<u16>,
    machine: Option<Arc<Machine>>,
}

impl Node {
    /// Starts it, and waits until a master listens.
    pub(crate) fn start(&mut self) {
        assert!(self.process.is_none(), "{} runs", self.name);
        let spawn = || Process::spawn(&mut command(&self.args));
        let process = self.within(|| match self.port {
            // The port may be in its last moments of the process that was killed.
            Some(port) => wait_for("the port to be free", || NodeProcess::listening(spawn(), port)).process,
            None => spawn(),
        });
        self.logs.push(process.stderr.clone());
        self.process = Some(process);
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
        self.suspended = false;
    }

    /// SIGSTOP: it does nothing any more, and its connections stand.
    pub(crate) fn suspend(&mut self) {
        self.process.as_ref().expect("it runs").signal(Signal::STOP);
        self.suspended = true;
    }

    /// SIGCONT, where it was suspended.
    pub(crate) fn resume(&mut self) {
        if std::mem::take(&mut self.suspended) {
            self.process.as_ref().expect("it runs").signal(Signal::CONT);
        }
    }

    /// Whether it runs, and is not suspended.
    pub(crate) fn is_up(&self) -> bool {
        self.process.is_some() && !self.suspended
    }

    /// What it has logged until now.
    fn lines(&self) -> Vec<String> {
        self.logs.iter().flat_map(Output::lines).collect()
    }

    /// How many lines it has logged with all of these in them.
    pub(crate) fn logged(&self, parts: &[&str]) -> usize {
        self.lines().iter().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    }

    /// Waits until it has logged so many such lines.
    pub(crate) fn wait_logged(&self, count: usize, parts: &[&str]) {
        wait_until(&format!("{} to log {parts:?} {count} times", self.name), || self.logged(parts) >= count);
    }

    /// Runs `action` where this node is.
    fn within<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        match &self.machine {
            Some(machine) => machine.within(action),
            None => action(),
        }
    }

    /// The answer of a master to one request. `None` where it cannot be asked.
    pub(crate) fn try_ask(&self, request: &Value) -> Option<Value> {
        let port = self.port.expect("only masters are asked");
        let text = self.within(|| {
            let mut client = Client::connect(port).ok()?;
            client.send(format!("{request}\n").as_bytes()).ok()?;
            match client.line_within(DEADLINE) {
                Line::Text(text) => Some(text),
                Line::Closed | Line::Nothing => None,
            }
        });
        serde_json::from_str(&text?).ok()
    }

    /// The same of one that must answer.
    pub(crate) fn ask(&self, request: &Value) -> Value {
        self.try_ask(request).unwrap_or_else(|| panic!("{} does not answer {request}", self.name))
    }

    /// The entries of a list that it answers.
    fn list(&self, task: &str, key: &str) -> Vec<Value> {
        let answer = self.ask(&json!({ "TASK": task }));
        answer[key].as_array().unwrap_or_else(|| panic!("no {key} in {answer}")).clone()
    }

    /// How a worker stands here: its WORKERS entry.
    pub(crate) fn worker(&self, name: &str) -> Option<Value> {
        self.list("WORKERS", "WORKERS").into_iter().find(|worker| worker["NAME"] == name)
    }

    /// Loans that go on, as it says.
    pub(crate) fn live_loans(&self) -> Vec<Value> {
        self.list("LOANS", "LOANS").into_iter().filter(|loan| loan["STATUS"] != "ENDED").collect()
    }

    /// Whether a worker is here by its own connection.
    pub(crate) fn has_here(&self, name: &str) -> bool {
        self.worker(name).is_some_and(|worker| worker["STATUS"] != "AWAY")
    }

    /// Submits jobs that wait at these gates, each once; their ids.
    fn submit(&self, gates: &[&str]) -> Vec<String> {
        let port = self.port.expect("a master");
        let lines: String = (gates.iter())
            .map(|gate| json!({"TASK": "SUBMIT", "SERVICE": "gate", "METHOD": "run", "PARAMS": {"gate": gate}}))
            .map(|request| format!("{request}\n"))
            .collect();
        let answers: Vec<Value> = self.within(|| {
            let mut client = Client::connect(port).expect("it listens");
            client.send(lines.as_bytes()).expect("it reads");
            gates.iter().map(|_| client.json()).collect()
        });
        let id = |answer: &Value| {
            assert_eq!(answer["RESPONSE"], "OK", "{answer}");
            answer["JOB_ID"].as_str().expect("an accepted job has an id").to_owned()
        };
        answers.iter().map(id).collect()
    }
}

/// Two masters, their workers, and jobs that wait at gates.
pub(crate) struct Lab {
    pub(crate) borrower: Node,
    pub(crate) owner: Node,
    /// The one that is lent.
    pub(crate) worker: Node,
    /// The borrower's own one.
    own: Node,
    /// The network is cut: whom a master takes for connected may be gone.
    pub(crate) is_cut: bool,
    /// Since when the worker is said to be with both masters.
    twice: Option<Instant>,
    /// Jobs that were accepted by the borrower and by the owner.
    jobs: [Vec<String>; 2],
    dir: TempDir,
}

/// A service whose jobs end once a file of the name of their gate is there, and that notes whom it begins.
fn write_service(dir: &Path, worker: &str) -> PathBuf {
    let place = dir.join(format!("services-{worker}"));
    fs::create_dir(&place).expect("a directory");
    let manifest = "name = \"gate\"\ncommand = [\"sh\", \"run.sh\"]\nmethods = [\"run\"]\n";
    fs::write(place.join("gate.toml"), manifest).expect("a file");
    let dir = dir.display();
    // Whoever outlives its worker ends with the directory.
    let program = format!(
        "field() {{ rest=${{line#*\\\"$1\\\":\\\"}}; printf '%s' \"${{rest%%\\\"*}}\"; }}\n\
         while IFS= read -r line; do\n\
         id=$(field ID); job=$(field JOB_ID); gate=$(field gate)\n\
         echo \"begin $job\" >> '{dir}/{worker}.runs'\n\
         while [ -d '{dir}/gates' ] && [ ! -e '{dir}/gates/'\"$gate\" ]; do sleep 0.02; done\n\
         echo \"end $job\" >> '{dir}/{worker}.runs'\n\
         printf '{{\"ID\":\"%s\",\"RESULT\":\"%s\"}}\\n' \"$id\" \"$job\"\n\
         done\n"
    );
    fs::write(place.join("run.sh"), program).expect("a file");
    place
}

/// Options by pairs of name and value, those of `options` instead of the usual ones of the same name.
fn overridden(usual: &[&str], options: &[&str]) -> Vec<String> {
    let kept = usual.chunks(2).filter(|pair| !options.contains(&pair[0]));
    kept.flatten().chain(options).map(|word| (*word).to_owned()).collect()
}

impl Lab {
    /// On this machine, once the masters see each other and all workers are at home.
    pub(crate) fn start() -> Lab {
        Lab::start_at([const { None }; 3], &[])
    }

    /// The borrower with its own worker, the owner, and the worker that is lent on a machine each. `options` are those of both masters.
    pub(crate) fn start_at(places: [Option<Arc<Machine>>; 3], options: &[&str]) -> Lab {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("gates")).expect("a directory");
        let [at_borrower, at_owner, at_worker] = places;
        let port = |machine: &Option<Arc<Machine>>| if machine.is_some() { PORT } else { free_port() };
        let (borrower, owner) = (port(&at_borrower), port(&at_owner));
        let address = |machine: &Option<Arc<Machine>>, port: u16| {
            machine.as_ref().map_or_else(|| format!("127.0.0.1:{port}"), |machine| machine.address())
        };
        let addresses = (address(&at_borrower, borrower), address(&at_owner, owner));
        let master = |name: &'static str, port: u16, peer: &str, keep: &str, machine: Option<Arc<Machine>>| {
            let state = dir.path().join(name).display().to_string();
            let mut args = vec!["--port".to_owned(), port.to_string(), "--name".into(), name.into()];
            args.extend(["--data-dir".into(), state, "--peer".into(), peer.to_owned(), "--keep".into(), keep.into()]);
            args.extend(overridden(&[&MASTER[..], &QUICK].concat(), options));
            if let Some(machine) = &machine {
                let open = ["--host", "0.0.0.0", "--insecure", "--advertise", &machine.address()];
                args.extend(open.map(str::to_owned));
            }
            Node { name, process: None, suspended: false, logs: Vec::new(), args, port: Some(port), machine }
        };
        let worker = |name: &'static str, home: &str, machine: Option<Arc<Machine>>| {
            let state = dir.path().join(name).display().to_string();
            let services = write_service(dir.path(), name).display().to_string();
            let args: Vec<String> = ["worker", "--master", home, "--name", name, "--port", "0", "--slots", "1"]
                .iter()
                .chain(&["--grace", "1", "--data-dir", &state, "--services", &services])
                .chain(&QUICK)
                .map(|word| (*word).to_owned())
                .collect();
            Node { name, process: None, suspended: false, logs: Vec::new(), args, port: None, machine }
        };
        let mut lab = Lab {
            own: worker("b1", &addresses.0, at_borrower.clone()),
            borrower: master("borrower", borrower, &addresses.1, "1", at_borrower),
            worker: worker("w", &addresses.1, at_worker),
            owner: master("owner", owner, &addresses.0, "0", at_owner),
            is_cut: false,
            twice: None,
            jobs: Default::default(),
            dir,
        };
        lab.open("free");
        for node in [&mut lab.borrower, &mut lab.owner, &mut lab.worker, &mut lab.own] {
            node.start();
        }
        wait_well("all to be ready", || {
            lab.seen_well()?;
            let quorum = |node: &Node| node.ask(&json!({"TASK": "ELECT"}))["QUORUM"] == true;
            let ready = quorum(&lab.borrower) && quorum(&lab.owner);
            ready.then_some(()).ok_or_else(|| "no quorum".to_owned())
        });
        lab
    }

    /// One of the parties.
    pub(crate) fn party(&mut self, party: Party) -> &mut Node {
        match party {
            Party::Borrower => &mut self.borrower,
            Party::Owner => &mut self.owner,
            Party::Worker => &mut self.worker,
        }
    }

    /// Lets jobs through that wait at this gate.
    pub(crate) fn open(&self, gate: &str) {
        fs::write(self.dir.path().join("gates").join(gate), "").expect("a file");
    }

    /// Lets all through.
    pub(crate) fn open_all(&self) {
        ["own", "guest", "owner"].into_iter().for_each(|gate| self.open(gate));
    }

    /// Gives the borrower more jobs than it is meant to have: the first keeps its own worker, the second whoever comes.
    pub(crate) fn saturate_borrower(&mut self) {
        let gates = [&["own", "guest"][..], &["free"; JOBS - 2]].concat();
        self.jobs[0].extend(self.borrower.submit(&gates));
    }

    /// Gives the owner more jobs than it is meant to have.
    pub(crate) fn saturate_owner(&mut self) {
        self.jobs[1].extend(self.owner.submit(&["owner"; JOBS]));
    }

    /// Gives the owner a job that nothing holds up, and waits for its end.
    pub(crate) fn owner_works(&mut self) {
        let job = self.owner.submit(&["free"]).remove(0);
        let done = |job: &str| self.owner.ask(&json!({"TASK": "RESULT", "JOB_ID": job}))["STATUS"] == "OK";
        wait_until("the owner's job to be done", || done(&job));
        self.jobs[1].push(job);
    }

    /// What the service of this worker has begun and ended, oldest first: `begin JOB`, `end JOB`.
    pub(crate) fn runs(&self, worker: &str) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path().join(format!("{worker}.runs"))).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The job of the borrower that was meant for the guest.
    pub(crate) fn guests_job(&self) -> &str {
        &self.jobs[0][1]
    }

    /// Brings the loan to this step and holds it there.
    pub(crate) fn reach(&mut self, step: Step) {
        match step {
            Step::Asked => self.owner.suspend(),
            Step::Agreed | Step::Redirected => self.worker.suspend(),
            _ => {}
        }
        self.saturate_borrower();
        match step {
            Step::Asked => return self.borrower.wait_logged(1, &["LOAN_ASKED"]),
            Step::Agreed => return self.owner.wait_logged(1, &["WORKER_LENT"]),
            Step::Redirected => {
                self.owner.wait_logged(1, &["WORKER_LENT"]);
                self.borrower.suspend();
                self.worker.resume();
                self.owner.wait_logged(1, &["WORKER_LEFT"]);
                return self.worker.wait_logged(2, &["CONNECTING"]);
            }
            _ => {}
        }
        let begun = format!("begin {}", self.guests_job());
        wait_until("the guest to work", || self.runs("w").contains(&begun));
        match step {
            Step::Renewing => self.owner.wait_logged(3, &["loan message loans_renew from"]),
            Step::Leaving => {
                self.open("own");
                self.borrower.wait_logged(1, &["loan message command_release to"]);
                self.worker.wait_logged(1, &["once the 1 that it runs are done: it is sent home"]);
            }
            Step::Recalled => {
                self.saturate_owner();
                self.owner.wait_logged(1, &["WORKER_RECALLED"]);
                self.worker.wait_logged(1, &["once the 1 that it runs are done: it is sent home"]);
            }
            Step::Home => {
                self.open_all();
                self.owner.wait_logged(1, &["WORKER_RETURNED"]);
            }
            _ => {}
        }
    }

    /// Whoever runs answers, and no worker is at work for two masters.
    pub(crate) fn watch(&mut self) {
        for master in [&self.borrower, &self.owner] {
            if master.is_up() {
                assert_eq!(master.ask(&json!({"TASK": "HEARTBEAT"}))["RESPONSE"], "ALIVE");
            }
        }
        for worker in [&mut self.worker, &mut self.own] {
            let ended = worker.process.as_mut().and_then(Process::ended);
            assert_eq!(ended, None, "{} has ended by itself", worker.name);
        }
        let both = self.borrower.is_up() && self.owner.is_up() && !self.is_cut;
        // Two looks at one and one at the other between them: who is on its way is not taken for two.
        if !(both && self.owner.has_here("w") && self.borrower.has_here("w") && self.owner.has_here("w")) {
            self.twice = None;
            return;
        }
        let since = *self.twice.get_or_insert_with(Instant::now);
        assert!(since.elapsed() < NOTICED, "w has been with two masters for {:?}", since.elapsed());
    }

    /// Waits for a condition, and looks at all that always holds meanwhile. `Err`: what is missing.
    pub(crate) fn wait(&mut self, what: &str, mut probe: impl FnMut(&mut Lab) -> Result<(), String>) {
        let started = Instant::now();
        loop {
            self.watch();
            let Err(missing) = probe(self) else { return };
            assert!(started.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain for {what}: {missing}");
            pause(Duration::from_millis(20));
        }
    }

    /// Waits until the worker is at home, whatever it does there, and its owner knows of no loan.
    pub(crate) fn wait_home(&mut self) {
        self.wait("w to be at home", |lab| {
            let own = lab.owner.worker("w").filter(|worker| worker["STATUS"] != "AWAY" && worker["OWNER"].is_null());
            let own = own.ok_or("the owner does not have it")?;
            none(&lab.owner.live_loans()).map_err(|loans| format!("{loans}, {own}"))
        });
    }

    /// Waits until all jobs of the borrower are done, and no loan goes on there.
    pub(crate) fn wait_borrower_done(&mut self) {
        self.wait("the borrower to be done", |lab| {
            lab.jobs_done(0)?;
            none(&lab.borrower.live_loans())
        });
    }

    /// All gates open: every job is done, once; no loan goes on anywhere; everybody is at home and ALIVE; and the figures say so.
    pub(crate) fn settle(&mut self) {
        self.open_all();
        self.wait("all to be well", |lab| {
            (0..2).try_for_each(|nth| lab.jobs_done(nth))?;
            lab.seen_well()
        });
        for (nth, master) in [&self.borrower, &self.owner].into_iter().enumerate() {
            for job in &self.jobs[nth] {
                let result = master.ask(&json!({"TASK": "RESULT", "JOB_ID": job}));
                assert_eq!((&result["STATUS"], &result["RESULT"]), (&json!("OK"), &json!(job)), "{result}");
                let told = master.logged(&["JOB_ENDED", job]);
                assert!(told <= 1, "the end of {job} is recorded {told} times");
            }
        }
    }

    /// Whether all jobs of a master are done. The error says how they stand.
    fn jobs_done(&self, nth: usize) -> Result<(), String> {
        let master = [&self.borrower, &self.owner][nth];
        let answer = master.try_ask(&json!({"TASK": "JOBS"})).ok_or("it does not answer")?;
        let others = ["DELAYED", "QUEUED", "RUNNING", "NOK", "CANCELLED", "BURIED"];
        let done = answer["OK"] == self.jobs[nth].len() && others.iter().all(|status| answer[status] == 0);
        if done { Ok(()) } else { Err(format!("{}: {answer}", master.name)) }
    }

    /// Whether each master sees the other ALIVE, has its own worker and nobody else, and knows of no loan.
    fn seen_well(&self) -> Result<(), String> {
        for (master, worker) in [(&self.borrower, "b1"), (&self.owner, "w")] {
            let bad = |what: &str, seen: &dyn std::fmt::Display| Err(format!("{}: {what}: {seen}", master.name));
            let workers = master.list("WORKERS", "WORKERS");
            let well = |it: &Value| it["NAME"] == worker && it["STATUS"] == "IDLE" && it["OWNER"].is_null();
            if workers.len() != 1 || !well(&workers[0]) {
                return bad("its workers", &json!(workers));
            }
            none(&master.live_loans())?;
            let loans = master.ask(&json!({"TASK": "LOANS"}));
            if (&loans["LOCAL"], &loans["LENT"], &loans["BORROWED"]) != (&json!(1), &json!(0), &json!(0)) {
                return bad("LOANS", &loans);
            }
            let load = master.ask(&json!({"TASK": "LOAD"}));
            if (&load["PENDING"], &load["RUNNING"], &load["WORKERS"]) != (&json!(0), &json!(0), &json!(1)) {
                return bad("LOAD", &load);
            }
            let peers = master.list("NODES", "NODES");
            if !peers.iter().any(|peer| peer["ROLE"] == "master" && peer["STATUS"] == "ALIVE") {
                return bad("NODES", &json!(peers));
            }
        }
        Ok(())
    }
}

/// That there are none.
fn none(loans: &[Value]) -> Result<(), String> {
    if loans.is_empty() { Ok(()) } else { Err(json!(loans).to_string()) }
}

fn wait_well(what: &str, mut probe: impl FnMut() -> Result<(), String>) {
    let started = Instant::now();
    while let Err(missing) = probe() {
        assert!(started.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain for {what}: {missing}");
        pause(Duration::from_millis(10));
    }
}
