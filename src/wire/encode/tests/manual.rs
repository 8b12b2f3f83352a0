//! The example lines of the chapter on agreement in protocol.md are what a node reads and writes, to the byte.

use super::*;

const MANUAL: &str = include_str!("../../../../protocol.md");

/// The lines of the ```json blocks of the chapter.
fn examples() -> Vec<&'static str> {
    let (_, chapter) = MANUAL.split_once("\n## Agreement").expect("the manual has the chapter");
    let chapter = chapter.split_once("\n## ").map_or(chapter, |(chapter, _)| chapter);
    let blocks = chapter.split("\n```json\n").skip(1);
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
        Body::Lease(request) => word(format!("{:?}", request.action)),
        _ => String::new(),
    };
    format!("{} {kind}", word(format!("{body:?}")))
}

#[test]
fn the_examples_of_agreement_in_the_manual_are_lines_of_a_node() {
    let mut kinds = std::collections::BTreeSet::new();
    for example in examples() {
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
