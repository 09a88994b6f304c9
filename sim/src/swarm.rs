//! Swarm testing: a run that does a little of everything never fills a queue and never starves a consumer, so each seed goes without
//! half of what its scenario has (Groce et al., "Swarm Testing", 2012).
//!
//! Left out are whole families of faults, kinds of clients, features of queues and messages, and the deeds of consumers. Each choice
//! has a stream of its own: a further one moves no other.

use crate::atlas::{self, Family};
use crate::plan::{ClientPlan, ConsumerDeed, PublisherPlan, Role};
use crate::rng::Stream;
use crate::scenario::{Feature, Scenario, Span};

/// What is left of a scenario for one seed.
pub(crate) fn narrow(scenario: &Scenario, seed: u64) -> Scenario {
    let mut scenario = scenario.clone();
    let mut stream = Stream::new(seed, "swarm faults", 0);
    let families: Vec<Family> = Family::ALL.into_iter().filter(|_| stream.chance(1, 2)).collect();
    for (entry, span) in atlas::spans_mut(&mut scenario.faults) {
        if !families.contains(&entry.family) {
            *span = Span::default();
        }
    }
    let mut stream = Stream::new(seed, "swarm clients", 0);
    let clients = &mut scenario.clients;
    for span in [
        &mut clients.plain,
        &mut clients.transacting,
        &mut clients.private,
        &mut clients.getters,
        &mut clients.churners,
        &mut clients.rogues,
        &mut clients.consumers,
        &mut clients.operators,
    ] {
        if stream.chance(1, 2) {
            *span = Span::default();
        }
    }
    narrow_features(&mut scenario.story.features, seed);
    scenario
}

/// Leaves out half of the features, but not the last: what is a story stays one.
fn narrow_features(features: &mut Vec<Feature>, seed: u64) {
    let mut stream = Stream::new(seed, "swarm features", 0);
    let Some(kept) = (!features.is_empty()).then(|| *stream.pick(features)) else { return };
    features.retain(|feature| stream.chance(1, 2) || *feature == kept);
}

/// What is left of the clients' habits for one seed: deeds of consumers, answers, extras of messages.
pub(crate) fn narrow_clients(clients: &mut [ClientPlan], seed: u64) {
    let mut stream = Stream::new(seed, "swarm habits", 0);
    let deeds = [
        ConsumerDeed::Cancel,
        ConsumerDeed::Recover,
        ConsumerDeed::CloseChannel,
        ConsumerDeed::CloseConnection,
        ConsumerDeed::Crash,
    ];
    let deeds: Vec<ConsumerDeed> = deeds.into_iter().filter(|_| stream.chance(1, 2)).collect();
    let [requeues, drops, answers_many] = [0; 3].map(|_| stream.chance(1, 2));
    let [is_mandatory, republishes, has_pauses] = [0; 3].map(|_| stream.chance(1, 2));
    for client in clients {
        match &mut client.role {
            Role::Consumer(consumer) => {
                consumer.acts.retain(|act| deeds.contains(&act.what));
                let answer = &mut consumer.answer;
                if !requeues {
                    answer.requeue.0 = 0;
                }
                if !drops {
                    answer.drop.0 = 0;
                }
                if !answers_many {
                    answer.multiple = 1;
                }
            }
            Role::Publisher(PublisherPlan { republish, bursts, .. }) => {
                *republish &= republishes;
                for burst in bursts {
                    burst.mandatory &= is_mandatory;
                    if !has_pauses {
                        burst.gap_us = 0;
                    }
                }
            }
            Role::Getter(_) | Role::Churner(_) | Role::Rogue(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::generate;

    #[test]
    fn each_family_is_there_in_half_of_the_seeds_and_gone_in_the_others() {
        let everything = Scenario::built_in().into_iter().find(|it| it.name == "everything").unwrap();
        let mut counts = [0; Family::ALL.len()];
        let asked = |scenario: &Scenario| {
            let mut spec = scenario.faults.clone();
            let spans = atlas::spans_mut(&mut spec).into_iter();
            spans.filter(|(_, span)| span.1 > 0).map(|(entry, _)| entry.family).collect::<Vec<_>>()
        };
        for seed in 0..200 {
            let left = asked(&narrow(&everything, seed));
            for (at, family) in Family::ALL.iter().enumerate() {
                counts[at] += u32::from(left.contains(family));
            }
        }
        for (at, family) in Family::ALL.iter().enumerate() {
            let is_possible = asked(&everything).contains(family);
            assert_eq!((70..130).contains(&counts[at]), is_possible, "{family:?} {}", counts[at]);
        }
    }

    #[test]
    fn a_swarm_differs_from_its_scenario_only_where_it_says_so() {
        let mut story = Scenario::built_in().into_iter().find(|it| it.name == "dead-letters").unwrap();
        let plain = serde_json::to_string(&generate(&story, 3)).unwrap();
        story.run.swarm = true;
        assert!((0..20).all(|seed| !narrow(&story, seed).story.features.is_empty()));
        assert!((0..20).any(|seed| narrow(&story, seed).story.features.len() < story.story.features.len()));
        assert!((0..20).all(|seed| generate(&story, seed).is_story));
        story.run.swarm = false;
        assert_eq!(plain, serde_json::to_string(&generate(&story, 3)).unwrap());
    }
}
