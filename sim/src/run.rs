//! Running plans: one, or many on several threads, each in a world of its own.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::options::generate;
use crate::plan::Plan;
use crate::report::{Failure, Report};
use crate::scenario::Scenario;
use crate::world::World;

/// How runs are made.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// The engine's invariants are checked once in this many steps.
    pub check_every: u64,
    /// Facts told with a failure: those that matter to it, or, if set, so many of whatever happened last.
    pub last_facts: Option<usize>,
    /// From this event of the world on the engine is once woken without having asked, so that the run is not the one of its seed:
    /// for testing that this is noticed.
    pub wrinkle: Option<u64>,
    /// A bug planted in the engine.
    #[cfg(feature = "mutants")]
    pub mutant: Option<leveret_engine::mutants::Mutant>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            check_every: if cfg!(debug_assertions) { 16 } else { 256 },
            last_facts: None,
            wrinkle: None,
            #[cfg(feature = "mutants")]
            mutant: None,
        }
    }
}

/// Makes the plan of a scenario and a seed.
pub fn plan(scenario: &Scenario, seed: u64) -> Plan {
    generate(scenario, seed)
}

/// Carries out one plan. A panic of the engine is a result like any other.
pub fn run_plan(plan: Plan, options: RunOptions) -> Report {
    run_world(World::new(plan, options))
}

/// The same for a world that is made.
pub(crate) fn run_world(mut world: World) -> Report {
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    if let Err(payload) = outcome {
        let place = PANIC.with_borrow_mut(Option::take);
        let text = place.unwrap_or_else(|| {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
        });
        world.fail(Failure::crash(text));
    }
    world.report()
}

thread_local! {
    /// What the last panic of this thread said, and where.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps panics of simulated engines off the terminal: they are reported with the run that they end.
pub fn collect_panics() {
    std::panic::set_hook(Box::new(|info| {
        PANIC.set(Some(info.to_string()));
    }));
}

/// One run to make.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// The seed.
    pub seed: u64,
}

/// Runs jobs on `threads` threads and hands each report to `each` as it comes; stops early when that says so.
///
/// # Panics
/// If a thread of its own panics, which would be a bug of the simulator.
pub fn run_jobs(jobs: &[Job<'_>], threads: usize, options: RunOptions, each: impl FnMut(Report) -> bool + Send) {
    let next = AtomicUsize::new(0);
    let each = Mutex::new((each, true));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let report = run_plan(generate(job.scenario, job.seed), options);
                    let mut each = each.lock().expect("nobody panics with it");
                    let (each, goes_on) = &mut *each;
                    if *goes_on && !each(report) {
                        *goes_on = false;
                    }
                    if !*goes_on {
                        next.store(jobs.len(), Ordering::Relaxed);
                    }
                }
            });
        }
    });
}
