use std::collections::BTreeSet;

use super::{Fate, Kind, LaneKind, Recording};
use crate::report::Report;
use crate::run::{RunOptions, plan, record, run_plan};
use crate::scenario::Scenario;

fn recorded(name: &str, seed: u64) -> (Report, Recording) {
    let scenario = Scenario::built_in().into_iter().find(|scenario| scenario.name == name).unwrap();
    record(plan(&scenario, seed), RunOptions::default())
}

/// The recorder listens and does nothing else: same events, same facts, same trace.
#[test]
fn a_recorded_run_is_the_run_without_recording() {
    for name in ["everything", "policies", "half-open", "fsync-error", "crash-during-recovery", "quorum-delayed-retry"]
    {
        let scenario = Scenario::built_in().into_iter().find(|scenario| scenario.name == name).unwrap();
        let plain = run_plan(plan(&scenario, 5), RunOptions::default());
        let (report, recording) = recorded(name, 5);
        assert_eq!((plain.trace, plain.time, plain.facts), (report.trace, report.time, report.facts), "{name}");
        assert_eq!(recording.end, report.time, "{name}");
        assert!(recording.events.len() > 100, "{name}");
    }
}

#[test]
fn events_are_in_order_and_each_message_has_its_steps() {
    let (report, recording) = recorded("power-loss", 1);
    assert_eq!(report.failure, None);
    assert!(recording.events.is_sorted_by_key(|event| event.at));
    assert!(recording.events.iter().all(|event| event.from.is_none_or(|from| from <= event.at)));
    assert!(recording.events.iter().all(|event| event.lane < recording.lanes.len()));
    let kinds = |message: u32| {
        let events = recording.events.iter().filter(|event| event.is_about(&[message]) && event.fate == Fate::Done);
        events.map(|event| event.kind).collect::<Vec<_>>()
    };
    // Some message went all the way, in this order.
    let way = [Kind::Publish, Kind::Taken, Kind::Enqueued, Kind::Synced, Kind::Confirm];
    let went = (0..u32::try_from(report.messages).unwrap()).map(kinds).any(|kinds| {
        let mut rest = kinds.iter();
        way.iter().all(|step| rest.any(|kind| kind == step))
            && kinds.contains(&Kind::Deliver)
            && kinds.contains(&Kind::Ack)
    });
    assert!(went, "no message was published, logged, synced, confirmed, delivered and acked");
}

#[test]
fn what_is_lost_with_a_connection_is_marked() {
    let recordings = (0..4).map(|seed| recorded("connection-resets", seed).1);
    let has_lost = |it: &Recording| it.events.iter().any(|event| event.fate == Fate::Lost && event.to.is_some());
    let recording = recordings.into_iter().find(has_lost).expect("resets lose what is on its way");
    assert!(recording.events.iter().any(|event| event.kind == Kind::FaultBegins && event.text == "fault: reset"));
    assert!(recording.events.iter().any(|event| event.kind == Kind::Closed));
}

#[test]
fn nodes_disks_and_faults_have_their_bands_and_the_state_is_looked_at() {
    let (_, recording) = recorded("power-loss", 1);
    let lanes: BTreeSet<_> = recording.lanes.iter().map(|lane| format!("{:?}", lane.kind)).collect();
    assert_eq!(lanes.len(), 3, "clients, node and disk");
    assert!(
        recording.bands.iter().any(|band| band.text == "down" && recording.lanes[band.lane].kind == LaneKind::Node)
    );
    assert!(recording.bands.iter().all(|band| band.from <= band.to));
    assert!(recording.events.iter().any(|event| event.kind == Kind::Disk && event.fate == Fate::Lost));
    assert!(recording.looks.len() > 20);
    assert!(recording.looks.is_sorted_by_key(|look| look.at));
    assert!(recording.looks.iter().any(|look| look.queues.iter().any(|queue| queue.ready > 0)));
    assert!(recording.looks.iter().any(|look| look.node == "down"));
}
