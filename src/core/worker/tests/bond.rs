//! Whom a worker belongs to, and where it goes.

use super::*;

fn server(name: &str) -> ServerId {
    ServerId::new(name).unwrap()
}

fn epoch(generation: u64, counter: u64) -> Epoch {
    Epoch { generation, counter }
}

fn loan_id() -> Option<LoanId> {
    LoanId::new("M1-1")
}

/// A welcome by `master` with these terms.
fn terms(master: &str, owner: &str, epoch: Epoch, lease_s: Option<u64>) -> Body {
    let Body::WorkerWelcome(welcome) = super::welcome(master, Vec::new()) else { unreachable!() };
    let loan_id = lease_s.and_then(|_| loan_id());
    let lease = lease_s.map(Duration::from_secs);
    let terms = Terms { owner: server(owner), owner_address: None, epoch, loan_id, lease };
    Body::WorkerWelcome(Box::new(WorkerWelcome { terms: Some(Box::new(terms)), ..*welcome }))
}

/// An order about this worker: to the master `to` at `host`.
fn order(kind: MoveKind, host: u8, to: &str, owner: &str, epoch: Epoch, lease_s: Option<u64>) -> Body {
    let native = NativeMove {
        owner: server(owner),
        epoch,
        loan_id: lease_s.and_then(|_| loan_id()),
        lease: lease_s.map(Duration::from_secs),
        stay: None,
        grace: None,
    };
    let (target, target_id) = (Some(at(host)), Some(server(to)));
    let native = Some(native);
    let (target_name, dialect, registers) = (None, None, false);
    Body::Move(Box::new(WorkerMove { kind, target, target_id, target_name, native, dialect, registers }))
}

fn lend(counter: u64) -> Body {
    order(MoveKind::Redirect, 7, "M7", "M1", epoch(0, counter), Some(30))
}

/// The latest ALIVE that it said.
fn alive(said: &[Body]) -> &WorkerAlive {
    let last = said.iter().rev().find_map(|body| if let Body::WorkerAlive(alive) = body { Some(alive) } else { None });
    last.unwrap_or_else(|| panic!("{said:?}"))
}

/// At home at M1, 10.0.0.1, and then lent to M7, 10.0.0.7, for 30 s.
fn lent() -> (Desk, LinkId) {
    let mut desk = Desk::new(&[1, 2]);
    let link = desk.open();
    desk.say(link, terms("M1", "M1", epoch(0, 0), None));
    desk.take();
    desk.say(link, lend(5));
    let (next, address) = desk.dialled();
    assert_eq!(address, at(7));
    assert!(matches!(desk.said().last(), Some(Body::Leave { .. })), "it says goodbye first");
    desk.worker.opened(next, desk.now);
    desk.collect();
    let said = desk.said();
    let said = alive(&said);
    assert_eq!(said.owner.as_deref(), Some("M1"), "it says whose it is");
    let native = said.native.as_ref().unwrap();
    assert_eq!((native.epoch, &native.loan_id), (Some(epoch(0, 5)), &loan_id()));
    desk.say(next, terms("M7", "M1", epoch(0, 5), Some(30)));
    desk.take();
    (desk, next)
}

#[test]
fn it_finishes_what_it_runs_before_it_goes() {
    let (mut desk, link) = Desk::native();
    desk.say(link, terms("M1", "M1", epoch(0, 0), None));
    desk.say(link, job(one(1, 1)));
    let run = desk.started()[0];
    desk.take();
    desk.say(link, lend(5));
    let said = desk.said();
    assert_eq!(alive(&said).native.as_ref().unwrap().slots, 0, "it takes nothing new: {said:?}");
    desk.say(link, job(one(2, 1)));
    assert!(
        matches!(&desk.said()[..], [Body::WorkerStatus(status)] if !status.ok && status.retry),
        "not even what is under way"
    );
    desk.say(link, ack(Some(one(2, 1))));
    desk.finish(run, true);
    assert!(
        desk.seen.iter().all(|effect| !matches!(effect, Effect::Open { .. })),
        "its result is not acknowledged yet"
    );
    desk.say(link, ack(Some(one(1, 1))));
    assert_eq!(desk.dialled().1, at(7));
}

#[test]
fn an_order_to_go_is_void_by_a_higher_epoch_of_its_owner_however_that_comes() {
    let stays = order(MoveKind::Redirect, 1, "M1", "M1", epoch(0, 6), None);
    let welcome = terms("M1", "M1", epoch(0, 6), None);
    for said in [vec![stays.clone()], vec![welcome.clone()], vec![welcome.clone(), stays.clone()], vec![stays, welcome]]
    {
        let (mut desk, link) = Desk::native();
        desk.say(link, terms("M1", "M1", epoch(0, 0), None));
        desk.say(link, job(one(1, 1)));
        let run = desk.started()[0];
        desk.say(link, lend(5));
        desk.take();
        for body in said {
            desk.say(link, body);
        }
        let told = desk.seen.iter().rev().find_map(|effect| match effect {
            Effect::Send { message, .. } => match &message.body {
                Body::WorkerAlive(alive) => alive.native.as_ref().map(|native| native.slots),
                _ => None,
            },
            _ => None,
        });
        assert_eq!(told, Some(2), "it takes jobs again, and says so at once: {:?}", desk.seen);
        desk.finish(run, true);
        desk.say(link, ack(Some(one(1, 1))));
        desk.pass(Duration::from_secs(1));
        assert!(desk.seen.iter().all(|effect| !matches!(effect, Effect::Open { .. })), "it stays: {:?}", desk.seen);
        let view = desk.worker.bond_view();
        assert_eq!((view.epoch, view.loan_id), (Some(epoch(0, 6)), None));
    }
}

#[test]
fn an_order_that_is_not_higher_than_all_before_is_not_obeyed() {
    let (mut desk, link) = lent();
    for stale in [epoch(0, 4), epoch(0, 5)] {
        desk.say(link, order(MoveKind::Redirect, 9, "M9", "M1", stale, Some(30)));
        assert!(desk.seen.iter().all(|effect| !matches!(effect, Effect::Open { .. })), "{stale}");
    }
    desk.say(link, order(MoveKind::Redirect, 9, "M9", "M1", epoch(0, 6), Some(30)));
    assert!(desk.logged("it tells of no adoption"), "a borrower does not lend it on, whatever epoch it makes up");
    assert!(desk.seen.iter().all(|effect| !matches!(effect, Effect::Open { .. })));
    assert_eq!(desk.worker.bond_view().epoch, Some(epoch(0, 5)));
}

#[test]
fn an_owner_that_was_replaced_is_outranked() {
    let (mut desk, link) = Desk::native();
    desk.say(link, terms("M1", "M1", epoch(0, 0), None));
    desk.say(link, order(MoveKind::Redirect, 1, "M1", "M1", epoch(1, 0), None));
    assert_eq!(desk.said().len(), 1, "it is there already, and says so");
    desk.say(link, order(MoveKind::Redirect, 9, "M9", "M9", epoch(0, 900_000), None));
    assert!(
        desk.seen.iter().all(|effect| !matches!(effect, Effect::Open { .. })),
        "any counter of an older generation is lower"
    );
    desk.say(link, order(MoveKind::Redirect, 3, "M3", "M3", epoch(2, 0), None));
    assert_eq!(desk.dialled().1, at(3), "adopted by another");
}

#[test]
fn the_borrower_sends_it_home_and_it_is_at_home_there() {
    let (mut desk, link) = lent();
    desk.say(link, order(MoveKind::Return, 1, "M1", "M1", epoch(0, 5), Some(0)));
    let (home, address) = desk.dialled();
    assert_eq!(address, at(1));
    desk.worker.opened(home, desk.now);
    desk.collect();
    let said = desk.said();
    assert_eq!(alive(&said).owner, None, "at home a plain ALIVE");
    assert_eq!(alive(&said).native.as_ref().unwrap().loan_id, None);
}

#[test]
fn a_lease_counts_from_when_it_was_asked_for_and_ends_by_itself() {
    let (mut desk, link) = lent();
    let begun = desk.now;
    let gone = loop {
        desk.pass(Duration::from_millis(100));
        let home = |effect: &Effect| matches!(effect, Effect::Open { address, .. } if *address == at(1));
        if desk.seen.iter().any(home) {
            break desk.now.since(begun);
        }
        // The borrower answers half a second late, and has no other lease to give.
        if desk.said().iter().any(|body| matches!(body, Body::WorkerAlive(_))) {
            let rest = Duration::from_secs(30).saturating_sub(desk.now.since(begun)).as_secs();
            desk.pass(Duration::from_millis(500));
            // It may have gone meanwhile: it asks more often where little is left.
            desk.worker.message(link, None, terms("M7", "M1", epoch(0, 5), Some(rest)), desk.now);
            desk.collect();
        }
    };
    // Looked at up to 0.6 s later.
    assert!(gone <= Duration::from_millis(30_600) && gone >= Duration::from_secs(27), "{gone:?}");
}

#[test]
fn what_runs_when_the_lease_ends_has_ten_seconds_to_end() {
    let (mut desk, link) = lent();
    desk.say(link, job(one(1, 1)));
    desk.take();
    // The borrower answers every ALIVE, and cannot renew.
    let begun = desk.now;
    while desk.now.since(begun) < Duration::from_secs(39) {
        desk.pass(Duration::from_secs(1));
        let rest = Duration::from_secs(30).saturating_sub(desk.now.since(begun)).as_secs();
        if desk.said().iter().any(|body| matches!(body, Body::WorkerAlive(_))) && rest > 0 {
            desk.say(link, terms("M7", "M1", epoch(0, 5), Some(rest)));
        } else {
            desk.say(link, ack(None));
        }
        assert_eq!(desk.stopped(), 0, "{:?} after the loan began", desk.now.since(begun));
    }
    desk.take();
    desk.pass(Duration::from_secs(2));
    assert_eq!(desk.stopped(), 1);
    assert!(desk.seen.iter().any(|effect| matches!(effect, Effect::Open { address, .. } if *address == at(1))));
}

#[test]
fn a_lease_that_is_renewed_goes_on() {
    let (mut desk, link) = lent();
    for _ in 0..60 {
        desk.pass(Duration::from_secs(1));
        let asked = desk.said().iter().any(|body| matches!(body, Body::WorkerAlive(_)));
        if asked {
            desk.say(link, terms("M7", "M1", epoch(0, 5), Some(30)));
        }
    }
    assert_eq!(desk.worker.state().master, Some(at(7)));
}

/// The welcome of the borrower, and this much of the lease is left.
fn leased(rest: Duration) -> Body {
    let Body::WorkerWelcome(mut welcome) = terms("M7", "M1", epoch(0, 5), Some(1)) else { unreachable!() };
    if let Some(terms) = &mut welcome.terms {
        terms.lease = Some(rest);
    }
    Body::WorkerWelcome(welcome)
}

#[test]
fn a_lease_of_a_second_is_heard_of_in_time_at_the_default_intervals() {
    let (mut desk, link) = lent();
    let begun = desk.now;
    // The borrower renews it at each third.
    let rest = |now: Time| {
        let past = u64::try_from(now.since(begun).as_millis() % 333).unwrap();
        Duration::from_millis(1000 - past)
    };
    desk.say(link, leased(rest(desk.now)));
    desk.take();
    let mut asked = 0;
    while desk.now.since(begun) < Duration::from_secs(20) {
        desk.pass(Duration::from_millis(10));
        let seen = desk.take();
        let home = |effect: &Effect| matches!(effect, Effect::Open { .. });
        assert!(!seen.iter().any(home), "it leaves after {:?}", desk.now.since(begun));
        let alive = |effect: &&Effect| matches!(effect, Effect::Send { message, .. } if matches!(message.body, Body::WorkerAlive(_)));
        let count = seen.iter().filter(alive).count();
        if count > 0 {
            desk.say(link, leased(rest(desk.now)));
        }
        asked += count;
    }
    assert!((60..=101).contains(&asked), "three times a lease, and not more than five times a second: {asked}");
    // A long lease is asked for at the pace.
    desk.say(link, leased(Duration::from_secs(30)));
    desk.pass(Duration::from_secs(1));
    desk.say(link, leased(Duration::from_secs(30)));
    desk.take();
    desk.pass(Duration::from_millis(900));
    assert!(desk.said().len() <= 1);
}

#[test]
fn it_says_why_it_is_where_it_is() {
    let (desk, _) = lent();
    let why = desk.worker.why(desk.now + Duration::from_secs(10));
    for part in [
        "serving: it works for M7, a native master at 10.0.0.7:9101; its master is 10.0.0.7:9101, for which it runs 0",
        "; it belongs to M1, at home at 10.0.0.1:9101",
        "; lent to 10.0.0.7:9101 on loan M1-1, 20.0 s of its lease left",
    ] {
        assert!(why.contains(part), "`{part}` in `{why}`");
    }
    let (mut desk, link) = Desk::native();
    desk.say(link, terms("M1", "M1", epoch(0, 0), None));
    let why = desk.worker.why(desk.now);
    assert!(why.ends_with("; it is at home there"), "{why}");
    desk.say(link, job(one(1, 1)));
    desk.say(link, lend(5));
    let why = desk.worker.why(desk.now);
    assert!(why.contains("for which it runs 1") && why.ends_with("; about to go to 10.0.0.7:9101"), "{why}");
}

#[test]
fn orders_are_kept_for_who_asks_why_obeyed_or_not() {
    let decided = |desk: &mut Desk| {
        let texts = desk.take().into_iter().filter_map(|effect| match effect {
            Effect::Decided { text } => Some(text),
            _ => None,
        });
        texts.collect::<Vec<String>>()
    };
    let (mut desk, link) = Desk::native();
    desk.say(link, terms("M1", "M1", epoch(0, 0), None));
    desk.say(link, lend(5));
    assert_eq!(decided(&mut desk), ["it goes to 10.0.0.7:9101: it is lent"]);
    let (mut desk, link) = lent();
    desk.say(link, order(MoveKind::Redirect, 9, "M9", "M1", epoch(0, 4), Some(30)));
    assert_eq!(decided(&mut desk), ["an order with epoch 0.4 is ignored: epoch 0.5 was seen"]);
}

#[test]
fn when_the_borrower_dies_it_goes_home() {
    let (mut desk, link) = lent();
    desk.close(link);
    let mut home = None;
    for _ in 0..200 {
        desk.pass(Duration::from_millis(100));
        let opens: Vec<(LinkId, Address)> = desk
            .take()
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Open { link, address, .. } => Some((link, address)),
                _ => None,
            })
            .collect();
        for (link, address) in opens {
            if address == at(1) {
                home = Some(link);
            } else {
                desk.refuse(link);
            }
        }
        if home.is_some() {
            break;
        }
    }
    assert!(home.is_some(), "it calls its owner");
}

#[test]
fn a_borrower_that_cannot_be_reached_is_no_borrower() {
    let (mut desk, link) = Desk::native();
    desk.say(link, terms("M1", "M1", epoch(0, 0), None));
    desk.say(link, lend(5));
    let (next, address) = desk.dialled();
    assert_eq!(address, at(7));
    desk.refuse(next);
    assert_eq!(desk.dialled().1, at(1), "home at once");
}

#[test]
fn an_orphan_says_whose_it_is_and_goes_to_who_adopts_it() {
    let mut desk = Desk::new(&[1, 2]);
    let link = desk.open();
    desk.say(link, terms("M1", "M1", epoch(0, 0), None));
    desk.close(link);
    let second = loop {
        desk.pass(Duration::from_millis(100));
        let mut second = None;
        for effect in desk.take() {
            match effect {
                Effect::Open { link, address, .. } if address == at(2) => second = Some(link),
                Effect::Open { link, .. } => desk.refuse(link),
                _ => {}
            }
        }
        if let Some(second) = second {
            break second;
        }
    };
    desk.worker.opened(second, desk.now);
    desk.collect();
    assert_eq!(alive(&desk.said()).owner.as_deref(), Some("M1"));
    desk.say(second, terms("M2", "M1", epoch(0, 0), None));
    desk.take();
    desk.say(second, order(MoveKind::Redirect, 3, "M3", "M3", epoch(1, 0), None));
    let (third, address) = desk.dialled();
    assert_eq!(address, at(3));
    desk.worker.opened(third, desk.now);
    desk.collect();
    let said = desk.said();
    assert_eq!((alive(&said).owner.clone(), alive(&said).native.as_ref().unwrap().epoch), (None, Some(epoch(1, 0))));
}

/// A worker of a stranger at host 1 that was lent to host 7 by an envelope, on its first link there, and what it said.
fn registering() -> (Desk, LinkId, Body) {
    let mut desk = Desk::new(&[1]);
    desk.worker.listens_at(Some("10.0.0.5:7001".parse().unwrap()));
    let link = desk.open();
    desk.say(link, Body::NoTask);
    desk.take();
    let (target, kind) = (Some(at(7)), MoveKind::Redirect);
    let (target_id, target_name, native, dialect) = (None, None, None, None);
    let order = WorkerMove { kind, target, target_id, target_name, native, dialect, registers: true };
    desk.say(link, Body::Move(Box::new(order)));
    let (next, _) = desk.dialled();
    desk.take();
    desk.worker.opened(next, desk.now);
    desk.collect();
    let said = desk.said().remove(0);
    (desk, next, said)
}

#[test]
fn a_borrowed_worker_of_2026_1_registers_and_then_asks_on_a_new_link() {
    let (mut desk, link, said) = registering();
    let Body::Register(registration) = &said else { panic!("{said:?}") };
    assert_eq!((registration.home.clone(), registration.wants_ack), (Some(at(1)), true));
    assert_eq!(registration.listens, Some("10.0.0.5:7001".parse().unwrap()));
    let worker = registration.worker.clone();
    desk.take();
    desk.say(link, Body::StatusAck(Box::new(StatusAck { worker: Some(worker), attempt: None })));
    let (second, address) = desk.dialled();
    assert_eq!(address, at(7));
    desk.take();
    desk.worker.opened(second, desk.now);
    desk.collect();
    let said = desk.said();
    assert_eq!(alive(&said).owner.as_deref(), Some("10.0.0.1:9101"), "once is enough");
}

#[test]
fn who_answers_a_registration_with_a_task_has_it_done_and_who_says_nothing_is_asked_anew() {
    let (mut desk, link, _) = registering();
    desk.take();
    desk.say(link, query());
    let seen = desk.take();
    assert!(seen.iter().any(|effect| matches!(effect, Effect::Start(_))), "{seen:?}");
    for closes in [false, true] {
        let (mut desk, link, _) = registering();
        desk.take();
        if closes {
            desk.worker.closed(link, "closed by the other end", desk.now);
        } else {
            desk.now = desk.now + Duration::from_secs(5);
            desk.worker.tick(desk.now);
        }
        desk.collect();
        let (second, address) = desk.dialled();
        assert_eq!(address, at(7), "it is no failure");
        desk.take();
        desk.worker.opened(second, desk.now);
        desk.collect();
        assert!(matches!(desk.said()[..], [Body::WorkerAlive(_)]));
    }
}

#[test]
fn a_foreign_master_that_calls_is_obeyed_and_a_native_one_orders_on_its_link() {
    let order = |kind, host| {
        let (target, target_id, target_name, native, dialect) = (Some(at(host)), None, None, None, None);
        WorkerMove { kind, target, target_id, target_name, native, dialect, registers: kind == MoveKind::Redirect }
    };
    let mut desk = Desk::new(&[1]);
    let link = desk.open();
    assert!(!desk.worker.called(order(MoveKind::Redirect, 7), desk.now), "it has not taken it");
    desk.say(link, Body::NoTask);
    desk.take();
    assert!(desk.worker.called(order(MoveKind::Redirect, 7), desk.now));
    desk.collect();
    assert_eq!(desk.dialled().1, at(7));
}

#[test]
fn a_stranger_sends_its_own_workers_anywhere_and_others_only_home() {
    let foreign = |kind, host| {
        let target = Some(at(host));
        Body::Move(Box::new(WorkerMove {
            kind,
            target,
            target_id: None,
            target_name: None,
            native: None,
            dialect: None,
            registers: false,
        }))
    };
    let mut desk = Desk::new(&[1]);
    let link = desk.open();
    desk.say(link, Body::NoTask);
    desk.take();
    desk.say(link, foreign(MoveKind::Return, 3));
    assert!(desk.logged("it is at home there"));
    desk.take();
    desk.say(link, foreign(MoveKind::Redirect, 7));
    let (next, address) = desk.dialled();
    assert_eq!(address, at(7));
    desk.take();
    desk.worker.opened(next, desk.now);
    desk.collect();
    assert_eq!(alive(&desk.said()).owner.as_deref(), Some("10.0.0.1:9101"), "2.1b of the course's protocol");
    desk.say(next, Body::NoTask);
    desk.take();
    desk.say(next, foreign(MoveKind::Redirect, 9));
    assert!(desk.logged("not its own"), "a borrower does not lend it on");
    desk.take();
    desk.say(next, foreign(MoveKind::Return, 9));
    assert_eq!(desk.dialled().1, at(1), "home, whatever the borrower says where that is");
}

#[test]
fn a_stranger_that_lives_keeps_a_worker_for_ten_minutes_at_most() {
    let mut desk = Desk::new(&[1, 2]);
    let link = desk.open();
    desk.say(link, terms("M1", "M1", epoch(0, 0), None));
    desk.take();
    desk.say(link, lend(5));
    let (next, address) = desk.dialled();
    assert_eq!(address, at(7));
    desk.worker.opened(next, desk.now);
    desk.collect();
    let begun = desk.now;
    let gone = loop {
        desk.say(next, Body::NoTask);
        desk.pass(Duration::from_secs(1));
        desk.worker.master_alive(&at(7), desk.now);
        desk.collect();
        let home = |effect: &Effect| matches!(effect, Effect::Open { address, .. } if *address == at(1));
        if desk.take().iter().any(home) || desk.now.since(begun) > Duration::from_secs(700) {
            break desk.now.since(begun);
        }
    };
    assert!(gone >= Duration::from_secs(590) && gone <= Duration::from_secs(610), "{gone:?}");
}

/// The largest epoch that the wire knows.
const TOP: u64 = (1 << 53) - 1;

/// The last order by which it is lent to host 7, a stranger with whom it may stay for ten minutes.
fn lend_to_stranger() -> Body {
    let Body::Move(mut order) = lend(5) else { unreachable!() };
    order.native.as_mut().unwrap().stay = Some(Duration::from_secs(600));
    Body::Move(order)
}

/// Lent to a stranger that speaks as native masters do, and not welcomed yet.
fn at_stranger() -> (Desk, LinkId) {
    let mut desk = Desk::new(&[1, 2]);
    let link = desk.open();
    desk.say(link, terms("M1", "M1", epoch(0, 0), None));
    desk.take();
    desk.say(link, lend_to_stranger());
    let next = desk.open();
    desk.take();
    (desk, next)
}

/// A welcome with these terms, the owner being at home at host 9.
fn claims(master: &str, owner: &str, epoch: Epoch, loan_id: Option<LoanId>, lease: Option<Duration>) -> Body {
    let Body::WorkerWelcome(welcome) = super::welcome(master, Vec::new()) else { unreachable!() };
    let terms = Terms { owner: server(owner), owner_address: Some(at(9)), epoch, loan_id, lease };
    let failover = vec![at(8)];
    Body::WorkerWelcome(Box::new(WorkerWelcome { terms: Some(Box::new(terms)), failover, ..*welcome }))
}

/// How long it stays with the master on this link, which answers each ALIVE by `answer`, and whom it calls then; `None`: for longer than `most`.
fn stay(desk: &mut Desk, link: LinkId, answer: &Body, most: Duration) -> Option<(Duration, LinkId, Address)> {
    let begun = desk.now;
    while desk.now.since(begun) < most {
        desk.pass(Duration::from_millis(500));
        let seen = desk.take();
        let opened = seen.iter().find_map(|effect| match effect {
            Effect::Open { link, address, .. } => Some((*link, address.clone())),
            _ => None,
        });
        if let Some((link, address)) = opened {
            return Some((desk.now.since(begun), link, address));
        }
        let asked = |effect: &Effect| matches!(effect, Effect::Send { message, .. } if matches!(message.body, Body::WorkerAlive(_)));
        if seen.iter().any(asked) {
            desk.say(link, answer.clone());
        }
    }
    None
}

#[test]
fn a_stranger_that_speaks_as_natives_do_changes_nothing_and_keeps_it_for_ten_minutes_at_most() {
    let lease = Some(Duration::from_secs(3600));
    for answer in [
        claims("M7", "M9", epoch(0, TOP), None, None),
        claims("M7", "M9", epoch(TOP, TOP), loan_id(), lease),
        claims("M7", "M7", epoch(TOP, TOP), None, None),
        claims("M1", "M1", epoch(0, TOP), loan_id(), lease),
        super::welcome("M7", Vec::new()),
    ] {
        let (mut desk, link) = at_stranger();
        desk.say(link, answer.clone());
        let view = desk.worker.bond_view();
        assert_eq!(
            (view.epoch, view.owner, view.loan_id),
            (Some(epoch(0, 5)), Some(server("M1")), loan_id()),
            "{answer:?}"
        );
        let (stayed, home, address) = stay(&mut desk, link, &answer, Duration::from_secs(700)).expect("it goes");
        assert!(stayed <= Duration::from_secs(601) && stayed >= Duration::from_secs(590), "{stayed:?}");
        assert_eq!(address, at(1));
        desk.worker.opened(home, desk.now);
        desk.collect();
        assert_eq!(alive(&desk.said()).owner, None, "at home it is nobody's guest");
        desk.say(home, terms("M1", "M1", epoch(0, 6), None));
        desk.take();
        desk.say(home, order(MoveKind::Redirect, 3, "M3", "M1", epoch(0, 7), Some(30)));
        assert_eq!(desk.dialled().1, at(3), "its owner is obeyed as before");
    }
}

#[test]
fn a_stranger_that_stops_answering_is_left_when_the_lease_is_over() {
    let (mut desk, link) = at_stranger();
    desk.say(link, claims("M7", "M9", epoch(0, TOP), None, None));
    // It acknowledges what it hears, and does not welcome again.
    let (stayed, _, address) = stay(&mut desk, link, &ack(None), Duration::from_secs(700)).expect("it goes");
    assert_eq!((stayed <= Duration::from_secs(31), address), (true, at(1)), "{stayed:?}");
}

#[test]
fn a_native_borrower_grants_no_more_at_a_time_than_the_longest_stay_and_nothing_on_another_loan() {
    let (mut desk, link) = lent();
    desk.say(link, claims("M7", "M1", epoch(0, 5), loan_id(), Some(Duration::from_secs(86_400))));
    let (stayed, ..) = stay(&mut desk, link, &ack(None), Duration::from_secs(700)).expect("it goes");
    assert!(stayed <= Duration::from_secs(601) && stayed >= Duration::from_secs(590), "{stayed:?}");
    for (loan_id, lease) in [(LoanId::new("M1-2"), Some(Duration::from_secs(500))), (loan_id(), None), (None, None)] {
        let (mut desk, link) = lent();
        desk.say(link, claims("M7", "M1", epoch(0, 5), loan_id, lease));
        let (stayed, ..) = stay(&mut desk, link, &ack(None), Duration::from_secs(700)).expect("it goes");
        assert!(stayed <= Duration::from_secs(31), "{stayed:?}");
    }
}

#[test]
fn a_borrower_sends_it_home_to_where_it_knows_its_home_to_be_and_raises_no_epoch() {
    let (mut desk, link) = lent();
    for wrong in [None, Some(LoanId::new("M1-9").unwrap())] {
        let Body::Move(mut other) = order(MoveKind::Return, 9, "M9", "M1", epoch(0, TOP), None) else { unreachable!() };
        other.native.as_mut().unwrap().loan_id = wrong;
        desk.say(link, Body::Move(other));
        assert!(desk.logged("this worker is there on loan M1-1"), "{:?}", desk.seen);
        assert!(
            desk.seen.iter().all(|effect| !matches!(effect, Effect::Open { .. })),
            "it names another loan, or none"
        );
        desk.take();
    }
    desk.say(link, order(MoveKind::Return, 9, "M9", "M9", epoch(0, TOP), Some(0)));
    let home = {
        let (home, address) = desk.dialled();
        assert_eq!(address, at(1));
        home
    };
    desk.worker.opened(home, desk.now);
    desk.collect();
    let said = desk.said();
    assert_eq!((alive(&said).owner.clone(), alive(&said).native.as_ref().unwrap().epoch), (None, Some(epoch(0, 5))));
    desk.say(home, terms("M1", "M1", epoch(0, 7), None));
    desk.take();
    desk.say(home, lend(8));
    assert_eq!(desk.dialled().1, at(7), "lent again");
}

#[test]
fn a_return_that_is_said_again_takes_a_shorter_grace() {
    let (mut desk, link) = lent();
    desk.say(link, job(one(1, 1)));
    desk.say(link, order(MoveKind::Return, 1, "M1", "M1", epoch(0, 6), Some(0)));
    desk.take();
    let Body::Move(mut urgent) = order(MoveKind::Return, 1, "M1", "M1", epoch(0, 6), Some(0)) else { unreachable!() };
    urgent.native.as_mut().unwrap().grace = Some(Duration::from_secs(2));
    desk.say(link, Body::Move(urgent));
    desk.pass(Duration::from_secs(1));
    assert_eq!(desk.stopped(), 0);
    desk.pass(Duration::from_secs(2));
    assert_eq!((desk.stopped(), desk.dialled().1), (1, at(1)));
}

/// Its owner M1 is lost, and it is with M2, the other one that is configured.
fn orphan() -> (Desk, LinkId) {
    let mut desk = Desk::new(&[1, 2]);
    let link = desk.open();
    desk.say(link, terms("M1", "M1", epoch(0, 4), None));
    desk.close(link);
    for _ in 0..1000 {
        desk.pass(Duration::from_millis(100));
        for effect in desk.take() {
            match effect {
                Effect::Open { link, address, .. } if address == at(2) => {
                    desk.worker.opened(link, desk.now);
                    desk.collect();
                    desk.take();
                    return (desk, link);
                }
                Effect::Open { link, .. } => desk.refuse(link),
                _ => {}
            }
        }
    }
    panic!("it never calls the second");
}

#[test]
fn the_host_of_an_orphan_raises_no_counter_and_may_send_it_to_where_its_owner_is_now() {
    let (mut desk, link) = orphan();
    for said in [claims("M2", "M9", epoch(0, TOP), None, None), claims("M2", "M2", epoch(0, 4), None, None)] {
        desk.say(link, said);
        let view = desk.worker.bond_view();
        assert_eq!((view.epoch, view.owner), (Some(epoch(0, 4)), Some(server("M1"))));
    }
    desk.say(link, order(MoveKind::Redirect, 9, "M9", "M9", epoch(0, TOP), None));
    desk.say(link, order(MoveKind::Redirect, 9, "M9", "M9", epoch(3, 0), Some(30)));
    assert!(desk.seen.iter().all(|effect| !matches!(effect, Effect::Open { .. })), "no adoption");
    desk.take();
    // Its owner is back, at another address.
    desk.say(link, order(MoveKind::Return, 3, "M1", "M1", epoch(0, 4), None));
    let (home, address) = desk.dialled();
    assert_eq!(address, at(3));
    desk.worker.opened(home, desk.now);
    desk.collect();
    assert_eq!(alive(&desk.said()).owner, None);
    desk.say(home, terms("M1", "M1", epoch(0, 5), None));
    assert_eq!(desk.worker.bond_view().epoch, Some(epoch(0, 5)));
}

#[test]
fn an_orphan_believes_its_host_that_has_adopted_it() {
    let (mut desk, link) = orphan();
    desk.say(link, terms("M2", "M2", epoch(1, 0), None));
    let view = desk.worker.bond_view();
    assert_eq!((view.epoch, view.owner), (Some(epoch(1, 0)), Some(server("M2"))));
    assert_eq!(desk.worker.away_from_home(), None);
    let (mut desk, link) = orphan();
    desk.say(link, terms("M2", "M1", epoch(0, 4), None));
    desk.take();
    desk.say(link, order(MoveKind::Redirect, 2, "M2", "M2", epoch(1, 0), None));
    assert_eq!((desk.worker.bond_view().owner, desk.worker.away_from_home()), (Some(server("M2")), None));
}

#[test]
fn who_was_adopted_while_it_was_lent_hears_of_it_at_home() {
    let (mut desk, link) = lent();
    desk.say(link, order(MoveKind::Redirect, 3, "M3", "M3", epoch(1, 0), None));
    assert!(
        desk.seen.iter().all(|effect| !matches!(effect, Effect::Open { .. })),
        "its borrower does not say whose it is"
    );
    desk.take();
    let (_, home, address) = stay(&mut desk, link, &ack(None), Duration::from_secs(60)).expect("its lease ends");
    assert_eq!(address, at(1));
    desk.worker.opened(home, desk.now);
    desk.collect();
    desk.take();
    let Body::WorkerWelcome(mut welcome) = terms("M1", "M3", epoch(1, 0), None) else { unreachable!() };
    welcome.terms.as_mut().unwrap().owner_address = Some(at(3));
    desk.say(home, Body::WorkerWelcome(welcome));
    desk.say(home, order(MoveKind::Return, 3, "M3", "M3", epoch(1, 0), None));
    assert_eq!(desk.dialled().1, at(3));
}

#[test]
fn a_stranger_is_not_called_again_when_the_owner_is_gone_nor_whom_it_names() {
    for stranger in [true, false] {
        let (mut desk, link) = if stranger { at_stranger() } else { lent() };
        desk.say(link, claims("M7", "M1", epoch(0, 5), loan_id(), Some(Duration::from_secs(30))));
        desk.take();
        desk.say(link, order(MoveKind::Return, 1, "M1", "M1", epoch(0, 5), Some(0)));
        let mut called = std::collections::BTreeSet::new();
        for _ in 0..200 {
            for effect in desk.take() {
                if let Effect::Open { link, address, .. } = effect {
                    called.insert(address);
                    desk.refuse(link);
                }
            }
            desk.pass(Duration::from_millis(100));
        }
        let expected = if stranger { vec![at(1), at(2)] } else { vec![at(1), at(2), at(7)] };
        assert_eq!(
            called.into_iter().collect::<Vec<_>>(),
            expected,
            "never 10.0.0.8, of which only the borrower tells"
        );
    }
}
