//! The example lines of the chapters on agreement and on loans in protocol.md are what a node reads and writes, to the byte.

use super::*;

const MANUAL: &str = include_str!("../../../../protocol.md");

/// The lines of the blocks of the chapter that begin so.
fn examples(chapter: &str, fence: &str) -> Vec<&'static str> {
    let (_, chapter) = MANUAL.split_once(&format!("\n## {chapter}")).expect("the manual has the chapter");
    let chapter = chapter.split_once("\n## ").map_or(chapter, |(chapter, _)| chapter);
    let fence = format!("\n```{fence}\n");
    let blocks = chapter.split(fence.as_str()).skip(1);
    blocks.flat_map(|block| block.split_once("\n```").expect("a block ends").0.lines()).collect()
}

/// Which message it is: its variant, and the kind within.
fn kind(body: &Body) -> String {
    let word = |debug: String| debug.split([' ', '(', '{']).next().unwrap_or_default().to_owned();
    let kind = match body {
        Body::Elect(elect) => word(format!("{:?}", elect.kind)),
        Body::Agree(agree) => word(format!("{:?}", agree.kind)),
        Body::AgreeAnswer(answer) => word(format!("{:?}", answer.kind)),
        Body::Proof(proof) => word(format!("{proof:?}")),
        Body::Members(action) => word(format!("{action:?}")),
        Body::LoanAnswer(answer) => word(format!("{answer:?}")),
        Body::Move(order) => word(format!("{:?}", order.kind)),
        Body::ReleaseAnswer(answer) => answer.completed.to_string(),
        Body::LoanAction(action) => word(format!("{action:?}")),
        Body::LoanDone(done) => done.action.clone(),
        Body::Lease(request) => word(format!("{:?}", request.action)),
        _ => String::new(),
    };
    format!("{} {kind}", word(format!("{body:?}")))
}

#[test]
fn the_examples_of_agreement_in_the_manual_are_lines_of_a_node() {
    let mut kinds = std::collections::BTreeSet::new();
    for example in examples("Agreement", "json") {
        let message = decode(example.as_bytes()).unwrap_or_else(|error| panic!("{example}: {error:?}"));
        assert_eq!(line(&message), example);
        kinds.insert(kind(&message.body));
    }
    // What has one form, and then 2 kinds of Elect, 3 of Agree and of its answer, 4 of Proof, 6 of Members, 4 of Lease.
    let questions = ["ElectQuestion ", "LedgerQuestion ", "MembersQuestion ", "LeaseQuestion ", "Settings "];
    let answers = [
        "ElectAnswer ",
        "ElectVote ",
        "LedgerAnswer ",
        "MembersAnswer ",
        "Admission ",
        "MembersDone ",
        "SettingsAnswer ",
    ];
    for kind in questions.iter().chain(&answers).chain(&["LeasesAnswer ", "LeaseAnswer ", "Error "]) {
        assert!(kinds.remove(*kind), "no example of {kind}");
    }
    assert_eq!(kinds.len(), 2 + 3 + 3 + 4 + 6 + 4, "an example of each kind: {kinds:?}");
}

#[test]
fn the_examples_of_loans_in_the_manual_are_lines_of_a_node_and_of_others() {
    let mut kinds = std::collections::BTreeSet::new();
    for example in examples("Loans\n", "json") {
        let message = decode(example.as_bytes()).unwrap_or_else(|error| panic!("{example}: {error:?}"));
        assert_eq!(line(&message), example);
        kinds.insert(kind(&message.body));
    }
    let native = [
        "LoanRequest ",
        "LoanAnswer Accepted",
        "LoanAnswer Rejected",
        "Move Redirect",
        "Move Return",
        "WorkerAlive ",
        "WorkerWelcome ",
        "Register ",
        "Returned ",
        "Release ",
        "ReleaseAnswer false",
        "ReleaseAnswer true",
        "Loans ",
        "LoansAnswer ",
        "LoanAction Renew",
        "LoanAction Recall",
        "LoanAction Record",
        "LoanAction Adopt",
        "LoanDone RENEW",
        "LoanDone RECALL",
        "LoanDone ADOPT",
    ];
    assert_eq!(kinds, native.map(str::to_owned).into());

    let mut kinds = std::collections::BTreeMap::new();
    for example in examples("Loans\n", "json foreign") {
        let message = decode(example.as_bytes()).unwrap_or_else(|error| panic!("{example}: {error:?}"));
        let forms: &mut Vec<bool> = kinds.entry(kind(&message.body)).or_default();
        forms.push(example.contains("\"type\""));
    }
    // What has a form in both generations is shown in both.
    for both in ["LoanRequest ", "LoanAnswer Accepted", "LoanAnswer Rejected", "Move Redirect", "Move Return"] {
        assert_eq!(kinds.remove(both), Some(vec![true, false]), "{both}");
    }
    let left: Vec<&str> = kinds.keys().map(String::as_str).collect();
    assert_eq!(left, ["Register ", "Returned ", "StatusAck ", "WorkerAlive "]);
}
