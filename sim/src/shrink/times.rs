//! Making a run short and its times round.

use super::search::Search;
use crate::clock::Micros;
use crate::plan::{Plan, Role};

/// The shortest phase with faults: a client needs a moment to connect.
const CHAOS_LEAST: Micros = 1000;

/// Makes everything happen in half of the time, as long as it fails.
pub(super) fn halve(search: &mut Search<'_>) {
    while search.best.chaos_us >= 2 * CHAOS_LEAST
        && search.attempt(|plan| times(plan).into_iter().for_each(|time| *time /= 2))
    {}
}

/// Sets each time on its own to the smallest round one that will do.
pub(super) fn round(search: &mut Search<'_>) {
    let count = times(&mut search.best.clone()).len();
    for index in (0..count).rev() {
        let get = |plan: &Plan| times(&mut plan.clone()).get(index).map(|time| **time);
        let least = if index == 0 { CHAOS_LEAST } else { 0 };
        search.round(least, get, |plan, value| {
            if let Some(time) = times(plan).into_iter().nth(index) {
                *time = value;
            }
        });
    }
}

/// All times of a plan but those of its links, its disk and the answers of consumers; the length of the phase with faults first.
fn times(plan: &mut Plan) -> Vec<&mut Micros> {
    let mut times = vec![&mut plan.chaos_us];
    for client in &mut plan.clients {
        times.push(&mut client.start_us);
        match &mut client.role {
            Role::Publisher(publisher) => {
                times.extend(publisher.bursts.iter_mut().flat_map(|burst| [&mut burst.wait_us, &mut burst.gap_us]));
            }
            Role::Getter(getter) => times.push(&mut getter.every_us),
            Role::Churner(churner) => times.extend(churner.steps.iter_mut().map(|step| &mut step.wait_us)),
            Role::Rogue(rogue) => times.extend(rogue.steps.iter_mut().map(|step| &mut step.wait_us)),
            Role::Consumer(_) => {}
        }
    }
    for fault in &mut plan.faults {
        times.extend([&mut fault.at_us, &mut fault.for_us]);
        times.extend(fault.on.as_mut().map(|on| &mut on.after_us));
    }
    times.extend(plan.policies.iter_mut().map(|policy| &mut policy.at_us));
    times.extend(plan.operations.iter_mut().map(|operation| &mut operation.at_us));
    times
}
