//! Conformance transcripts: what a client says and what the broker must answer, one behaviour a file, run on RabbitMQ and on ours.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::harness::rabbitmq;
use broker::{Broker, TcpBroker};
use transcript::{Side, Transcript};

mod broker;
mod runner;
mod spec;
mod transcript;
mod value;
mod wire;

/// One test per folder of transcripts and broker.
macro_rules! areas {
    ($($area:ident)*) => {
        const AREAS: &[&str] = &[$(stringify!($area)),*];

        $(mod $area {
            #[test]
            fn on_rabbitmq() {
                super::on_rabbitmq(stringify!($area));
            }
        })*
    };
}

areas! {
    handshake
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance")
}

/// All transcripts by `area/name`, read and parsed.
fn transcripts() -> BTreeMap<String, Result<Transcript, String>> {
    let mut found = BTreeMap::new();
    for area in AREAS {
        let entries = std::fs::read_dir(folder().join(area)).unwrap_or_else(|error| panic!("{area}: {error}"));
        for path in entries.map(|entry| entry.expect("the folder can be read").path()) {
            if path.extension().is_some_and(|extension| extension == "txt") {
                let text = std::fs::read_to_string(&path).expect("the transcript can be read");
                let name = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
                found.insert(format!("{area}/{name}"), transcript::parse(&text));
            }
        }
    }
    found
}

/// Runs one after the other, so that each finds a broker in which nothing is declared.
fn on_rabbitmq(area: &str) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let Some(rabbitmq) = rabbitmq::shared() else { return };
    let broker = TcpBroker { address: rabbitmq.address, side: Side::RabbitMq };
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    run_area(area, &broker);
}

/// Runs the transcripts of one area and reports all that fail. `LEVERET_TRANSCRIPT=part` picks those with `part` in their name.
fn run_area(area: &str, broker: &dyn Broker) {
    let only = std::env::var("LEVERET_TRANSCRIPT").unwrap_or_default();
    let mut failures = Vec::new();
    let mut count = 0;
    for (name, transcript) in transcripts() {
        if !name.starts_with(&format!("{area}/")) || !name.contains(&only) {
            continue;
        }
        count += 1;
        let outcome = transcript.and_then(|transcript| runner::run(broker, &transcript));
        if let Err(reason) = outcome {
            failures.push(format!("conformance/{name}.txt, {reason}"));
        }
    }
    let failed = failures.len();
    assert!(failures.is_empty(), "{failed} of {count} transcripts failed:\n\n{}\n", failures.join("\n\n"));
}
