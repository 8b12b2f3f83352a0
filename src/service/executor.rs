//! The executor: takes runs, hands them to who does them, and ends them.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{any, io};

use crate::core::{Outcome, Run, RunId};
use crate::wire::{Json, MAX_SERVICES, ServiceName, ServiceOffer};

use super::pool::Pool;
use super::program::Programs;
use super::running::{Counts, Running};
use super::runs::Runs;
use super::shell::Shell;
use super::{Context, ExecutorConfig, Failure, Report, Service};

/// Runs what the core wants to be run. Dropping it ends everything at once.
pub struct Executor {
    shared: Arc<Shared>,
    programs: Option<Programs>,
    watch: Option<JoinHandle<()>>,
}

struct Shared {
    services: BTreeMap<ServiceName, RustService>,
    runs: Arc<Runs>,
    counts: Arc<Counts>,
    pool: Pool,
    report: Arc<dyn Report>,
    stops: AtomicBool,
}

#[derive(Clone)]
struct RustService {
    offer: ServiceOffer,
    service: Arc<dyn Service>,
}

impl Executor {
    /// Starts. The offers are told before this returns. Fails where a setting is out of its range, two services have
    /// one name, the directory cannot be read, or a thread cannot be started; nothing runs then.
    pub fn start(config: ExecutorConfig, report: Arc<dyn Report>) -> io::Result<Executor> {
        let invalid = |detail: String| Err(io::Error::new(io::ErrorKind::InvalidInput, detail));
        if !(1..=4096).contains(&config.threads) {
            return invalid(format!("threads is {}; expected 1 to 4096", config.threads));
        }
        if config.rescan < Duration::from_millis(10) || config.rescan > Duration::from_secs(3600) {
            return invalid(format!("rescan is {:?}; expected 10 ms to 1 h", config.rescan));
        }
        let mut services = BTreeMap::new();
        let shell: Option<Box<dyn Service>> = if config.allow_exec { Some(Box::new(Shell)) } else { None };
        for service in config.services.into_iter().chain(shell) {
            let offer = service.offer();
            let name = offer.name.clone();
            let entry = RustService { offer, service: Arc::from(service) };
            if services.insert(name.clone(), entry).is_some() {
                return invalid(format!("two services are named {name}"));
            }
        }
        if services.len() > MAX_SERVICES {
            return invalid(format!("{} services; at most {MAX_SERVICES} are possible", services.len()));
        }
        let (counts, pool) = (Arc::new(Counts::new()), Pool::new(config.threads));
        let replaced = pool.clone();
        let runs = Arc::new(Runs::new(Arc::clone(&report), Arc::clone(&counts), move || replaced.abandon()));
        let watch = runs.watch()?;
        let own: Vec<ServiceOffer> = services.values().map(|service| service.offer.clone()).collect();
        let stops = AtomicBool::new(false);
        let shared = Shared { services, runs: Arc::clone(&runs), counts, pool, report: Arc::clone(&report), stops };
        let mut executor = Executor { shared: Arc::new(shared), programs: None, watch: Some(watch) };
        let board = OfferBoard::new(own, report);
        match config.directory {
            // An error drops the executor, which ends the watch.
            Some(path) => executor.programs = Some(Programs::start(path, config.rescan, board, runs)?),
            None => board.tell(Vec::new()),
        }
        Ok(executor)
    }

    /// Runs this. Returns at once; its end is told to the [`Report`], before this returns where the method is cheap.
    /// Its time begins now and includes the time that it waits for a thread or a program.
    pub fn run(&self, run: Run) {
        self.shared.counts.begun.fetch_add(1, Ordering::Relaxed);
        let id = run.run;
        let refuse = |failure: Failure| self.shared.runs.tell(id, failure.into());
        if self.shared.stops.load(Ordering::SeqCst) {
            return refuse(Failure::broken("this node stops"));
        }
        let running = |run, most| {
            let (counts, report) = (Arc::clone(&self.shared.counts), Arc::clone(&self.shared.report));
            Arc::new(Running::new(run, most, counts, report))
        };
        if let Some(found) = self.shared.services.get(&run.service) {
            if !found.offer.has(&run.method) {
                return refuse(no_method(&found.offer, &run.method));
            }
            let running = running(run, None);
            if found.service.is_cheap(running.run.method.as_str()) {
                let outcome = call(&*found.service, &running);
                running.end();
                return self.shared.runs.tell(id, outcome);
            }
            return self.hand_to_pool(running, Arc::clone(&found.service));
        }
        let Some(program) = self.programs.as_ref().and_then(|programs| programs.find(&run.service)) else {
            return refuse(Failure::broken(format!("this node has no service {}", run.service)));
        };
        if !program.offer().has(&run.method) {
            return refuse(no_method(program.offer(), &run.method));
        }
        let running = running(run, program.timeout());
        if self.shared.runs.add(Arc::clone(&running)) {
            program.request(running);
        }
    }

    /// Stops this run: asks it, and after two seconds makes it. Its end is still told. A run that has ended, or that
    /// nobody knows, is left alone.
    pub fn stop(&self, run: RunId) {
        self.shared.runs.stop(run);
    }

    /// Ends everything: asks it, and after `grace` makes it. New runs fail. Returns when all runs have ended and no
    /// process is left, at most some two seconds after `grace`.
    pub fn finish(mut self, grace: Duration) {
        self.shut_down(grace);
    }

    fn shut_down(&mut self, grace: Duration) {
        let Some(watch) = self.watch.take() else { return };
        let until = Instant::now() + grace;
        self.shared.stops.store(true, Ordering::SeqCst);
        if let Some(programs) = &self.programs {
            programs.end(until);
        }
        self.shared.runs.stop_all(grace);
        self.shared.runs.wait_for_none(until + Duration::from_secs(1));
        self.shared.runs.end();
        self.shared.pool.end();
        if let Some(programs) = self.programs.take() {
            programs.join();
        }
        // The watch never waits for anybody but its alarms.
        let _ = watch.join();
    }

    fn hand_to_pool(&self, running: Arc<Running>, service: Arc<dyn Service>) {
        if !self.shared.runs.add(Arc::clone(&running)) {
            return;
        }
        let (runs, pool, id) = (Arc::clone(&self.shared.runs), self.shared.pool.clone(), running.run.run);
        let job = move || {
            if !running.take() {
                return;
            }
            let outcome = call(&*service, &running);
            runs.finish(id, running.judged(outcome));
            if !running.leave() {
                pool.returned();
            }
        };
        if let Err(reason) = self.shared.pool.run(Box::new(job)) {
            self.shared.runs.finish(id, Failure::broken(reason).into());
        }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.shut_down(Duration::ZERO);
    }
}

fn no_method(offer: &ServiceOffer, method: &ServiceName) -> Failure {
    let methods: Vec<&str> = offer.methods.iter().map(ServiceName::as_str).collect();
    Failure::refused(format!("{} has no method {method}; it has {}", offer.name, methods.join(", ")))
}

/// Calls a service; a panic of it is a failure.
fn call(service: &dyn Service, running: &Arc<Running>) -> Outcome {
    let params = match serde_json::from_str(running.run.params.as_str()) {
        Ok(params) => params,
        // Valid on the wire, where values are not taken apart, and yet nested too deep or with a number beyond floats.
        Err(error) => return Failure::refused(format!("PARAMS cannot be read: {error}")).into(),
    };
    let context = Context(Arc::clone(running));
    let called = catch_unwind(AssertUnwindSafe(|| service.call(running.run.method.as_str(), &params, &context)));
    match called {
        Ok(Ok(result)) => Outcome::Ok(Json::of(&result)),
        Ok(Err(failure)) => failure.into(),
        Err(panic) => Failure::broken(format!("{} panicked: {}", running.run.service, text_of(&*panic))).into(),
    }
}

/// What a panic says.
fn text_of(panic: &(dyn any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}

/// Tells what can be run here, in order and only when it has changed.
pub(super) struct OfferBoard {
    own: Vec<ServiceOffer>,
    report: Arc<dyn Report>,
    told: Mutex<Option<Vec<ServiceOffer>>>,
}

impl OfferBoard {
    fn new(own: Vec<ServiceOffer>, report: Arc<dyn Report>) -> OfferBoard {
        OfferBoard { own, report, told: Mutex::new(None) }
    }

    /// Whether a service in Rust has this name.
    pub(super) fn is_taken(&self, name: &ServiceName) -> bool {
        self.own.iter().any(|offer| offer.name == *name)
    }

    /// How many programs there may be.
    pub(super) fn room(&self) -> usize {
        MAX_SERVICES - self.own.len()
    }

    /// These programs can be run now.
    pub(super) fn tell(&self, programs: Vec<ServiceOffer>) {
        self.tell_now(|| programs);
    }

    /// As [`OfferBoard::tell`]; the programs are asked for when it is this one's turn, so that the last word is the newest.
    pub(super) fn tell_now(&self, programs: impl FnOnce() -> Vec<ServiceOffer>) {
        let mut told = self.told.lock().expect("no holder of this lock panics");
        let mut offers = self.own.clone();
        offers.extend(programs());
        offers.sort();
        if told.as_ref() != Some(&offers) {
            self.report.offers(offers.clone());
            *told = Some(offers);
        }
    }
}
