//! What is said of loans.

use super::*;

pub(super) fn epoch() -> impl Strategy<Value = Epoch> {
    let number = || prop_oneof![0..5u64, 0..=MAX_TERM];
    (number(), number()).prop_map(|(generation, counter)| Epoch { generation, counter })
}

pub(super) fn loan_id() -> impl Strategy<Value = LoanId> {
    "[!-~]{1,64}".prop_map(|text| LoanId::new(text).unwrap())
}

/// Of a lease or a grace.
fn term() -> impl Strategy<Value = Duration> {
    (0..=MAX_LEASE.as_millis() as u64).prop_map(Duration::from_millis)
}

fn owner() -> impl Strategy<Value = String> {
    server_id().prop_map(|id| id.as_str().to_owned())
}

pub(super) fn terms() -> impl Strategy<Value = Terms> {
    (server_id(), of(address()), epoch(), of(loan_id()), of(term()))
        .prop_map(|(owner, owner_address, epoch, loan_id, lease)| Terms { owner, owner_address, epoch, loan_id, lease })
}

/// Where a master can be called, as it says.
fn place() -> impl Strategy<Value = (Option<Address>, Option<u16>)> {
    prop_oneof![
        Just((None, None)),
        address().prop_map(|address| (Some(address), None)),
        (1..=u16::MAX).prop_map(|port| (None, Some(port))),
    ]
}

fn loan_request() -> impl Strategy<Value = LoanRequest> {
    let services = vec(service_name(), 0..4);
    let native = (services, name()).prop_map(|(services, group)| NativeLoanRequest { services, group });
    let who = (server_id(), of(name()), place());
    let envelope = (who, any::<u64>(), any::<u64>(), 1..=MAX_WORKERS_NEEDED, of(native)).prop_map(
        |((master, name, (address, port)), load, capacity, needed, native)| LoanRequest {
            master: Some(master),
            name,
            address,
            port,
            load,
            capacity,
            needed,
            dialect: None,
            native,
        },
    );
    let older =
        (of(server_id()), place(), 1..=MAX_WORKERS_NEEDED).prop_map(|(master, (address, port), needed)| LoanRequest {
            master,
            name: None,
            address,
            port,
            load: 0,
            capacity: 0,
            needed,
            dialect: Some(Dialect::Gen2025_2),
            native: None,
        });
    prop_oneof![envelope, older]
}

fn offered() -> impl Strategy<Value = OfferedWorker> {
    let terms = (loan_id(), epoch(), term(), any::<bool>()).prop_map(|(loan_id, epoch, lease, agreed)| OfferTerms {
        loan_id,
        epoch,
        lease,
        agreed,
    });
    (server_id(), of(address()), of(terms)).prop_map(|(worker, address, terms)| OfferedWorker {
        worker,
        address,
        terms,
    })
}

fn loan_answer() -> impl Strategy<Value = LoanAnswer> {
    let accepted = (of(server_id()), any::<u32>(), vec(offered(), 0..4)).prop_map(|(master, offered, mut workers)| {
        // Two workers of one id have one loan between them.
        let mut seen = std::collections::BTreeSet::new();
        workers.retain(|offered| seen.insert(offered.worker.clone()));
        LoanAnswer::Accepted { master, offered, workers, dialect: None }
    });
    let older = (of(server_id()), vec(server_id(), 0..4)).prop_map(|(master, workers)| LoanAnswer::Accepted {
        master,
        offered: workers.len() as u32,
        workers: workers.into_iter().map(|worker| OfferedWorker { worker, address: None, terms: None }).collect(),
        dialect: Some(Dialect::Gen2025_2),
    });
    let rejected =
        (of(server_id()), any::<String>()).prop_map(|(master, reason)| LoanAnswer::Rejected { master, reason });
    prop_oneof![accepted, older, rejected]
}

pub(in crate::wire) fn worker_move() -> impl Strategy<Value = WorkerMove> {
    let native = (server_id(), epoch(), of(loan_id()), of(term()), of(term()), of(term())).prop_map(
        |(owner, epoch, loan_id, lease, stay, grace)| NativeMove { owner, epoch, loan_id, lease, stay, grace },
    );
    let to = prop_oneof![
        address().prop_map(|address| (MoveKind::Redirect, Some(address))),
        of(address()).prop_map(|address| (MoveKind::Return, address)),
    ];
    (to, of(server_id()), of(name()), of((native, any::<bool>())), any::<bool>()).prop_map(
        |((kind, target), target_id, target_name, native, older)| match older {
            true => WorkerMove {
                kind,
                target,
                target_id: None,
                target_name: None,
                dialect: Some(Dialect::Gen2025_2),
                registers: false,
                native: None,
            },
            false => {
                let registers = kind == MoveKind::Redirect && native.as_ref().is_none_or(|(_, registers)| *registers);
                let native = native.map(|(native, _)| native);
                WorkerMove { kind, target, target_id, target_name, dialect: None, registers, native }
            }
        },
    )
}

pub(in crate::wire) fn registration() -> impl Strategy<Value = Registration> {
    (server_id(), of(address()), of(owner()), of(address()), any::<bool>()).prop_map(
        |(worker, home, owner, listens, wants_ack)| Registration {
            wants_ack: wants_ack && (owner.is_some() || listens.is_some()),
            worker,
            home,
            owner,
            listens,
        },
    )
}

fn loan_action() -> impl Strategy<Value = LoanAction> {
    let lent = (loan_id(), server_id(), server_id(), server_id(), epoch(), term()).prop_map(
        |(loan_id, worker, owner, borrower, epoch, lease)| LentWorker {
            loan_id,
            worker,
            owner,
            borrower,
            epoch,
            lease,
        },
    );
    let orphan = (server_id(), server_id(), 0..=MAX_TERM).prop_map(|(worker, owner, generation)| Orphan {
        worker,
        owner,
        generation,
    });
    prop_oneof![
        vec(loan_id(), 0..4).prop_map(|loans| LoanAction::Renew { loans }),
        (loan_id(), server_id(), epoch(), term()).prop_map(|(loan_id, worker, epoch, grace)| LoanAction::Recall {
            loan_id,
            worker,
            epoch,
            grace
        }),
        lent.prop_map(|lent| LoanAction::Record(LoanRecord::Lend(lent))),
        (loan_id(), any::<String>())
            .prop_map(|(loan_id, reason)| LoanAction::Record(LoanRecord::End { loan_id, reason })),
        (server_id(), vec(orphan, 0..4)).prop_map(|(master, workers)| LoanAction::Adopt { master, workers }),
    ]
}

fn loan_view() -> impl Strategy<Value = LoanView> {
    let who = (loan_id(), server_id(), any::<bool>(), any::<String>(), select(LoanState::ALL.to_vec()));
    (who, of(epoch()), of(millis()), any::<bool>(), millis(), any::<u64>(), any::<String>()).prop_map(
        |((loan_id, worker, out, peer, status), epoch, lease, agreed, age, done, reason)| LoanView {
            loan_id,
            worker,
            out,
            peer,
            status,
            epoch,
            lease,
            agreed,
            age,
            done,
            reason,
        },
    )
}

/// What masters and workers say of loans.
pub(super) fn loan_body() -> impl Strategy<Value = Body> {
    let counts = (any::<u64>(), any::<u64>(), any::<u64>());
    let answer = (server_id(), counts, any::<String>(), vec(loan_view(), 0..3), any::<bool>());
    let workers = || vec(server_id(), 0..4);
    prop_oneof![
        loan_request().prop_map(|asked| Body::LoanRequest(Box::new(asked))),
        loan_answer().prop_map(|answer| Body::LoanAnswer(Box::new(answer))),
        worker_move().prop_map(|order| Body::Move(Box::new(order))),
        registration().prop_map(|registration| Body::Register(Box::new(registration))),
        (of(server_id()), workers()).prop_map(|(master, workers)| Body::Release(Box::new(Release { master, workers }))),
        (of(server_id()), workers(), any::<bool>()).prop_map(|(master, workers, completed)| {
            Body::ReleaseAnswer(Box::new(ReleaseAnswer { master, workers, completed }))
        }),
        (server_id(), of(loan_id()))
            .prop_map(|(worker, loan_id)| Body::Returned(Box::new(Returned { worker, loan_id }))),
        of(loan_id()).prop_map(|after| Body::Loans { after }),
        loan_action().prop_map(|action| Body::LoanAction(Box::new(action))),
        (select(vec!["RENEW", "RECALL", "RECORD", "ADOPT"]), of(0..=MAX_TERM), vec((loan_id(), millis()), 0..3))
            .prop_map(|(action, index, renewed)| {
                Body::LoanDone(Box::new(LoanDone { action: action.to_owned(), index, renewed }))
            }),
        answer.prop_map(|(server_id, (local, lent, borrowed), asks, loans, more)| {
            Body::LoansAnswer(Box::new(LoansAnswer { server_id, local, lent, borrowed, asks, loans, more }))
        }),
    ]
}

fn longest_id() -> ServerId {
    ServerId::new("\"".repeat(MAX_ID_BYTES)).unwrap()
}

fn longest_loan() -> LoanId {
    LoanId::new("\\".repeat(64)).unwrap()
}

/// The message as it reads after it was written, in a line that is not too long.
fn said(body: Body) -> Body {
    let sent = line(&Message { id: RequestId::new("\u{1}".repeat(MAX_ID_BYTES)), body });
    assert!(sent.len() <= MAX_LINE_BYTES, "{}", sent.len());
    decode(sent.as_bytes()).unwrap_or_else(|error| panic!("{error:?}: {sent}")).body
}

#[test]
fn whatever_is_said_of_loans_fits_a_line_at_its_longest() {
    let address: Address = format!("{}:65535", "a".repeat(MAX_HOST_BYTES)).parse().unwrap();
    let epoch = Epoch { generation: MAX_TERM, counter: MAX_TERM };
    let most = MAX_WORKERS_NEEDED as usize;
    let terms = OfferTerms { loan_id: longest_loan(), epoch, lease: MAX_LEASE, agreed: false };
    let offered = |nth: usize| OfferedWorker {
        worker: ServerId::new(format!("{nth:03}{}", "\"".repeat(MAX_ID_BYTES - 3))).unwrap(),
        address: Some(address.clone()),
        terms: Some(terms.clone()),
    };
    let (master, workers) = (Some(longest_id()), (0..most).map(offered).collect());
    let accepted = LoanAnswer::Accepted { master: master.clone(), offered: u32::MAX, workers, dialect: None };
    let Body::LoanAnswer(read) = said(Body::LoanAnswer(Box::new(accepted))) else { panic!() };
    let LoanAnswer::Accepted { workers, .. } = *read else { panic!() };
    let with_terms = workers.iter().filter(|offered| offered.terms.is_some()).count();
    assert!(workers.len() > 30 && with_terms > 30, "{} {with_terms}", workers.len());

    let name = ServiceName::new("s".repeat(MAX_NAME_BYTES)).unwrap();
    let native = NativeLoanRequest { services: vec![name; MAX_SERVICES], group: "\\".repeat(MAX_NAME_BYTES) };
    let asked = LoanRequest {
        master,
        name: Some("\"".repeat(MAX_NAME_BYTES)),
        address: Some(address),
        port: None,
        load: u64::MAX,
        capacity: u64::MAX,
        needed: MAX_WORKERS_NEEDED,
        dialect: None,
        native: Some(native),
    };
    assert_eq!(said(Body::LoanRequest(Box::new(asked.clone()))), Body::LoanRequest(Box::new(asked)), "nothing is cut");
    let orphan = Orphan { worker: longest_id(), owner: longest_id(), generation: MAX_TERM };
    for whole in [
        LoanAction::Renew { loans: vec![longest_loan(); most] },
        LoanAction::Adopt { master: longest_id(), workers: vec![orphan; MAX_ADOPTED] },
    ] {
        assert_eq!(said(Body::LoanAction(Box::new(whole.clone()))), Body::LoanAction(Box::new(whole)));
    }
    let renewed = vec![(longest_loan(), Duration::from_millis(u64::MAX)); most];
    let done = LoanDone { action: "RENEW".to_owned(), index: Some(MAX_TERM), renewed };
    assert_eq!(said(Body::LoanDone(Box::new(done.clone()))), Body::LoanDone(Box::new(done)));
    let reason = "\u{1}".repeat(100_000);
    said(Body::LoanAnswer(Box::new(LoanAnswer::Rejected { master: None, reason: reason.clone() })));
    let end = LoanRecord::End { loan_id: longest_loan(), reason: reason.clone() };
    said(Body::LoanAction(Box::new(LoanAction::Record(end))));
    let released = Release { master: None, workers: vec![longest_id(); 1000] };
    let Body::Release(read) = said(Body::Release(Box::new(released))) else { panic!() };
    assert!(read.workers.len() > 200, "{}", read.workers.len());

    let loan = LoanView {
        loan_id: longest_loan(),
        worker: longest_id(),
        out: true,
        peer: "\"".repeat(MAX_ID_BYTES),
        status: LoanState::Proposed,
        epoch: Some(epoch),
        lease: Some(Duration::MAX),
        agreed: false,
        age: Duration::MAX,
        done: u64::MAX,
        reason,
    };
    let answer = LoansAnswer {
        server_id: longest_id(),
        local: u64::MAX,
        lent: u64::MAX,
        borrowed: u64::MAX,
        asks: "\u{1}".repeat(100_000),
        loans: vec![loan; LOANS_PAGE],
        more: false,
    };
    let Body::LoansAnswer(read) = said(Body::LoansAnswer(Box::new(answer))) else { panic!() };
    assert!(read.more && read.loans.len() > 15 && read.loans.len() < LOANS_PAGE, "{}", read.loans.len());
}
