//! The `leveret` binary: one broker node as a process, or a few that are a cluster.

mod discovery;
mod options;
mod start;

use std::fmt::Display;
use std::fs;
use std::future::Future;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches};
use leveret_engine::alarm::ResourceLimits;
use leveret_engine::config::Config;
use leveret_server::admin::{self, AdminSocket};
use leveret_server::clock::{RuntimeClock, system_wall};
use leveret_server::config::{self, FileSettings};
use leveret_server::data_dir::DataDir;
use leveret_server::disk::file::FileDisk;
use leveret_server::gauge;
use leveret_server::net::TcpNet;
use leveret_server::node::{Env, ServeError, serve};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::options::{LogFormat, Options};
use crate::start::{Setup, Start};

/// The node could not start: its address or its data directory cannot be used.
const CANNOT_START: u8 = 1;
/// The node stopped itself, because going on would have broken a promise.
const CANNOT_GO_ON: u8 = 3;

fn main() -> ExitCode {
    let matches = Options::command().get_matches();
    let options = Options::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let settings = match read_config(&options) {
        Ok(settings) => settings,
        Err(reason) => {
            let _ = writeln!(io::stderr(), "leveret: {reason}");
            return ExitCode::from(CANNOT_START);
        }
    };
    let is_default = |name| matches.value_source(name) == Some(ValueSource::DefaultValue);
    let log = settings.log.as_deref().filter(|_| is_default("log")).unwrap_or(&options.log);
    init_logging(log, options.log_format);
    abort_on_panic();
    raise_file_limit();
    let listen = settings.listen.clone().filter(|_| is_default("listen")).unwrap_or_else(|| options.listen.clone());
    let start = match options.cluster {
        Some(count) => start::cluster(count, &options, &settings, &listen),
        None => start::one(&options, &settings, listen, &host()),
    };
    for note in &settings.notes {
        tracing::info!("{note}");
    }
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    match start.map_err(|reason| (CANNOT_START, reason)).and_then(|start| run_all(&start)) {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, reason)) => {
            if tracing::enabled!(tracing::Level::ERROR) {
                tracing::error!("{reason}");
            } else {
                // The log is turned off. When standard error is gone too, the exit code still tells.
                let _ = writeln!(io::stderr(), "leveret: {reason}");
            }
            ExitCode::from(code)
        }
    }
}

/// The settings of the configuration file, or of none.
fn read_config(options: &Options) -> Result<FileSettings, String> {
    let Some(path) = &options.config else {
        return config::parse(Path::new(""), "", default_config(), gauge::total_memory_bytes())
            .map_err(|error| error.to_string());
    };
    let text = fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    config::parse(path, &text, default_config(), gauge::total_memory_bytes()).map_err(|error| error.to_string())
}

/// Why a process ends: the code to exit with, and a reason.
type Failure = (u8, String);

/// Runs the nodes until they stop: each on a thread of its own, if there are several. When one ends, for whatever reason, so do all.
fn run_all(start: &Start) -> Result<(), Failure> {
    for warning in &start.warnings {
        tracing::warn!("{warning}");
    }
    let stop = watch::Sender::new(false);
    if let [setup] = start.nodes.as_slice() {
        return run(setup, &stop.subscribe());
    }
    let run_one = |setup: &Setup| {
        let span = tracing::info_span!("node", name = setup.config.node_name);
        let result = span.in_scope(|| run(setup, &stop.subscribe()));
        stop.send_replace(true);
        result
    };
    thread::scope(|scope| {
        let mut threads = Vec::with_capacity(start.nodes.len());
        for setup in &start.nodes {
            threads.push(scope.spawn(|| run_one(setup)));
        }
        // The first that failed says why; others may have ended because of it.
        threads.into_iter().try_for_each(|thread| thread.join().expect("a panic aborts the process"))
    })
}

/// Why a node ended.
enum Ended {
    /// Its data is to be put aside, and it is to start again.
    Damaged(String),
    /// For good.
    Failed(Failure),
}

fn cannot_start(error: impl Display) -> Failure {
    (CANNOT_START, error.to_string())
}

/// Runs a node until it stops, or tells why it could not. If it gives its data up, it begins again without.
fn run(setup: &Setup, stop: &watch::Receiver<bool>) -> Result<(), Failure> {
    // It stays locked all the time.
    let data_dir = DataDir::open(&setup.data_dir).map_err(cannot_start)?;
    let mut config = setup.config.clone();
    loop {
        if let Some(cluster) = &mut config.cluster {
            cluster.has_given_up = data_dir.has_put_aside();
        }
        match run_once(setup, &config, &data_dir, stop.clone()) {
            Ok(()) => return Ok(()),
            Err(Ended::Failed(failure)) => return Err(failure),
            Err(Ended::Damaged(reason)) => {
                let aside = data_dir.put_aside().map_err(|error| (CANNOT_GO_ON, format!("{reason}; {error}")))?;
                let aside = aside.display();
                if config.cluster.is_some() {
                    tracing::error!(
                        "{reason}. The damaged files are in {aside} and can be deleted once this node is ready; until then it waits \
                         for a majority of the others"
                    );
                } else {
                    tracing::error!("{reason}. The damaged files are in {aside}");
                }
                config.gives_up_damaged_data = false;
            }
        }
    }
}

/// Runs a node until it stops, from what is in its data directory.
fn run_once(setup: &Setup, config: &Config, data_dir: &DataDir, stop: watch::Receiver<bool>) -> Result<(), Ended> {
    let cannot_start = |error: &dyn Display| Ended::Failed(cannot_start(error));
    let Setup { label, peers, listen, definitions, config: _, data_dir: _ } = setup;
    let mut entropy = [0; 32];
    getrandom::fill(&mut entropy).map_err(|error| cannot_start(&format!("the system has no entropy: {error}")))?;
    let (disk, answers, threads) = FileDisk::start(data_dir.path())
        .map_err(|error| cannot_start(&format!("cannot use {}: {error}", data_dir.path().display())))?;
    // One thread: the engine is one, and passing each read and write between threads costs more than it wins.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| cannot_start(&format!("cannot start the runtime: {error}")))?;
    let read = |path: &Path| {
        fs::read_to_string(path).map_err(|error| cannot_start(&format!("cannot read {}: {error}", path.display())))
    };
    let definitions = definitions.as_deref().map(read).transpose()?;
    let (link, calls) = admin::link();
    let result = runtime.block_on(async {
        match AdminSocket::open(data_dir.path()) {
            Ok(socket) => drop(tokio::spawn(socket.serve(link))),
            // Clients can be served all the same.
            Err(error) => tracing::warn!(%error, "cannot open the admin socket: leveretctl does not work"),
        }
        let shutdown = shutdown(stop).map_err(|error| cannot_start(&format!("cannot listen to signals: {error}")))?;
        let env = Env {
            net: TcpNet,
            disk,
            answers,
            clock: RuntimeClock::new(system_wall),
            peers: peers.clone(),
            gauge: gauge::system(data_dir.path()),
            admin: calls,
            definitions,
            entropy,
        };
        let announce = |addresses: &[SocketAddr]| announce(label.as_deref(), addresses);
        serve(env, config.clone(), listen, announce, shutdown).await.map_err(|error| match error {
            ServeError::Listen { .. } | ServeError::ListenForPeers { .. } | ServeError::Definitions(_) => {
                cannot_start(&error)
            }
            ServeError::Damaged(reason) => Ended::Damaged(reason),
            ServeError::Fatal(_) | ServeError::DiskGone => Ended::Failed((CANNOT_GO_ON, error.to_string())),
        })
    });
    drop(runtime);
    for thread in threads {
        // It has not panicked: that aborts the process.
        let _ = thread.join();
    }
    if result.is_ok() {
        tracing::info!("stopped");
    }
    result
}

/// What this machine is called.
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn default_config() -> Config {
    // RabbitMQ 4's default `vm_memory_high_watermark`, 0.6.
    let memory_high_bytes = Some(gauge::total_memory_bytes() / 10 * 6);
    let resources = ResourceLimits { memory_high_bytes, ..ResourceLimits::default() };
    Config { node_name: format!("leveret@{}", host()), resources, ..Config::default() }
}

/// Says that clients are welcome, in the one line that scripts wait for; and where, if there are several nodes.
fn announce(label: Option<&str>, addresses: &[SocketAddr]) {
    let addresses: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
    let label = label.map(|label| format!(" ({label})")).unwrap_or_default();
    let mut out = io::stdout().lock();
    // Nobody may be reading it.
    let _ = writeln!(out, "leveret ready on {}{label}", addresses.join(", ")).and_then(|()| out.flush());
}

/// Ends with the first SIGTERM or SIGINT, or when another node of the process has ended. A second signal ends the process at once.
fn shutdown(mut stop: watch::Receiver<bool>) -> io::Result<impl Future<Output = ()>> {
    /// Returns the exit code that shells give to a process ended by the signal.
    async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> i32 {
        tokio::select! {
            biased;
            _ = terminate.recv() => 128 + SignalKind::terminate().as_raw_value(),
            _ = interrupt.recv() => 128 + SignalKind::interrupt().as_raw_value(),
        }
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            biased;
            _ = next(&mut terminate, &mut interrupt) => {
                tracing::info!("stopping; a second signal ends the process at once");
            }
            Ok(_) = stop.wait_for(|stop| *stop) => tracing::info!("stopping, for another node of this process has ended"),
        }
        tokio::spawn(async move {
            let code = next(&mut terminate, &mut interrupt).await;
            tracing::warn!("ended by a second signal; the next start recovers");
            std::process::exit(code);
        });
    })
}

fn init_logging(level: &str, format: LogFormat) {
    // The option's parser has accepted it, or the configuration file's.
    let filter = EnvFilter::try_new(level).unwrap_or_default();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    match format {
        LogFormat::Text => log.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

/// A panic is a broken invariant, in whatever thread: nothing may go on with what it left behind.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        std::process::abort();
    }));
}

/// Every connection is a descriptor, and the usual soft limit of 1,024 is meant for programs that use `select`.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}
