//! From a message to a line, in native form: compact JSON, `TASK`, `RESPONSE` and `ID` first, then a fixed order.
//!
//! - `object`: how JSON is written.
//! - `report`: the report to a supervisor, which is no message.
//! - `nodes`, `jobs`, `farm`, `group`, `leases`, `loans`, `why`: what is written, by subject. The lines that a job consists of have functions of their
//!   own, as only there the compiler takes the trouble to write keys without calls.

mod farm;
mod group;
mod jobs;
mod leases;
pub(super) mod loans;
mod nodes;
mod object;
mod report;
#[cfg(test)]
pub(super) mod tests;
mod why;

use super::{Body, Message, RequestId};

pub(super) use object::Object;
pub use report::encode_report;

/// Appends `message` as a line in native form, newline included.
///
/// A page that would be longer than [`super::MAX_LINE_BYTES`] is cut after the last entry that fits, and says `MORE`;
/// so is a sentence for people, without saying so.
pub fn encode(message: &Message, out: &mut Vec<u8>) {
    let id = message.id.as_ref();
    match &message.body {
        Body::Heartbeat(heartbeat) => request("HEARTBEAT", id, out).heartbeat(heartbeat).end(),
        Body::HeartbeatAnswer(answer) => {
            let line = response("HEARTBEAT", "ALIVE", id, out);
            match &answer.presence {
                Some(presence) => line.presence(presence).end(),
                None => line.text("SERVER_ID", answer.server_id.as_str()).end(),
            }
        }
        Body::Hello => request("HELLO", id, out).end(),
        Body::HelloAnswer(answer) => response("HELLO", "OK", id, out).hello(answer).end(),
        Body::Nodes(query) => request("NODES", id, out).nodes_query(query).end(),
        Body::NodesAnswer(answer) => response("NODES", "OK", id, out).nodes(answer).end(),
        Body::Load => request("LOAD", id, out).end(),
        Body::LoadAnswer(answer) => response("LOAD", "OK", id, out).load_answer(answer).end(),
        Body::Events => request("EVENTS", id, out).end(),
        Body::EventsAnswer { seq } => response("EVENTS", "OK", id, out).number("SEQ", *seq).end(),
        Body::Event(event) => request("EVENTS", id, out).event(event).end(),
        Body::Leave { server_id } => request("LEAVE", id, out).text("SERVER_ID", server_id.as_str()).end(),
        Body::Error(error) => response(&error.task, "ERROR", id, out).error(error).end(),

        Body::Submit(submit) => request("SUBMIT", id, out).submit(submit).end(),
        Body::Result(query) => request("RESULT", id, out).result_query(query).end(),
        Body::Cancel(job) => request("CANCEL", id, out).job_ref(job).end(),
        Body::Bury(job) => request("BURY", id, out).job_ref(job).end(),
        Body::Kick(job) => request("KICK", id, out).job_ref(job).end(),
        Body::Usage(task) => request(task.as_str(), id, out).end(),
        Body::UsageAnswer(task) => response(task.as_str(), "OK", id, out).usage(*task).end(),
        Body::JobAnswer(answer) => jobs::job_answer(answer, id, out),
        Body::JobOutput(output) => request("RESULT", id, out).job_output(output).end(),
        Body::Jobs(query) => request("JOBS", id, out).jobs_query(query).end(),
        Body::JobsAnswer(answer) => response("JOBS", "OK", id, out).jobs_answer(answer).end(),
        Body::Call(call) => request("CALL", id, out).call(call).end(),
        Body::CallAnswer(answer) => response("CALL", "OK", id, out).call_answer(answer).end(),
        Body::Calls => request("CALL", id, out).end(),
        Body::CallsAnswer { server_id, instances } => {
            response("CALL", "OK", id, out).calls_answer(server_id, instances).end();
        }
        Body::WhereTo { hops } => request("REDIRECT", id, out).hops(*hops).end(),
        Body::Redirect(redirect) => response(&redirect.task, "REDIRECT", id, out).redirect(redirect).end(),

        Body::Workers { after } => {
            request("WORKERS", id, out).maybe("AFTER", after.as_ref().map(|id| id.as_str())).end();
        }
        Body::WorkersAnswer(answer) => response("WORKERS", "OK", id, out).workers(answer).end(),
        Body::WorkerAlive(alive) => line("WORKER", "ALIVE", id, out).worker_alive(alive).end(),
        Body::WorkerWelcome(welcome) => response("WORKER", "OK", id, out).welcome(welcome).end(),
        Body::TaskRequest { worker } => request("REQUEST", id, out).worker_uuid(worker.as_ref()).end(),
        Body::Query { user } => request("QUERY", id, out).json("USER", user).end(),
        Body::NoTask => request("NO_TASK", id, out).end(),
        Body::Job(order) => farm::order(order, id, out),
        Body::JobStop(stop) => request("STOP", id, out).stop(stop).end(),
        Body::WorkerStatus(status) => farm::worker_status(status, id, out),
        Body::StatusAck(ack) => farm::ack(ack, id, out),
        Body::KeepAlive => request("KEEPALIVE", id, out).end(),
        Body::Pong { worker } => line("STATUS", "PONG", id, out).worker_uuid(worker.as_ref()).end(),
        Body::ElectionAck { worker, selected } => {
            let line = line("TYPE", "ELECTION_ACK", id, out).worker_uuid(Some(worker));
            line.text("SELECTED_MASTER", selected).end();
        }
        Body::ElectionAccepted { master } => {
            let line = line("TYPE", "ELECTION_ACK", id, out).text("STATUS", "ACCEPTED");
            line.text("MASTER_NAME", master).end();
        }

        Body::ElectQuestion => request("ELECT", id, out).end(),
        Body::ElectAnswer(answer) => response("ELECT", "OK", id, out).elect_answer(answer).end(),
        Body::Elect(elect) => request("ELECT", id, out).elect(elect).end(),
        Body::ElectVote(vote) => response("ELECT", "OK", id, out).elect_vote(vote).end(),
        Body::LedgerQuestion => request("AGREE", id, out).end(),
        Body::LedgerAnswer(answer) => response("AGREE", "OK", id, out).ledger_answer(answer).end(),
        Body::Agree(agree) => request("AGREE", id, out).agree(agree).end(),
        Body::AgreeAnswer(answer) => response("AGREE", "OK", id, out).agree_answer(answer).end(),
        Body::Proof(proof) => group::proof(proof, id, out),
        Body::MembersQuestion => request("MEMBERS", id, out).end(),
        Body::MembersAnswer(answer) => response("MEMBERS", "OK", id, out).members_answer(answer).end(),
        Body::Members(action) => request("MEMBERS", id, out).members_action(action).end(),
        Body::Admission(admission) => response("MEMBERS", "OK", id, out).admission(admission).end(),
        Body::MembersDone(done) => response("MEMBERS", "OK", id, out).members_done(done).end(),
        Body::Settings(query) => request("SETTINGS", id, out).settings_query(query).end(),
        Body::SettingsAnswer(answer) => response("SETTINGS", "OK", id, out).settings_answer(answer).end(),
        Body::LeaseQuestion { local, after } => {
            request("LEASE", id, out).lease_question(*local, after.as_deref()).end();
        }
        Body::LeasesAnswer(answer) => response("LEASE", "OK", id, out).leases_answer(answer).end(),
        Body::Lease(lease) => request("LEASE", id, out).lease_request(lease).end(),
        Body::Why(query) => request("WHY", id, out).why(query).end(),
        Body::WhyAnswer(answer) => response("WHY", "OK", id, out).why_answer(answer).end(),
        Body::LeaseAnswer(lease) => response("LEASE", "OK", id, out).lease(lease).end(),
        Body::LoanRequest(_)
        | Body::LoanAnswer(_)
        | Body::Move(_)
        | Body::Register(_)
        | Body::Release(_)
        | Body::ReleaseAnswer(_)
        | Body::Returned(_)
        | Body::Loans { .. }
        | Body::LoansAnswer(_)
        | Body::LoanAction(_)
        | Body::LoanDone(_) => loans::encode(&message.body, id, out),
    }
}

fn request<'o>(task: &str, id: Option<&RequestId>, out: &'o mut Vec<u8>) -> Object<'o> {
    line("TASK", task, id, out)
}

fn response<'o>(task: &str, response: &str, id: Option<&RequestId>, out: &'o mut Vec<u8>) -> Object<'o> {
    Object::begin(out).text("TASK", task).word("RESPONSE", response).id(id)
}

/// A line that begins with this key and word.
fn line<'o>(key: &str, word: &str, id: Option<&RequestId>, out: &'o mut Vec<u8>) -> Object<'o> {
    Object::begin(out).word(key, word).id(id)
}
