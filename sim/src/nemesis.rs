//! Which of the later kinds of faults a run gets. Each kind has a stream of its own, so that a further kind moves no other.

use crate::clock::{MILLISECOND, Micros, SECOND};
use crate::options;
use crate::plan::{DiskWork, Ending, Fault, FaultKind};
use crate::rng::Stream;
use crate::scenario::{Scenario, Span};

/// Faults that `options` does not know.
pub(crate) fn faults(scenario: &Scenario, seed: u64, chaos_us: Micros) -> Vec<Fault> {
    let spec = &scenario.faults;
    let mut nemesis = Nemesis { seed, chaos_us, faults: Vec::new() };
    nemesis.add("pause", spec.pause, |stream, _| {
        // Mostly short; now and then longer than any heartbeat.
        let longest = *stream.pick(&[20 * MILLISECOND, 200 * MILLISECOND, 2 * SECOND, 10 * SECOND, 60 * SECOND]);
        (stream.range(10 * MILLISECOND, longest), FaultKind::Pause)
    });
    nemesis.add("wall_jump", spec.wall_jump, |stream, _| {
        let most = *stream.pick(&[5, 500, 5000, 20_000]);
        let millis = i64::try_from(stream.range(1, most)).expect("small");
        (MILLISECOND, FaultKind::WallJump { millis: if stream.chance(1, 2) { millis } else { -millis } })
    });
    nemesis.add("clock_drift", spec.clock_drift, |stream, chaos_us| {
        let ppm = i32::try_from(stream.range(50, 50_000)).expect("small");
        let for_us = stream.range(chaos_us / 10, chaos_us);
        (for_us, FaultKind::ClockDrift { ppm: if stream.chance(1, 2) { ppm } else { -ppm } })
    });
    nemesis.add("clock_reset", spec.clock_reset, |stream, _| {
        let corrected_after_us = stream.range(MILLISECOND, SECOND);
        (stream.range(MILLISECOND, 300 * MILLISECOND), FaultKind::ClockReset { corrected_after_us })
    });
    nemesis.add("no_space", spec.no_space, |stream, _| {
        let work = *stream.pick(&[DiskWork::Create, DiskWork::Append, DiskWork::Delete]);
        (stream.range(MILLISECOND, SECOND), FaultKind::NoSpace { work })
    });
    nemesis.add("io_error", spec.io_error, |stream, _| {
        let work = *stream.pick(&[DiskWork::Create, DiskWork::Append, DiskWork::Read, DiskWork::Delete]);
        (MILLISECOND, FaultKind::IoError { work })
    });
    nemesis.add("disk_quota", spec.disk_quota, |stream, _| {
        let segments = stream.range(1, 12);
        (stream.range(MILLISECOND, SECOND), FaultKind::DiskQuota { bytes: segments * 16 * 1024 })
    });
    nemesis.add("disk_stutter", spec.disk_stutter, |stream, _| {
        let every_us = stream.range(2 * MILLISECOND, 200 * MILLISECOND);
        let stall_us = stream.range(MILLISECOND, every_us / 2);
        (stream.range(MILLISECOND, 2 * SECOND), FaultKind::DiskStutter { every_us, stall_us })
    });
    nemesis.add("read_only", spec.read_only, |stream, _| {
        (stream.range(MILLISECOND, 500 * MILLISECOND), FaultKind::ReadOnly)
    });
    nemesis.add("misdirected_write", spec.misdirected_write, |_, _| (MILLISECOND, FaultKind::MisdirectedWrite));
    nemesis.add("misdirected_read", spec.misdirected_read, |_, _| (MILLISECOND, FaultKind::MisdirectedRead));
    nemesis.add("lying_sync", spec.lying_sync, |stream, _| (stream.range(MILLISECOND, SECOND), FaultKind::LyingSync));
    nemesis.add("bad_sector", spec.bad_sector, |_, _| (MILLISECOND, FaultKind::BadSector));
    nemesis.add("network_cut", spec.network_cut, |stream, _| {
        let for_us = stream.range(MILLISECOND, SECOND);
        (for_us, FaultKind::NetworkCut { up: true, down: true })
    });
    nemesis.add("network_stall", spec.network_stall, |stream, _| {
        // Longer than two heartbeats of a second or two.
        let for_us = stream.range(2500 * MILLISECOND, 6 * SECOND);
        (for_us, FaultKind::NetworkCut { up: true, down: true })
    });
    nemesis.add("one_way_cut", spec.one_way_cut, |stream, _| {
        let up = stream.chance(1, 2);
        (stream.range(MILLISECOND, 3 * SECOND), FaultKind::NetworkCut { up, down: !up })
    });
    nemesis.add("accept_refused", spec.accept_refused, |stream, _| {
        (stream.range(MILLISECOND, SECOND), FaultKind::NoAccept { silent: false })
    });
    nemesis.add("accept_silent", spec.accept_silent, |stream, _| {
        (stream.range(MILLISECOND, SECOND), FaultKind::NoAccept { silent: true })
    });
    nemesis.add("latency_spike", spec.latency_spike, |stream, _| {
        let extra_us = stream.range(MILLISECOND, 300 * MILLISECOND);
        (stream.range(MILLISECOND, SECOND), FaultKind::LatencySpike { extra_us })
    });
    nemesis.add("idle_kill", spec.idle_kill, |stream, chaos_us| {
        let after_us = stream.range(20 * MILLISECOND, 1500 * MILLISECOND);
        (stream.range(chaos_us / 4, chaos_us), FaultKind::IdleKill { after_us })
    });
    nemesis.add("reconfigure", spec.reconfigure, |stream, _| {
        let knobs = Box::new(options::knobs(scenario, stream));
        (MILLISECOND, FaultKind::Reconfigure { knobs })
    });
    nemesis.add_series("reset_storm", spec.reset_storm, |stream| {
        (stream.range(3, 10), 30 * MILLISECOND, MILLISECOND, FaultKind::ResetAll)
    });
    nemesis.add_series("crash_loop", spec.crash_loop, |stream| {
        let how = *stream.pick(&[Ending::Kill, Ending::PowerLoss]);
        (stream.range(3, 12), 40 * MILLISECOND, 5 * MILLISECOND, FaultKind::End { how, busy: false, again: 0 })
    });
    nemesis.faults
}

struct Nemesis {
    seed: u64,
    chaos_us: Micros,
    faults: Vec<Fault>,
}

impl Nemesis {
    /// Adds some faults of one kind, each with its length.
    fn add(&mut self, name: &str, count: Span, mut one: impl FnMut(&mut Stream, Micros) -> (Micros, FaultKind)) {
        let mut stream = Stream::new(self.seed, name, 0);
        for _ in 0..count.draw(&mut stream) {
            let at_us = stream.range(self.chaos_us / 20, self.chaos_us);
            let (for_us, kind) = one(&mut stream, self.chaos_us);
            self.faults.push(Fault { at_us, for_us, kind, node: 0, of_leader: false, of_queue: None, on: None });
        }
    }

    /// Adds some series of the same fault: how many, the longest time between two of them, the longest that one lasts, and which.
    fn add_series(
        &mut self,
        name: &str,
        count: Span,
        mut one: impl FnMut(&mut Stream) -> (u64, Micros, Micros, FaultKind),
    ) {
        let mut stream = Stream::new(self.seed, name, 0);
        for _ in 0..count.draw(&mut stream) {
            let mut at_us = stream.range(self.chaos_us / 20, self.chaos_us);
            let (times, pause, longest, kind) = one(&mut stream);
            for _ in 0..times {
                let for_us = stream.range(1, longest);
                self.faults.push(Fault {
                    at_us,
                    for_us,
                    kind: kind.clone(),
                    node: 0,
                    of_leader: false,
                    of_queue: None,
                    on: None,
                });
                at_us += for_us + stream.range(1, pause);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use crate::report::Report;
    use crate::run::{RunOptions, plan, run_plan};

    const CLIENTS: &str = "[clients]\nconfirming = [2, 2]\nconsumers = [2, 2]\nqueues = [1, 1]\nmessages = [60, 60]\n";

    fn scenario(about: &str) -> Scenario {
        Scenario::parse(&format!("name = \"x\"\nabout = \"X.\"\n{about}\n{CLIENTS}")).unwrap()
    }

    /// The runs of some seeds, none of which breaks a promise.
    fn run(scenario: &Scenario, seeds: std::ops::Range<u64>) -> Vec<(Plan, Report)> {
        let run = |seed| {
            let made = plan(scenario, seed);
            let report = run_plan(made.clone(), RunOptions::default());
            assert_eq!(report.failure, None, "seed {seed}");
            (made, report)
        };
        seeds.map(run).collect()
    }

    fn check(faults: &str, situation: &str) {
        let scenario = scenario(&format!("[run]\nchaos_ms = [3000, 3000]\n[faults]\n{faults}"));
        let runs = run(&scenario, 0..4);
        let seen: u64 = runs
            .iter()
            .flat_map(|(_, report)| &report.situations)
            .filter(|(name, _)| *name == situation)
            .map(|(_, count)| count)
            .sum();
        assert!(seen > 0, "{faults}: {situation} never came up");
    }

    #[test]
    fn a_paused_node_finds_what_clients_did_meanwhile() {
        check("pause = [3, 3]", "pauses with clients waiting");
    }

    #[test]
    fn a_cut_network_holds_back_what_is_under_way() {
        check("network_cut = [3, 3]\none_way_cut = [2, 2]", "network cuts with bytes under way");
    }

    #[test]
    fn a_reset_storm_hits_all_at_once() {
        check("reset_storm = [2, 2]", "reset storms");
    }

    #[test]
    fn what_is_silent_is_killed() {
        check("idle_kill = [2, 2]", "connections killed for their silence");
    }

    #[test]
    fn a_restart_may_bring_other_settings() {
        check("reconfigure = [3, 3]", "restarts with other settings");
    }

    #[test]
    fn a_wall_clock_may_be_off() {
        check("wall_jump = [2, 2]\nclock_reset = [1, 1]", "nodes whose wall clock is off");
    }

    #[test]
    fn errors_of_the_disk_end_a_node_that_comes_back() {
        check("io_error = [3, 3]\nread_only = [1, 1]", "nodes that stopped by themselves");
    }

    #[test]
    fn nobody_connects_while_connections_are_not_accepted() {
        let silent = Fault {
            at_us: 0,
            for_us: 2 * SECOND,
            kind: FaultKind::NoAccept { silent: true },
            node: 0,
            of_leader: false,
            of_queue: None,
            on: None,
        };
        let refusing = Fault {
            at_us: 0,
            for_us: 2 * SECOND,
            kind: FaultKind::NoAccept { silent: false },
            node: 0,
            of_leader: false,
            of_queue: None,
            on: None,
        };
        let mut plan = plan(&scenario("[run]\nchaos_ms = [1000, 1000]"), 1);
        let published = |plan: &Plan| run_plan(plan.clone(), RunOptions::default()).messages;
        assert!(published(&plan) > 50);
        for fault in [silent, refusing] {
            plan.faults = vec![fault];
            // Nothing is begun once the faults are over.
            assert_eq!(published(&plan), 0, "{:?}", plan.faults);
        }
    }

    #[test]
    fn a_spike_makes_everything_late() {
        let mut plan = plan(&scenario("[run]\nchaos_ms = [1000, 1000]"), 1);
        let in_time = run_plan(plan.clone(), RunOptions::default()).messages;
        plan.faults = vec![Fault {
            at_us: 0,
            for_us: SECOND,
            kind: FaultKind::LatencySpike { extra_us: 400_000 },
            node: 0,
            of_leader: false,
            of_queue: None,
            on: None,
        }];
        let late = run_plan(plan, RunOptions::default());
        assert_eq!(late.failure, None);
        assert!(late.messages < in_time, "{} {in_time}", late.messages);
    }

    /// What a seed gives is given again, and a kind more moves no other.
    #[test]
    fn a_further_kind_moves_no_other() {
        let one = scenario("[faults]\npause = [2, 2]");
        let two = scenario("[faults]\npause = [2, 2]\nnetwork_cut = [3, 3]");
        let alone = faults(&one, 5, SECOND);
        let beside = faults(&two, 5, SECOND);
        assert_eq!((alone.len(), beside.len()), (2, 5));
        let kinds = |all: &[Fault]| all.iter().map(|fault| format!("{fault:?}")).collect::<Vec<_>>();
        assert!(kinds(&alone).iter().all(|fault| kinds(&beside).contains(fault)));
    }

    #[test]
    fn the_rare_ways_of_the_engine_change_what_happens_and_nothing_else() {
        let with = scenario("[knobs]\nbuggify = true\n[faults]\nkill = [1, 2]");
        let without = scenario("[faults]\nkill = [1, 2]");
        let traces = |scenario: &Scenario| run(scenario, 0..4).iter().map(|(_, it)| it.trace).collect::<Vec<_>>();
        assert_eq!(traces(&with), traces(&with));
        let differ = traces(&with).iter().zip(traces(&without)).filter(|(one, other)| **one != *other).count();
        assert!(differ > 0, "none was ever gone");
    }
}
