//! Random programs of all that clients do with queues, held with the engine and with a reference model of it: every answer, delivery,
//! confirm and close has to be what the model explains.
//!
//! `LEVERET_PROGRAMS=100000` runs so many programs instead of a few hundred, from `LEVERET_SEED` on. A program that fails is shrunk
//! and printed in a form that can be pasted into `regressions.rs`.

mod model;
mod node;
mod program;
mod regressions;

use std::env;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use self::model::Model;
use self::node::Node;
use self::program::Op;

/// Programs of an ordinary test run.
const PROGRAMS: u64 = 400;

/// Runs a program.
///
/// # Errors
/// The first difference between engine and model.
fn check(program: &[Op]) -> Result<(), String> {
    let mut node = Node::start();
    let mut model = Model::new(&node);
    for (index, op) in program.iter().enumerate() {
        model.step(&mut node, op).map_err(|difference| format!("after step {index}, {op:?}: {difference}"))?;
    }
    Ok(())
}

#[test]
fn random_programs_do_what_the_model_says() {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("LEVERET_SEED").unwrap_or(1);
    let programs = number("LEVERET_PROGRAMS").unwrap_or(PROGRAMS);
    for seed in first..first + programs {
        if let Err(report) = run(seed) {
            panic!("LEVERET_SEED={seed} LEVERET_PROGRAMS=1 repeats this:\n{report}");
        }
    }
}

/// Runs the program of a seed; if it fails, the smallest that does.
fn run(seed: u64) -> Result<(), String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config { failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, rng);
    let tree = program::program().new_tree(&mut runner).map_err(|reason| reason.to_string())?;
    let outcome = runner.run_one(tree, |program| check(&program).map_err(TestCaseError::fail));
    match outcome {
        Ok(_) => Ok(()),
        Err(TestError::Abort(reason)) => Err(reason.to_string()),
        Err(TestError::Fail(reason, program)) => {
            let steps: String = program.iter().map(|op| format!("    {},\n", told(op))).collect();
            Err(format!("{reason}\n[\n{steps}]"))
        }
    }
}

/// A step as it is written in `regressions.rs`.
fn told(op: &Op) -> String {
    format!("{op:?}").replace(&format!("{:?}", program::QueueArgs::default()), "QueueArgs::default()")
}
