//! `node call`: a service is called and answers at once; without a service, who offers what.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::ask::{AskError, Node, Reply, Talk, ask, follow, strange};
use super::conclude::{Conclusion, Form};
use super::exit;
use super::pretty::printable;
use super::table::{self, Columns};
use super::values::Span;
use super::work::{Target, parse_json};
use crate::wire::{Address, Body, Call, DEFAULT_CALL, Instance, Json, MAX_CALL, ServiceOffer};

/// Options of `node call`.
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct CallArgs {
    /// The node to ask. It calls whoever offers the service, or says who can
    #[arg(value_name = "HOST:PORT")]
    to: Address,

    /// What is called; without it, who offers what is told
    #[arg(value_name = "SERVICE.METHOD")]
    target: Option<Target>,

    /// With what: any JSON value [default: null]
    #[arg(value_name = "PARAMS", value_parser = parse_json)]
    params: Option<Json>,

    /// How long the call may take [default: 30]
    #[arg(long, value_name = "SECONDS", value_parser = parse_timeout)]
    timeout: Option<Span>,

    /// How long to wait for a connection, and for the node after the time of the call is over
    #[arg(long, value_name = "SECONDS", default_value = "5")]
    patience: Span,

    /// Print the node's answer as it came
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  node call 127.0.0.1:9101                           who offers what
  node call 127.0.0.1:9101 system.info
  node call 127.0.0.1:9101 primes.count '{\"n\":1000}' --timeout 5

A call is never repeated by this command: it may have been done although its
answer was lost. A busy node's redirect is followed, at most three times.";

fn parse_timeout(text: &str) -> Result<Span, String> {
    let span: Span = text.parse()?;
    let range = Duration::from_millis(1)..=MAX_CALL;
    if range.contains(&span.0) { Ok(span) } else { Err(format!("{span}: expected 1 ms to 1 h")) }
}

/// Calls and prints the result, or lists who can be called.
pub(super) fn run(args: &CallArgs) -> ExitCode {
    let mut open = |address: &Address| Box::new(Node::new(address.clone(), args.patience.0)) as Box<dyn Talk>;
    let form = Form::here(args.json);
    conclude(call(args, &mut open), form).print()
}

fn call(args: &CallArgs, open: &mut dyn FnMut(&Address) -> Box<dyn Talk>) -> Result<(Box<dyn Talk>, Reply), AskError> {
    let Some(target) = &args.target else {
        let mut talk = open(&args.to);
        let reply = ask(talk.as_mut(), Body::Calls, Duration::ZERO)?;
        return Ok((talk, reply));
    };
    let timeout = args.timeout.map_or(DEFAULT_CALL, |span| span.0);
    follow(&args.to, open, &mut |talk, hops| {
        let call = Call {
            service: target.service.clone(),
            method: target.method.clone(),
            params: args.params.clone().unwrap_or_else(Json::null),
            timeout,
            hops,
        };
        ask(talk, Body::Call(Box::new(call)), timeout)
    })
}

fn conclude(outcome: Result<(Box<dyn Talk>, Reply), AskError>, form: Form) -> Conclusion {
    let (talk, reply) = match outcome {
        Ok(answered) => answered,
        Err(error) => return Conclusion::error(error),
    };
    match &reply.message.body {
        Body::CallAnswer(_) | Body::CallsAnswer { .. } if form.json => {
            Conclusion::line(form.value(&reply.line), exit::OK)
        }
        Body::CallAnswer(answer) => Conclusion::line(form.value(answer.result.as_str()), exit::OK),
        Body::CallsAnswer { instances, .. } => Conclusion::line(offers(instances, form), exit::OK),
        _ => Conclusion::error(strange(talk.address(), &reply)),
    }
}

/// Who offers what, a line for each service of each.
const OFFERS: Columns =
    Columns { titles: &["SERVICE", "METHODS", "WHERE", "BY"], numbers: &[], dispensable: &[2], coloured: None };

fn offers(instances: &[Instance], form: Form) -> String {
    let mut rows: Vec<[String; 4]> = Vec::new();
    for instance in instances {
        let by = table::name_and_id(Some(&instance.name), Some(instance.server_id.short()));
        for offer in &instance.services {
            let row = [offer.name.to_string(), methods(offer), instance.place.as_str().to_owned(), by.clone()];
            rows.push(row.map(|cell| printable(&cell).replace('\n', " ")));
        }
    }
    if rows.is_empty() {
        return "nobody offers a service here: start a worker with --services DIR, or a node with it".to_owned();
    }
    rows.sort();
    let cells: Vec<&[String]> = rows.iter().map(|row| row.as_slice()).collect();
    table::grid(&OFFERS, &cells, table::listing_room(form.terminal, false)).join("\n")
}

/// `list, read*`; a star is for what may be done twice.
fn methods(offer: &ServiceOffer) -> String {
    if offer.methods.is_empty() {
        return "(any)".to_owned();
    }
    let star = |method| if offer.idempotent.contains(method) { "*" } else { "" };
    let names: Vec<String> = offer.methods.iter().map(|method| format!("{method}{}", star(method))).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::ask::tests::{Act, Script, redirect};
    use super::*;
    use crate::wire::{CallAnswer, ErrorAnswer, ErrorCode, Place, ServerId, ServiceName};
    use clap::Parser;

    const PLAIN: Form = Form { json: false, terminal: false, colour: false };

    #[derive(Parser, Debug)]
    struct Line {
        #[command(flatten)]
        call: CallArgs,
    }

    fn run(words: &[&str], acts: impl IntoIterator<Item = Act>) -> (Conclusion, Vec<Body>) {
        let args = Line::try_parse_from(["call"].iter().chain(words)).unwrap_or_else(|error| panic!("{error}")).call;
        let script = Script::new("a:1", acts);
        let outcome = call(&args, &mut |address| Box::new(script.at(address)));
        (conclude(outcome, PLAIN), script.told())
    }

    fn result(json: &str) -> Act {
        let (result, served_by) = (Json::new(json).unwrap(), ServerId::new("s").unwrap());
        Act::Say(Body::CallAnswer(Box::new(CallAnswer { result, served_by })))
    }

    #[test]
    fn a_call_prints_its_result_wherever_it_was_served() {
        let words = ["a:1", "primes.count", "{\"TO\":10}", "--timeout", "2"];
        let (shown, told) = run(&words, [redirect("b:1", 1), result("4")]);
        assert_eq!((shown.out.as_str(), shown.code), ("4\n", exit::OK));
        let calls: Vec<_> = told
            .iter()
            .map(|body| match body {
                Body::Call(call) => (call.params.as_str(), call.timeout.as_secs(), call.hops),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(calls, [("{\"TO\":10}", 2, 0), ("{\"TO\":10}", 2, 1)]);
    }

    #[test]
    fn a_call_whose_answer_is_lost_is_not_repeated() {
        let (shown, told) = run(&["a:1", "x"], [Act::Close]);
        assert_eq!((shown.code, told.len()), (exit::FAILURE, 1));
    }

    #[test]
    fn an_error_is_one_sentence() {
        let none = ErrorAnswer::new("CALL", ErrorCode::NoService, "nobody offers x");
        let (shown, _) = run(&["a:1", "x"], [Act::Say(Body::Error(Box::new(none)))]);
        assert_eq!(shown.err, "error: a:1 refused CALL: nobody offers x (NO_SERVICE); trying again may help\n");
    }

    #[test]
    fn without_a_service_it_tells_who_offers_what() {
        let name = |text: &str| ServiceName::new(text).unwrap();
        let offer = |service: &str, methods: &[&str], idempotent: &[&str]| ServiceOffer {
            name: name(service),
            methods: methods.iter().map(|text| name(text)).collect(),
            idempotent: idempotent.iter().map(|text| name(text)).collect(),
        };
        let server_id = ServerId::new("3fa9c1d2-x").unwrap();
        let services = vec![offer("files", &["list", "read"], &["read"]), offer("any", &[], &[])];
        let instance = Instance { server_id: server_id.clone(), name: "w1".to_owned(), place: Place::Worker, services };
        let listing = |instances| Act::Say(Body::CallsAnswer { server_id: server_id.clone(), instances });
        let (shown, told) = run(&["a:1"], [listing(vec![instance])]);
        assert_eq!(told, [Body::Calls]);
        let lines: Vec<String> =
            shown.out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            ["SERVICE METHODS WHERE BY", "any (any) worker w1 3fa9c1d2", "files list, read* worker w1 3fa9c1d2"]
        );
        let (shown, _) = run(&["a:1"], [listing(Vec::new())]);
        assert!(shown.out.contains("nobody offers") && shown.code == exit::OK);
    }

    #[test]
    fn bad_arguments_are_refused() {
        for (words, what) in [
            (&["a:1", "x", "{"][..], "not JSON"),
            (&["a:1", "x", "--timeout", "2h"], "1 ms to 1 h"),
            (&[], "HOST:PORT"),
        ] {
            let error = Line::try_parse_from(["call"].iter().chain(words)).unwrap_err().to_string();
            assert!(error.contains(what), "{words:?}: {error}");
        }
    }
}
