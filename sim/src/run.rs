//! Running plans: one, or many on several threads, each in a world of its own.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::options::generate;
use crate::plan::Plan;
use crate::record::{Recorder, Recording};
use crate::report::{Failure, FailureKind, Report};
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
            check_every: 16,
            last_facts: None,
            wrinkle: None,
            #[cfg(feature = "mutants")]
            mutant: None,
        }
    }
}

impl RunOptions {
    /// The name of the bug that is planted.
    pub fn mutant_name(&self) -> Option<String> {
        #[cfg(feature = "mutants")]
        return self.mutant.map(|mutant| format!("{mutant:?}"));
        #[cfg(not(feature = "mutants"))]
        None
    }

    /// The same with the bug of this name planted.
    ///
    /// # Errors
    /// If there is none of that name, or this program cannot plant any.
    pub fn with_mutant(self, name: &str) -> Result<Self, String> {
        #[cfg(feature = "mutants")]
        {
            let found = all_planted().find(|mutant| format!("{mutant:?}") == name);
            let known = || all_planted().map(|mutant| format!("{mutant:?}")).collect::<Vec<_>>().join(", ");
            let mutant = found.ok_or_else(|| format!("no planted bug is called {name}; there are {}", known()))?;
            Ok(Self { mutant: Some(mutant), ..self })
        }
        #[cfg(not(feature = "mutants"))]
        Err(format!("this program cannot plant the bug {name}: build it with --features mutants"))
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
    carry_out(&mut world);
    world.report()
}

/// Carries out one plan and records what happens. The run is the same as without.
///
/// # Panics
/// Never for what a plan says: the recorder that is put in is there at the end.
pub fn record(plan: Plan, options: RunOptions) -> (Report, Recording) {
    let mut world = World::new(plan, options);
    world.recorder = Some(Box::new(Recorder::new(&world.plan)));
    carry_out(&mut world);
    if world.failure.as_ref().is_none_or(|failure| failure.kind != FailureKind::Crash) {
        world.record_look(true);
    }
    let recorder = world.recorder.take().expect("it was put there");
    let report = world.report();
    let recording = recorder.finish(report.time);
    (report, recording)
}

/// Carries out what is planned in a world.
pub(crate) fn carry_out(world: &mut World) {
    #[cfg(feature = "mutants")]
    let _alone = planting::enter(world.options.mutant.or_else(|| planted(&world.plan)).is_some());
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    if let Err(payload) = outcome {
        let place = PANIC.with_borrow_mut(Option::take);
        let text = place.unwrap_or_else(|| {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
        });
        world.fail(Failure::crash(text));
    }
}

/// The bugs that can be planted in a simulated node: those of one node, and those of nodes in a cluster.
pub(crate) fn all_planted() -> impl Iterator<Item = leveret_engine::mutants::Mutant> {
    use leveret_engine::mutants::Mutant;
    Mutant::ALL
        .into_iter()
        .chain(Mutant::QUORUM)
        .chain(Mutant::CONSENSUS)
        .chain(Mutant::MEMBERSHIP)
        .chain(Mutant::SHARED)
        .chain(Mutant::REMOTE)
}

/// The bug that a plan plants.
#[cfg(feature = "mutants")]
pub(crate) fn planted(plan: &Plan) -> Option<leveret_engine::mutants::Mutant> {
    let name = plan.plant.as_ref()?;
    all_planted().find(|mutant| format!("{mutant:?}") == *name)
}

/// A planted bug is planted in all engines of the process: whoever plants one runs alone.
#[cfg(feature = "mutants")]
mod planting {
    use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

    static ENGINES: RwLock<()> = RwLock::new(());

    /// Held as long as a run lasts.
    pub(super) enum Turn {
        Shared { _guard: RwLockReadGuard<'static, ()> },
        Alone { _guard: RwLockWriteGuard<'static, ()> },
    }

    /// Waits for this run's turn.
    pub(super) fn enter(alone: bool) -> Turn {
        if alone {
            Turn::Alone { _guard: ENGINES.write().unwrap_or_else(PoisonError::into_inner) }
        } else {
            Turn::Shared { _guard: ENGINES.read().unwrap_or_else(PoisonError::into_inner) }
        }
    }
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
