//! What is said about services: names, offers, CALL.

use std::fmt;
use std::time::Duration;

use smol_str::SmolStr;

use super::{Json, MAX_NAME_BYTES, ServerId};

/// The name of a service or of a method: 1 to 64 ASCII letters, digits, `_` and `-`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName(SmolStr);

impl ServiceName {
    /// A name, or `None` if `text` is none.
    pub fn new(text: impl AsRef<str>) -> Option<ServiceName> {
        let text = text.as_ref();
        let fits = !text.is_empty()
            && text.len() <= MAX_NAME_BYTES
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        fits.then(|| ServiceName(text.into()))
    }

    /// The method that is meant where none is named: `run`.
    pub fn run() -> ServiceName {
        ServiceName(SmolStr::new_static("run"))
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A service that somebody offers. In `SERVICES`: `{"NAME":"files","METHODS":["list","read"],"IDEMPOTENT":["read"]}`,
/// or just `"files"`, which has any method.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceOffer {
    /// `NAME`.
    pub name: ServiceName,
    /// `METHODS`, at most 64. Empty: any.
    pub methods: Vec<ServiceName>,
    /// `IDEMPOTENT`: those among them that may be done twice, so that a CALL that got lost is tried elsewhere.
    pub idempotent: Vec<ServiceName>,
}

impl ServiceOffer {
    /// Whether it has this method.
    pub fn has(&self, method: &ServiceName) -> bool {
        self.methods.is_empty() || self.methods.contains(method)
    }
}

/// `CALL` with `SERVICE`: do this now and answer with the result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// `SERVICE`.
    pub service: ServiceName,
    /// `METHOD`. Default `run`.
    pub method: ServiceName,
    /// `PARAMS`: any JSON value. Default `null`.
    pub params: Json,
    /// `TIMEOUT_MS`: how long the asker waits. Default 30 s, at most 1 h.
    pub timeout: Duration,
    /// `HOPS`: redirects followed and nodes passed. At 3 a node serves or fails.
    pub hops: u32,
}

/// The answer to a `CALL` that was done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CallAnswer {
    /// `RESULT`.
    pub result: Json,
    /// `SERVED_BY`: `SERVER_ID` of the node or worker that did it.
    pub served_by: ServerId,
}

/// Somebody who offers services, as a bare `CALL` lists it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Instance {
    /// `SERVER_ID`.
    pub server_id: ServerId,
    /// `NAME`, for people.
    pub name: String,
    /// `WHERE`: `here`, `worker` or `peer`.
    pub place: Place,
    /// `SERVICES`.
    pub services: Vec<ServiceOffer>,
}

/// Where somebody who offers services is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// This node itself. `here`.
    Here,
    /// A worker of this node. `worker`.
    Worker,
    /// A peer. `peer`.
    Peer,
}

impl Place {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Place::Here => "here",
            Place::Worker => "worker",
            Place::Peer => "peer",
        }
    }

    /// The place of a word on the wire.
    pub fn parse(text: &str) -> Option<Place> {
        [Place::Here, Place::Worker, Place::Peer].into_iter().find(|place| place.as_str() == text)
    }
}
