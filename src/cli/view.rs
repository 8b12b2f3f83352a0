//! What is shown of a registry, in the forms for lines: the seed's text, and JSON.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::core::{GroupStanding, Identity};
use crate::wire::{Event, LoadAnswer, LoadReport, NodeEntry, Permille, Score};

/// The registry and the load of a node at one moment.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// Whose it is.
    pub(super) identity: Identity,
    /// Its load.
    pub(super) load: LoadAnswer,
    /// What it is in its group; `None` where it takes no part in agreement.
    pub(super) group: Option<GroupStanding>,
    /// The entries, with ages as of `taken`.
    pub(super) nodes: Vec<NodeEntry>,
    /// When each of them was last seen, seconds since 1970; see [`Sightings`].
    pub(super) seen: Vec<Option<f64>>,
    /// When this was so, for ages that go on.
    pub(super) taken: Instant,
    /// The same on the wall clock, seconds since 1970.
    pub(super) unix: f64,
}

/// Ages are reckoned back to a time of day at each view, a little differently each time. One sighting is shown with
/// one time, however often it is shown.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    shown: BTreeMap<String, f64>,
}

impl Sightings {
    /// Two sightings are never this close, since heartbeats are further apart; two reckonings of one are closer.
    const SAME: f64 = 0.005;

    /// When each entry was last seen, for a view at `unix`.
    pub(super) fn of(&mut self, nodes: &[NodeEntry], unix: f64) -> Vec<Option<f64>> {
        let before = std::mem::take(&mut self.shown);
        let seen = |entry: &NodeEntry| {
            let reckoned = round(unix - entry.last_seen?.as_secs_f64());
            let same = before.get(&entry.key).copied().filter(|shown| (shown - reckoned).abs() < Sightings::SAME);
            Some(same.unwrap_or(reckoned))
        };
        let all: Vec<Option<f64>> = nodes.iter().map(seen).collect();
        let known = nodes.iter().zip(&all).filter_map(|(entry, seen)| Some((entry.key.clone(), (*seen)?)));
        self.shown = known.collect();
        all
    }
}

/// Seconds since 1970, to the millisecond.
pub(super) fn unix_now() -> f64 {
    round(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64())
}

fn round(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// Milliseconds with three decimals, as on the wire.
fn millis(duration: Duration) -> f64 {
    crate::time::micros(duration) as f64 / 1000.0
}

fn percent(share: Permille) -> f64 {
    share.get() as f64 / 10.0
}

fn score(score: Score) -> f64 {
    score.0 as f64 / 1000.0
}

/// One entry in the seed's form: exactly these keys.
#[derive(serde::Serialize)]
struct SeedEntry<'a> {
    server_id: Option<&'a str>,
    host: String,
    port: u16,
    last_seen: Option<f64>,
    status: &'static str,
}

impl<'a> SeedEntry<'a> {
    fn of(entry: &'a NodeEntry, last_seen: Option<f64>) -> SeedEntry<'a> {
        SeedEntry {
            server_id: entry.server_id.as_ref().map(|id| id.as_str()),
            host: entry.address.host.to_string(),
            port: entry.address.port,
            last_seen,
            status: entry.status.as_str(),
        }
    }
}

/// The registry as one object, keyed by id, or by address while the id is not known.
struct Registry<'a>(&'a View);

impl Serialize for Registry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.nodes.len()))?;
        for (entry, seen) in self.0.nodes.iter().zip(&self.0.seen) {
            map.serialize_entry(&entry.key, &SeedEntry::of(entry, *seen))?;
        }
        map.end()
    }
}

/// The line of the seed: `[ab12cd34] registry: {...}`, the braces being JSON.
pub(super) fn text_line(view: &View) -> String {
    format!("[{}] registry: {}", view.identity.server_id.short(), json(&Registry(view)))
}

#[derive(serde::Serialize)]
struct JsonLoad {
    cpu: f64,
    memory: f64,
    pending: u64,
    running: u64,
    workers: u64,
    saturated: bool,
}

impl JsonLoad {
    fn of(load: &LoadReport) -> JsonLoad {
        JsonLoad {
            cpu: percent(load.cpu),
            memory: percent(load.memory),
            pending: load.pending,
            running: load.running,
            workers: load.workers,
            saturated: load.saturated,
        }
    }
}

#[derive(serde::Serialize)]
struct JsonOwnLoad {
    #[serde(flatten)]
    load: JsonLoad,
    score: f64,
    hot: bool,
    capacity: u64,
    release: u64,
    hold_ms: u64,
    cpu_threshold: f64,
}

#[derive(serde::Serialize)]
struct JsonEntry<'a> {
    #[serde(flatten)]
    seed: SeedEntry<'a>,
    name: Option<&'a str>,
    role: Option<&'static str>,
    group: Option<&'a str>,
    leads: bool,
    rtt_ms: Option<f64>,
    load: Option<JsonLoad>,
    score: Option<f64>,
    learnt: &'static str,
    reason: &'a str,
}

#[derive(serde::Serialize)]
struct JsonStanding {
    state: &'static str,
    term: u64,
}

#[derive(serde::Serialize)]
struct JsonRegistry<'a> {
    event: &'static str,
    time: f64,
    server_id: &'a str,
    name: &'a str,
    load: JsonOwnLoad,
    /// `null` where it takes no part in agreement.
    group: Option<JsonStanding>,
    nodes: Vec<JsonEntry<'a>>,
}

/// The registry and the load as a JSON line: `{"event":"registry",...}`.
pub(super) fn json_line(view: &View) -> String {
    let own = &view.load;
    let nodes = view.nodes.iter().zip(&view.seen).map(|(entry, seen)| JsonEntry {
        seed: SeedEntry::of(entry, *seen),
        name: entry.name.as_deref(),
        role: entry.role.map(|role| role.as_str()),
        group: entry.group.as_deref(),
        leads: entry.leads,
        rtt_ms: entry.rtt.map(millis),
        load: entry.load.as_ref().map(JsonLoad::of),
        score: entry.score.map(score),
        learnt: entry.learnt.as_str(),
        reason: &entry.reason,
    });
    json(&JsonRegistry {
        event: "registry",
        time: view.unix,
        server_id: view.identity.server_id.as_str(),
        name: &view.identity.name,
        load: JsonOwnLoad {
            load: JsonLoad::of(&own.load),
            score: score(own.score),
            hot: own.hot,
            capacity: own.capacity,
            release: own.release,
            hold_ms: crate::time::micros(own.hold) / 1000,
            cpu_threshold: percent(own.cpu_threshold),
        },
        group: view.group.map(|group| JsonStanding { state: group.role.as_str(), term: group.term }),
        nodes: nodes.collect(),
    })
}

#[derive(serde::Serialize)]
struct JsonListening<'a> {
    event: &'static str,
    time: f64,
    server_id: &'a str,
    name: &'a str,
    address: &'a str,
}

/// That the node listens, as a JSON line: `{"event":"listening",...}`.
pub(super) fn listening_json(identity: &Identity, address: &str, unix: f64) -> String {
    let server_id = identity.server_id.as_str();
    json(&JsonListening { event: "listening", time: unix, server_id, name: &identity.name, address })
}

#[derive(serde::Serialize)]
struct JsonEvent<'a> {
    event: String,
    time: f64,
    seq: u64,
    server_id: Option<&'a str>,
    address: Option<String>,
    detail: &'a str,
}

/// An event as a JSON line: `{"event":"peer_alive",...}`.
pub(super) fn event_json(event: &Event, unix: f64) -> String {
    json(&JsonEvent {
        event: event.kind.as_str().to_ascii_lowercase(),
        time: unix,
        seq: event.seq,
        server_id: event.server_id.as_ref().map(|id| id.as_str()),
        address: event.address.as_ref().map(ToString::to_string),
        detail: &event.detail,
    })
}

/// An event for the log: `ALIVE 127.0.0.1:9102 (ab12cd34): answered`.
pub(super) fn event_text(event: &Event) -> String {
    let word = event.kind.as_str();
    let mut text = word.strip_prefix("PEER_").unwrap_or(word).to_owned();
    if let Some(address) = &event.address {
        text += &format!(" {address}");
    }
    if let Some(id) = &event.server_id {
        text += &format!(" ({})", id.tag());
    }
    if !event.detail.is_empty() {
        text += &format!(": {}", event.detail);
    }
    text
}

/// JSON on one line.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings, numbers and string keys are always JSON")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::wire::{EventKind, GroupRole, Learnt, Role, ServerId, Status};
    use serde_json::Value;

    /// An entry of a native peer that answered 1.5 s ago.
    pub(crate) fn entry(key: &str, address: &str, status: Status) -> NodeEntry {
        let seen = status != Status::Unknown;
        NodeEntry {
            key: key.to_owned(),
            server_id: seen.then(|| ServerId::new(key).unwrap()),
            name: seen.then(|| "beta".to_owned()),
            address: address.parse().unwrap(),
            role: seen.then_some(Role::Master),
            group: seen.then(|| "default".to_owned()),
            group_id: None,
            leads: false,
            status,
            last_seen: seen.then_some(Duration::from_millis(1500)),
            rtt: seen.then_some(Duration::from_micros(420)),
            load: seen.then(LoadReport::default),
            score: seen.then_some(Score(126)),
            learnt: Learnt::Configured,
            reason: "answered".to_owned(),
        }
    }

    pub(crate) fn view(nodes: Vec<NodeEntry>) -> View {
        let server_id = ServerId::new("ab12cd34-0000-4000-8000-000000000001").unwrap();
        View {
            identity: Identity { server_id: server_id.clone(), name: "alpha".to_owned() },
            load: LoadAnswer {
                server_id,
                load: LoadReport { cpu: Permille::new(123), pending: 7, ..LoadReport::default() },
                score: Score(8_610),
                hot: false,
                capacity: 100,
                release: 60,
                hold: Duration::from_secs(2),
                cpu_threshold: Permille::new(700),
            },
            group: Some(GroupStanding { role: GroupRole::Follower, term: 4 }),
            seen: Sightings::default().of(&nodes, 1_769_000_001.75),
            nodes,
            taken: Instant::now(),
            unix: 1_769_000_001.75,
        }
    }

    #[test]
    fn the_text_form_is_the_seeds_line_with_json_in_its_braces() {
        let view = view(vec![
            entry("127.0.0.1:9103", "127.0.0.1:9103", Status::Unknown),
            entry("2f1e0000-0000-4000-8000-000000000002", "[::1]:9102", Status::Timeout),
        ]);
        assert_eq!(
            text_line(&view),
            "[ab12cd34] registry: {\"127.0.0.1:9103\":{\"server_id\":null,\"host\":\"127.0.0.1\",\"port\":9103,\
             \"last_seen\":null,\"status\":\"UNKNOWN\"},\"2f1e0000-0000-4000-8000-000000000002\":{\"server_id\":\
             \"2f1e0000-0000-4000-8000-000000000002\",\"host\":\"::1\",\"port\":9102,\"last_seen\":1769000000.25,\
             \"status\":\"TIMEOUT\"}}"
        );
        assert_eq!(text_line(&self::view(vec![])), "[ab12cd34] registry: {}");
    }

    #[test]
    fn one_sighting_is_shown_with_one_time_and_the_next_with_its_own() {
        let mut sightings = Sightings::default();
        let mut entry = entry("S1", "a:1", Status::Alive);
        assert_eq!(sightings.of(std::slice::from_ref(&entry), 100.0), [Some(98.5)]);
        entry.last_seen = Some(Duration::from_micros(2_499_100));
        assert_eq!(sightings.of(std::slice::from_ref(&entry), 101.0), [Some(98.5)]);
        entry.last_seen = Some(Duration::from_millis(500));
        assert_eq!(sightings.of(std::slice::from_ref(&entry), 102.0), [Some(101.5)]);
    }

    #[test]
    fn the_json_form_has_the_load_and_every_entry() {
        let line = json_line(&view(vec![entry("S1", "a:1", Status::Alive)]));
        assert!(!line.contains('\n'));
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["event"], "registry");
        assert_eq!((&line["load"]["cpu"], &line["load"]["hold_ms"]), (&Value::from(12.3), &Value::from(2000)));
        assert_eq!((&line["group"]["state"], &line["group"]["term"]), (&Value::from("FOLLOWER"), &Value::from(4)));
        let node = &line["nodes"][0];
        assert_eq!(node["leads"], Value::from(false));
        assert_eq!((&node["server_id"], &node["status"]), (&Value::from("S1"), &Value::from("ALIVE")));
        assert_eq!((&node["rtt_ms"], &node["score"]), (&Value::from(0.42), &Value::from(0.126)));
    }

    #[test]
    fn events_read_well_in_logs_and_parse_in_json() {
        let event = Event {
            seq: 3,
            kind: EventKind::PeerAlive,
            server_id: ServerId::new("ab12cd34-5a1e-4b0c-9c52-2f6d1c7e0a01"),
            address: Some("127.0.0.1:9102".parse().unwrap()),
            detail: "answered".to_owned(),
        };
        assert_eq!(event_text(&event), "ALIVE 127.0.0.1:9102 (ab12cd34): answered");
        let line: Value = serde_json::from_str(&event_json(&event, 1.5)).unwrap();
        assert_eq!((&line["event"], &line["seq"]), (&Value::from("peer_alive"), &Value::from(3)));
        let own = Event { kind: EventKind::Saturated, server_id: None, address: None, ..event };
        assert_eq!(event_text(&own), "SATURATED: answered");
    }

    #[test]
    fn an_event_names_a_uuid_by_its_begin_and_a_stranger_by_all_of_its_name() {
        let event = |id: &str| Event {
            seq: 1,
            kind: EventKind::LoanRefused,
            server_id: ServerId::new(id),
            address: None,
            detail: "no".to_owned(),
        };
        assert_eq!(event_text(&event("127.0.0.1:9102")), "LOAN_REFUSED (127.0.0.1:9102): no");
        assert_eq!(event_text(&event("2f1e9b3c-77aa-4c11-9d7e-0123456789ab")), "LOAN_REFUSED (2f1e9b3c): no");
    }
}
