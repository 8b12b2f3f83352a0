//! Typed questions to a node: a message out, its answer back, and what an answer that is none means to people.
//!
//! What is lost on the way is asked again only where asking twice is harmless ([`may_repeat`]).

use std::time::{Duration, Instant};

use super::client::{Client, ClientError};
use super::pretty::printable;
use crate::wire::{self, Address, Body, ErrorAnswer, ErrorCode, MAX_HOPS, MAX_LINE_BYTES, Message};

/// Most characters of a strange answer that are shown.
const EXCERPT: usize = 200;

/// An answer: as it came, and what it says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reply {
    /// The line.
    pub(super) line: String,
    /// What it says.
    pub(super) message: Message,
}

/// Why there is no answer that helps.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// Nothing came.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The node refused, and says why.
    #[error("{}", refusal(.0, .1))]
    Refused(Address, ErrorAnswer),
    /// What came is no answer to what was asked.
    #[error("the peer at {0} answered something else: `{1}`")]
    Strange(Address, String),
    /// The request is longer than a node reads.
    #[error("the request is {0} bytes long; expected at most {MAX_LINE_BYTES}: give the work a path or a URL instead")]
    TooLong(usize),
    /// It was sent from one node to the next until it was enough.
    #[error("{0} redirects too, after {MAX_HOPS} redirects; all of them are busy: trying again may help")]
    Redirected(Address),
}

impl AskError {
    /// Whether the connection was lost after the request was sent.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, AskError::Client(error) if error.is_lost())
    }

    /// Whether no connection came about, so that nothing was sent.
    pub(super) fn is_unreachable(&self) -> bool {
        matches!(self, AskError::Client(error) if error.is_unreachable())
    }

    /// Whether the node refused with this code.
    pub(super) fn is_code(&self, code: &ErrorCode) -> bool {
        matches!(self, AskError::Refused(_, answer) if answer.code == *code)
    }
}

/// What a node answered, as one sentence.
pub(super) fn refusal(address: &Address, answer: &ErrorAnswer) -> String {
    let task = if answer.task.is_empty() { "the line" } else { &answer.task };
    let detail = if answer.detail.is_empty() { answer.code.as_str() } else { answer.detail.trim_end_matches('.') };
    let again = if answer.retry { "; trying again may help" } else { "" };
    printable(&format!("{address} refused {task}: {detail} ({}){again}", answer.code.as_str())).replace('\n', " ")
}

/// Whether a request may reach a node twice without doing more than once.
///
/// A SUBMIT without KEY would be two jobs. A CALL may do something. A KICK that comes late could kick a job that has
/// been buried again since.
pub(super) fn may_repeat(body: &Body) -> bool {
    match body {
        Body::Submit(submit) => submit.key.is_some(),
        Body::Call(_) | Body::Kick(_) | Body::Query { .. } => false,
        _ => true,
    }
}

/// A conversation with one node. In tests it is a script.
pub(super) trait Talk {
    /// With whom.
    fn address(&self) -> &Address;
    /// Sends a message, over a new connection if none stands.
    fn say(&mut self, message: &Message) -> Result<(), AskError>;
    /// The next line that comes. Without a deadline it waits for ever.
    fn hear(&mut self, deadline: Option<Instant>) -> Result<Reply, AskError>;
    /// How long it waits for an answer that needs no waiting.
    fn patience(&self) -> Duration;
    /// Whether the connection that stands has served before, so that the node may have closed it in the meantime.
    fn is_reused(&self) -> bool;
}

/// A node, over a connection of its own.
pub(super) struct Node {
    client: Client,
    patience: Duration,
}

impl Node {
    /// A node that gets `patience` to take a connection, and again for each answer. Nothing is sent yet.
    pub(super) fn new(address: Address, patience: Duration) -> Node {
        Node { client: Client::new(address, patience), patience }
    }
}

impl Talk for Node {
    fn address(&self) -> &Address {
        self.client.address()
    }

    fn say(&mut self, message: &Message) -> Result<(), AskError> {
        let line = line(message)?;
        self.client.send_bytes(&line).map_err(|error| {
            self.client.hang_up();
            error.into()
        })
    }

    fn hear(&mut self, deadline: Option<Instant>) -> Result<Reply, AskError> {
        let heard = self.client.next_line(deadline);
        let line = match heard {
            Ok(Some(line)) => line,
            Ok(None) => {
                self.client.hang_up();
                return Err(ClientError::Closed(self.client.address().clone()).into());
            }
            Err(error) => {
                // A late answer must not be taken for that of the next line.
                self.client.hang_up();
                return Err(error.into());
            }
        };
        match wire::decode(line.as_bytes()) {
            Ok(message) => Ok(Reply { line, message }),
            Err(_) => Err(AskError::Strange(self.client.address().clone(), excerpt(&line))),
        }
    }

    fn patience(&self) -> Duration {
        self.patience
    }

    fn is_reused(&self) -> bool {
        self.client.has_answered()
    }
}

/// A message as the line that is sent.
pub(super) fn line(message: &Message) -> Result<Vec<u8>, AskError> {
    let mut line = Vec::with_capacity(256);
    wire::encode(message, &mut line);
    let length = line.len().saturating_sub(1);
    if length > MAX_LINE_BYTES { Err(AskError::TooLong(length)) } else { Ok(line) }
}

/// Asks, and waits `more` than the patience for the answer. An error answer is an error here.
pub(super) fn ask(talk: &mut dyn Talk, body: Body, more: Duration) -> Result<Reply, AskError> {
    let repeat = may_repeat(&body) && talk.is_reused();
    let message = Message::plain(body);
    let once = |talk: &mut dyn Talk| {
        talk.say(&message)?;
        let deadline = Instant::now() + talk.patience() + more;
        talk.hear(Some(deadline))
    };
    let reply = match once(talk) {
        Err(error) if repeat && error.is_lost() => once(talk),
        outcome => outcome,
    }?;
    accept(talk.address(), reply)
}

/// The reply, unless it is an error answer.
pub(super) fn accept(address: &Address, reply: Reply) -> Result<Reply, AskError> {
    match reply.message.body {
        Body::Error(answer) => Err(AskError::Refused(address.clone(), *answer)),
        _ => Ok(reply),
    }
}

/// That a reply is not what was asked for.
pub(super) fn strange(address: &Address, reply: &Reply) -> AskError {
    AskError::Strange(address.clone(), excerpt(&reply.line))
}

fn excerpt(line: &str) -> String {
    printable(&line.chars().take(EXCERPT).collect::<String>())
}

/// Asks along redirects, at most [`MAX_HOPS`]: `ask` is called with each node and the hops so far. A node to which
/// one was sent and that cannot be reached is passed over: who sent there is asked once more, and told that these
/// were hops enough, so that it serves.
///
/// Returns the answer and the conversation with the node that gave it.
pub(super) fn follow(
    start: &Address,
    open: &mut dyn FnMut(&Address) -> Box<dyn Talk>,
    ask: &mut dyn FnMut(&mut dyn Talk, u32) -> Result<Reply, AskError>,
) -> Result<(Box<dyn Talk>, Reply), AskError> {
    let mut hops = 0;
    let mut sender: Option<Address> = None;
    let mut talk = open(start);
    loop {
        let reply = match ask(talk.as_mut(), hops) {
            Err(error) if error.is_unreachable() => match sender.take() {
                Some(back) => {
                    log::debug!("{error}; asking {back} again");
                    hops = MAX_HOPS;
                    talk = open(&back);
                    continue;
                }
                None => return Err(error),
            },
            outcome => outcome?,
        };
        let Body::Redirect(redirect) = &reply.message.body else { return Ok((talk, reply)) };
        if hops >= MAX_HOPS {
            return Err(AskError::Redirected(talk.address().clone()));
        }
        // Counted here as well: a node that forgets to count sends nobody round for ever.
        hops = redirect.hops.clamp(hops + 1, MAX_HOPS);
        sender = Some(talk.address().clone());
        talk = open(&redirect.target);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::wire::{Call, JobId, JobRef, JobsQuery, Json, Redirect, ServiceName, Submit};
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::rc::Rc;

    /// What a scripted node does next.
    pub(in crate::cli) enum Act {
        /// It says this.
        Say(Body),
        /// It closes the connection.
        Close,
        /// Nobody listens.
        Refuse,
    }

    /// A node that does what its script says, and remembers what it was told, with its address.
    pub(in crate::cli) struct Script {
        address: Address,
        acts: Rc<RefCell<VecDeque<Act>>>,
        pub(in crate::cli) heard: Rc<RefCell<Vec<(String, Body)>>>,
        answered: bool,
    }

    impl Script {
        pub(in crate::cli) fn new(address: &str, acts: impl IntoIterator<Item = Act>) -> Script {
            let acts = Rc::new(RefCell::new(acts.into_iter().collect()));
            Script { address: address.parse().unwrap(), acts, heard: Rc::default(), answered: false }
        }

        /// The same script under another address.
        pub(in crate::cli) fn at(&self, address: &Address) -> Script {
            let (acts, heard) = (Rc::clone(&self.acts), Rc::clone(&self.heard));
            Script { address: address.clone(), acts, heard, answered: false }
        }

        pub(in crate::cli) fn told(&self) -> Vec<Body> {
            self.heard.borrow().iter().map(|(_, body)| body.clone()).collect()
        }
    }

    impl Talk for Script {
        fn address(&self) -> &Address {
            &self.address
        }

        fn say(&mut self, message: &Message) -> Result<(), AskError> {
            if matches!(self.acts.borrow().front(), Some(Act::Refuse)) {
                self.acts.borrow_mut().pop_front();
                return Err(ClientError::NobodyListens(self.address.clone()).into());
            }
            self.heard.borrow_mut().push((self.address.to_string(), message.body.clone()));
            Ok(())
        }

        fn hear(&mut self, _deadline: Option<Instant>) -> Result<Reply, AskError> {
            match self.acts.borrow_mut().pop_front().expect("nothing is left in the script") {
                Act::Say(body) => {
                    self.answered = true;
                    Ok(Reply { line: String::new(), message: Message::plain(body) })
                }
                Act::Close => {
                    self.answered = false;
                    Err(ClientError::Closed(self.address.clone()).into())
                }
                Act::Refuse => panic!("it had taken the connection"),
            }
        }

        fn patience(&self) -> Duration {
            Duration::from_secs(20)
        }

        fn is_reused(&self) -> bool {
            self.answered
        }
    }

    pub(in crate::cli) fn submit(key: Option<&str>) -> Submit {
        Submit {
            service: ServiceName::new("sleep").unwrap(),
            method: ServiceName::run(),
            params: Json::null(),
            priority: 4,
            delay: Duration::ZERO,
            timeout: None,
            attempts: None,
            key: key.map(str::to_owned),
            wait: None,
            output: false,
            follow: false,
            hops: 0,
        }
    }

    fn call(hops: u32) -> Body {
        let (service, method) = (ServiceName::new("a").unwrap(), ServiceName::run());
        let timeout = Duration::from_secs(1);
        Body::Call(Box::new(Call { service, method, params: Json::null(), timeout, hops }))
    }

    pub(in crate::cli) fn redirect(target: &str, hops: u32) -> Act {
        let (task, target) = ("CALL".to_owned(), target.parse().unwrap());
        Act::Say(Body::Redirect(Box::new(Redirect { task, target, hops, reason: "hot".to_owned() })))
    }

    fn jobs() -> Body {
        Body::Jobs(Box::default())
    }

    #[test]
    fn only_what_may_be_done_twice_is_ever_sent_twice() {
        let id = || JobRef::Id(JobId::new("a-1-1").unwrap());
        assert!(!may_repeat(&Body::Submit(Box::new(submit(None)))));
        assert!(may_repeat(&Body::Submit(Box::new(submit(Some("k"))))));
        assert!(!may_repeat(&call(0)) && !may_repeat(&Body::Kick(id())));
        assert!(may_repeat(&Body::Cancel(id())) && may_repeat(&Body::Jobs(Box::<JobsQuery>::default())));
    }

    #[test]
    fn a_used_connection_that_the_node_closed_is_opened_again_for_a_question_and_not_for_a_call() {
        let acts = || [Act::Say(Body::NoTask), Act::Close, Act::Say(Body::NoTask)];
        let mut script = Script::new("a:1", acts());
        ask(&mut script, jobs(), Duration::ZERO).unwrap();
        ask(&mut script, jobs(), Duration::ZERO).unwrap();
        assert_eq!(script.told().len(), 3);

        for body in [call(0), Body::Submit(Box::new(submit(None)))] {
            let mut script = Script::new("a:1", acts());
            ask(&mut script, jobs(), Duration::ZERO).unwrap();
            assert!(ask(&mut script, body, Duration::ZERO).unwrap_err().is_lost());
            assert_eq!(script.told().len(), 2, "it was not sent again");
        }
    }

    #[test]
    fn a_new_connection_that_is_lost_is_an_error_for_who_asked() {
        let mut script = Script::new("a:1", [Act::Close, Act::Say(Body::NoTask)]);
        assert!(ask(&mut script, jobs(), Duration::ZERO).unwrap_err().is_lost());
    }

    #[test]
    fn a_refusal_is_one_sentence_that_says_whether_to_try_again() {
        let address: Address = "a:1".parse().unwrap();
        let text = |answer| AskError::Refused(address.clone(), answer).to_string();
        assert_eq!(
            text(ErrorAnswer::new("SUBMIT", ErrorCode::QueueFull, "the queue holds 10 jobs.")),
            "a:1 refused SUBMIT: the queue holds 10 jobs (QUEUE_FULL); trying again may help"
        );
        assert_eq!(
            text(ErrorAnswer::new("", ErrorCode::parse("E\u{1b}7"), "")),
            "a:1 refused the line: E\\u001b7 (E\\u001b7)"
        );
        let mut script =
            Script::new("a:1", [Act::Say(Body::Error(Box::new(ErrorAnswer::new("JOBS", ErrorCode::Busy, "x"))))]);
        assert!(ask(&mut script, jobs(), Duration::ZERO).unwrap_err().is_code(&ErrorCode::Busy));
    }

    fn followed(acts: impl IntoIterator<Item = Act>) -> (Result<String, AskError>, Vec<(String, u32)>) {
        let script = Script::new("a:1", acts);
        let outcome =
            follow(&"a:1".parse().unwrap(), &mut |address| Box::new(script.at(address)), &mut |talk, hops| {
                ask(talk, call(hops), Duration::ZERO)
            });
        let heard = script.heard.borrow();
        let hops = heard.iter().map(|(address, body)| match body {
            Body::Call(call) => (address.clone(), call.hops),
            other => panic!("{other:?}"),
        });
        (outcome.map(|(talk, _)| talk.address().to_string()), hops.collect())
    }

    #[test]
    fn redirects_are_followed_and_counted_at_most_three_times() {
        let at = |address: &str, hops| (address.to_owned(), hops);
        let (served, asked) = followed([redirect("b:1", 1), redirect("c:1", 2), Act::Say(Body::NoTask)]);
        assert_eq!((served.unwrap().as_str(), asked), ("c:1", vec![at("a:1", 0), at("b:1", 1), at("c:1", 2)]));
        // A node that does not count.
        let circle = || (0..9).map(|_| redirect("a:1", 0));
        let (served, asked) = followed(circle());
        assert!(matches!(served, Err(AskError::Redirected(_))), "{served:?}");
        assert_eq!(asked.iter().map(|(_, hops)| *hops).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[test]
    fn who_sent_to_a_node_that_is_gone_is_asked_to_serve() {
        let (served, asked) = followed([redirect("b:1", 1), Act::Refuse, Act::Say(Body::NoTask)]);
        assert_eq!(served.unwrap(), "a:1");
        assert_eq!(asked, [("a:1".to_owned(), 0), ("a:1".to_owned(), MAX_HOPS)]);
        let (served, _) = followed([Act::Refuse]);
        assert!(served.unwrap_err().is_unreachable(), "the first node is not passed over");
    }
}
