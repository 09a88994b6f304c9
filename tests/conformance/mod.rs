//! Conformance transcripts: what a client says and what the broker must answer, one behaviour a file, run on RabbitMQ and on ours.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use crate::harness::leveret::Leveret;
use crate::harness::rabbitmq;
use broker::{Broker, TcpBroker};
use engine::EngineBroker;
use transcript::{Only, Side, Transcript};

mod broker;
mod compare;
mod engine;
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
            fn on_the_engine() {
                super::on_the_engine(stringify!($area), usize::MAX);
            }

            #[test]
            fn on_the_engine_in_small_pieces() {
                super::on_the_engine(stringify!($area), 5);
            }

            #[test]
            fn on_the_server() {
                super::on_the_server(stringify!($area));
            }

            #[test]
            fn on_rabbitmq() {
                super::on_rabbitmq(stringify!($area));
            }
        })*
    };
}

areas! {
    handshake frame channel close exchange queue binding routing publish confirm tx consume qos ack reject recover requeue get
    vhost user permission ttl expires limit dead_letter priority single_active alternate copies reply_to
    policy alarm firehose argument quorum plugin settings delayed dedup definitions
}

#[test]
fn every_folder_is_an_area_and_there_are_at_least_820_transcripts() {
    let folders = std::fs::read_dir(folder()).expect("the transcripts are beside the runner");
    for entry in folders.map(|entry| entry.expect("the folder can be read")) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_folder = entry.file_type().expect("it has a type").is_dir();
        assert!(!is_folder || AREAS.contains(&name.as_str()), "conformance/{name} is not run by any test");
    }
    let transcripts = transcripts();
    assert!(transcripts.len() >= 820, "{} transcripts", transcripts.len());
}

/// What differs is marked in the transcript and explained in the file, both or neither.
#[test]
fn every_difference_from_rabbitmq_has_its_reason() {
    let text = std::fs::read_to_string(folder().join("differences.toml")).expect("the file is there");
    let table: toml::Table = text.parse().expect("the file is TOML");
    let mut listed = BTreeSet::new();
    for (area, transcripts) in &table {
        for (name, difference) in transcripts.as_table().expect("[area.transcript]") {
            for key in ["rabbitmq", "leveret", "reason"] {
                let told = difference.get(key).and_then(toml::Value::as_str).is_some_and(|text| !text.is_empty());
                assert!(told, "{area}/{name} has no {key}");
            }
            listed.insert(format!("{area}/{name}"));
        }
    }
    let marked: BTreeSet<String> = transcripts()
        .into_iter()
        .filter(|(_, transcript)| transcript.as_ref().is_ok_and(Transcript::is_marked))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(marked, listed, "left: transcripts with marked lines; right: transcripts in differences.toml");
}

/// How often a conversation is held again that did not go as with us.
const PATIENT_TURNS: usize = 3;

/// `LEVERET_SEED` and `LEVERET_SEEDS` choose other conversations, and more of them.
#[test]
fn random_conversations_go_alike_on_the_engine_and_on_rabbitmq() {
    let Some(rabbitmq) = rabbitmq::shared() else { return };
    let admin = |words: &[String]| rabbitmq.control(words);
    let rabbitmq = TcpBroker::new(rabbitmq.address, Side::RabbitMq, &admin);
    let number = |name, default| std::env::var(name).map_or(default, |text| text.parse().expect("a number"));
    let first = number("LEVERET_SEED", 1);
    let mut answered = String::new();
    for seed in first..first + number("LEVERET_SEEDS", 5) {
        let (steps, ours) = compare::converse(&EngineBroker::start(usize::MAX), seed).expect("the engine talks");
        let _turn = ONE_AT_A_TIME.one.lock().unwrap_or_else(PoisonError::into_inner);
        let mut theirs = compare::repeat(&rabbitmq, &steps).expect("RabbitMQ talks");
        // Its processes work side by side; on a busy machine an answer may have come after the next step, and what a nack makes room
        // for may reach a queue before what the nack brings back.
        let patient = TcpBroker { settle_time: Duration::from_millis(500), ..rabbitmq };
        for _ in 0..PATIENT_TURNS {
            if theirs != ours {
                theirs = compare::repeat(&patient, &steps).expect("RabbitMQ talks");
            }
        }
        if let Some(at) = (0..steps.len()).find(|at| ours[*at] != theirs[*at]) {
            let told = compare::told(&steps[..=at]);
            panic!("seed {seed}:\n{told}  the engine:\n{}  RabbitMQ:\n{}", ours[at], theirs[at]);
        }
        answered.extend(ours);
    }
    for what in ["basic.deliver", "basic.get-ok", "redelivered=true", "basic.return", "channel.close reply_code"] {
        let count = answered.matches(what).count();
        eprintln!("{count} x {what}");
        assert!(count > 0, "no conversation had {what}");
    }
}

/// The turns on the shared RabbitMQ.
static ONE_AT_A_TIME: Turns = Turns::new();

/// Who may use a broker at the same time.
struct Turns {
    /// What declares something waits for its turn.
    one: Mutex<()>,
    /// What publishes without declaring, by the many; what stops or copies everything that is published, alone.
    publishing: RwLock<()>,
}

impl Turns {
    const fn new() -> Self {
        Self { one: Mutex::new(()), publishing: RwLock::new(()) }
    }
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

/// Runs on a server of the area's own, over TCP.
fn on_the_server(area: &str) {
    let directory = tempfile::tempdir().expect("there is room for a data directory");
    let leveret = Leveret::start(directory.path());
    let admin = |words: &[String]| {
        let (is_done, output, error) = leveret.control(words);
        broker::rows(is_done, &output, &error)
    };
    let broker = TcpBroker::new(leveret.address, Side::Leveret, &admin);
    run_shared(area, &broker, &Turns::new());
}

/// Runs on the one RabbitMQ that all areas share.
fn on_rabbitmq(area: &str) {
    let Some(rabbitmq) = rabbitmq::shared() else { return };
    let admin = |words: &[String]| rabbitmq.control(words);
    let broker = TcpBroker::new(rabbitmq.address, Side::RabbitMq, &admin);
    run_shared(area, &broker, &ONE_AT_A_TIME);
}

/// Runs each on a node of its own, which gets what clients send in pieces of `piece` bytes.
fn on_the_engine(area: &str, piece: usize) {
    let transcripts = transcripts_of(area, Runs::Engine);
    let failures: Vec<_> = transcripts
        .iter()
        .filter_map(|(name, transcript)| failure(&EngineBroker::start(piece), name, transcript))
        .collect();
    report(transcripts.len(), &failures);
}

/// Runs an area on a broker that others use too. Transcripts that declare something have `turn`s, so that each finds nothing
/// declared; the others, which wait for timeouts more than they work, run all at once.
fn run_shared(area: &str, broker: &TcpBroker<'_>, turns: &Turns) {
    let runs = if broker.side == Side::RabbitMq { Runs::RabbitMq } else { Runs::Server };
    let transcripts = transcripts_of(area, runs);
    let (declaring, others): (Vec<_>, Vec<_>) =
        transcripts.iter().partition(|(_, transcript)| transcript.as_ref().is_ok_and(Transcript::declares));
    let failures = std::thread::scope(|scope| {
        let other = |name, transcript: &Result<Transcript, String>| {
            let publishes = transcript.as_ref().is_ok_and(Transcript::publishes);
            let _turn = publishes.then(|| turns.publishing.read().unwrap_or_else(PoisonError::into_inner));
            failure(broker, name, transcript)
        };
        let others: Vec<_> =
            others.into_iter().map(|(name, transcript)| scope.spawn(move || other(name, transcript))).collect();
        let mut failures = Vec::new();
        for (name, transcript) in declaring {
            let _turn = turns.one.lock().unwrap_or_else(PoisonError::into_inner);
            let is_alone = transcript.as_ref().is_ok_and(Transcript::is_node_wide);
            let _alone = is_alone.then(|| turns.publishing.write().unwrap_or_else(PoisonError::into_inner));
            failures.extend(failure(broker, name, transcript));
        }
        failures.extend(others.into_iter().filter_map(|thread| thread.join().expect("a transcript does not panic")));
        failures
    });
    report(transcripts.len(), &failures);
}

/// What runs transcripts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Runs {
    Engine,
    Server,
    RabbitMq,
}

/// The transcripts of one area. `LEVERET_TRANSCRIPT=part` picks those with `part` in their name.
fn transcripts_of(area: &str, runs: Runs) -> BTreeMap<String, Result<Transcript, String>> {
    let only = std::env::var("LEVERET_TRANSCRIPT").unwrap_or_default();
    let mut found = transcripts();
    found.retain(|name, _| name.starts_with(&format!("{area}/")) && name.contains(&only));
    found.retain(|_, transcript| match transcript.as_ref().ok().and_then(|transcript| transcript.only) {
        None => true,
        Some(Only::Leveret) => runs != Runs::RabbitMq,
        Some(Only::Engine) => runs == Runs::Engine,
    });
    found
}

/// Why a transcript failed, if it did.
fn failure(broker: &dyn Broker, name: &str, transcript: &Result<Transcript, String>) -> Option<String> {
    let outcome = match transcript {
        Ok(transcript) => runner::run(broker, transcript),
        Err(reason) => Err(reason.clone()),
    };
    outcome.err().map(|reason| format!("conformance/{name}.txt, {reason}"))
}

/// Fails with all failures, not only the first.
fn report(count: usize, failures: &[String]) {
    let failed = failures.len();
    assert!(failures.is_empty(), "{failed} of {count} transcripts failed:\n\n{}\n", failures.join("\n\n"));
}
