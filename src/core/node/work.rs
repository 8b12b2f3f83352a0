//! A node that is a worker: its machine, and what it wants done.

use super::Node;
use crate::core::links::Reply;
use crate::core::worker::{BondView, Effect};
use crate::core::{Input, LinkId, LogLevel, Output, RunId};
use crate::time::Time;
use crate::wire::{Address, Body, Datagram, EventKind, Host, MasterOffer, RequestId, StatusAck, WorkerMove};

impl Node {
    /// A message on a link of this worker to its master.
    pub(super) fn master_says(&mut self, link: LinkId, id: Option<RequestId>, body: Body, now: Time) {
        if let Some(worker) = &mut self.worker {
            worker.message(link, id, body, now);
        }
    }

    /// Somebody calls this node to tell it where to go. It obeys the foreign master that it is with, known by its host; nobody else is answered.
    pub(super) fn called_to_go(&mut self, reply: &Reply, order: WorkerMove, now: Time) {
        let from = self.links.get(reply.link).map(|link| link.remote.ip().to_canonical());
        let master = self.worker.as_ref().and_then(|worker| worker.master());
        let known = master.and_then(|(address, session)| match session.and_then(|link| self.links.get(link)) {
            Some(link) => Some(link.remote.ip().to_canonical()),
            None => match address.host {
                Host::Ip(ip) => Some(ip.to_canonical()),
                Host::Name(_) => None,
            },
        });
        let obeyed = from.is_some() && from == known && self.worker.as_mut().is_some_and(|it| it.called(order, now));
        if obeyed {
            let ack = StatusAck { worker: Some(self.identity.server_id.clone()), attempt: None };
            return self.reply(reply, Body::StatusAck(Box::new(ack)));
        }
        self.log(
            LogLevel::Debug,
            "somebody who is not its foreign master calls this node to send it away: ignored".to_owned(),
        );
        self.unanswered(reply);
    }

    /// Where this node can be called by whoever is at the other end of a link; `None`: it listens elsewhere.
    pub(super) fn callable_on(&self, link: LinkId) -> Option<Address> {
        let bound = self.config.bind.ip();
        let local = self.links.get(link)?.local.ip();
        let reachable = bound.is_unspecified() || bound.to_canonical() == local.to_canonical();
        (self.config.advertise.is_some() || reachable).then(|| self.address_on(link)).filter(|at| at.port != 0)
    }

    /// Why this worker is not where it belongs; `None`: it is, or this is no worker, or it belongs nowhere yet.
    pub(crate) fn away_from_home(&self) -> Option<String> {
        self.worker.as_ref().and_then(|worker| worker.away_from_home())
    }

    /// Where this worker belongs and is; `None`: this is no worker.
    pub(crate) fn bond_view(&self) -> Option<BondView> {
        self.worker.as_ref().map(|worker| worker.bond_view())
    }

    /// Whether this link is one of the worker's to its master.
    pub(super) fn is_session(&self, link: LinkId) -> bool {
        self.worker.as_ref().is_some_and(|worker| worker.is_session(link))
    }

    /// What runs here has ended or printed something.
    pub(super) fn run_told(&mut self, input: Input, now: Time) {
        use crate::core::calls::CallKey;
        match input {
            Input::Finished { run, outcome } => match (CallKey::of_run(run), &mut self.worker) {
                (Some(call), _) => self.calls.ended(call, None, outcome, now),
                (None, Some(worker)) => worker.finished(run, outcome, now),
                (None, None) => {}
            },
            Input::Printed { run: RunId(run), stream, data } => {
                if let Some(worker) = &mut self.worker {
                    worker.printed(RunId(run), stream, data, now);
                }
            }
            Input::Offers(offers) => {
                if let Some(worker) = &mut self.worker {
                    worker.offers(offers.clone(), now);
                }
                self.offers = offers;
            }
            _ => {}
        }
    }

    /// A datagram of discovery.
    pub(super) fn datagram(&mut self, from: std::net::SocketAddr, datagram: Datagram, now: Time) {
        self.datagrams = self.datagrams.saturating_add(1);
        if let Some(worker) = &mut self.worker {
            return worker.datagram(from, datagram, now);
        }
        if self.stopped {
            return;
        }
        let offer = || MasterOffer { name: self.identity.name.clone(), address: self.address_for_datagrams() };
        let answer = match datagram {
            Datagram::Discovery { .. } => Datagram::Reply(offer()),
            Datagram::Find => Datagram::Found(offer()),
            Datagram::Reply(_) | Datagram::Found(_) => return,
        };
        self.outputs.push_back(Output::Datagram { to: Some(from), datagram: answer });
    }

    /// Where others are told to call, as far as that is known without a link. A wildcard is replaced by the shell, which
    /// knows the address from which the datagram leaves.
    fn address_for_datagrams(&self) -> Address {
        self.config.advertise.clone().unwrap_or_else(|| Address::of(self.config.bind))
    }

    /// The registry found out something about a place: a worker minds its master.
    pub(super) fn master_news(&mut self, kind: EventKind, address: &Address, now: Time) {
        let Some(worker) = &mut self.worker else { return };
        match kind {
            EventKind::PeerAlive => worker.master_alive(address, now),
            EventKind::PeerTimeout | EventKind::PeerLeft => worker.master_timeout(address, now),
            _ => {}
        }
    }

    /// Carries out what the worker wants done. Returns whether there was anything.
    pub(super) fn carry_out_worker(&mut self, now: Time) -> bool {
        let mut any = false;
        while let Some(effect) = self.worker.as_mut().and_then(|worker| worker.poll_effect()) {
            any = true;
            match effect {
                Effect::Open { link, address, within } => {
                    self.outputs.push_back(Output::Open { link, address, within });
                }
                Effect::Close { link } => {
                    self.links.closed(link);
                    self.outputs.push_back(Output::Close { link });
                }
                Effect::Send { link, message } => self.send(link, message),
                Effect::Start(run) => self.outputs.push_back(Output::Start(run)),
                Effect::StopRun { run } => self.outputs.push_back(Output::StopRun { run }),
                Effect::Datagram { to, datagram } => self.outputs.push_back(Output::Datagram { to, datagram }),
                Effect::Watch(address) => self.registry.watch(&address, now),
                Effect::Unwatch(address) => self.registry.unwatch(&address),
                Effect::Event { kind, server_id, address, detail } => self.event(kind, server_id, address, detail),
                Effect::Decided { text } => {
                    self.decisions.note(self.identity.server_id.as_str().to_owned(), text, now);
                }
                Effect::Log { level, text } => self.log(level, text),
                Effect::Drained => self.stop_now(),
            }
        }
        any
    }
}
