//! Every message of a group, and how each looks.

use super::*;

fn text() -> impl Strategy<Value = String> {
    any::<String>()
}

pub(super) fn group_id() -> impl Strategy<Value = GroupId> {
    "[0-9a-f-]{8,64}".prop_map(|text| GroupId::new(text).unwrap())
}

fn raft_id() -> impl Strategy<Value = RaftId> {
    prop_oneof![1..9u64, 1..=MAX_TERM].prop_map(RaftId)
}

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![0..9u64, 0..=MAX_TERM]
}

pub(super) fn group_presence() -> impl Strategy<Value = GroupPresence> {
    (of(group_id()), count(), of(server_id()), of(server_id()), count())
        .prop_map(|(group_id, term, leader, founder, sees)| GroupPresence { group_id, term, leader, founder, sees })
}

pub(super) fn longest_group_presence() -> GroupPresence {
    let id = ServerId::new("\"".repeat(MAX_ID_BYTES));
    let group_id = GroupId::new("f".repeat(64));
    GroupPresence { group_id, term: MAX_TERM, leader: id.clone(), founder: id, sees: MAX_TERM }
}

fn envelope() -> impl Strategy<Value = Envelope> {
    (group_id(), raft_id(), raft_id(), count()).prop_map(|(group_id, from, to, term)| Envelope {
        group_id,
        from,
        to,
        term,
    })
}

fn member() -> impl Strategy<Value = Member> {
    let status = select(vec![Status::Unknown, Status::Alive, Status::Timeout, Status::Left]);
    (raft_id(), server_id(), name(), address(), status).prop_map(|(raft_id, server_id, name, address, status)| Member {
        raft_id,
        server_id,
        name,
        address,
        status,
    })
}

fn elect() -> impl Strategy<Value = Elect> {
    let vote = (any::<bool>(), count(), count(), count(), count(), any::<bool>()).prop_map(
        |(pre, last_log_index, last_log_term, commit_index, commit_term, transfer)| ElectKind::Vote {
            pre,
            last_log_index,
            last_log_term,
            commit_index,
            commit_term,
            transfer,
        },
    );
    (envelope(), prop_oneof![4 => vote, 1 => Just(ElectKind::Now)])
        .prop_map(|(envelope, kind)| Elect { envelope, kind })
}

/// Numbers of members, ascending, and sets of them that can stand beside each other.
fn voter_sets() -> impl Strategy<Value = VoterSets> {
    let places = proptest::collection::btree_map(raft_id(), 0..6u8, 0..8);
    (raft_id(), places, any::<bool>()).prop_map(|(voter, places, leave)| {
        let mut sets = VoterSets::default();
        for (id, place) in places.into_iter().chain([(voter, 0)]).collect::<std::collections::BTreeMap<_, _>>() {
            match place {
                0 | 5 => sets.voters.push(id),
                1 => sets.learners.push(id),
                2 => sets.voters_outgoing.push(id),
                3 => {
                    sets.voters_outgoing.push(id);
                    sets.learners_next.push(id);
                }
                _ => {
                    sets.voters.push(id);
                    sets.voters_outgoing.push(id);
                }
            }
        }
        sets.auto_leave = leave && !sets.voters_outgoing.is_empty();
        sets
    })
}

fn item() -> impl Strategy<Value = LedgerItem> {
    let lease = |(name, fence): (String, u64)| Command::Release { name, fence };
    prop_oneof![
        Just(LedgerItem::Empty),
        (name(), json()).prop_map(|(name, value)| LedgerItem::Command(Box::new(Command::Set { name, value }))),
        (name(), count()).prop_map(move |release| LedgerItem::Command(Box::new(lease(release)))),
        vec(raft_id(), 1..2)
            .prop_map(|add_voters| LedgerItem::Change(VoterChange { add_voters, ..VoterChange::default() })),
    ]
}

/// Entries that follow `previous` as those of a log do, of its term.
fn append() -> impl Strategy<Value = Agree> {
    let previous = (0..MAX_TERM - 9, 0..MAX_TERM - 9);
    (envelope(), previous, vec((item(), 0..2u64), 0..4), count()).prop_map(|(envelope, previous, items, commit)| {
        let (mut index, mut term) = previous;
        let entry = |(what, more): (LedgerItem, u64)| {
            (index, term) = (index + 1, term + more);
            LedgerEntry { index, term, what }
        };
        let entries = items.into_iter().map(entry).collect();
        let (prev_log_index, prev_log_term) = previous;
        let kind = AgreeKind::Append { prev_log_index, prev_log_term, entries, leader_commit: commit };
        Agree { envelope: Envelope { term, ..envelope }, kind }
    })
}

fn context() -> impl Strategy<Value = Option<String>> {
    of("[ -~é]{0,32}")
}

fn agree() -> impl Strategy<Value = Agree> {
    let heartbeat = (envelope(), count(), context()).prop_map(|(envelope, leader_commit, context)| Agree {
        envelope,
        kind: AgreeKind::Heartbeat { leader_commit, context },
    });
    let place = (1..=MAX_TERM, 1..=MAX_TERM, 0..=(MAX_SNAPSHOT_BYTES / 2) as u64);
    let snapshot = (envelope(), place, voter_sets(), text(), any::<bool>()).prop_map(
        |(envelope, (last_index, last_term, offset), members, data, done)| Agree {
            envelope,
            kind: AgreeKind::Snapshot { last_index, last_term, members, offset, data, done },
        },
    );
    prop_oneof![append(), heartbeat, snapshot]
}

fn agree_answer() -> impl Strategy<Value = AgreeAnswer> {
    let append = (any::<bool>(), count(), of((count(), count())), count()).prop_map(
        |(success, match_index, hint, commit_index)| AgreeAnswerKind::Append {
            success,
            match_index,
            hint,
            commit_index,
        },
    );
    let heartbeat =
        (context(), count()).prop_map(|(context, commit_index)| AgreeAnswerKind::Heartbeat { context, commit_index });
    let piece = (count(), 0..=MAX_SNAPSHOT_BYTES as u64)
        .prop_map(|(last_index, next)| AgreeAnswerKind::Piece { last_index, next });
    (envelope(), prop_oneof![append, heartbeat, piece]).prop_map(|(envelope, kind)| AgreeAnswer { envelope, kind })
}

fn proof() -> impl Strategy<Value = Proof> {
    let challenge = || (group_id(), raft_id(), server_id(), "[0-9a-f]{32}", "[0-9a-f]{32}");
    let refuses = select(vec![None, Some(Refuses::Gone), Some(Refuses::Twins)]);
    prop_oneof![
        challenge().prop_map(|(group_id, raft_id, server_id, run, challenge)| Proof::Challenge {
            group_id,
            raft_id,
            server_id,
            run,
            challenge
        }),
        (challenge(), "[0-9a-f]{64}", refuses).prop_map(
            |((group_id, raft_id, server_id, run, challenge), proof, refuses)| {
                Proof::Counter { group_id, raft_id, server_id, run, challenge, proof, refuses }
            }
        ),
        "[0-9a-f]{64}".prop_map(|proof| Proof::Response { proof }),
        Just(Proof::Proved),
    ]
}

fn elect_answer() -> impl Strategy<Value = ElectAnswer> {
    let state =
        select(vec![GroupRole::Leader, GroupRole::Follower, GroupRole::Candidate, GroupRole::Learner, GroupRole::None]);
    let who = (server_id(), name(), of(group_id()), of(raft_id()), state, count());
    let members = (of(member()), vec(member(), 0..4), vec(member(), 0..3));
    (who, members, any::<bool>(), count(), of(text())).prop_map(
        |(who, (leader, voters, learners), quorum, spare, reason)| {
            let (server_id, group, group_id, raft_id, state, term) = who;
            ElectAnswer {
                server_id,
                group,
                group_id,
                raft_id,
                state,
                term,
                leader,
                voters,
                learners,
                quorum,
                spare,
                reason,
            }
        },
    )
}

fn ledger_answer() -> impl Strategy<Value = LedgerAnswer> {
    let shown = (count(), count(), text()).prop_map(|(index, term, words)| ShownEntry { index, term, words });
    let figures = (count(), count(), count(), count(), count());
    (server_id(), of(group_id()), figures, vec(shown, 0..5)).prop_map(
        |(server_id, group_id, (term, applied, committed, last, snapshot), entries)| LedgerAnswer {
            server_id,
            group_id,
            term,
            applied,
            committed,
            last,
            snapshot,
            entries,
        },
    )
}

fn members_action() -> impl Strategy<Value = MembersAction> {
    let admit =
        (server_id(), name(), address(), name(), group_id()).prop_map(|(server_id, name, address, group, state_id)| {
            MembersAction::Admit(Box::new(Admit { server_id, name, address, group, state_id }))
        });
    prop_oneof![
        admit,
        (server_id(), any::<bool>()).prop_map(|(server_id, force)| MembersAction::Remove { server_id, force }),
        server_id().prop_map(|server_id| MembersAction::Lead { server_id }),
        Just(MembersAction::Leave),
        address().prop_map(|target| MembersAction::Join { target }),
        group_id().prop_map(|confirm| MembersAction::Recover { confirm }),
    ]
}

fn members_body() -> impl Strategy<Value = Body> {
    let votes = select(vec![Votes::Voter, Votes::Learner]);
    let answer = (server_id(), name(), group_id(), count(), vec((member(), votes), 0..4), any::<bool>());
    let admission = (group_id(), raft_id(), "[0-9a-f]{64}", vec(member(), 0..3));
    prop_oneof![
        Just(Body::MembersQuestion),
        answer.prop_map(|(server_id, group, group_id, index, members, more)| {
            Body::MembersAnswer(Box::new(MembersAnswer { server_id, group, group_id, index, members, more }))
        }),
        members_action().prop_map(|action| Body::Members(Box::new(action))),
        admission.prop_map(|(group_id, raft_id, key, members)| {
            Body::Admission(Box::new(Admission { group_id, raft_id, key, members }))
        }),
        (text(), of(count()), text())
            .prop_map(|(action, index, detail)| { Body::MembersDone(Box::new(MembersDone { action, index, detail })) }),
    ]
}

fn lease() -> impl Strategy<Value = Lease> {
    (name(), of(key()), count(), millis(), count()).prop_map(|(name, holder, fence, ttl, tick)| Lease {
        name,
        holder,
        fence,
        ttl,
        tick,
    })
}

fn lease_body() -> impl Strategy<Value = Body> {
    let grant = || (key(), 1..=MAX_TERM);
    let action = prop_oneof![
        (key(), 1000..=3_600_000u64, 0..=60_000u64).prop_map(|(holder, ttl, wait)| LeaseAction::Acquire {
            holder,
            ttl: Duration::from_millis(ttl),
            wait: Duration::from_millis(wait)
        }),
        grant().prop_map(|(holder, fence)| LeaseAction::Renew { holder, fence }),
        grant().prop_map(|(holder, fence)| LeaseAction::Release { holder, fence }),
        (grant(), 1..=MAX_TERM).prop_map(|((holder, fence), tick)| LeaseAction::Tick { holder, fence, tick }),
    ];
    let set = json().prop_filter("null unsets", |value| value.as_str() != "null");
    let setting = (name(), of(set), count()).prop_map(|(name, value, index)| Setting { name, value, index });
    let query = prop_oneof![
        (of(name()), any::<bool>()).prop_map(|(name, local)| SettingsQuery { name, value: None, local }),
        (name(), json(), any::<bool>()).prop_map(|(name, value, local)| SettingsQuery {
            name: Some(name),
            value: Some(value),
            local
        }),
    ];
    prop_oneof![
        query.prop_map(|query| Body::Settings(Box::new(query))),
        (count(), any::<bool>(), vec(setting, 0..4)).prop_map(|(index, local, settings)| {
            Body::SettingsAnswer(Box::new(SettingsAnswer { index, local, settings }))
        }),
        (any::<bool>(), of(text())).prop_map(|(local, after)| Body::LeaseQuestion { local, after }),
        (count(), any::<bool>(), vec(lease(), 0..4), any::<bool>()).prop_map(|(index, local, leases, more)| {
            Body::LeasesAnswer(Box::new(LeasesAnswer { index, local, leases, more }))
        }),
        (name(), action).prop_map(|(name, action)| Body::Lease(Box::new(LeaseRequest { name, action }))),
        lease().prop_map(|lease| Body::LeaseAnswer(Box::new(lease))),
    ]
}

/// What masters of a group say to each other and of their group.
pub(super) fn group_body() -> impl Strategy<Value = Body> {
    prop_oneof![
        1 => Just(Body::ElectQuestion),
        1 => elect_answer().prop_map(|answer| Body::ElectAnswer(Box::new(answer))),
        1 => elect().prop_map(|elect| Body::Elect(Box::new(elect))),
        1 => (envelope(), any::<bool>(), any::<bool>(), count(), count()).prop_map(
            |(envelope, pre, granted, commit_index, commit_term)| {
                Body::ElectVote(Box::new(ElectVote { envelope, pre, granted, commit_index, commit_term }))
            }
        ),
        1 => Just(Body::LedgerQuestion),
        1 => ledger_answer().prop_map(|answer| Body::LedgerAnswer(Box::new(answer))),
        3 => agree().prop_map(|agree| Body::Agree(Box::new(agree))),
        2 => agree_answer().prop_map(|answer| Body::AgreeAnswer(Box::new(answer))),
        2 => proof().prop_map(|proof| Body::Proof(Box::new(proof))),
        4 => members_body(),
        5 => lease_body(),
    ]
}

fn group() -> GroupId {
    GroupId::new("5f0e9a34-0000-4000-8000-000000000007").unwrap()
}

fn server(text: &str) -> ServerId {
    ServerId::new(text).unwrap()
}

fn head(from: u64, to: u64, term: u64) -> Envelope {
    Envelope { group_id: group(), from: RaftId(from), to: RaftId(to), term }
}

fn beta() -> Member {
    Member {
        raft_id: RaftId(2),
        server_id: server("B"),
        name: "beta".to_owned(),
        address: "10.0.0.2:9101".parse().unwrap(),
        status: Status::Alive,
    }
}

/// Asserts that the body is this line, and the line this body. `GROUP` and `BETA` stand for their fields.
fn assert_line(body: Body, expected: &str) {
    let beta = r#""RAFT_ID":2,"SERVER_ID":"B","NAME":"beta","ADDRESS":"10.0.0.2:9101","STATUS":"ALIVE""#;
    let expected = expected.replace("<GROUP>", &format!(r#""GROUP_ID":"{}""#, group())).replace("<BETA>", beta);
    let message = Message::plain(body);
    assert_eq!(line(&message), expected);
    assert_eq!(decode(expected.as_bytes()), Ok(message), "{expected}");
}

#[test]
fn elections_read_as_the_paper_says() {
    let vote = |pre, transfer| ElectKind::Vote {
        pre,
        last_log_index: 12,
        last_log_term: 3,
        commit_index: 11,
        commit_term: 3,
        transfer,
    };
    let elect = |kind| Body::Elect(Box::new(Elect { envelope: head(1, 2, 4), kind }));
    let logs = r#""LAST_LOG_INDEX":12,"LAST_LOG_TERM":3,"COMMIT_INDEX":11,"COMMIT_TERM":3"#;
    for (kind, word, rest) in [
        (vote(true, false), "PRE_VOTE", format!(",{logs}")),
        (vote(false, true), "VOTE", format!(",{logs},\"TRANSFER\":true")),
        (ElectKind::Now, "NOW", String::new()),
    ] {
        assert_line(
            elect(kind),
            &format!(r#"{{"TASK":"ELECT","KIND":"{word}",<GROUP>,"FROM":1,"TO":2,"TERM":4{rest}}}"#),
        );
    }
    let answer = |pre, granted| {
        let envelope = head(2, 1, 4);
        Body::ElectVote(Box::new(ElectVote { envelope, pre, granted, commit_index: 11, commit_term: 3 }))
    };
    let line = r#"{"TASK":"ELECT","RESPONSE":"OK","KIND":"PRE_VOTE",<GROUP>,"FROM":2,"TO":1,"TERM":4,"VOTE_GRANTED":true,"COMMIT_INDEX":11,"COMMIT_TERM":3}"#;
    assert_line(answer(true, true), line);
    assert_line(answer(false, false), &line.replace("PRE_VOTE", "VOTE").replace("true", "false"));
    assert_line(Body::ElectQuestion, r#"{"TASK":"ELECT"}"#);
    let mut answer = ElectAnswer {
        server_id: server("A"),
        group: "default".to_owned(),
        group_id: None,
        raft_id: None,
        state: GroupRole::None,
        term: 0,
        leader: None,
        voters: Vec::new(),
        learners: Vec::new(),
        quorum: false,
        spare: 0,
        reason: Some("it waits".to_owned()),
    };
    assert_line(
        Body::ElectAnswer(Box::new(answer.clone())),
        r#"{"TASK":"ELECT","RESPONSE":"OK","SERVER_ID":"A","GROUP":"default","STATE":"NONE","TERM":0,"QUORUM":false,"SPARE":0,"VOTERS":[],"LEARNERS":[],"REASON":"it waits"}"#,
    );
    (answer.group_id, answer.raft_id, answer.state, answer.term) =
        (Some(group()), Some(RaftId(1)), GroupRole::Follower, 4);
    (answer.leader, answer.voters, answer.quorum, answer.reason) = (Some(beta()), vec![beta()], true, None);
    assert_line(
        Body::ElectAnswer(Box::new(answer)),
        r#"{"TASK":"ELECT","RESPONSE":"OK","SERVER_ID":"A","GROUP":"default",<GROUP>,"RAFT_ID":1,"STATE":"FOLLOWER","TERM":4,"LEADER":"B","LEADER_RAFT_ID":2,"LEADER_NAME":"beta","LEADER_ADDRESS":"10.0.0.2:9101","LEADER_STATUS":"ALIVE","QUORUM":true,"SPARE":0,"VOTERS":[{<BETA>}],"LEARNERS":[]}"#,
    );
}

#[test]
fn the_log_reads_as_the_paper_says() {
    let agree = |kind| Body::Agree(Box::new(Agree { envelope: head(1, 2, 4), kind }));
    let release = Command::Release { name: "backup".to_owned(), fence: 7 };
    let entries = vec![
        LedgerEntry { index: 12, term: 3, what: LedgerItem::Command(Box::new(release)) },
        LedgerEntry { index: 13, term: 4, what: LedgerItem::Empty },
    ];
    let mut written = String::new();
    entries[0].to_json(&mut written);
    assert_line(
        agree(AgreeKind::Append { prev_log_index: 11, prev_log_term: 3, entries, leader_commit: 11 }),
        &format!(
            r#"{{"TASK":"AGREE","KIND":"APPEND",<GROUP>,"FROM":1,"TO":2,"TERM":4,"PREV_LOG_INDEX":11,"PREV_LOG_TERM":3,"LEADER_COMMIT":11,"ENTRIES":[{written},{{"INDEX":13,"TERM":4}}]}}"#
        ),
    );
    assert_line(
        agree(AgreeKind::Heartbeat { leader_commit: 11, context: Some("r7".to_owned()) }),
        r#"{"TASK":"AGREE","KIND":"HEARTBEAT",<GROUP>,"FROM":1,"TO":2,"TERM":4,"LEADER_COMMIT":11,"CONTEXT":"r7"}"#,
    );
    let ids = |ids: &[u64]| ids.iter().map(|id| RaftId(*id)).collect::<Vec<_>>();
    let mut members = VoterSets { voters: ids(&[1, 2]), learners: ids(&[4]), ..VoterSets::default() };
    let snapshot = |members| AgreeKind::Snapshot {
        last_index: 11,
        last_term: 3,
        members,
        offset: 24_576,
        data: "{\"X\":1}\n".to_owned(),
        done: true,
    };
    let line = r#"{"TASK":"AGREE","KIND":"SNAPSHOT",<GROUP>,"FROM":1,"TO":2,"TERM":4,"LAST_INCLUDED_INDEX":11,"LAST_INCLUDED_TERM":3,"VOTERS":[1,2],"LEARNERS":[4],"OFFSET":24576,"DONE":true,"DATA":"{\"X\":1}\n"}"#;
    assert_line(agree(snapshot(members.clone())), line);
    (members.voters_outgoing, members.learners_next, members.auto_leave) = (ids(&[2, 3]), ids(&[3]), true);
    let joint = r#"[4],"VOTERS_OUTGOING":[2,3],"LEARNERS_NEXT":[3],"AUTO_LEAVE":true"#;
    assert_line(agree(snapshot(members)), &line.replace("[4]", joint));

    let answer = |kind| Body::AgreeAnswer(Box::new(AgreeAnswer { envelope: head(2, 1, 4), kind }));
    let head = r#"{"TASK":"AGREE","RESPONSE":"OK","KIND":"<KIND>",<GROUP>,"FROM":2,"TO":1,"TERM":4"#;
    for (kind, word, rest) in [
        (
            AgreeAnswerKind::Append { success: true, match_index: 13, hint: None, commit_index: 11 },
            "APPEND",
            r#""SUCCESS":true,"MATCH_INDEX":13,"COMMIT_INDEX":11"#,
        ),
        (
            AgreeAnswerKind::Append { success: false, match_index: 11, hint: Some((9, 2)), commit_index: 8 },
            "APPEND",
            r#""SUCCESS":false,"MATCH_INDEX":11,"HINT_INDEX":9,"HINT_TERM":2,"COMMIT_INDEX":8"#,
        ),
        (
            AgreeAnswerKind::Heartbeat { context: Some("r7".to_owned()), commit_index: 11 },
            "HEARTBEAT",
            r#""CONTEXT":"r7","COMMIT_INDEX":11"#,
        ),
        (
            AgreeAnswerKind::Piece { last_index: 11, next: 49_152 },
            "SNAPSHOT",
            r#""LAST_INCLUDED_INDEX":11,"OFFSET":49152"#,
        ),
    ] {
        assert_line(answer(kind), &format!("{},{rest}}}", head.replace("<KIND>", word)));
    }
    assert_line(Body::LedgerQuestion, r#"{"TASK":"AGREE"}"#);
    let answer = LedgerAnswer {
        server_id: server("A"),
        group_id: Some(group()),
        term: 4,
        applied: 12,
        committed: 13,
        last: 14,
        snapshot: 10,
        entries: vec![ShownEntry { index: 12, term: 3, words: "somebody leads".to_owned() }],
    };
    assert_line(
        Body::LedgerAnswer(Box::new(answer)),
        r#"{"TASK":"AGREE","RESPONSE":"OK","SERVER_ID":"A",<GROUP>,"TERM":4,"APPLIED":12,"COMMITTED":13,"LAST":14,"SNAPSHOT":10,"ENTRIES":[{"INDEX":12,"TERM":3,"WORDS":"somebody leads"}]}"#,
    );
}

#[test]
fn the_proof_of_the_key_is_four_lines() {
    let (a, b, hmac) = ("a".repeat(32), "b".repeat(32), "0123456789abcdef".repeat(4));
    let (group_id, raft_id, server_id) = (group(), RaftId(1), server("A"));
    let (r, s) = ("c".repeat(32), "d".repeat(32));
    let challenge = Proof::Challenge { group_id, raft_id, server_id, run: r.clone(), challenge: a.clone() };
    let (group_id, raft_id, server_id) = (group(), RaftId(2), server("B"));
    let refuses = |refuses| Proof::Counter {
        group_id: group_id.clone(),
        raft_id,
        server_id: server_id.clone(),
        run: s.clone(),
        challenge: b.clone(),
        proof: hmac.clone(),
        refuses,
    };
    let (counter, gone) = (refuses(None), refuses(Some(Refuses::Gone)));
    for (proof, line) in [
        (challenge, format!(r#"{{"TASK":"HELLO","SERVER_ID":"A",<GROUP>,"RAFT_ID":1,"RUN":"{r}","CHALLENGE":"{a}"}}"#)),
        (
            counter,
            format!(
                r#"{{"TASK":"HELLO","RESPONSE":"OK","SERVER_ID":"B",<GROUP>,"RAFT_ID":2,"RUN":"{s}","CHALLENGE":"{b}","PROOF":"{hmac}"}}"#
            ),
        ),
        (
            gone,
            format!(
                r#"{{"TASK":"HELLO","RESPONSE":"OK","SERVER_ID":"B",<GROUP>,"RAFT_ID":2,"RUN":"{s}","CHALLENGE":"{b}","PROOF":"{hmac}","REFUSES":"GONE"}}"#
            ),
        ),
        (Proof::Response { proof: hmac.clone() }, format!(r#"{{"TASK":"HELLO","PROOF":"{hmac}"}}"#)),
        (Proof::Proved, r#"{"TASK":"HELLO","RESPONSE":"OK","PROVED":true}"#.to_owned()),
    ] {
        assert_line(Body::Proof(Box::new(proof)), &line);
    }
}

#[test]
fn members_are_taken_in_and_let_go_by_lines() {
    let id = || server("B");
    let admit = Admit {
        server_id: id(),
        name: "beta".to_owned(),
        address: beta().address,
        group: "default".to_owned(),
        state_id: group(),
    };
    let state = format!(r#""STATE_ID":"{}""#, group());
    for (action, rest) in [
        (
            MembersAction::Admit(Box::new(admit)),
            format!(r#""ADMIT","SERVER_ID":"B","NAME":"beta","ADDRESS":"10.0.0.2:9101","GROUP":"default",{state}"#),
        ),
        (MembersAction::Remove { server_id: id(), force: false }, r#""REMOVE","SERVER_ID":"B""#.to_owned()),
        (MembersAction::Remove { server_id: id(), force: true }, r#""REMOVE","SERVER_ID":"B","FORCE":true"#.to_owned()),
        (MembersAction::Lead { server_id: id() }, r#""LEAD","SERVER_ID":"B""#.to_owned()),
        (MembersAction::Leave, r#""LEAVE""#.to_owned()),
        (MembersAction::Join { target: beta().address }, r#""JOIN","TARGET":"10.0.0.2:9101""#.to_owned()),
        (MembersAction::Recover { confirm: group() }, format!(r#""RECOVER","CONFIRM":"{}""#, group())),
    ] {
        assert_line(Body::Members(Box::new(action)), &format!(r#"{{"TASK":"MEMBERS","ACTION":{rest}}}"#));
    }
    let key = "0123456789abcdef".repeat(4);
    let admission = Admission { group_id: group(), raft_id: RaftId(2), key: key.clone(), members: vec![beta()] };
    assert!(!format!("{admission:?}").contains(&key), "the key is in no log");
    assert_line(
        Body::Admission(Box::new(admission)),
        &format!(
            r#"{{"TASK":"MEMBERS","RESPONSE":"OK",<GROUP>,"RAFT_ID":2,"GROUP_KEY":"{key}","MEMBERS":[{{<BETA>}}]}}"#
        ),
    );
    let done = MembersDone { action: "REMOVE".to_owned(), index: Some(9), detail: "it is gone".to_owned() };
    assert_line(
        Body::MembersDone(Box::new(done)),
        r#"{"TASK":"MEMBERS","RESPONSE":"OK","ACTION":"REMOVE","INDEX":9,"DETAIL":"it is gone"}"#,
    );
    assert_line(Body::MembersQuestion, r#"{"TASK":"MEMBERS"}"#);
    let answer = MembersAnswer {
        server_id: server("A"),
        group: "default".to_owned(),
        group_id: group(),
        index: 9,
        members: vec![(beta(), Votes::Learner)],
        more: false,
    };
    assert_line(
        Body::MembersAnswer(Box::new(answer)),
        r#"{"TASK":"MEMBERS","RESPONSE":"OK","SERVER_ID":"A","GROUP":"default",<GROUP>,"INDEX":9,"MEMBERS":[{<BETA>,"VOTES":"LEARNER"}],"MORE":false}"#,
    );
}

#[test]
fn settings_and_leases_read_as_protocol_md_shows_them() {
    let settings = |name: Option<&str>, value: Option<&str>, local| {
        let value = value.map(|text| Json::new(text).unwrap());
        Body::Settings(Box::new(SettingsQuery { name: name.map(str::to_owned), value, local }))
    };
    assert_line(settings(None, None, false), r#"{"TASK":"SETTINGS"}"#);
    assert_line(settings(Some("capacity"), None, true), r#"{"TASK":"SETTINGS","NAME":"capacity","LOCAL":true}"#);
    let set = settings(Some("capacity"), Some("200"), false);
    assert_line(set, r#"{"TASK":"SETTINGS","NAME":"capacity","VALUE":200}"#);
    let unset = settings(Some("capacity"), Some("null"), false);
    assert_line(unset, r#"{"TASK":"SETTINGS","NAME":"capacity","VALUE":null}"#);
    let setting = |value: Option<&str>, index| Setting {
        name: "capacity".to_owned(),
        value: value.map(|text| Json::new(text).unwrap()),
        index,
    };
    let answer = SettingsAnswer { index: 14, local: false, settings: vec![setting(Some("200"), 14), setting(None, 0)] };
    assert_line(
        Body::SettingsAnswer(Box::new(answer)),
        r#"{"TASK":"SETTINGS","RESPONSE":"OK","INDEX":14,"SETTINGS":[{"NAME":"capacity","VALUE":200,"INDEX":14},{"NAME":"capacity","INDEX":0}]}"#,
    );
    let lease = |action| Body::Lease(Box::new(LeaseRequest { name: "backup".to_owned(), action }));
    let (holder, fence) = ("h".to_owned(), 7);
    let acquire = |wait| LeaseAction::Acquire {
        holder: "h".to_owned(),
        ttl: Duration::from_secs(10),
        wait: Duration::from_secs(wait),
    };
    for (action, rest) in [
        (acquire(0), r#""ACQUIRE","NAME":"backup","HOLDER":"h","TTL_MS":10000"#),
        (acquire(5), r#""ACQUIRE","NAME":"backup","HOLDER":"h","TTL_MS":10000,"WAIT_MS":5000"#),
        (LeaseAction::Renew { holder: holder.clone(), fence }, r#""RENEW","NAME":"backup","HOLDER":"h","FENCE":7"#),
        (LeaseAction::Release { holder: holder.clone(), fence }, r#""RELEASE","NAME":"backup","HOLDER":"h","FENCE":7"#),
        (LeaseAction::Tick { holder, fence, tick: 3 }, r#""TICK","NAME":"backup","HOLDER":"h","FENCE":7,"TICK":3"#),
    ] {
        assert_line(lease(action), &format!(r#"{{"TASK":"LEASE","ACTION":{rest}}}"#));
    }
    let held = Lease {
        name: "backup".to_owned(),
        holder: Some("h".to_owned()),
        fence: 7,
        ttl: Duration::from_secs(10),
        tick: 3,
    };
    let shown = r#""NAME":"backup","HOLDER":"h","FENCE":7,"TTL_MS":10000,"TICK":3"#;
    assert_line(Body::LeaseAnswer(Box::new(held.clone())), &format!(r#"{{"TASK":"LEASE","RESPONSE":"OK",{shown}}}"#));
    let answer = LeasesAnswer { index: 14, local: true, leases: vec![held], more: true };
    assert_line(
        Body::LeasesAnswer(Box::new(answer)),
        &format!(r#"{{"TASK":"LEASE","RESPONSE":"OK","INDEX":14,"LOCAL":true,"LEASES":[{{{shown}}}],"MORE":true}}"#),
    );
    assert_line(Body::LeaseQuestion { local: false, after: None }, r#"{"TASK":"LEASE"}"#);
    let page = Body::LeaseQuestion { local: true, after: Some("backup".to_owned()) };
    assert_line(page, r#"{"TASK":"LEASE","LOCAL":true,"AFTER":"backup"}"#);
}

#[test]
fn what_a_heartbeat_says_of_the_group_is_left_out_where_there_is_none() {
    let mut presence =
        Presence { group: "g".to_owned(), group_presence: GroupPresence::default(), ..longest_presence() };
    let written = |presence: &Presence| {
        let mut out = Vec::new();
        Object::begin(&mut out).presence(presence).end();
        String::from_utf8(out).unwrap()
    };
    assert!(written(&presence).contains(r#""GROUP":"g","CPU""#));
    presence.group_presence =
        GroupPresence { group_id: Some(group()), term: 4, leader: Some(server("B")), founder: None, sees: 0 };
    let member = format!(r#""GROUP":"g","GROUP_ID":"{}","TERM":4,"LEADER":"B","CPU""#, group());
    assert!(written(&presence).contains(&member));
    presence.group_presence = GroupPresence { founder: Some(server("A")), sees: 3, ..GroupPresence::default() };
    assert!(written(&presence).contains(r#""GROUP":"g","FOUNDER":"A","SEES":3,"CPU""#));
}

#[test]
fn the_longest_lines_of_a_group_fit_a_line() {
    let longest = Member {
        raft_id: RaftId(MAX_TERM),
        server_id: server(&"\"".repeat(MAX_ID_BYTES)),
        name: "\"".repeat(MAX_NAME_BYTES),
        address: format!("{}:65535", "a".repeat(MAX_HOST_BYTES)).parse().unwrap(),
        status: Status::Timeout,
    };
    let many = vec![longest.clone(); MAX_MEMBERS];
    let answer = ElectAnswer {
        server_id: longest.server_id.clone(),
        group: longest.name.clone(),
        group_id: Some(group()),
        raft_id: Some(longest.raft_id),
        state: GroupRole::Follower,
        term: MAX_TERM,
        leader: Some(longest.clone()),
        voters: many.clone(),
        learners: many.clone(),
        quorum: false,
        spare: 0,
        reason: Some("\"".repeat(MAX_LINE_BYTES)),
    };
    let members = MembersAnswer {
        server_id: longest.server_id.clone(),
        group: longest.name.clone(),
        group_id: group(),
        index: MAX_TERM,
        members: many.iter().map(|member| (member.clone(), Votes::Learner)).collect(),
        more: false,
    };
    let admission = Admission { group_id: group(), raft_id: longest.raft_id, key: "a".repeat(64), members: many };
    let words = ShownEntry { index: MAX_TERM, term: MAX_TERM, words: "\u{1}".repeat(MAX_ENTRY_BYTES) };
    let ledger = LedgerAnswer {
        server_id: longest.server_id.clone(),
        group_id: Some(group()),
        term: MAX_TERM,
        applied: MAX_TERM,
        committed: MAX_TERM,
        last: MAX_TERM,
        snapshot: MAX_TERM,
        entries: vec![words; ENTRIES_SHOWN],
    };
    let lease = Lease {
        name: longest.name.clone(),
        holder: Some("\"".repeat(MAX_ID_BYTES)),
        fence: MAX_TERM,
        ttl: LEASE_TTL.1,
        tick: MAX_TERM,
    };
    let leases = LeasesAnswer { index: MAX_TERM, local: true, leases: vec![lease; 500], more: false };
    let set = Command::Set { name: "x".to_owned(), value: Json::string(&"x".repeat(MAX_ENTRY_BYTES - 100)) };
    let entries =
        (1..=20).map(|index| LedgerEntry { index, term: 1, what: LedgerItem::Command(Box::new(set.clone())) });
    let envelope = Envelope { group_id: group(), from: RaftId(MAX_TERM), to: RaftId(MAX_TERM), term: MAX_TERM };
    let append =
        AgreeKind::Append { prev_log_index: 0, prev_log_term: 0, entries: entries.collect(), leader_commit: 9 };
    let ids: Vec<RaftId> = (0..MAX_MEMBERS as u64).map(|id| RaftId(MAX_TERM - 256 + id)).collect();
    let snapshot = AgreeKind::Snapshot {
        last_index: MAX_TERM,
        last_term: MAX_TERM,
        members: VoterSets { voters: ids, ..VoterSets::default() },
        offset: 0,
        data: "\"".repeat(AGREE_BYTES),
        done: false,
    };
    let mut read = 0;
    for body in [
        Body::ElectAnswer(Box::new(answer)),
        Body::MembersAnswer(Box::new(members)),
        Body::Admission(Box::new(admission)),
        Body::LedgerAnswer(Box::new(ledger)),
        Body::LeasesAnswer(Box::new(leases)),
        Body::Agree(Box::new(Agree { envelope: envelope.clone(), kind: append })),
        Body::Agree(Box::new(Agree { envelope, kind: snapshot })),
    ] {
        let line = line(&Message { id: RequestId::new("7".repeat(MAX_ID_BYTES)), body });
        assert!(line.len() <= MAX_LINE_BYTES, "{} bytes: {}", line.len(), &line[..80]);
        match decode(line.as_bytes()).expect(&line[..80]).body {
            Body::MembersAnswer(answer) => assert!(answer.more && answer.members.len() > 50),
            Body::LeasesAnswer(answer) => assert!(answer.more && answer.leases.len() > 50),
            Body::ElectAnswer(answer) => assert!(answer.reason.is_some_and(|reason| !reason.is_empty())),
            Body::LedgerAnswer(answer) => assert_eq!(answer.entries.len(), ENTRIES_SHOWN),
            Body::Agree(agree) => match agree.kind {
                AgreeKind::Append { entries, .. } => assert_eq!(entries.len(), 3, "what does not fit was not sent yet"),
                _ => assert!(matches!(agree.kind, AgreeKind::Snapshot { .. })),
            },
            Body::Admission(_) => {}
            other => panic!("{other:?}"),
        }
        read += 1;
    }
    assert_eq!(read, 7);
}
