//! A worker with a service of its own: it finds words whose letters are those of another.
//!
//! ```sh
//! node --port 9101                                         # a master
//! cargo run --example own_service -- 127.0.0.1:9101        # this worker
//! node submit anagrams.run '{"word":"listen"}' --wait
//! node call 127.0.0.1:9101 anagrams.run '{"word":"evil"}'
//! ```
//!
//! Implement [`Service`] and put it beside the built-ins; a worker offers it, and jobs and calls come.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use mutirao::core::{Config, GroupStanding, Identity, WorkerConfig};
use mutirao::net::{self, Listener, Settings, Watcher};
use mutirao::service::{Context, ExecutorConfig, Failure, Service, builtins};
use mutirao::wire::{Address, Event, LoadAnswer, NodeEntry, Role, ServerId, ServiceName, ServiceOffer, Stream};
use serde_json::{Value, json};

/// `anagrams.run {"word":"listen"}`: the words of a list that have the same letters.
struct Anagrams {
    /// Words by their letters in order.
    words: BTreeMap<String, Vec<String>>,
}

/// What is used where the system has no list of words.
const FEW_WORDS: &str = "enlist listen silent tinsel inlets dusty study night thing evil live veil vile";

impl Anagrams {
    fn new() -> Anagrams {
        let list = fs::read_to_string("/usr/share/dict/words").unwrap_or_else(|_| FEW_WORDS.to_owned());
        let mut words: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for word in list.split_whitespace() {
            words.entry(letters(word)).or_default().push(word.to_lowercase());
        }
        Anagrams { words }
    }
}

/// The letters of a word in order.
fn letters(word: &str) -> String {
    let mut letters: Vec<char> = word.to_lowercase().chars().collect();
    letters.sort_unstable();
    letters.into_iter().collect()
}

impl Service for Anagrams {
    fn offer(&self) -> ServiceOffer {
        let name = |name| ServiceName::new(name).expect("a good name");
        // Asking twice gives the same answer, so a call that got lost may be repeated.
        ServiceOffer { name: name("anagrams"), methods: vec![name("run")], idempotent: vec![name("run")] }
    }

    fn call(&self, _method: &str, params: &Value, context: &Context) -> Result<Value, Failure> {
        let Some(word) = params["word"].as_str() else {
            return Err(Failure::refused("PARAMS `word` is missing or no text; expected a text"));
        };
        context.print(Stream::Err, &format!("looking among {} groups of words\n", self.words.len()));
        let mut found = self.words.get(&letters(word)).cloned().unwrap_or_default();
        found.retain(|other| *other != word.to_lowercase());
        found.sort();
        found.dedup();
        Ok(json!({ "word": word, "anagrams": found }))
    }

    /// A look into a map needs no thread.
    fn is_cheap(&self, _method: &str) -> bool {
        true
    }
}

/// Shows what happens to the worker.
struct Show;

impl Watcher for Show {
    fn registry(&mut self, _: &Identity, _: &LoadAnswer, _: Option<GroupStanding>, _: &[NodeEntry]) {}

    fn event(&mut self, event: &Event) {
        println!("{} {}", event.kind.as_str(), event.detail);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let master: Address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9101".to_owned()).parse()?;
    let worker = WorkerConfig { masters: vec![master], slots: 4, grace: Duration::from_secs(10) };
    let config = Config { role: Role::Worker, worker: Some(worker), ..Config::default() };
    let server_id = ServerId::new(uuid::Uuid::new_v4().to_string()).ok_or("a uuid is an id")?;
    let identity = Identity { server_id, name: "anagrams".to_owned() };
    let mut services = builtins();
    services.push(Box::new(Anagrams::new()));
    let settings = Settings {
        services: Some(Box::new(ExecutorConfig { services, ..ExecutorConfig::default() })),
        ..Settings::new(config, identity, 1)
    };
    // Its own port is any free one: others call its master. Ctrl-C drains it, a second one ends it.
    let listener = Listener::bind(([127, 0, 0, 1], 0).into())?;
    net::run(listener, settings, &mut Show)?;
    Ok(())
}
