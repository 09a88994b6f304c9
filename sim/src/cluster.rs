//! What a seed decides about several nodes: how many there are, what is between them, and what goes wrong there.

use crate::clock::{MILLISECOND, Micros, SECOND};
use crate::nodes::At;
use crate::plan::{ClusterPlan, Ending, Fault, FaultKind, WirePlan};
use crate::rng::{Fate, Ratio, Stream, index};
use crate::scenario::{Pair, Scenario, Span, Time};

/// Draws the nodes of a run; `None` if there is one.
pub(crate) fn draw(scenario: &Scenario, seed: u64) -> Option<ClusterPlan> {
    let spec = &scenario.cluster;
    let mut stream = Stream::new(seed, "cluster", 0);
    let Pair(least, most) = *spec.nodes.as_ref()?.as_ref();
    let nodes = usize::try_from(stream.range(least.into(), most.into())).expect("few nodes");
    if nodes == 1 {
        return None;
    }
    let latency_us = spec.latency.unwrap_or(Pair(Time(100), Time(400))).micros();
    let wire = WirePlan {
        latency_us,
        segment_bytes: *stream.pick(&[0, 0, 1460, 97]),
        cut: *stream.pick(&[Ratio::NEVER, Ratio(1, 10), Ratio(1, 2)]),
        window_bytes: 1024 * *stream.pick(&[8, 64, 256]),
    };
    let mut distances = Vec::new();
    for far in &spec.far {
        let from = At::of_letter(far.node.as_ref()).expect("checked when it was read").number();
        let others = (0..nodes).filter(|other| *other != from && from < nodes);
        distances.extend(others.map(|other| (from, other, far.extra.0)));
    }
    let apart = spec.clocks_apart.map_or(0, |apart| apart.0 / MILLISECOND);
    let ahead = |stream: &mut Stream| i64::try_from(stream.range(0, apart)).expect("clocks are not ages apart");
    let clocks_ahead_ms = if apart == 0 { Vec::new() } else { (0..nodes).map(|_| ahead(&mut stream)).collect() };
    let log_entries = spec.log_entries.map_or_else(|| *stream.pick(&[8, 30, 200]), u64::from);
    let (log_kept, upgrades) = (log_entries / 3, spec.upgrades);
    Some(ClusterPlan { nodes, wire, distances, clocks_ahead_ms, log_entries, log_kept, upgrades })
}

/// Lets faults that happen to a node happen to any.
pub(crate) fn spread(faults: &mut [Fault], seed: u64, nodes: usize) {
    if nodes > 1 {
        let fates = Fate::new(seed, "node of a fault");
        for fault in faults.iter_mut().filter(|fault| fault.kind.is_of_node()) {
            fault.node = index(fates.of(fault.at_us, fault.for_us), nodes);
        }
    }
}

/// Draws what goes wrong between nodes, and with all of them.
pub(crate) fn faults(scenario: &Scenario, seed: u64, chaos_us: Micros, nodes: usize) -> Vec<Fault> {
    let mut faults = Vec::new();
    if nodes == 1 {
        return faults;
    }
    let spec = &scenario.faults;
    let mut add = |name: &str, count: Span, one: &dyn Fn(&mut Stream) -> (Micros, bool, FaultKind)| {
        let mut stream = Stream::new(seed, name, 0);
        for _ in 0..count.draw(&mut stream) {
            let at_us = stream.range(chaos_us / 20, chaos_us);
            let (for_us, of_leader, kind) = one(&mut stream);
            let node = stream.index(nodes);
            faults.push(Fault { at_us, for_us, kind, node, of_leader, of_queue: None, on: None });
        }
    };
    add("partition", spec.partition, &|stream| {
        let for_us = a_while(stream);
        if stream.chance(1, 3) {
            return (for_us, stream.chance(1, 2), FaultKind::Isolate { inbound: true, outbound: true });
        }
        (for_us, false, FaultKind::Partition { ways: partition(nodes, stream) })
    });
    add("one_way_partition", spec.one_way_partition, &|stream| {
        let inbound = stream.chance(1, 2);
        (a_while(stream), stream.chance(1, 2), FaultKind::Isolate { inbound, outbound: !inbound })
    });
    add("slow_peers", spec.slow_peers, &|stream| {
        let extra_us = stream.range(MILLISECOND, 300 * MILLISECOND);
        let bytes_per_ms = *stream.pick(&[0, 0, 50, 1000]);
        (
            stream.range(MILLISECOND, 3 * SECOND),
            false,
            FaultKind::SlowPeers { ways: some_ways(nodes, stream), extra_us, bytes_per_ms },
        )
    });
    add("lossy_peers", spec.lossy_peers, &|stream| {
        let every_us = stream.range(20 * MILLISECOND, 800 * MILLISECOND);
        let stall_us = stream.range(10 * MILLISECOND, every_us * 3 / 4);
        (
            stream.range(MILLISECOND, 3 * SECOND),
            false,
            FaultKind::LossyPeers { ways: some_ways(nodes, stream), every_us, stall_us },
        )
    });
    add("reset_peers", spec.reset_peers, &|stream| {
        (MILLISECOND, false, FaultKind::ResetPeers { ways: some_ways(nodes, stream) })
    });
    let mut series = |name: &str, count: Span, one: &dyn Fn(&mut Stream, usize) -> (Micros, Micros, Ending)| {
        let mut stream = Stream::new(seed, name, 0);
        for _ in 0..count.draw(&mut stream) {
            let mut at_us = stream.range(chaos_us / 20, chaos_us);
            let first = stream.index(nodes);
            for turn in 0..nodes {
                let (for_us, pause_us, how) = one(&mut stream, turn);
                let kind = FaultKind::End { how, busy: false, again: 0 };
                let node = (first + turn) % nodes;
                faults.push(Fault { at_us, for_us, kind, node, of_leader: false, of_queue: None, on: None });
                at_us += pause_us;
            }
        }
    };
    // All at the same moment, back one after the other.
    series("all_power_loss", spec.all_power_loss, &|stream, _| {
        (stream.range(MILLISECOND, SECOND), 0, Ending::PowerLoss)
    });
    // One after the other, each when the one before should be back.
    series("rolling_restart", spec.rolling_restart, &|stream, _| {
        let away = stream.range(MILLISECOND, 200 * MILLISECOND);
        (away, away + stream.range(10 * MILLISECOND, SECOND), Ending::Shutdown)
    });
    faults
}

/// Mostly shorter than anybody's patience, now and then longer.
fn a_while(stream: &mut Stream) -> Micros {
    let longest = *stream.pick(&[200 * MILLISECOND, 2 * SECOND, 2 * SECOND, 12 * SECOND]);
    stream.range(20 * MILLISECOND, longest)
}

/// The ways that are cut when nodes fall into parts.
fn partition(nodes: usize, stream: &mut Stream) -> Vec<(usize, usize)> {
    let start = stream.index(nodes);
    let place = |node: usize| (node + start) % nodes;
    let is_cut: Box<dyn Fn(usize, usize) -> bool> = match stream.range(0, 3) {
        // Two parts.
        0 | 1 => {
            let size = usize::try_from(stream.range(1, (nodes - 1) as u64)).expect("few nodes");
            Box::new(move |one, other| (place(one) < size) != (place(other) < size))
        }
        // Two parts and one node that hears both: a bridge.
        2 => Box::new(move |one, other| {
            let (one, other) = (place(one), place(other));
            one != 0 && other != 0 && (one <= nodes / 2) != (other <= nodes / 2)
        }),
        // A ring: each node hears its neighbours, so each sees a majority and no two the same.
        _ => Box::new(move |one, other| {
            let apart = place(one).abs_diff(place(other));
            apart.min(nodes - apart) > nodes.div_ceil(4)
        }),
    };
    let pairs = (0..nodes).flat_map(|one| (0..nodes).map(move |other| (one, other)));
    pairs.filter(|(one, other)| one != other && is_cut(*one, *other)).collect()
}

/// Some ways between nodes: one, both of a pair, or all to and from a node.
fn some_ways(nodes: usize, stream: &mut Stream) -> Vec<(usize, usize)> {
    let (one, step) = (stream.index(nodes), 1 + stream.index(nodes - 1));
    let other = (one + step) % nodes;
    match stream.range(0, 2) {
        0 => vec![(one, other)],
        1 => vec![(one, other), (other, one)],
        _ => (0..nodes).filter(|it| *it != one).flat_map(|it| [(one, it), (it, one)]).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In parts, nobody hears the other part; at a bridge and in a ring everybody hears somebody.
    #[test]
    fn partitions_are_symmetric_and_differ() {
        for nodes in 3..=9 {
            let mut kinds = std::collections::BTreeSet::new();
            let mut stream = Stream::new(1, "test", nodes as u64);
            for _ in 0..60 {
                let ways = partition(nodes, &mut stream);
                assert!(ways.iter().all(|(one, other)| ways.contains(&(*other, *one))), "{ways:?}");
                kinds.insert(ways);
            }
            assert!(kinds.len() > nodes, "{nodes} nodes have {} partitions", kinds.len());
        }
    }
}
