//! Who this node is and whom it knows: HEARTBEAT, LEAVE, HELLO, NODES, EVENTS.

use super::Node;
use crate::core::LinkId;
use crate::core::report::Reports;
use crate::time::Time;
use crate::wire::{
    Address, Body, Dialect, ErrorAnswer, ErrorCode, Heartbeat, HeartbeatAnswer, HelloAnswer, MAX_LINE_BYTES,
    NODES_PAGE, NodeEntry, NodesAnswer, NodesQuery, Presence, RequestId, Role, ServerId,
};

impl Node {
    pub(super) fn heartbeat(&mut self, link: LinkId, id: Option<RequestId>, heartbeat: Heartbeat, now: Time) {
        self.heartbeats = self.heartbeats.saturating_add(1);
        let native = heartbeat.presence.is_some();
        let presence = native.then(|| Box::new(self.presence(link)));
        let answer = HeartbeatAnswer { server_id: self.identity.server_id.clone(), presence };
        self.answer(link, id, Body::HeartbeatAnswer(answer));
        let Some(presence) = heartbeat.presence else { return };
        let Some(remote) = self.links.get(link).map(|link| link.remote) else { return };
        if !link.is_outbound() && !self.stopped {
            self.links.speaks(link, presence.server_id.clone());
            self.registry.heard(&presence, remote, now);
            self.group_may_see(now);
            if presence.role == Role::Worker {
                self.farm.heard(&presence.server_id, now);
            }
        }
    }

    pub(super) fn leave(&mut self, link: LinkId, id: Option<RequestId>, server_id: &ServerId, now: Time) {
        let speaker = self.links.get(link).and_then(|link| link.speaker.as_ref());
        let of_farm = self.farm.worker_on(link) == Some(server_id);
        if speaker == Some(server_id) || of_farm || self.registry.peer_of(link) == Some(server_id) {
            self.farm.left(server_id, now);
            return self.registry.left(server_id, now);
        }
        let detail = "LEAVE is believed only on a link on which SERVER_ID has said native heartbeats";
        let error = ErrorAnswer::new("LEAVE", ErrorCode::NotNative, detail);
        self.answer(link, id, Body::Error(Box::new(error)));
    }

    pub(super) fn hello(&self, link: LinkId, now: Time) -> HelloAnswer {
        HelloAnswer {
            presence: self.presence(link),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            dialects: Dialect::ALL.iter().map(|dialect| dialect.as_str().to_owned()).collect(),
            line_bytes: MAX_LINE_BYTES as u64,
            secret: false,
            uptime: now.since(self.started),
            heartbeats: self.heartbeats,
            interval: self.config.interval,
            timeout: self.config.timeout,
            supervisor: self.config.supervisor.clone(),
            supervisor_reached: self.reports.as_ref().and_then(Reports::reached),
        }
    }

    pub(super) fn nodes(&self, query: &NodesQuery, now: Time) -> Body {
        let asked = |entry: &NodeEntry| {
            query.server_id.as_ref().is_none_or(|id| entry.server_id.as_ref() == Some(id))
                && query.address.as_ref().is_none_or(|address| entry.address == *address)
                && query.name.as_ref().is_none_or(|name| entry.name.as_ref() == Some(name))
        };
        let after = |entry: &NodeEntry| query.after.as_ref().is_none_or(|after| entry.key > *after);
        let all = self.registry.view(now);
        let mut nodes: Vec<NodeEntry> = all.into_iter().filter(|entry| asked(entry) && after(entry)).collect();
        let one = query.server_id.is_some() || query.address.is_some() || query.name.is_some();
        if one && nodes.is_empty() && query.after.is_none() {
            let detail = "no such node in the registry; NODES without fields lists all";
            return Body::Error(Box::new(ErrorAnswer::new("NODES", ErrorCode::NotFound, detail)));
        }
        let more = nodes.len() > NODES_PAGE;
        nodes.truncate(NODES_PAGE);
        Body::NodesAnswer(Box::new(NodesAnswer { server_id: self.identity.server_id.clone(), nodes, more }))
    }

    pub(super) fn subscribe(&mut self, link: LinkId, id: Option<RequestId>) {
        let known = self.links.get(link).is_some();
        let body = if known && self.events.subscribe(link) {
            Body::EventsAnswer { seq: self.events.seq() }
        } else {
            let detail = "too many streams of events run; try again later";
            Body::Error(Box::new(ErrorAnswer::new("EVENTS", ErrorCode::Busy, detail)))
        };
        self.answer(link, id, body);
    }

    /// Who this node is, as it says on `link`.
    pub(super) fn presence(&self, link: LinkId) -> Presence {
        Presence {
            server_id: self.identity.server_id.clone(),
            name: self.identity.name.clone(),
            address: self.address_on(link),
            role: self.config.role,
            group: self.config.group.clone(),
            group_presence: self.group_presence(),
            load: self.load.report(),
            services: self.known_services(),
        }
    }

    /// Where others are told to call: as advertised, else as bound, else (bound to a wildcard) this end of the link.
    pub(super) fn address_on(&self, link: LinkId) -> Address {
        if let Some(advertise) = &self.config.advertise {
            return advertise.clone();
        }
        let bound = Address::of(self.config.bind);
        match self.links.get(link) {
            Some(link) if bound.is_wildcard() => Address { port: bound.port, ..Address::of(link.local) },
            _ => bound,
        }
    }
}
