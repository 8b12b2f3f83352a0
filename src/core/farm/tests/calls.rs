//! Calls to foreign workers that listen, to tell them where to go.

use super::*;
use crate::wire::{Address, Listens, MoveKind, WorkerMove};

fn redirect() -> WorkerMove {
    let (target, target_id, target_name, native, dialect) = (at(9101), None, None, None, None);
    let kind = MoveKind::Redirect;
    WorkerMove { kind, target: Some(target), target_id, target_name, native, dialect, registers: true }
}

fn at(port: u16) -> Address {
    format!("127.0.0.1:{port}").parse().unwrap()
}

impl World {
    /// ALIVE of a foreign worker that listens on this port, with nothing for it.
    fn listening(&mut self, link: u64, worker: &str, port: u16) -> Vec<Effect> {
        let reply = self.reply(link);
        let listens = Some(Listens { host: None, port });
        let alive = WorkerAlive { worker: id(worker), owner: None, listens, native: None };
        self.farm.alive(reply, here(), alive, self.now);
        self.end()
    }

    fn send_off(&mut self, worker: &str) -> Vec<Effect> {
        assert!(self.farm.send_off(&id(worker), redirect(), self.now));
        self.effects()
    }

    fn knows(&self, worker: &str) -> bool {
        self.farm.is_borrowed(&id(worker)).is_some()
    }
}

fn call(worker: &str, port: u16) -> Effect {
    Effect::Call { worker: id(worker), address: at(port), order: redirect() }
}

#[test]
fn a_worker_that_listens_is_called_and_is_gone_when_it_has_acknowledged() {
    let mut world = World::new();
    world.listening(0, "B1", 7001);
    assert_eq!(world.send_off("B1"), [call("B1", 7001)]);
    assert_eq!(said(&world.listening(0, "B1", 7001)), [Some(&Body::NoTask)], "it is not told twice");
    world.farm.called(&id("B1"), Ok(()), world.now);
    assert!(world.effects().iter().all(|effect| matches!(effect, Effect::HangUp { .. })));
    assert!(!world.knows("B1"));
}

#[test]
fn one_that_has_waited_in_silence_is_told_at_once() {
    let mut world = World::new();
    world.alive(0, "B1");
    world.wait(Duration::from_secs(20));
    world.effects();
    let told = Message::plain(Body::Move(Box::new(redirect())));
    assert_eq!(world.send_off("B1"), [Effect::Send { link: LinkId(0), message: told }]);
    assert!(!world.knows("B1"));
}

#[test]
fn one_that_cannot_be_called_is_told_when_it_asks() {
    for answers in [true, false] {
        let mut world = World::new();
        world.listening(0, "B1", 7001);
        world.send_off("B1");
        if answers {
            world.farm.called(&id("B1"), Err("connection refused"), world.now);
            assert_eq!(world.effects(), []);
        } else {
            // On a connection that stands it would be pushed now.
            world.closed(0);
            world.wait(Duration::from_secs(5));
            assert_eq!(world.effects(), [Effect::HangUp { worker: id("B1") }]);
        }
        world.farm.called(&id("B1"), Ok(()), world.now);
        assert!(world.knows("B1"), "too late");
        assert_eq!(said(&world.listening(0, "B1", 7001)), [Some(&Body::Move(Box::new(redirect())))]);
        assert!(!world.knows("B1"));
    }
}

#[test]
fn one_that_works_is_called_once_its_result_is_acknowledged() {
    let mut world = World::new();
    let reply = world.reply(0);
    let listens = Some(Listens { host: None, port: 7001 });
    let alive = WorkerAlive { worker: id("B1"), owner: None, listens, native: None };
    world.farm.alive(reply, here(), alive, world.now);
    world.give(order("j", "query", r#"{"USER":"1"}"#));
    world.end();
    assert_eq!(world.send_off("B1"), [], "it is left in peace while it works");
    world.status(0, Some("B1"), None, true);
    let effects = world.recorded("j");
    assert!(effects.contains(&call("B1", 7001)), "{effects:?}");
}

#[test]
fn a_void_order_and_a_worker_that_is_lost_hang_up() {
    let mut world = World::new();
    world.listening(0, "B1", 7001);
    world.send_off("B1");
    world.farm.keep(&id("B1"), world.now);
    assert_eq!(world.effects(), [Effect::HangUp { worker: id("B1") }]);
    assert!(world.knows("B1"));
    world.send_off("B1");
    world.farm.left(&id("B1"), world.now);
    assert!(world.effects().contains(&Effect::HangUp { worker: id("B1") }));
}

#[test]
fn whoever_spoke_on_another_link_since_is_known() {
    let mut world = World::new();
    world.wait(Duration::from_secs(1));
    world.alive(3, "B1");
    let before = world.now - Duration::from_millis(250);
    assert!(world.farm.spoke_elsewhere(&id("B1"), LinkId(4), before));
    assert!(!world.farm.spoke_elsewhere(&id("B1"), LinkId(3), before), "there it waits");
    assert!(!world.farm.spoke_elsewhere(&id("B1"), LinkId(4), world.now), "that was before");
    assert!(!world.farm.spoke_elsewhere(&id("B2"), LinkId(4), before));
}
