//! A program with a service of its own: it finds words whose letters are those of another.
//!
//! ```sh
//! cargo run --example own_service -- listen
//! ```
//!
//! Implement [`Service`], hand it to an [`Executor`] among the built-ins, and runs come back as reports. A node does
//! the same with what its queue or a `CALL` asks for.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use mutirao::core::{Outcome, Run, RunId};
use mutirao::service::{Context, Executor, ExecutorConfig, Failure, Report, Service, builtins};
use mutirao::wire::{Json, ServiceName, ServiceOffer, Stream};
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

/// Shows what happens, and passes the end on.
struct Show(Sender<Outcome>);

impl Report for Show {
    fn finished(&self, _run: RunId, outcome: Outcome) {
        // Nobody listens any more while the program ends.
        let _ = self.0.send(outcome);
    }

    fn printed(&self, _run: RunId, stream: Stream, text: String) {
        eprint!("[{}] {text}", stream.as_str());
    }

    fn offers(&self, offers: Vec<ServiceOffer>) {
        let names: Vec<&str> = offers.iter().map(|offer| offer.name.as_str()).collect();
        eprintln!("offered here: {}", names.join(", "));
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let word = std::env::args().nth(1).unwrap_or_else(|| "listen".to_owned());
    let mut services = builtins();
    services.push(Box::new(Anagrams::new()));
    let (ended, outcomes) = channel();
    let executor = Executor::start(ExecutorConfig { services, ..ExecutorConfig::default() }, Arc::new(Show(ended)))?;
    executor.run(Run {
        run: RunId(1),
        service: ServiceName::new("anagrams").ok_or("a good name")?,
        method: ServiceName::run(),
        params: Json::of(&json!({ "word": word })),
        timeout: Duration::from_secs(5),
        attempt: None,
        output: true,
    });
    match outcomes.recv()? {
        Outcome::Ok(result) => println!("{result}"),
        Outcome::Failed { detail, .. } => eprintln!("failed: {detail}"),
    }
    executor.finish(Duration::from_secs(1));
    Ok(())
}
