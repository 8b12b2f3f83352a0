//! `node members`, `leave`, `remove`, `lead`, `join`, `recover`: who belongs to a group, and who leads it.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use comfy_table::Color;

use super::ask::{AskError, Node, Reply, Talk, ask, strange};
use super::conclude::{Conclusion, Form};
use super::exit;
use super::pretty::printable;
use super::table::{self, Columns, name_and_id};
use super::work::ToArgs;
use crate::wire::{Address, Body, ElectAnswer, GroupId, Member, MembersAction, ServerId, Status};

/// What a change of the group may take beyond the patience: an election, and a majority on slow disks.
const AGREEMENT: Duration = Duration::from_secs(10);

/// Options of `node members`, and of `node leave`.
#[derive(Args, Debug)]
pub(super) struct GroupArgs {
    #[command(flatten)]
    to: ToArgs,

    /// Print the node's answer as it came
    #[arg(long)]
    json: bool,
}

/// Options of `node remove`.
#[derive(Args, Debug)]
pub(super) struct RemoveArgs {
    /// Id or name of the member that does not belong to the group any more
    #[arg(value_name = "MEMBER", value_parser = parse_member)]
    member: ServerId,

    /// Remove it though it is ALIVE
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    group: GroupArgs,
}

/// Options of `node lead`.
#[derive(Args, Debug)]
pub(super) struct LeadArgs {
    /// Id or name of the member that shall lead
    #[arg(value_name = "MEMBER", value_parser = parse_member)]
    member: ServerId,

    #[command(flatten)]
    group: GroupArgs,
}

/// Options of `node join`.
#[derive(Args, Debug)]
pub(super) struct JoinArgs {
    /// Any member of the group to join
    #[arg(value_name = "HOST:PORT")]
    target: Address,

    #[command(flatten)]
    group: GroupArgs,
}

/// Options of `node recover`.
#[derive(Args, Debug)]
pub(super) struct RecoverArgs {
    /// The id of the group that is given up, as `node recover` without it shows
    #[arg(long, value_name = "GROUP_ID", value_parser = parse_group_id)]
    confirm: Option<GroupId>,

    #[command(flatten)]
    group: GroupArgs,
}

fn parse_member(text: &str) -> Result<ServerId, &'static str> {
    ServerId::new(text).ok_or("expected the id or the name of a member, as `node members` shows it")
}

fn parse_group_id(text: &str) -> Result<GroupId, &'static str> {
    GroupId::new(text).ok_or("expected the id of a group, a uuid")
}

/// Shows who leads and who belongs to the group.
pub(super) fn members(args: &GroupArgs) -> ExitCode {
    let mut node = Node::new(args.to.to.clone(), args.to.patience.0);
    let form = Form::here(args.json);
    match elect(&mut node) {
        Ok((reply, _)) if args.json => Conclusion::line(form.value(&reply.line), exit::OK),
        Ok((_, answer)) => {
            let code = if answer.quorum { exit::OK } else { exit::FAILURE };
            Conclusion::line(listing(&answer, form), code)
        }
        Err(error) => Conclusion::error(error),
    }
    .print()
}

/// Makes a node give up its membership.
pub(super) fn leave(args: &GroupArgs) -> ExitCode {
    change(args, MembersAction::Leave)
}

/// Removes a member.
pub(super) fn remove(args: &RemoveArgs) -> ExitCode {
    change(&args.group, MembersAction::Remove { server_id: args.member.clone(), force: args.force })
}

/// Hands the leadership over.
pub(super) fn lead(args: &LeadArgs) -> ExitCode {
    change(&args.group, MembersAction::Lead { server_id: args.member.clone() })
}

/// Makes a node give up its group for another.
pub(super) fn join(args: &JoinArgs) -> ExitCode {
    change(&args.group, MembersAction::Join { target: args.target.clone() })
}

/// Founds a new group from one survivor. Without `--confirm` it only says what that would mean.
pub(super) fn recover(args: &RecoverArgs) -> ExitCode {
    if let Some(confirm) = &args.confirm {
        return change(&args.group, MembersAction::Recover { confirm: confirm.clone() });
    }
    let mut node = Node::new(args.group.to.to.clone(), args.group.to.patience.0);
    match elect(&mut node) {
        Ok((_, answer)) => warning(&answer, &args.group.to.to),
        Err(error) => Conclusion::error(error),
    }
    .print()
}

fn elect(talk: &mut dyn Talk) -> Result<(Reply, ElectAnswer), AskError> {
    let reply = ask(talk, Body::ElectQuestion, Duration::ZERO)?;
    match &reply.message.body {
        Body::ElectAnswer(answer) => {
            let answer = (**answer).clone();
            Ok((reply, answer))
        }
        _ => Err(strange(talk.address(), &reply)),
    }
}

fn change(args: &GroupArgs, action: MembersAction) -> ExitCode {
    let mut node = Node::new(args.to.to.clone(), args.to.patience.0);
    let outcome = ask(&mut node, Body::Members(Box::new(action)), AGREEMENT);
    told(&node, outcome, Form::here(args.json)).print()
}

fn told(talk: &dyn Talk, outcome: Result<Reply, AskError>, form: Form) -> Conclusion {
    match outcome {
        Err(error) => Conclusion::error(error),
        Ok(reply) => match &reply.message.body {
            Body::MembersDone(_) if form.json => Conclusion::line(form.value(&reply.line), exit::OK),
            Body::MembersDone(done) => Conclusion::line(clean(&done.detail), exit::OK),
            _ => Conclusion::error(strange(talk.address(), &reply)),
        },
    }
}

/// What recovering means, and how to say that it is meant.
fn warning(answer: &ElectAnswer, at: &Address) -> Conclusion {
    let Some(group_id) = &answer.group_id else {
        return Conclusion::error("this node has no group to recover");
    };
    if answer.quorum {
        return Conclusion::error("a majority of this group is there: nothing is to be recovered");
    }
    let missing: Vec<&str> =
        answer.voters.iter().filter(|it| it.status != Status::Alive).map(|it| it.name.as_str()).collect();
    let text = format!(
        "Group {group_id} has lost its majority. Missing: {}.\n\
         \n\
         Recovering is the last resort. This node goes on alone, under a new group id, with the ledger that it has:\n\
         - what the others had agreed on and this node had not heard of is lost, leases and settings among it;\n\
         - the others must never come back as they are: start them again with --fresh, and they join this node;\n\
         - if somebody recovers another of them too, there are two groups, and each grants the same leases.\n\
         If any of the missing can be started again, do that instead.\n\
         \n\
         To go on: node recover --to {at} --confirm {group_id}",
        if missing.is_empty() { "nobody who is known".to_owned() } else { missing.join(", ") },
    );
    Conclusion::line(clean_lines(&text), exit::FAILURE)
}

const MEMBERS: Columns = Columns {
    titles: &["NO", "NAME/ID", "ADDRESS", "STATUS", "PART"],
    numbers: &[0],
    dispensable: &[2],
    coloured: Some((3, colour)),
};

fn colour(status: &str) -> Color {
    match Status::parse(status) {
        Some(Status::Alive) => Color::Green,
        Some(Status::Timeout) => Color::Red,
        _ => Color::Yellow,
    }
}

/// The group, for people.
fn listing(answer: &ElectAnswer, form: Form) -> String {
    let name = clean(&answer.group);
    let head = match (&answer.group_id, &answer.leader) {
        (None, _) => format!("no group `{name}` yet"),
        (Some(id), Some(leader)) => {
            format!(
                "group `{name}` {}: {} leads at term {}, {} spare",
                id.short(),
                clean(&leader.name),
                answer.term,
                answer.spare
            )
        }
        (Some(id), None) => format!("group `{name}` {}: nobody leads at term {}", id.short(), answer.term),
    };
    let mut lines = vec![head];
    lines.extend(answer.reason.as_deref().map(clean));
    let part = |member: &Member, votes: bool| match (&answer.leader, votes) {
        (Some(leader), _) if leader.raft_id == member.raft_id => "leads",
        (_, true) => "votes",
        (_, false) => "learns",
    };
    let voters = answer.voters.iter().map(|member| (member, true));
    let all = voters.chain(answer.learners.iter().map(|member| (member, false)));
    let rows: Vec<[String; 5]> = all.map(|(member, votes)| row(member, part(member, votes))).collect();
    if !rows.is_empty() {
        let cells: Vec<&[String]> = rows.iter().map(|row| row.as_slice()).collect();
        lines.push(String::new());
        lines.extend(table::grid(&MEMBERS, &cells, table::listing_room(form.terminal, form.colour)));
    }
    lines.join("\n")
}

fn row(member: &Member, part: &str) -> [String; 5] {
    [
        member.raft_id.to_string(),
        clean(&name_and_id(Some(&member.name), Some(member.server_id.short()))),
        member.address.to_string(),
        member.status.as_str().to_owned(),
        part.to_owned(),
    ]
}

fn clean(text: &str) -> String {
    printable(text).replace('\n', " ")
}

fn clean_lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{GroupRole, RaftId};

    const PLAIN: Form = Form { json: false, terminal: false, colour: false };

    fn member(nth: u64, status: Status) -> Member {
        Member {
            raft_id: RaftId(nth),
            server_id: ServerId::new(format!("00000000-{nth}")).unwrap(),
            name: format!("m{nth}"),
            address: format!("127.0.0.1:910{nth}").parse().unwrap(),
            status,
        }
    }

    fn answer(leader: Option<u64>, statuses: &[Status]) -> ElectAnswer {
        let voters: Vec<Member> = (1..).zip(statuses).map(|(nth, status)| member(nth, *status)).collect();
        ElectAnswer {
            server_id: ServerId::new("00000000-1").unwrap(),
            group: "default".to_owned(),
            group_id: GroupId::new("3fa9c1d2-aaaa"),
            raft_id: Some(RaftId(1)),
            state: GroupRole::Follower,
            term: 3,
            leader: leader.and_then(|leader| voters.iter().find(|it| it.raft_id == RaftId(leader)).cloned()),
            quorum: leader.is_some(),
            spare: 1,
            voters,
            learners: vec![member(9, Status::Alive)],
            reason: leader.is_none().then(|| "2 of 3 voters are missing".to_owned()),
        }
    }

    #[test]
    fn the_listing_says_who_leads_and_who_is_missing() {
        let text = listing(&answer(Some(2), &[Status::Alive, Status::Alive, Status::Timeout]), PLAIN);
        assert!(text.starts_with("group `default` 3fa9c1d2: m2 leads at term 3, 1 spare\n"), "{text}");
        assert!(text.contains("leads") && text.contains("votes") && text.contains("learns"), "{text}");
        let text = listing(&answer(None, &[Status::Alive, Status::Timeout, Status::Timeout]), PLAIN);
        assert!(text.contains("nobody leads at term 3\n2 of 3 voters are missing\n"), "{text}");
    }

    #[test]
    fn recovering_needs_the_id_of_what_is_given_up() {
        let at = "127.0.0.1:9101".parse().unwrap();
        let shown = warning(&answer(None, &[Status::Alive, Status::Timeout, Status::Timeout]), &at);
        assert_eq!(shown.code, exit::FAILURE);
        assert!(shown.out.contains("Missing: m2, m3."), "{}", shown.out);
        assert!(shown.out.contains("node recover --to 127.0.0.1:9101 --confirm 3fa9c1d2-aaaa"), "{}", shown.out);
        let sound = warning(&answer(Some(1), &[Status::Alive]), &at);
        assert!(sound.out.is_empty() && sound.err.contains("nothing is to be recovered"), "{sound:?}");
    }
}
