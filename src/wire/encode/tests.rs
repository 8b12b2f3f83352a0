use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use std::time::Duration;

use crate::wire::*;

use super::*;

mod group;
pub(in crate::wire) mod loans;
mod manual;

use group::{group_body, group_id, group_presence, longest_group_presence};
use loans::loan_body;

fn server_id() -> impl Strategy<Value = ServerId> {
    "[^\\p{Cc}\\x{200b}-\\x{200f}\\x{2028}-\\x{202e}\\x{2060}-\\x{2069}\\x{feff}]{1,32}"
        .prop_map(|text| ServerId::new(text).unwrap())
}

fn name() -> impl Strategy<Value = String> {
    "[^\\p{Cc}\\x{200b}-\\x{200f}\\x{2028}-\\x{202e}\\x{2060}-\\x{2069}\\x{feff}]{1,16}"
}

fn address() -> impl Strategy<Value = Address> {
    let host = prop_oneof![
        any::<std::net::IpAddr>().prop_map(crate::wire::Host::Ip),
        "[a-z][a-z0-9._-]{0,20}".prop_map(crate::wire::Host::Name),
    ];
    (host, 1..=u16::MAX).prop_map(|(host, port)| Address { host, port })
}

fn role() -> impl Strategy<Value = Role> {
    select(vec![Role::Master, Role::Worker])
}

fn share() -> impl Strategy<Value = Permille> {
    (0..=1000u64).prop_map(Permille::new)
}

fn millis() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_millis)
}

/// Thousandths up to the largest that a double keeps.
fn thousandths() -> impl Strategy<Value = u64> {
    prop_oneof![0..5000u64, 0..=crate::wire::answers::MAX_THOUSANDTHS]
}

fn load() -> impl Strategy<Value = LoadReport> {
    (share(), share(), any::<u64>(), any::<u64>(), any::<u64>(), any::<bool>()).prop_map(
        |(cpu, memory, pending, running, workers, saturated)| LoadReport {
            cpu,
            memory,
            pending,
            running,
            workers,
            saturated,
        },
    )
}

fn presence() -> impl Strategy<Value = Presence> {
    let group = (name(), group_presence());
    (server_id(), name(), address(), role(), group, load(), vec(offer(), 0..3)).prop_map(
        |(server_id, name, address, role, (group, group_presence), load, services)| Presence {
            server_id,
            name,
            address,
            role,
            group,
            group_presence,
            load,
            services,
        },
    )
}

fn node() -> impl Strategy<Value = NodeEntry> {
    let who = (any::<String>(), of(server_id()), of(name()), address(), of(role()), of(name()));
    let who = (who, of(group_id()), any::<bool>());
    let status = select(vec![Status::Unknown, Status::Alive, Status::Timeout, Status::Left]);
    let learnt = select(vec![Learnt::Configured, Learnt::Heartbeat]);
    let seen = (status, of(millis()), of(thousandths().prop_map(Duration::from_micros)));
    (who, seen, of(load()), of(thousandths().prop_map(Score)), learnt, any::<String>()).prop_map(
        |((who, group_id, leads), (status, last_seen, rtt), load, score, learnt, reason)| {
            let (key, server_id, name, address, role, group) = who;
            NodeEntry {
                key,
                server_id,
                name,
                address,
                role,
                group,
                group_id,
                leads,
                status,
                last_seen,
                rtt,
                load,
                score,
                learnt,
                reason,
            }
        },
    )
}

fn hello() -> impl Strategy<Value = HelloAnswer> {
    let words = (any::<String>(), vec(any::<String>(), 0..4));
    let figures = (any::<u64>(), any::<bool>(), millis(), any::<u64>(), millis(), millis());
    (presence(), words, figures, (of(address()), any::<Option<bool>>())).prop_map(
        |(presence, words, figures, reports)| {
            let (version, dialects) = words;
            let (line_bytes, secret, uptime, heartbeats, interval, timeout) = figures;
            let (supervisor, supervisor_reached) = reports;
            HelloAnswer {
                presence,
                version,
                dialects,
                line_bytes,
                secret,
                uptime,
                heartbeats,
                interval,
                timeout,
                supervisor,
                supervisor_reached,
            }
        },
    )
}

fn load_answer() -> impl Strategy<Value = LoadAnswer> {
    let limits = (any::<bool>(), any::<u64>(), any::<u64>(), millis(), share());
    (server_id(), load(), thousandths().prop_map(Score), limits).prop_map(
        |(server_id, load, score, (hot, capacity, release, hold, cpu_threshold))| LoadAnswer {
            server_id,
            load,
            score,
            hot,
            capacity,
            release,
            hold,
            cpu_threshold,
        },
    )
}

fn service_name() -> impl Strategy<Value = ServiceName> {
    "[A-Za-z0-9_-]{1,64}".prop_map(|text| ServiceName::new(text).unwrap())
}

fn offer() -> impl Strategy<Value = ServiceOffer> {
    (service_name(), vec(service_name(), 0..3), vec(service_name(), 0..3))
        .prop_map(|(name, methods, idempotent)| ServiceOffer { name, methods, idempotent })
}

/// Any JSON value, as a parser hands it on: without line ends, but with blanks, escapes and odd figures.
pub(in crate::wire) fn json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        select(vec!["null", "true", "0", "-0.10e+2", "12345678901234567890123", "\"\\ud800\"", "{}", "[ ]", "1e999"])
            .prop_map(str::to_owned),
        any::<String>().prop_map(|text| Json::string(&text).as_str().to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
    ];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(" , "))),
            vec((any::<String>(), inner), 0..4).prop_map(|members| {
                let member = |(key, value): (String, String)| format!("{}: {value}", Json::string(&key));
                format!("{{{}}}", members.into_iter().map(member).collect::<Vec<_>>().join(","))
            }),
        ]
    });
    value.prop_map(|text| Json::new(text).unwrap())
}

fn job_id() -> impl Strategy<Value = JobId> {
    "[!-~]{1,40}".prop_map(|text| JobId::new(text).unwrap())
}

fn attempt() -> impl Strategy<Value = Attempt> {
    (job_id(), any::<u32>()).prop_map(|(job_id, attempt)| Attempt { job_id, attempt })
}

/// A duration of whole milliseconds up to `most`.
fn within(least: u64, most: Duration) -> impl Strategy<Value = Duration> {
    let most = u64::try_from(most.as_millis()).unwrap();
    prop_oneof![least..=most, Just(least), Just(most)].prop_map(Duration::from_millis)
}

fn key() -> impl Strategy<Value = String> {
    server_id().prop_map(|id| id.as_str().to_owned())
}

fn submit() -> impl Strategy<Value = Submit> {
    let what = (service_name(), service_name(), json(), 0..=MAX_PRIORITY, within(0, MAX_DELAY));
    let how = (of(within(1, MAX_WAIT)), of(1..=MAX_ATTEMPTS), of(key()), of(within(0, MAX_WAIT)));
    (what, how, any::<bool>(), any::<bool>(), any::<u32>()).prop_map(
        |((service, method, params, priority, delay), (timeout, attempts, key, wait), output, follow, hops)| Submit {
            service,
            method,
            params,
            priority,
            delay,
            timeout,
            attempts,
            key,
            wait,
            output,
            follow,
            hops,
        },
    )
}

fn job_ref() -> impl Strategy<Value = JobRef> {
    prop_oneof![job_id().prop_map(JobRef::Id), key().prop_map(JobRef::Key)]
}

fn job_view() -> impl Strategy<Value = JobView> {
    let who = (job_id(), select(JobStatus::ALL.to_vec()), of(service_name()), of(service_name()));
    let how = (any::<u32>(), of(millis()), of(server_id()), of(json()), of(any::<String>()));
    (who, how).prop_map(|((job_id, status, service, method), (attempt, age, worker, result, reason))| JobView {
        job_id,
        status,
        service,
        method,
        attempt,
        age,
        worker,
        result,
        reason,
    })
}

fn job_counts() -> impl Strategy<Value = JobCounts> {
    any::<[u64; 7]>().prop_map(|[delayed, queued, running, ok, nok, cancelled, buried]| JobCounts {
        delayed,
        queued,
        running,
        ok,
        nok,
        cancelled,
        buried,
    })
}

fn jobs_answer() -> impl Strategy<Value = JobsAnswer> {
    let durability = select(vec![Durability::Fsync, Durability::Os, Durability::Memory]);
    let page = of((vec(job_view(), 0..3), any::<bool>()));
    let disk = of(select(vec!["it is slow".to_owned()]));
    (job_counts(), any::<u64>(), of(millis()), any::<(u64, u64)>(), (durability, disk), page).prop_map(
        |(counts, bytes, oldest, (max_jobs, max_bytes), (durability, disk), page)| JobsAnswer {
            counts,
            bytes,
            oldest,
            max_jobs,
            max_bytes,
            durability,
            disk,
            more: page.as_ref().is_some_and(|(_, more)| *more),
            jobs: page.map(|(jobs, _)| jobs),
        },
    )
}

fn jobs_query() -> impl Strategy<Value = JobsQuery> {
    (any::<bool>(), of(select(JobStatus::ALL.to_vec())), of(service_name()), of(job_id())).prop_map(
        |(list, status, service, after)| JobsQuery {
            list: list || status.is_some() || service.is_some() || after.is_some(),
            status,
            service,
            after,
        },
    )
}

/// What clients and masters say about jobs and calls.
fn job_body() -> impl Strategy<Value = Body> {
    let task = || select(JobTask::ALL.to_vec());
    let stream = select(vec![Stream::Out, Stream::Err]);
    let call = (service_name(), service_name(), json(), within(1, MAX_CALL), any::<u32>());
    let place = select(vec![Place::Here, Place::Worker, Place::Peer]);
    let instance = (server_id(), any::<String>(), place, vec(offer(), 0..3))
        .prop_map(|(server_id, name, place, services)| Instance { server_id, name, place, services });
    prop_oneof![
        submit().prop_map(|submit| Body::Submit(Box::new(submit))),
        (job_ref(), of(within(0, MAX_WAIT)), any::<bool>())
            .prop_map(|(job, wait, output)| Body::Result(Box::new(ResultQuery { job, wait, output }))),
        job_ref().prop_map(Body::Cancel),
        job_ref().prop_map(Body::Bury),
        job_ref().prop_map(Body::Kick),
        task().prop_map(Body::Usage),
        task().prop_map(Body::UsageAnswer),
        (task(), any::<bool>(), job_view()).prop_map(|(task, duplicate, job)| Body::JobAnswer(Box::new(JobAnswer {
            task,
            duplicate,
            job
        }))),
        (job_id(), any::<u32>(), stream, any::<String>()).prop_map(|(job_id, attempt, stream, data)| Body::JobOutput(
            Box::new(JobOutput { job_id, attempt, stream, data })
        )),
        jobs_query().prop_map(|query| Body::Jobs(Box::new(query))),
        jobs_answer().prop_map(|answer| Body::JobsAnswer(Box::new(answer))),
        call.prop_map(|(service, method, params, timeout, hops)| Body::Call(Box::new(Call {
            service,
            method,
            params,
            timeout,
            hops
        }))),
        (json(), server_id())
            .prop_map(|(result, served_by)| Body::CallAnswer(Box::new(CallAnswer { result, served_by }))),
        Just(Body::Calls),
        (server_id(), vec(instance, 0..3))
            .prop_map(|(server_id, instances)| Body::CallsAnswer { server_id, instances }),
        any::<u32>().prop_map(|hops| Body::WhereTo { hops }),
        (select(vec!["CALL", "SUBMIT", "REDIRECT"]), address(), any::<u32>(), any::<String>()).prop_map(
            |(task, target, hops, reason)| Body::Redirect(Box::new(Redirect {
                task: task.to_owned(),
                target,
                hops,
                reason
            }))
        ),
    ]
}

pub(in crate::wire) fn worker_alive() -> impl Strategy<Value = WorkerAlive> {
    let native =
        (name(), 0..=MAX_SLOTS, vec(offer(), 0..3), vec(attempt(), 0..3), of(loans::epoch()), of(loans::loan_id()))
            .prop_map(|(name, slots, services, jobs, epoch, loan_id)| {
                Box::new(NativeWorker { name, slots, services, jobs, epoch, loan_id })
            });
    let listens = (of(address()), 1..=u16::MAX).prop_map(|(at, port)| Listens { host: at.map(|at| at.host), port });
    (server_id(), of(key()), of(listens), of(native)).prop_map(|(worker, owner, listens, native)| WorkerAlive {
        worker,
        owner,
        // Native workers are called back on the links that they open.
        listens: listens.filter(|_| native.is_none()),
        native,
    })
}

pub(in crate::wire) fn worker_status() -> impl Strategy<Value = WorkerStatus> {
    (of(server_id()), of(attempt()), any::<bool>(), of(json()), of(any::<String>()), any::<bool>()).prop_map(
        |(worker, attempt, ok, result, detail, retry)| WorkerStatus { worker, attempt, ok, result, detail, retry },
    )
}

fn worker_view() -> impl Strategy<Value = WorkerView> {
    let who = (server_id(), any::<String>(), select(WorkerState::ALL.to_vec()), any::<bool>(), of(any::<String>()));
    let figures = (any::<(u32, u32)>(), any::<(u64, u64)>(), vec(service_name(), 0..3), millis(), any::<String>());
    (who, figures).prop_map(
        |((worker, name, status, native, owner), ((slots, running), (done, failed), services, last_seen, reason))| {
            WorkerView {
                worker,
                name,
                status,
                native,
                owner,
                slots,
                running,
                done,
                failed,
                services,
                last_seen,
                reason,
            }
        },
    )
}

/// WHY and its answers.
fn why() -> impl Strategy<Value = Body> {
    let text = || ".{0,40}";
    let query = prop_oneof![
        (1..=u64::MAX).prop_map(|before| WhyQuery::Latest { before: Some(before) }),
        Just(WhyQuery::Latest { before: None }),
        server_id().prop_map(WhyQuery::Worker),
        ".{1,40}".prop_map(WhyQuery::Peer),
        "[!-~]{1,64}".prop_map(|loan| WhyQuery::Loan(LoanId::new(loan).unwrap())),
        attempt().prop_map(|attempt| WhyQuery::Job(JobRef::Id(attempt.job_id))),
    ];
    let decision =
        (1..=u64::MAX, millis(), text(), text()).prop_map(|(seq, age, about, text)| Decision { seq, age, about, text });
    let answer = (server_id(), of(text()), vec(decision, 0..3), any::<bool>())
        .prop_map(|(server_id, why, decisions, more)| WhyAnswer { server_id, why, decisions, more });
    prop_oneof![
        query.prop_map(|query| Body::Why(Box::new(query))),
        answer.prop_map(|answer| Body::WhyAnswer(Box::new(answer))),
    ]
}

/// What workers and masters say to each other.
fn farm_body() -> impl Strategy<Value = Body> {
    let welcome = (server_id(), name(), millis(), vec(address(), 0..3), vec(attempt(), 0..3), of(loans::terms()))
        .prop_map(|(server_id, name, timeout, failover, drop, terms)| WorkerWelcome {
            server_id,
            name,
            timeout,
            failover,
            drop,
            terms: terms.map(Box::new),
        });
    let order = (attempt(), (any::<bool>(), any::<bool>()), service_name(), service_name(), json(), millis()).prop_map(
        |(attempt, (call, output), service, method, params, timeout)| JobOrder {
            attempt,
            call,
            service,
            method,
            params,
            timeout,
            output,
        },
    );
    prop_oneof![
        of(server_id()).prop_map(|after| Body::Workers { after }),
        (server_id(), vec(worker_view(), 0..3), any::<bool>()).prop_map(|(server_id, workers, more)| {
            Body::WorkersAnswer(Box::new(WorkersAnswer { server_id, workers, more }))
        }),
        worker_alive().prop_map(|alive| Body::WorkerAlive(Box::new(alive))),
        welcome.prop_map(|welcome| Body::WorkerWelcome(Box::new(welcome))),
        why(),
        of(server_id()).prop_map(|worker| Body::TaskRequest { worker }),
        json().prop_map(|user| Body::Query { user }),
        Just(Body::NoTask),
        order.prop_map(|order| Body::Job(order.into())),
        (attempt(), any::<String>()).prop_map(|(attempt, reason)| Body::JobStop(Box::new(JobStop { attempt, reason }))),
        worker_status().prop_map(|status| Body::WorkerStatus(Box::new(status))),
        (of(server_id()), of(attempt()))
            .prop_map(|(worker, attempt)| Body::StatusAck(Box::new(StatusAck { worker, attempt }))),
        Just(Body::KeepAlive),
        of(server_id()).prop_map(|worker| Body::Pong { worker }),
        (server_id(), key()).prop_map(|(worker, selected)| Body::ElectionAck { worker, selected }),
        key().prop_map(|master| Body::ElectionAccepted { master }),
    ]
}

/// Every body that a line can hold.
pub(in crate::wire) fn body() -> impl Strategy<Value = Body> {
    prop_oneof![node_body(), job_body(), farm_body(), group_body(), loan_body()]
}

/// What nodes say of themselves and of their peers.
fn node_body() -> impl Strategy<Value = Body> {
    let event = (any::<u64>(), select(EventKind::ALL.to_vec()), of(server_id()), of(address()), any::<String>());
    let query = (of(server_id()), of(address()), of(name()), of(any::<String>()));
    prop_oneof![
        (of(server_id()), of(presence().prop_map(Box::new)))
            .prop_map(|(sender, presence)| Body::Heartbeat(Heartbeat { sender, presence })),
        server_id().prop_map(|server_id| Body::HeartbeatAnswer(HeartbeatAnswer { server_id, presence: None })),
        presence().prop_map(|presence| Body::HeartbeatAnswer(HeartbeatAnswer {
            server_id: presence.server_id.clone(),
            presence: Some(Box::new(presence)),
        })),
        Just(Body::Hello),
        hello().prop_map(|answer| Body::HelloAnswer(Box::new(answer))),
        query.prop_map(|(server_id, address, name, after)| Body::Nodes(Box::new(NodesQuery {
            server_id,
            address,
            name,
            after
        }))),
        (server_id(), vec(node(), 0..4), any::<bool>())
            .prop_map(|(server_id, nodes, more)| Body::NodesAnswer(Box::new(NodesAnswer { server_id, nodes, more }))),
        Just(Body::Load),
        load_answer().prop_map(|answer| Body::LoadAnswer(Box::new(answer))),
        Just(Body::Events),
        any::<u64>().prop_map(|seq| Body::EventsAnswer { seq }),
        event.prop_map(|(seq, kind, server_id, address, detail)| Body::Event(Box::new(Event {
            seq,
            kind,
            server_id,
            address,
            detail
        }))),
        server_id().prop_map(|server_id| Body::Leave { server_id }),
        (any::<String>(), any::<String>(), any::<String>(), any::<bool>()).prop_map(|(task, code, detail, retry)| {
            Body::Error(Box::new(ErrorAnswer { task, code: ErrorCode::parse(&code), detail, retry }))
        }),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    (of(any::<String>().prop_map(|text| RequestId::new(text.chars().take(32).collect::<String>()).unwrap())), body())
        .prop_map(|(id, body)| Message { id, body })
}

fn line(message: &Message) -> String {
    let mut out = Vec::new();
    encode(message, &mut out);
    let text = String::from_utf8(out).unwrap();
    text.strip_suffix('\n').expect("a line ends with a newline").to_owned()
}

proptest! {
    #[test]
    fn what_was_encoded_decodes_to_the_same(message in message()) {
        let line = line(&message);
        prop_assert!(!line.contains('\n'));
        prop_assert_eq!(decode(line.as_bytes()), Ok(message), "{}", line);
    }
}

fn longest_presence() -> Presence {
    Presence {
        server_id: ServerId::new("\"".repeat(MAX_ID_BYTES)).unwrap(),
        name: "\"".repeat(MAX_NAME_BYTES),
        address: format!("{}:65535", "a".repeat(crate::wire::MAX_HOST_BYTES)).parse().unwrap(),
        role: Role::Worker,
        group: "\\".repeat(MAX_NAME_BYTES),
        group_presence: longest_group_presence(),
        load: LoadReport { pending: u64::MAX, running: u64::MAX, workers: u64::MAX, ..LoadReport::default() },
        services: Vec::new(),
    }
}

#[test]
fn keys_stand_in_one_order_and_figures_have_their_decimals() {
    let load = LoadReport { cpu: Permille::new(123), memory: Permille::new(1000), pending: 3, ..Default::default() };
    let answer = LoadAnswer {
        server_id: ServerId::new("S").unwrap(),
        load,
        score: Score(8_610),
        hot: false,
        capacity: 100,
        release: 60,
        hold: Duration::from_secs(2),
        cpu_threshold: Permille::new(700),
    };
    let message = Message { id: RequestId::new("7"), body: Body::LoadAnswer(Box::new(answer)) };
    assert_eq!(
        line(&message),
        "{\"TASK\":\"LOAD\",\"RESPONSE\":\"OK\",\"ID\":\"7\",\"SERVER_ID\":\"S\",\"CPU\":12.3,\"MEMORY\":100.0,\
         \"PENDING\":3,\"RUNNING\":0,\"WORKERS\":0,\"SATURATED\":false,\"SCORE\":8.61,\"HOT\":false,\
         \"CAPACITY\":100,\"RELEASE\":60,\"HOLD_MS\":2000,\"CPU_THRESHOLD\":70.0}"
    );
    for (number, text) in [(0, "0.0"), (38_000, "38.0"), (2_170, "2.17"), (305, "0.305"), (1_005, "1.005")] {
        let mut out = Vec::new();
        Object::begin(&mut out).thousandths("RTT_MS", number).end();
        assert_eq!(out, format!("{{\"RTT_MS\":{text}}}\n").into_bytes());
    }
}

#[test]
fn an_error_answer_reads_as_protocol_md_shows_it() {
    let error = ErrorAnswer::new("NODES", ErrorCode::NotFound, "no such node");
    assert_eq!(
        line(&Message::plain(Body::Error(Box::new(error)))),
        r#"{"TASK":"NODES","RESPONSE":"ERROR","ERROR":"NOT_FOUND","DETAIL":"no such node","RETRY":true}"#
    );
}

#[test]
fn a_page_of_the_longest_entries_is_cut_to_a_line_and_says_more() {
    let presence = longest_presence();
    let entry = NodeEntry {
        key: "\"".repeat(MAX_ID_BYTES),
        server_id: Some(presence.server_id.clone()),
        name: Some(presence.name),
        address: presence.address,
        role: Some(presence.role),
        group: Some(presence.group),
        group_id: presence.group_presence.group_id,
        leads: true,
        status: Status::Timeout,
        last_seen: Some(Duration::from_millis(u64::MAX)),
        rtt: Some(Duration::from_secs(86_400)),
        load: Some(presence.load),
        score: Some(Score(1)),
        learnt: Learnt::Configured,
        reason: "no answer for 6 s".to_owned(),
    };
    let answer = NodesAnswer { server_id: presence.server_id, nodes: vec![entry; NODES_PAGE], more: false };
    let mut out = b"before\n".to_vec();
    encode(&Message::plain(Body::NodesAnswer(Box::new(answer))), &mut out);
    let line = &out[b"before\n".len()..out.len() - 1];
    assert!(line.len() <= MAX_LINE_BYTES, "{}", line.len());
    let Ok(Message { body: Body::NodesAnswer(read), .. }) = decode(line) else { panic!("it does not decode") };
    assert!(read.more && read.nodes.len() > 30 && read.nodes.len() < NODES_PAGE, "{}", read.nodes.len());
}

#[test]
fn pages_of_jobs_workers_and_instances_are_cut_to_a_line_too() {
    let name = || ServiceName::new("s".repeat(MAX_NAME_BYTES)).unwrap();
    let line = |body: Body| {
        let line = line(&Message { id: RequestId::new("1"), body });
        assert!(line.len() <= MAX_LINE_BYTES && line.len() > MAX_LINE_BYTES / 2, "{}", line.len());
        decode(line.as_bytes()).unwrap().body
    };
    let job = JobView {
        job_id: JobId::new("j".repeat(MAX_ID_BYTES)).unwrap(),
        status: JobStatus::Cancelled,
        service: Some(name()),
        method: Some(name()),
        attempt: u32::MAX,
        age: Some(Duration::from_millis(u64::MAX)),
        worker: ServerId::new("w".repeat(MAX_ID_BYTES)),
        result: None,
        reason: Some("r".repeat(500)),
    };
    let jobs = JobsAnswer {
        counts: JobCounts::default(),
        bytes: 0,
        oldest: None,
        max_jobs: 0,
        max_bytes: 0,
        durability: Durability::Os,
        disk: None,
        jobs: Some(vec![job; JOBS_PAGE]),
        more: false,
    };
    let Body::JobsAnswer(read) = line(Body::JobsAnswer(Box::new(jobs))) else { panic!() };
    assert!(read.more && read.jobs.is_some_and(|jobs| jobs.len() > 30 && jobs.len() < JOBS_PAGE));

    let server_id = longest_presence().server_id;
    let worker = WorkerView {
        worker: server_id.clone(),
        name: "n".to_owned(),
        status: WorkerState::Idle,
        native: true,
        owner: None,
        slots: 1,
        running: 0,
        done: 0,
        failed: 0,
        services: vec![name(); 20],
        last_seen: Duration::ZERO,
        reason: String::new(),
    };
    let workers = WorkersAnswer { server_id: server_id.clone(), workers: vec![worker; WORKERS_PAGE], more: false };
    let Body::WorkersAnswer(read) = line(Body::WorkersAnswer(Box::new(workers))) else { panic!() };
    assert!(read.more && read.workers.len() < WORKERS_PAGE);

    let offer = ServiceOffer { name: name(), methods: vec![name(); MAX_METHODS], idempotent: vec![] };
    let services = vec![offer; 5];
    let instance = Instance { server_id: server_id.clone(), name: "n".to_owned(), place: Place::Here, services };
    let calls = Body::CallsAnswer { server_id, instances: vec![instance; INSTANCES_PAGE] };
    let Body::CallsAnswer { instances, .. } = line(calls) else { panic!() };
    assert!(!instances.is_empty() && instances.len() < INSTANCES_PAGE);
}

#[test]
fn the_longest_results_sentences_and_offers_fit_a_line() {
    let result = || Json::new(format!("\"{}\"", "x".repeat(MAX_JSON_BYTES - 2))).unwrap();
    let attempt = Attempt { job_id: JobId::new("j".repeat(MAX_ID_BYTES)).unwrap(), attempt: u32::MAX };
    let status = WorkerStatus {
        worker: Some(longest_presence().server_id),
        attempt: Some(attempt.clone()),
        ok: false,
        result: Some(result()),
        detail: Some("é\n\u{1}\"".repeat(20_000)),
        retry: false,
    };
    let sent = line(&Message::plain(Body::WorkerStatus(Box::new(status))));
    assert!(sent.len() <= MAX_LINE_BYTES, "{}", sent.len());
    let Ok(Message { body: Body::WorkerStatus(read), .. }) = decode(sent.as_bytes()) else { panic!() };
    assert_eq!((read.result, read.retry), (Some(result()), false));
    assert!(read.detail.is_some_and(|detail| detail.len() > 1000), "as much of the sentence as fits");

    let data = "\u{1}".repeat(MAX_OUTPUT_BYTES);
    let output = JobOutput { job_id: attempt.job_id.clone(), attempt: 1, stream: Stream::Out, data: data.clone() };
    let sent = line(&Message::plain(Body::JobOutput(Box::new(output))));
    assert!(sent.len() <= MAX_LINE_BYTES);
    let Ok(Message { body: Body::JobOutput(read), .. }) = decode(sent.as_bytes()) else { panic!() };
    assert_eq!(read.data, data, "output is never cut");

    let name = || ServiceName::new("s".repeat(MAX_NAME_BYTES)).unwrap();
    let offer =
        ServiceOffer { name: name(), methods: vec![name(); MAX_METHODS], idempotent: vec![name(); MAX_METHODS] };
    let native = NativeWorker {
        name: "n".to_owned(),
        slots: MAX_SLOTS,
        services: vec![offer.clone(); MAX_SERVICES],
        jobs: vec![attempt; 2 * MAX_SLOTS as usize],
        epoch: None,
        loan_id: None,
    };
    let worker = longest_presence().server_id;
    let alive = WorkerAlive { worker, owner: None, listens: None, native: Some(Box::new(native)) };
    assert!(line(&Message::plain(Body::WorkerAlive(Box::new(alive)))).len() <= MAX_LINE_BYTES);
    let presence = Presence { services: vec![offer; MAX_SERVICES], ..longest_presence() };
    let heartbeat = Heartbeat { sender: None, presence: Some(Box::new(presence)) };
    assert!(line(&Message::plain(Body::Heartbeat(heartbeat))).len() <= MAX_LINE_BYTES / 2);
}

#[test]
fn jobs_and_calls_read_as_protocol_md_shows_them() {
    for text in [
        r#"{"TASK":"SUBMIT","ID":"1","SERVICE":"primes","METHOD":"count","PARAMS":{"n": 1},"PRIORITY":4}"#,
        r#"{"TASK":"SUBMIT","SERVICE":"a","METHOD":"run","PARAMS":null,"PRIORITY":9,"DELAY_MS":1,"TIMEOUT_MS":2,"ATTEMPTS":3,"KEY":"k","WAIT_MS":4,"OUTPUT":true,"FOLLOW":true,"HOPS":5}"#,
        r#"{"TASK":"SUBMIT","RESPONSE":"OK","ID":"1","DUPLICATE":true,"JOB_ID":"3fa9c1d2-7-42","STATUS":"QUEUED","ATTEMPT":0}"#,
        r#"{"TASK":"RESULT","RESPONSE":"OK","JOB_ID":"j","STATUS":"NOK","ATTEMPT":1,"WORKER_UUID":"w","RESULT":null,"REASON":"it said no"}"#,
        r#"{"TASK":"RESULT","EVENT":"OUTPUT","JOB_ID":"j","ATTEMPT":1,"STREAM":"stdout","DATA":"x\n"}"#,
        r#"{"TASK":"CALL","SERVICE":"a","METHOD":"b","PARAMS":[],"TIMEOUT_MS":30000,"HOPS":1}"#,
        r#"{"TASK":"CALL","RESPONSE":"OK","ID":"1","SERVED_BY":"S","RESULT":{"a": 1}}"#,
        r#"{"TASK":"CALL","RESPONSE":"REDIRECT","TARGET":"127.0.0.1:9102","HOPS":1,"REASON":"r"}"#,
        r#"{"TASK":"JOB","JOB_ID":"j","ATTEMPT":1,"SERVICE":"a","METHOD":"b","PARAMS":1,"TIMEOUT_MS":5,"OUTPUT":true}"#,
        r#"{"TASK":"STOP","JOB_ID":"j","ATTEMPT":1,"REASON":"cancelled"}"#,
    ] {
        let message = decode(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        assert_eq!(line(&message), text);
    }
    for task in JobTask::ALL {
        let usage: serde_json::Value = serde_json::from_str(&line(&Message::plain(Body::UsageAnswer(task)))).unwrap();
        let example = decode(usage["EXAMPLE"].as_str().unwrap().as_bytes()).unwrap().body;
        let meant = match example {
            Body::Submit(_) => JobTask::Submit,
            Body::Result(_) => JobTask::Result,
            Body::Cancel(_) => JobTask::Cancel,
            Body::Bury(_) => JobTask::Bury,
            Body::Kick(_) => JobTask::Kick,
            other => panic!("{other:?}"),
        };
        assert_eq!(meant, task, "the example is one of its own task");
    }
}

#[test]
fn every_message_but_pages_fits_a_line_at_its_longest() {
    let hello = HelloAnswer {
        presence: longest_presence(),
        version: "0.1.0".to_owned(),
        dialects: vec!["native".to_owned(); 4],
        line_bytes: u64::MAX,
        secret: false,
        uptime: Duration::MAX,
        heartbeats: u64::MAX,
        interval: Duration::MAX,
        timeout: Duration::MAX,
        supervisor: Some(Address { host: crate::wire::Host::Name("h".repeat(253)), port: u16::MAX }),
        supervisor_reached: Some(false),
    };
    let id = RequestId::new("\u{1}".repeat(MAX_ID_BYTES));
    assert!(line(&Message { id, body: Body::HelloAnswer(Box::new(hello)) }).len() < 4096);
}
