//! Lines of a group that are not what they should be.

use super::*;

const ENVELOPE: &str = r#""GROUP_ID":"5f0e9a34-aa","FROM":1,"TO":2,"TERM":4"#;
const VOTE: &str = r#""KIND":"VOTE","LAST_LOG_INDEX":12,"LAST_LOG_TERM":3,"COMMIT_INDEX":11,"COMMIT_TERM":3"#;
const APPEND: &str = r#""KIND":"APPEND","PREV_LOG_INDEX":11,"PREV_LOG_TERM":3,"LEADER_COMMIT":11"#;
const SNAPSHOT: &str = r#""KIND":"SNAPSHOT","LAST_INCLUDED_INDEX":11,"LAST_INCLUDED_TERM":3,"OFFSET":0,"DONE":true"#;

#[test]
fn a_task_of_the_group_without_known_fields_is_a_question() {
    for extra in ["", r#","ID":"7""#, r#","COLOUR":"red""#, r#","KIND":null,"ACTION":null"#] {
        let asked = |task: &str| body(&format!(r#"{{"TASK":"{task}"{extra}}}"#));
        assert_eq!(asked("ELECT"), Body::ElectQuestion);
        assert_eq!(asked("AGREE"), Body::LedgerQuestion);
        assert_eq!(asked("MEMBERS"), Body::MembersQuestion);
        assert_eq!(asked("SETTINGS"), Body::Settings(Box::default()));
        assert_eq!(asked("LEASE"), Body::LeaseQuestion { local: false, after: None });
        assert_eq!(asked("HELLO"), Body::Hello);
    }
    assert_eq!(body(r#"{"TASK":"HELLO","GROUP_ID":7,"RAFT_ID":"x"}"#), Body::Hello, "it asks for no proof");
}

#[test]
fn errors_name_the_field_of_the_group_and_what_was_expected() {
    let bad = ErrorCode::BadField;
    let missing = ErrorCode::MissingField;
    let lease = r#""TASK":"LEASE","ACTION":"ACQUIRE","NAME":"n""#;
    let renew = r#""TASK":"LEASE","NAME":"n","HOLDER":"h""#;
    let entry = |entry: &str| format!(r#""TASK":"AGREE",{ENVELOPE},{APPEND},"ENTRIES":[{entry}]"#);
    let sets = |sets: &str| format!(r#""TASK":"AGREE",{ENVELOPE},{SNAPSHOT},"DATA":"x",{sets}"#);
    for (fields, code, says) in [
        (format!(r#""TASK":"ELECT",{ENVELOPE}"#), &missing, "`KIND` is missing; expected one of VOTE, PRE_VOTE or NOW"),
        (r#""TASK":"ELECT","TRANSFER":true"#.to_owned(), &missing, "`KIND` is missing"),
        (format!(r#""TASK":"ELECT","KIND":"COUP",{ENVELOPE}"#), &bad, "`KIND`: there is no \"COUP\"; expected one of VOTE"),
        (format!(r#""TASK":"ELECT","KIND":5,{ENVELOPE}"#), &bad, "`KIND` is 5; expected one of VOTE"),
        (format!(r#""TASK":"ELECT",{VOTE}"#), &missing, "`GROUP_ID` is missing; expected the id of a group"),
        (format!(r#""TASK":"ELECT",{VOTE},{}"#, ENVELOPE.replace("5f0e9a34-aa", "XYZ")), &bad, "`GROUP_ID` is \"XYZ\""),
        (format!(r#""TASK":"ELECT",{VOTE},{}"#, ENVELOPE.replace(":1", ":0")), &bad, "`FROM` is 0; expected a whole number from 1"),
        (format!(r#""TASK":"ELECT",{VOTE},{}"#, ENVELOPE.replace(":2", ":-2")), &bad, "`TO` is -2"),
        (format!(r#""TASK":"ELECT",{VOTE},{}"#, ENVELOPE.replace(":4", ":9007199254740992")), &bad, "`TERM` is 9007199254740992"),
        (format!(r#""TASK":"ELECT",{VOTE},{}"#, ENVELOPE.replace(":4", ":18446744073709551616")), &bad, "`TERM` is 18446744073709551616"),
        (format!(r#""TASK":"ELECT",{VOTE},{}"#, ENVELOPE.replace(":4", ":1e3")), &bad, "`TERM` is 1e3"),
        (format!(r#""TASK":"ELECT",{ENVELOPE},{}"#, VOTE.replace(":12", ":\"12\"")), &bad, "`LAST_LOG_INDEX` is \"12\""),
        (format!(r#""TASK":"ELECT",{ENVELOPE},{VOTE},"TRANSFER":1"#), &bad, "`TRANSFER` is 1; expected true or false"),
        (format!(r#""TASK":"AGREE",{ENVELOPE},"ENTRIES":[]"#), &missing, "`KIND` is missing; expected one of APPEND"),
        (format!(r#""TASK":"AGREE",{ENVELOPE},{APPEND}"#), &missing, "`ENTRIES` is missing; expected a list"),
        (format!(r#""TASK":"AGREE",{ENVELOPE},{APPEND},"ENTRIES":{{}}"#), &bad, "`ENTRIES` is an object"),
        (entry("5"), &bad, "`ENTRIES`: expected a JSON object"),
        (entry(r#"{"INDEX":13,"TERM":3}"#), &bad, "`ENTRIES`: an entry has `INDEX` 13; expected 12"),
        (entry(r#"{"INDEX":12,"TERM":3},{"INDEX":12,"TERM":3}"#), &bad, "`INDEX` 12; expected 13"),
        (entry(r#"{"INDEX":12,"TERM":5}"#), &bad, "`INDEX` 12 has `TERM` 5; expected 3, as that before it, to 4"),
        (entry(r#"{"INDEX":12,"TERM":2}"#), &bad, "`INDEX` 12 has `TERM` 2"),
        (entry(r#"{"INDEX":12,"TERM":4},{"INDEX":13,"TERM":3}"#), &bad, "`INDEX` 13 has `TERM` 3"),
        (entry(r#"{"INDEX":12,"TERM":4,"DO":"DANCE"}"#), &bad, "`ENTRIES`"),
        (
            entry(&format!(r#"{{"INDEX":12,"TERM":4,"X":"{}"}}"#, "x".repeat(MAX_ENTRY_BYTES))),
            &bad,
            "an entry has 16412 bytes; expected at most 16384",
        ),
        (
            format!(r#""TASK":"AGREE",{ENVELOPE},"KIND":"HEARTBEAT","LEADER_COMMIT":1,"CONTEXT":"{}""#, "x".repeat(65)),
            &bad,
            "`CONTEXT` is \"xxx",
        ),
        (sets(r#""X":1"#), &bad, "`VOTERS`: it is empty"),
        (sets(r#""VOTERS":[2,1]"#), &bad, "`VOTERS`: expected numbers of members, 1 or more, ascending"),
        (sets(r#""VOTERS":[1,1]"#), &bad, "`VOTERS`: expected numbers"),
        (sets(r#""VOTERS":[0]"#), &bad, "`VOTERS`: expected numbers"),
        (sets(r#""VOTERS":["1"]"#), &bad, "`VOTERS`: expected numbers"),
        (sets(&format!(r#""VOTERS":[{}1]"#, "1,".repeat(MAX_MEMBERS))), &bad, "`VOTERS`: it has 257 items"),
        (sets(r#""VOTERS":[1],"LEARNERS":[1]"#), &bad, "`LEARNERS`: one of them votes"),
        (sets(r#""VOTERS":[1],"LEARNERS":[2],"VOTERS_OUTGOING":[2]"#), &bad, "`LEARNERS`: one of them votes"),
        (sets(r#""VOTERS":[1],"LEARNERS_NEXT":[2]"#), &bad, "`LEARNERS_NEXT`"),
        (sets(r#""VOTERS":[1],"AUTO_LEAVE":true"#), &bad, "`AUTO_LEAVE`"),
        (
            format!(r#""TASK":"AGREE",{ENVELOPE},{SNAPSHOT},"VOTERS":[1],"DATA":"{}""#, "x".repeat(AGREE_BYTES + 1)),
            &bad,
            "`DATA` is a long string; expected a string of at most 24576 bytes",
        ),
        (sets(r#""VOTERS":[1]"#).replace(r#""OFFSET":0"#, r#""OFFSET":67108864"#), &bad, "`OFFSET` is 67108864"),
        (r#""TASK":"MEMBERS","SERVER_ID":"x""#.to_owned(), &missing, "`ACTION` is missing; expected one of ADMIT"),
        (r#""TASK":"MEMBERS","ACTION":"EAT""#.to_owned(), &bad, "`ACTION`: there is no \"EAT\""),
        (r#""TASK":"MEMBERS","ACTION":"REMOVE""#.to_owned(), &missing, "`SERVER_ID` is missing"),
        (r#""TASK":"MEMBERS","ACTION":"JOIN","TARGET":"here""#.to_owned(), &bad, "`TARGET` is \"here\""),
        (r#""TASK":"MEMBERS","ACTION":"RECOVER""#.to_owned(), &missing, "`CONFIRM` is missing"),
        (
            r#""TASK":"MEMBERS","ACTION":"ADMIT","SERVER_ID":"x","NAME":"n","ADDRESS":"h:1","GROUP":"g""#.to_owned(),
            &missing,
            "`STATE_ID` is missing; expected a uuid",
        ),
        (r#""TASK":"SETTINGS","VALUE":null"#.to_owned(), &missing, "`NAME` is missing"),
        (r#""TASK":"SETTINGS","NAME":7"#.to_owned(), &bad, "`NAME` is 7"),
        (
            format!(r#""TASK":"SETTINGS","NAME":"n","VALUE":"{}""#, "x".repeat(MAX_SETTING_BYTES)),
            &bad,
            "`VALUE`: it has 4098 bytes; expected at most 4096",
        ),
        (renew.to_owned(), &missing, "`ACTION` is missing; expected one of ACQUIRE, RENEW, RELEASE or TICK"),
        (r#""TASK":"LEASE","LOCAL":1"#.to_owned(), &bad, "`LOCAL` is 1"),
        (format!(r#"{renew},"ACTION":"STEAL""#), &bad, "`ACTION`: there is no \"STEAL\""),
        (format!(r#"{renew},"ACTION":"RENEW""#), &missing, "`FENCE` is missing; expected a whole number from 1"),
        (format!(r#"{renew},"ACTION":"RENEW","FENCE":0"#), &bad, "`FENCE` is 0"),
        (format!(r#"{renew},"ACTION":"TICK","FENCE":1"#), &missing, "`TICK` is missing"),
        (lease.to_owned(), &missing, "`HOLDER` is missing; expected a string of 1 to 128 bytes"),
        (format!(r#"{lease},"HOLDER":"a\nb""#), &bad, "`HOLDER` is \"a\\nb\""),
        (format!(r#"{lease},"HOLDER":"h","TTL_MS":999"#), &bad, "`TTL_MS` is 999; expected a whole number of milliseconds from 1000 to 3600000"),
        (format!(r#"{lease},"HOLDER":"h","WAIT_MS":60001"#), &bad, "`WAIT_MS` is 60001"),
        (lease.replace(r#""n""#, r#""""#) + r#","HOLDER":"h""#, &bad, "`NAME` is \"\""),
        (r#""TASK":"HELLO","CHALLENGE":"x""#.to_owned(), &missing, "`GROUP_ID` is missing"),
        (
            r#""TASK":"HELLO","GROUP_ID":"00000000","RAFT_ID":1,"SERVER_ID":"x","RUN":"00112233445566778899aabbccddeeff","CHALLENGE":"ABCDEF00ABCDEF00ABCDEF00ABCDEF00""#
                .to_owned(),
            &bad,
            "`CHALLENGE` is \"ABCDEF00ABCDEF00ABCDEF00ABCDEF00\"; expected 32 of the digits 0-9 and a-f",
        ),
        (r#""TASK":"HELLO","PROOF":"00""#.to_owned(), &bad, "`PROOF` is \"00\"; expected 64 of the digits"),
    ] {
        let line = format!("{{{fields},\"ID\":\"7\"}}");
        let (id, found) = error(&line);
        assert_eq!((id.as_deref(), &found.code), (Some("7"), code), "{line}: {}", found.detail);
        assert!(found.detail.contains(says), "{line:.200}: {} does not say {says}", found.detail);
        assert!(line.contains(&format!("\"TASK\":\"{}\"", found.task)) && !found.retry, "{line}");
    }
}

#[test]
fn a_field_of_the_group_that_stands_twice_is_refused() {
    for line in [
        format!(r#"{{"TASK":"ELECT",{ENVELOPE},{VOTE},"FROM":1}}"#),
        r#"{"TASK":"LEASE","ACTION":"RELEASE","NAME":"n","HOLDER":"h","FENCE":1,"FENCE":2}"#.to_owned(),
        r#"{"TASK":"SETTINGS","NAME":"n","VALUE":1,"VALUE":null}"#.to_owned(),
    ] {
        let (_, found) = error(&line);
        assert_eq!(found.code, ErrorCode::BadJson, "{line}");
        assert!(found.detail.contains("stands twice"), "{line}: {}", found.detail);
    }
}

#[test]
fn answers_of_a_group_that_are_not_whole_are_never_answered() {
    for line in [
        r#"{"TASK":"ELECT","RESPONSE":"OK"}"#,
        r#"{"TASK":"ELECT","RESPONSE":"NO"}"#,
        r#"{"TASK":"ELECT","RESPONSE":"OK","VOTE_GRANTED":true}"#,
        r#"{"TASK":"ELECT","RESPONSE":"OK","KIND":"NOW","GROUP_ID":"00000000","FROM":1,"TO":2,"TERM":1,"VOTE_GRANTED":true,"COMMIT_INDEX":0,"COMMIT_TERM":0}"#,
        r#"{"TASK":"AGREE","RESPONSE":"OK"}"#,
        r#"{"TASK":"AGREE","RESPONSE":"OK","KIND":"DANCE","GROUP_ID":"00000000","FROM":1,"TO":2,"TERM":1}"#,
        r#"{"TASK":"AGREE","RESPONSE":"OK","KIND":"APPEND","GROUP_ID":"00000000","FROM":1,"TO":2,"TERM":-1}"#,
        r#"{"TASK":"AGREE","RESPONSE":"OK","KIND":"SNAPSHOT","GROUP_ID":"00000000","FROM":1,"TO":2,"TERM":1,"LAST_INCLUDED_INDEX":1,"OFFSET":67108865}"#,
        r#"{"TASK":"MEMBERS","RESPONSE":"OK"}"#,
        r#"{"TASK":"MEMBERS","RESPONSE":"OK","GROUP_KEY":"short"}"#,
        r#"{"TASK":"SETTINGS","RESPONSE":"OK","SETTINGS":{}}"#,
        r#"{"TASK":"LEASE","RESPONSE":"OK","LEASES":[5]}"#,
        r#"{"TASK":"HELLO","RESPONSE":"OK","PROVED":false}"#,
        r#"{"TASK":"HELLO","RESPONSE":"OK","PROOF":"00"}"#,
    ] {
        assert!(is_ignored(line), "{line}");
    }
    for task in ["ELECT", "AGREE", "MEMBERS", "SETTINGS", "LEASE", "HELLO"] {
        let line = format!(r#"{{"TASK":"{task}","RESPONSE":"ERROR","ERROR":"NO_LEADER","DETAIL":"d"}}"#);
        let expected = ErrorAnswer::new(task, ErrorCode::NoLeader, "d");
        assert_eq!(body(&line), Body::Error(Box::new(expected)));
    }
}

#[test]
fn what_a_heartbeat_says_wrongly_of_the_group_counts_as_not_said() {
    let heartbeat = |extra: &str| match body(&format!(r#"{{"TASK":"HEARTBEAT",{NATIVE},{extra}}}"#)) {
        Body::Heartbeat(Heartbeat { presence: Some(presence), .. }) => presence.group_presence,
        other => panic!("{other:?}"),
    };
    let all = heartbeat(r#""GROUP_ID":"00000000","TERM":3,"LEADER":"L","FOUNDER":"F","SEES":2"#);
    let said =
        GroupPresence { group_id: GroupId::new("00000000"), term: 3, leader: id("L"), founder: id("F"), sees: 2 };
    assert_eq!(all, said);
    let wrong = r#""GROUP_ID":"!","TERM":9007199254740992,"LEADER":5,"FOUNDER":"","SEES":-1"#;
    assert_eq!(heartbeat(wrong), GroupPresence::default());
}

proptest! {
    #[test]
    fn hostile_lines_of_a_group_never_panic(
        task in prop::sample::select(vec!["ELECT", "AGREE", "MEMBERS", "SETTINGS", "LEASE", "HELLO"]),
        answer in any::<bool>(),
        picked in prop::collection::vec((0..WORDS.len(), 0..VALUES.len()), 0..14),
    ) {
        let fields = picked.iter().map(|(word, value)| format!(",\"{}\":{}", WORDS[*word], VALUES[*value]));
        let response = if answer { ",\"RESPONSE\":\"OK\"" } else { "" };
        let line = format!("{{\"TASK\":\"{task}\"{response}{}}}", fields.collect::<String>());
        match decode(line.as_bytes()) {
            Ok(message) => {
                let mut out = Vec::new();
                encode(&message, &mut out);
                prop_assert_eq!(decode(&out[..out.len() - 1]), Ok(message));
            }
            Err(Undecoded::Refused(_)) => prop_assert!(!answer, "an answer is never answered: {}", line),
            Err(Undecoded::Ignored) => prop_assert!(answer, "a request is always answered: {}", line),
        }
    }
}

const WORDS: [&str; 50] = [
    "KIND",
    "GROUP_ID",
    "FROM",
    "TO",
    "TERM",
    "LAST_LOG_INDEX",
    "LAST_LOG_TERM",
    "COMMIT_INDEX",
    "COMMIT_TERM",
    "TRANSFER",
    "VOTE_GRANTED",
    "PREV_LOG_INDEX",
    "PREV_LOG_TERM",
    "ENTRIES",
    "LEADER_COMMIT",
    "CONTEXT",
    "SUCCESS",
    "LAST_INCLUDED_INDEX",
    "LAST_INCLUDED_TERM",
    "VOTERS",
    "LEARNERS",
    "VOTERS_OUTGOING",
    "LEARNERS_NEXT",
    "AUTO_LEAVE",
    "OFFSET",
    "DATA",
    "DONE",
    "MATCH_INDEX",
    "HINT_INDEX",
    "HINT_TERM",
    "RAFT_ID",
    "SERVER_ID",
    "RUN",
    "CHALLENGE",
    "REFUSES",
    "PROOF",
    "PROVED",
    "ACTION",
    "NAME",
    "ADDRESS",
    "GROUP",
    "STATE_ID",
    "VALUE",
    "LOCAL",
    "HOLDER",
    "FENCE",
    "TTL_MS",
    "TICK",
    "INDEX",
    "LEASES",
];

const VALUES: [&str; 30] = [
    "null",
    "0",
    "1",
    "2",
    "-1",
    "1.5",
    "1e99",
    "9007199254740991",
    "9007199254740992",
    "18446744073709551616",
    "true",
    "false",
    "\"\"",
    "\"00000000\"",
    "\"0123456789abcdef0123456789abcdef\"",
    "\"h:1\"",
    "\"\\u0000\"",
    "[]",
    "[1]",
    "[1,2]",
    "[[[]]]",
    "{}",
    "[{\"INDEX\":1,\"TERM\":1}]",
    "[{\"INDEX\":0,\"TERM\":1}]",
    "\"VOTE\"",
    "\"APPEND\"",
    "\"SNAPSHOT\"",
    "\"ACQUIRE\"",
    "\"REMOVE\"",
    "\"HEARTBEAT\"",
];
