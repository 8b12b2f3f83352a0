//! Founding and joining: what a master without a group does with what it sees (design.md section 7).
//!
//! Two masters that start together must not found two groups. So each says in its heartbeats whom it would let found
//! one, the smallest id that it sees, and who is that smallest id founds only when every master that it sees says so. A
//! master that lets another found one does not found one itself, for as long as it sees that other. What is left is
//! a cut through the masters at the very first start: both sides may found then. `--expect` closes that.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::core::LinkId;
use crate::time::{Seconds, Time};
use crate::wire::{Address, GroupId, GroupPresence, ServerId};

/// A peer, as far as groups are concerned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sight {
    /// Who it is.
    pub(crate) server_id: ServerId,
    /// Its name.
    pub(crate) name: String,
    /// Where this node calls it.
    pub(crate) address: Address,
    /// The open link that this node dialled, if it stands.
    pub(crate) link: Option<LinkId>,
    /// Whether it is ALIVE.
    pub(crate) alive: bool,
    /// The name of its group.
    pub(crate) group: String,
    /// What it says of its group.
    pub(crate) presence: GroupPresence,
    /// Jobs that wait there, and its workers, as it said last.
    pub(crate) load: (u64, u64),
}

/// What a look at the registry showed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct View {
    /// The native masters that are known, by id, each once.
    pub(crate) masters: Vec<Sight>,
    /// Links that this node dialled on which somebody answers with this node's own id: itself, or a copy.
    pub(crate) doubles: Vec<LinkId>,
    /// Configured peers that have not answered yet and are not this node: masters may be behind them.
    pub(crate) unanswered: usize,
    /// Configured peers, this node itself not counted.
    pub(crate) configured: usize,
    /// Jobs that wait here, and the workers of this node.
    pub(crate) own_load: (u64, u64),
}

impl View {
    /// Whether a master is ALIVE.
    pub(super) fn is_alive(&self, server_id: &ServerId) -> bool {
        self.master(server_id).is_some_and(|sight| sight.alive)
    }

    /// The master with this id.
    pub(super) fn master(&self, server_id: &ServerId) -> Option<&Sight> {
        self.masters.iter().find(|sight| sight.server_id == *server_id)
    }
}

/// What a master without a group does now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Wait. One sentence on what for.
    Wait(String),
    /// Found a group. These masters let it, and become voters as soon as they are in.
    Found {
        /// Their ids.
        with: Vec<ServerId>,
    },
    /// Ask to be taken in.
    Join {
        /// Into which group.
        group_id: GroupId,
        /// On which link to ask: to its leader where that is seen.
        link: LinkId,
        /// There are several groups of this name: the others.
        others: Vec<GroupId>,
    },
}

/// The search for a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Search {
    own_id: ServerId,
    group: String,
    expect: Option<u32>,
    /// Until when unanswered peers are waited for.
    patience: Time,
    timeout: Duration,
    /// Whom this node lets found, and since when; nobody, once there is a group to join.
    lets: (Option<ServerId>, Time),
}

impl Search {
    /// A search that begins now. `timeout`: how long peers that do not answer are waited for.
    pub(super) fn new(own_id: ServerId, group: String, expect: Option<u32>, timeout: Duration, now: Time) -> Search {
        let lets = (Some(own_id.clone()), now);
        Search { own_id, group, expect, patience: now + timeout, timeout, lets }
    }

    /// The masters of this group's name that are ALIVE.
    fn seen<'a>(&'a self, view: &'a View) -> impl Iterator<Item = &'a Sight> {
        view.masters.iter().filter(|sight| sight.alive && sight.group == self.group)
    }

    /// What heartbeats say meanwhile. Who stays out of every group stands in nobody's way.
    pub(super) fn presence(&self, view: &View, stays_out: bool) -> GroupPresence {
        let sees = 1 + self.seen(view).count() as u64;
        let others = self.seen(view).filter(|sight| sight.presence.group_id.is_none()).map(|sight| &sight.server_id);
        let founder = if stays_out { others.min().cloned() } else { self.lets.0.clone() };
        GroupPresence { group_id: None, term: 0, leader: None, founder, sees }
    }

    /// Decides whom this node lets found: the smallest id that it sees. Who was let before may have founded already and not told it
    /// yet; so another is let only once that one is gone, has a group, lets another itself, or has had a timeout's time.
    fn let_found(&mut self, view: &View, now: Time) {
        let without = self.seen(view).filter(|sight| sight.presence.group_id.is_none());
        let best = without.map(|sight| &sight.server_id).chain([&self.own_id]).min().unwrap_or(&self.own_id).clone();
        let (before, since) = (self.lets.0.as_ref(), self.lets.1);
        let may_have_founded = before.is_some_and(|before| {
            let sight = self.seen(view).find(|sight| sight.server_id == *before);
            sight.is_some_and(|sight| {
                let says = &sight.presence;
                says.group_id.is_none() && says.founder.as_ref().is_none_or(|founder| founder == before)
            })
        });
        if before != Some(&best) && !(may_have_founded && since + self.timeout > now) {
            self.lets = (Some(best), now);
        }
    }

    /// What to do. `given_up` is a group that this node was told to leave: it is not joined again by itself.
    pub(super) fn verdict(&mut self, view: &View, given_up: Option<&GroupId>, now: Time) -> Verdict {
        if let Some(join) = self.join(view, given_up) {
            self.lets = (None, now);
            return join;
        }
        self.let_found(view, now);
        let seen: Vec<&Sight> = self.seen(view).filter(|sight| sight.presence.group_id.is_none()).collect();
        let sees = 1 + seen.len();
        if let Some(expect) = self.expect {
            let all = |sight: &&Sight| sight.presence.sees >= u64::from(expect);
            if sees < expect as usize || !seen.iter().all(all) {
                return Verdict::Wait(format!(
                    "waits for {expect} masters that see each other, as --expect says; {sees} are seen"
                ));
            }
        }
        if let Some(other) = self.lets.0.as_ref().filter(|other| **other != self.own_id) {
            return Verdict::Wait(format!("lets {} found the group, the smallest id", other.short()));
        }
        let reluctant = seen.iter().find(|sight| sight.presence.founder.as_ref() != Some(&self.own_id));
        if let Some(sight) = reluctant {
            return Verdict::Wait(format!("waits for {} to let it found the group", sight.name));
        }
        if view.unanswered > 0 && now < self.patience && self.expect.is_none() {
            let (unanswered, timeout) = (view.unanswered, Seconds(self.timeout));
            return Verdict::Wait(format!("waits {timeout} s for {unanswered} peers that have not answered"));
        }
        Verdict::Found { with: seen.into_iter().map(|sight| sight.server_id.clone()).collect() }
    }

    /// The group that most masters name, the smallest id among equals.
    fn join(&self, view: &View, given_up: Option<&GroupId>) -> Option<Verdict> {
        let mut groups: BTreeMap<&GroupId, Vec<&Sight>> = BTreeMap::new();
        for sight in self.seen(view) {
            if let Some(group_id) = sight.presence.group_id.as_ref().filter(|id| Some(*id) != given_up) {
                groups.entry(group_id).or_default().push(sight);
            }
        }
        let (group_id, members) = groups.iter().max_by_key(|(id, members)| (members.len(), std::cmp::Reverse(**id)))?;
        let others = groups.keys().filter(|other| *other != group_id).map(|other| (*other).clone()).collect();
        let leader = members.iter().find_map(|member| member.presence.leader.as_ref());
        let leads = |sight: &&&Sight| Some(&sight.server_id) == leader;
        let link = members.iter().find(leads).and_then(|sight| sight.link);
        match link.or_else(|| members.iter().find_map(|sight| sight.link)) {
            Some(link) => Some(Verdict::Join { group_id: (*group_id).clone(), link, others }),
            None => Some(Verdict::Wait(format!("waits for a link to group {}", group_id.short()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIMEOUT: Duration = Duration::from_secs(6);

    fn id(nth: usize) -> ServerId {
        ServerId::new(format!("server-{nth}")).unwrap()
    }

    fn search(nth: usize, expect: Option<u32>) -> Search {
        Search::new(id(nth), "default".to_owned(), expect, TIMEOUT, Time::ZERO)
    }

    fn sight(nth: usize, presence: GroupPresence) -> Sight {
        Sight {
            server_id: id(nth),
            name: format!("m{nth}"),
            address: "127.0.0.1:9101".parse().unwrap(),
            link: Some(LinkId(1 + 4 * nth as u64)),
            alive: true,
            group: "default".to_owned(),
            presence,
            load: (0, 0),
        }
    }

    fn lets(founder: usize, sees: u64) -> GroupPresence {
        GroupPresence { founder: Some(id(founder)), sees, ..GroupPresence::default() }
    }

    fn of_group(text: &str, leader: Option<usize>) -> GroupPresence {
        GroupPresence { group_id: GroupId::new(text), term: 1, leader: leader.map(id), ..GroupPresence::default() }
    }

    #[test]
    fn without_peers_it_founds_at_once() {
        let verdict = search(1, None).verdict(&View::default(), None, Time::ZERO);
        assert_eq!(verdict, Verdict::Found { with: vec![] });
    }

    #[test]
    fn peers_that_do_not_answer_are_waited_for_and_not_for_ever() {
        let view = View { unanswered: 1, configured: 1, ..View::default() };
        assert!(matches!(search(1, None).verdict(&view, None, Time::ZERO), Verdict::Wait(_)));
        assert!(matches!(search(1, None).verdict(&view, None, Time::ZERO + TIMEOUT), Verdict::Found { .. }));
    }

    #[test]
    fn the_smallest_founds_once_all_that_it_sees_let_it() {
        let later = Time::ZERO + TIMEOUT;
        let reluctant = View {
            masters: vec![sight(2, lets(1, 2)), sight(3, lets(2, 2))],
            unanswered: 0,
            configured: 2,
            ..View::default()
        };
        assert!(matches!(search(1, None).verdict(&reluctant, None, later), Verdict::Wait(_)));
        let willing = View {
            masters: vec![sight(2, lets(1, 3)), sight(3, lets(1, 3))],
            unanswered: 0,
            configured: 2,
            ..View::default()
        };
        assert_eq!(search(1, None).verdict(&willing, None, Time::ZERO), Verdict::Found { with: vec![id(2), id(3)] });
        // A larger one never does, however long it waits, while it sees a smaller one.
        let small = View { masters: vec![sight(1, lets(2, 2))], unanswered: 0, configured: 1, ..View::default() };
        assert!(matches!(search(2, None).verdict(&small, None, later), Verdict::Wait(_)));
    }

    #[test]
    fn with_expect_it_waits_for_as_many_that_see_as_many() {
        let later = Time::ZERO + TIMEOUT * 100;
        let two = View { masters: vec![sight(2, lets(1, 2))], unanswered: 0, configured: 1, ..View::default() };
        assert!(
            matches!(search(1, Some(3)).verdict(&two, None, later), Verdict::Wait(why) if why.contains("2 are seen"))
        );
        let blind = View {
            masters: vec![sight(2, lets(1, 2)), sight(3, lets(1, 3))],
            unanswered: 0,
            configured: 2,
            ..View::default()
        };
        assert!(matches!(search(1, Some(3)).verdict(&blind, None, later), Verdict::Wait(_)));
        let three = View {
            masters: vec![sight(2, lets(1, 3)), sight(3, lets(1, 3))],
            unanswered: 1,
            configured: 3,
            ..View::default()
        };
        assert!(matches!(search(1, Some(3)).verdict(&three, None, Time::ZERO), Verdict::Found { .. }));
    }

    #[test]
    fn a_group_that_is_there_is_joined_at_its_leader() {
        let group = "00000000-aaaa";
        let masters =
            vec![sight(1, of_group(group, Some(2))), sight(2, of_group(group, Some(2))), sight(3, lets(1, 1))];
        let view = View { masters, unanswered: 5, configured: 8, ..View::default() };
        let Verdict::Join { group_id, link, others } = search(4, None).verdict(&view, None, Time::ZERO) else {
            panic!()
        };
        assert_eq!((group_id.as_str(), link, others), (group, LinkId(9), vec![]));
        let given_up = GroupId::new(group);
        let verdict = search(4, None).verdict(&view, given_up.as_ref(), Time::ZERO);
        assert!(!matches!(verdict, Verdict::Join { .. }), "who has left does not come back by itself");
    }

    #[test]
    fn of_two_groups_the_larger_is_joined_and_the_other_named() {
        let masters = vec![
            sight(1, of_group("00000000-aaaa", None)),
            sight(2, of_group("00000000-bbbb", None)),
            sight(3, of_group("00000000-bbbb", None)),
        ];
        let view = View { masters, unanswered: 0, configured: 3, ..View::default() };
        let Verdict::Join { group_id, others, .. } = search(4, None).verdict(&view, None, Time::ZERO) else { panic!() };
        assert_eq!(group_id.as_str(), "00000000-bbbb");
        assert_eq!(others, vec![GroupId::new("00000000-aaaa").unwrap()]);
    }

    #[test]
    fn masters_of_another_group_name_are_nobody() {
        let mut other = sight(1, of_group("00000000-aaaa", None));
        other.group = "lab".to_owned();
        let view = View { masters: vec![other], unanswered: 0, configured: 1, ..View::default() };
        assert_eq!(search(2, None).verdict(&view, None, Time::ZERO), Verdict::Found { with: vec![] });
    }

    proptest! {
        // Each looks at the others as they were some looks ago, in any order; all see all. Two must never found.
        #[test]
        fn masters_that_see_each_other_found_one_group(steps in prop::collection::vec((0..3usize, 0..3usize), 1..60)) {
            let mut searches: Vec<Search> = (0..3).map(|nth| search(nth, None)).collect();
            let mut said = vec![GroupPresence { sees: 1, ..GroupPresence::default() }; 3];
            let mut seen: Vec<Vec<Option<GroupPresence>>> = vec![vec![None; 3]; 3];
            let mut founded = 0;
            for (looker, other) in steps {
                if looker != other {
                    // A heartbeat: both tell each other what they say now.
                    seen[looker][other] = Some(said[other].clone());
                    seen[other][looker] = Some(said[looker].clone());
                }
                for nth in [looker, other] {
                    let masters = (0..3).filter_map(|peer| Some(sight(peer, seen[nth][peer].clone()?))).collect();
                    let view = View { masters, unanswered: 0, configured: 2, ..View::default() };
                    if said[nth].group_id.is_none() {
                        let verdict = searches[nth].verdict(&view, None, Time::ZERO + TIMEOUT);
                        said[nth] = searches[nth].presence(&view, false);
                        match verdict {
                            Verdict::Found { with } if !with.is_empty() => {
                                founded += 1;
                                said[nth] = of_group("00000000-aaaa", Some(nth));
                            }
                            _ => {}
                        }
                    }
                }
            }
            prop_assert!(founded <= 1, "{founded} groups were founded");
        }
    }
}
