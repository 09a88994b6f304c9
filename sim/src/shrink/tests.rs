//! The search with failures that are made up, and once with a real one.

use super::sound::is_sound;
use super::{Progress, Size, minimise, shrink};
use crate::clock::{MILLISECOND, SECOND};
use crate::plan::{AnswerPlan, Ending, FaultKind, Knobs, LinkPlan, Moment, Plan, QueueRules, Role, Trigger};
use crate::rng::Ratio;
use crate::run::{RunOptions, plan, run_plan};
use crate::scenario::Scenario;

fn plan_of(scenario: &str, seed: u64) -> Plan {
    let scenario = Scenario::built_in().into_iter().find(|it| it.name == scenario).expect("built in");
    plan(&scenario, seed)
}

/// Shrinks what fails by this rule, always in the middle of its work. Everything that is tried has to be sound.
fn shrunk(plan: &Plan, fails: impl Fn(&Plan) -> bool) -> Plan {
    let mut fails = |plan: &Plan| {
        assert!(is_sound(plan));
        fails(plan).then_some(plan.chaos_us / 2)
    };
    let found = minimise(plan, &mut fails, &mut |_| true).expect("it fails");
    assert!(found.is_finished);
    found.plan
}

fn kills(plan: &Plan) -> usize {
    plan.faults.iter().filter(|fault| matches!(fault.kind, FaultKind::End { how: Ending::Kill, .. })).count()
}

/// Messages that publishers publish to this queue.
fn messages_to(plan: &Plan, queue: &str) -> u32 {
    let publishers = plan.clients.iter().filter_map(|client| match &client.role {
        Role::Publisher(publisher) => Some(publisher),
        _ => None,
    });
    let bursts = publishers.flat_map(|publisher| &publisher.bursts);
    bursts.filter(|burst| burst.exchange.is_empty() && burst.key == queue).map(|burst| burst.count).sum()
}

#[test]
fn what_does_not_matter_goes_and_what_matters_stays() {
    let plan = plan_of("kill-loop", 3);
    assert!(kills(&plan) >= 2 && messages_to(&plan, "q0") >= 7 && Size::of(&plan).operations > 100);
    let small = shrunk(&plan, |plan| kills(plan) >= 2 && messages_to(plan, "q0") >= 7);
    let size = Size::of(&small);
    assert_eq!((size.faults, size.operations, size.clients, size.queues), (2, 7, 1, 1));
    assert_eq!((kills(&small), messages_to(&small, "q0")), (2, 7));
    assert!(small.chaos_us <= MILLISECOND);
    assert_eq!(small.knobs, Knobs::default());
    assert_eq!(small.clients[0].link, LinkPlan::default());
    assert!(small.topology.bindings.is_empty() && small.topology.exchanges.is_empty());
    // Nobody waits for anything that does not matter.
    let Role::Publisher(publisher) = &small.clients[0].role else { panic!("only they publish") };
    assert!(publisher.bursts.iter().all(|burst| (burst.wait_us, burst.gap_us, burst.size) == (0, 0, (0, 0))));
}

#[test]
fn faults_follow_their_clients_to_their_new_places() {
    let plan = plan_of("connection-resets", 1);
    let is_reset_of_consumer = |plan: &Plan| {
        plan.faults.iter().any(|fault| match fault.kind {
            FaultKind::Reset { client } => matches!(plan.clients[client].role, Role::Consumer(_)),
            _ => false,
        })
    };
    assert!(is_reset_of_consumer(&plan));
    let small = shrunk(&plan, is_reset_of_consumer);
    assert!(is_reset_of_consumer(&small));
    assert_eq!((small.clients.len(), small.faults.len()), (1, 1));
}

#[test]
fn limits_come_down_with_what_it_takes_to_reach_them() {
    let limit = |plan: &Plan| plan.topology.queues.iter().find_map(|it| Some((it.name.clone(), it.rules.length_max?)));
    let overflows = |plan: &Plan| limit(plan).is_some_and(|(queue, limit)| messages_to(plan, &queue) > limit);
    let plan = (0..100)
        .map(|seed| plan_of("length-limits", seed))
        .find(|plan| overflows(plan) && limit(plan).is_some_and(|(_, limit)| limit >= 30));
    let small = shrunk(&plan.expect("one of them has the highest limit"), overflows);
    assert_eq!(limit(&small).map(|(_, limit)| limit), Some(1));
    assert_eq!(Size::of(&small).operations, 2);
}

#[test]
fn a_trigger_comes_down_to_the_first_time() {
    let mut plan = plan_of("kill-loop", 3);
    let on = Trigger { moment: Moment::Confirm, queues: Vec::new(), nth: 40, repeats: true, after_us: 12_345 };
    plan.faults.truncate(1);
    plan.faults[0].on = Some(on);
    let small = shrunk(&plan, |plan| plan.faults.first().is_some_and(|fault| fault.on.is_some()));
    let on = small.faults[0].on.as_ref().map(|on| (on.moment, on.nth, on.repeats, on.after_us));
    assert_eq!(on, Some((Moment::Confirm, 1, false, 0)));
}

/// Somebody may have written it so on purpose, to see what comes of it.
#[test]
fn a_plan_that_is_not_sound_is_shrunk_all_the_same() {
    let mut plan = plan_of("dead-letters", 3);
    plan.topology.queues[0].rules = QueueRules { at_least_once: true, ..QueueRules::default() };
    assert!(!is_sound(&plan));
    let mut fails = |plan: &Plan| (!plan.clients.is_empty()).then_some(1);
    let found = minimise(&plan, &mut fails, &mut |_| true).expect("it fails");
    assert_eq!(found.plan.clients.len(), 1);
}

#[test]
fn other_fates_are_tried_where_the_own_ones_are_harmless_by_then() {
    let plan = plan_of("power-loss", 0);
    let (all, seed) = (plan.clients.len(), plan.seed);
    let small = shrunk(&plan, |plan| plan.clients.len() == all || plan.seed != seed);
    assert!(small.clients.is_empty());
    assert_ne!(small.seed, seed);
}

#[test]
fn the_search_ends_when_it_is_told_to_with_what_it_has() {
    let plan = plan_of("everything", 1);
    let mut fails = |plan: &Plan| (messages_to(plan, "q0") > 0).then_some(1);
    let mut budget = |progress: &Progress| progress.runs < 10;
    let found = minimise(&plan, &mut fails, &mut budget).expect("it fails");
    assert!(!found.is_finished);
    assert_eq!(found.runs, 10);
    assert!(messages_to(&found.plan, "q0") > 0);
    assert!(Size::of(&found.plan).operations < Size::of(&plan).operations);
    assert!(minimise(&plan, &mut |_| None, &mut |_| true).is_none(), "what does not fail is not shrunk");
}

/// Else the consumers' failure would become one of those who count in the end, who need far more messages for it.
#[test]
fn what_fails_under_way_is_not_taken_for_what_fails_in_the_end() {
    let plan = plan_of("power-loss", 0);
    let consumers = |plan: &Plan| plan.clients.iter().filter(|it| matches!(it.role, Role::Consumer(_))).count();
    assert!(consumers(&plan) > 0 && messages_to(&plan, "q0") > 50);
    let mut fails = |plan: &Plan| {
        let messages = messages_to(plan, "q0");
        let is_early = messages >= 2 && consumers(plan) > 0;
        if is_early { Some(plan.chaos_us / 2) } else { (messages > 50).then_some(plan.chaos_us + SECOND) }
    };
    let found = minimise(&plan, &mut fails, &mut |_| true).expect("it fails");
    assert_eq!((messages_to(&found.plan, "q0"), consumers(&found.plan)), (2, 1));
}

#[test]
fn a_story_keeps_what_its_judges_rely_on() {
    let mut plan = plan_of("delayed", 2);
    assert!(is_sound(&plan));
    plan.topology.bindings.clear();
    assert!(!is_sound(&plan), "messages that are held back have nowhere to go");
    let mut plan = plan_of("dead-letters", 3);
    plan.topology.queues.remove(0);
    assert!(!is_sound(&plan), "somebody uses the queue");
    let mut plan = plan_of("length-limits", 0);
    plan.topology.queues[0].rules = QueueRules { at_least_once: true, ..QueueRules::default() };
    assert!(!is_sound(&plan), "at least once, and no target");
}

/// A consumer that answers nothing, and a queue that has to be empty in the end: what it comes down to is two messages and the
/// consumer. The plan survives its file, to the byte of its run.
#[test]
fn a_shrunk_plan_fails_in_the_same_way_and_replays_from_its_file() {
    let options = RunOptions::default();
    let stubborn = (0..20).map(|seed| plan_of("priorities", seed)).find_map(|mut plan| {
        plan.settle_us = 2 * SECOND;
        let consumers = plan.clients.iter_mut().filter_map(|client| match &mut client.role {
            Role::Consumer(consumer) => Some(consumer),
            _ => None,
        });
        for consumer in consumers {
            consumer.answer = AnswerPlan { forget: Ratio(1, 1), ..AnswerPlan::default() };
            (consumer.prefetch, consumer.acts) = (1, Vec::new());
        }
        let failure = run_plan(plan.clone(), options).failure?;
        Some((plan, failure))
    });
    let (plan, failure) = stubborn.expect("a queue is never emptied");
    let mut watch = |progress: &Progress| progress.runs < 400;
    let shrunk = shrink(&plan, &failure, options, &mut watch);
    assert_eq!(shrunk.report.failure.as_ref().map(|it| it.signature()), Some(failure.signature()));
    assert!(shrunk.after.operations <= 12 && shrunk.after.faults == 0, "{}", shrunk.before.until(&shrunk.after));
    let back: Plan = serde_json::from_str(&shrunk.plan.to_text()).expect("it was just written");
    assert_eq!(run_plan(back, options).trace, shrunk.report.trace);
    let again = shrink(&plan, &failure, options, &mut |progress: &Progress| progress.runs < 400);
    assert_eq!(again.plan.to_text(), shrunk.plan.to_text());
}
