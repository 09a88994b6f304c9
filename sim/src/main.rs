//! `leveret-sim`: runs Leveret's engine in simulated worlds and looks for broken promises.

use std::process::ExitCode;

fn main() -> ExitCode {
    leveret_sim::cli::main()
}
