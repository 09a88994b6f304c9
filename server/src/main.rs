//! The `leveret` binary: one broker node as a process.

mod options;

use std::fmt::Display;
use std::fs;
use std::future::Future;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

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
use tracing_subscriber::EnvFilter;

use crate::options::{LogFormat, Options};

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
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let listen = settings.listen.clone().filter(|_| is_default("listen")).unwrap_or_else(|| options.listen.clone());
    let definitions = options.definitions.clone().or(settings.definitions);
    match run(&options.data_dir, settings.engine, &listen, definitions.as_deref()) {
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

/// Runs the node until it stops, or tells why it could not, with the code to exit with.
fn run(data_dir: &Path, config: Config, listen: &[SocketAddr], definitions: Option<&Path>) -> Result<(), (u8, String)> {
    fn cannot_start(error: impl Display) -> (u8, String) {
        (CANNOT_START, error.to_string())
    }
    let mut entropy = [0; 32];
    getrandom::fill(&mut entropy).map_err(|error| cannot_start(format!("the system has no entropy: {error}")))?;
    // It stays locked until the disk's threads have ended.
    let data_dir = DataDir::open(data_dir).map_err(cannot_start)?;
    let (disk, answers, threads) = FileDisk::start(data_dir.path())
        .map_err(|error| cannot_start(format!("cannot use {}: {error}", data_dir.path().display())))?;
    // One thread: the engine is one, and passing each read and write between threads costs more than it wins.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| cannot_start(format!("cannot start the runtime: {error}")))?;
    let read = |path: &Path| {
        fs::read_to_string(path).map_err(|error| cannot_start(format!("cannot read {}: {error}", path.display())))
    };
    let definitions = definitions.map(read).transpose()?;
    let (link, calls) = admin::link();
    let result = runtime.block_on(async {
        match AdminSocket::open(data_dir.path()) {
            Ok(socket) => drop(tokio::spawn(socket.serve(link))),
            // Clients can be served all the same.
            Err(error) => tracing::warn!(%error, "cannot open the admin socket: leveretctl does not work"),
        }
        let shutdown = shutdown().map_err(|error| cannot_start(format!("cannot listen to signals: {error}")))?;
        let env = Env {
            net: TcpNet,
            disk,
            answers,
            clock: RuntimeClock::new(system_wall),
            peers: None,
            gauge: gauge::system(data_dir.path()),
            admin: calls,
            definitions,
            entropy,
        };
        serve(env, config, listen, announce, shutdown).await.map_err(|error| match error {
            ServeError::Listen { .. } | ServeError::ListenForPeers { .. } | ServeError::Definitions(_) => {
                cannot_start(error)
            }
            ServeError::Fatal(_) | ServeError::DiskGone => (CANNOT_GO_ON, error.to_string()),
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

fn default_config() -> Config {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // RabbitMQ 4's default `vm_memory_high_watermark`, 0.6.
    let memory_high_bytes = Some(gauge::total_memory_bytes() / 10 * 6);
    let resources = ResourceLimits { memory_high_bytes, ..ResourceLimits::default() };
    Config { node_name: format!("leveret@{host}"), resources, ..Config::default() }
}

/// Says that clients are welcome, in the one line that scripts wait for.
fn announce(addresses: &[SocketAddr]) {
    let addresses: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
    let mut out = io::stdout().lock();
    // Nobody may be reading it.
    let _ = writeln!(out, "leveret ready on {}", addresses.join(", ")).and_then(|()| out.flush());
}

/// Ends with the first SIGTERM or SIGINT. A second one ends the process at once.
fn shutdown() -> io::Result<impl Future<Output = ()>> {
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
        next(&mut terminate, &mut interrupt).await;
        tracing::info!("stopping; a second signal ends the process at once");
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
