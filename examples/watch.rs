//! A program with a node inside: it joins a cluster and tells who comes and goes.
//!
//! ```sh
//! cargo run --example watch -- 127.0.0.1:9101
//! ```
//!
//! Give it the address of a node that runs. It listens on a free port, so that the other can call it back, and ends
//! with the first peer that is lost.

use std::sync::mpsc::{Sender, channel};

use mutirao::core::{Config, GroupStanding, Identity};
use mutirao::net::{self, Listener, Settings, Watcher};
use mutirao::wire::{Address, Event, EventKind, LoadAnswer, NodeEntry, ServerId};

/// Passes events on to the main thread. A watcher is called on the node's own thread, so it must not block.
struct PassOn(Sender<Event>);

impl Watcher for PassOn {
    fn registry(&mut self, _: &Identity, _: &LoadAnswer, _: Option<GroupStanding>, _: &[NodeEntry]) {}

    fn event(&mut self, event: &Event) {
        // Nobody listens any more while the program ends.
        let _ = self.0.send(event.clone());
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let peer: Address = std::env::args().nth(1).ok_or("give the address of a node, such as 127.0.0.1:9101")?.parse()?;
    let server_id = ServerId::new(uuid::Uuid::new_v4().to_string()).ok_or("a uuid is an id")?;
    let config = Config { peers: vec![peer], ..Config::default() };
    let settings = Settings::new(config, Identity { server_id, name: "watcher".to_owned() }, 1);
    let (events, seen) = channel();
    let node = net::start(Listener::bind(([127, 0, 0, 1], 0).into())?, settings, PassOn(events))?;
    println!("listening on {}", node.address());
    for event in seen {
        let who = event.address.map(|address| address.to_string()).unwrap_or_default();
        println!("{} {who}: {}", event.kind.as_str(), event.detail);
        if matches!(event.kind, EventKind::PeerTimeout | EventKind::PeerLeft) {
            break;
        }
    }
    node.stop();
    node.join()?;
    Ok(())
}
