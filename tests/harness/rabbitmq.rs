//! A real RabbitMQ beside ours: started once for the test binary, on free ports and with its own data, and gone when the binary is.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// A running RabbitMQ.
#[derive(Debug)]
pub(crate) struct RabbitMq {
    /// Where it speaks AMQP.
    pub(crate) address: SocketAddr,
    /// The shell that holds it. It ends the broker when its standard input ends, so also when this process is killed.
    _holder: Option<Child>,
    /// How its command line tool finds it.
    environment: Vec<(&'static str, String)>,
    control: OnceLock<Mutex<Control>>,
}

/// `rabbitmqctl`, started once, for its start takes longer than most commands.
#[derive(Debug)]
struct Control {
    _process: Child,
    /// Where its code lies.
    _directory: tempfile::TempDir,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl RabbitMq {
    /// Does what `rabbitmqctl` does for these words, and gives the rows that it lists, their cells parted by tabs.
    ///
    /// # Errors
    /// Why it is refused.
    ///
    /// # Panics
    /// If there is no `rabbitmqctl`.
    pub(crate) fn control(&self, words: &[String]) -> Result<Vec<String>, String> {
        let control = self.control.get_or_init(|| Mutex::new(Control::start(&self.environment)));
        control.lock().unwrap_or_else(PoisonError::into_inner).run(words)
    }
}

impl Control {
    fn start(environment: &[(&'static str, String)]) -> Self {
        let sbin = installed().expect("RabbitMQ's command line tool is installed");
        let home = sbin.parent().expect("it lies in RabbitMQ's folder");
        let directory = tempfile::tempdir().expect("there is room for a program");
        let program = directory.path().join("rabbitmqctl");
        std::fs::write(&program, include_str!("rabbitmqctl.escript")).expect("it can be written");
        let mut process = Command::new("escript")
            .arg(&program)
            .arg(home.join("escript/rabbitmqctl"))
            .arg(directory.path())
            .env("ERL_LIBS", home.join("plugins"))
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is Erlang where there is RabbitMQ");
        let commands = process.stdin.take().expect("it is piped");
        let answers = BufReader::new(process.stdout.take().expect("it is piped"));
        Self { _process: process, _directory: directory, commands, answers }
    }

    fn run(&mut self, words: &[String]) -> Result<Vec<String>, String> {
        writeln!(self.commands, "{}", words.join("\t")).expect("it reads its commands");
        loop {
            let mut line = String::new();
            self.answers.read_line(&mut line).expect("it writes text");
            assert!(!line.is_empty(), "rabbitmqctl is gone");
            let line = line.trim_end_matches('\n').replace("\\n", "\n");
            match line.split_at_checked(2) {
                Some(("= ", rows)) => return Ok(rows.lines().map(str::to_owned).collect()),
                Some(("! ", reason)) => return Err(reason.to_owned()),
                _ => {}
            }
        }
    }
}

/// Starts the broker, and ends it, all it started (they are one process group) and its data when this process is gone.
const HOLDER: &str = r#"
set -eu
mkdir -p "$DIR/home" "$DIR/log"
export HOME="$DIR/home"
umask 077
echo conformance > "$HOME/.erlang.cookie"
chmod 400 "$HOME/.erlang.cookie"
: > "$DIR/env.conf"
echo '[rabbitmq_consistent_hash_exchange,rabbitmq_random_exchange,rabbitmq_recent_history_exchange,rabbitmq_event_exchange,rabbitmq_sharding].' > "$DIR/enabled_plugins"
printf 'listeners.tcp.1 = 127.0.0.1:%s\nlog.file.level = warning\n' "$RABBITMQ_NODE_PORT" > "$DIR/rabbitmq.conf"
end() {
    kill -KILL "$(cat "$DIR/pid")" 2> /dev/null || true
    sleep 0.2
    epmd -port "$ERL_EPMD_PORT" -kill > /dev/null 2>&1 || true
    rm -rf "$DIR"
    kill -KILL 0
}
trap end EXIT
"$SBIN/rabbitmq-server" > "$DIR/log/stdout" 2>&1 < /dev/null &
cat > /dev/null || true
"#;

/// The broker, or `None` where none is installed. `LEVERET_RABBITMQ=127.0.0.1:5672` names one that runs already; its command line tool
/// finds it by `RABBITMQ_NODENAME` and the cookie in `HOME`.
///
/// # Panics
/// If one is installed but does not start, or if none is and `LEVERET_REQUIRE_PEERS=1`.
pub(crate) fn shared() -> Option<&'static RabbitMq> {
    static SHARED: OnceLock<Option<RabbitMq>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| {
        if let Ok(address) = std::env::var("LEVERET_RABBITMQ") {
            let address = address.parse().expect("LEVERET_RABBITMQ is an address");
            return Some(RabbitMq { address, _holder: None, environment: Vec::new(), control: OnceLock::new() });
        }
        installed().map(|sbin| start(&sbin))
    });
    if shared.is_none() {
        let required = std::env::var("LEVERET_REQUIRE_PEERS").is_ok_and(|value| value == "1");
        assert!(!required, "RabbitMQ is not installed, and LEVERET_REQUIRE_PEERS=1");
        eprintln!("SKIPPED: RabbitMQ is not installed");
    }
    shared.as_ref()
}

/// The folder of the server's own scripts; the wrappers in the path would change the user.
fn installed() -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/rabbitmq/lib")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join("sbin")))
        .filter(|sbin| sbin.join("rabbitmq-server").exists())
        .collect();
    versions.sort();
    versions.pop()
}

fn start(sbin: &Path) -> RabbitMq {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("rabbitmq-{}", std::process::id()));
    let [port, dist, epmd] = free_ports();
    let path = |name: &str| dir.join(name);
    let environment = vec![
        ("HOME", path("home").to_string_lossy().into_owned()),
        ("ERL_EPMD_PORT", epmd.to_string()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
        ("RABBITMQ_NODENAME", format!("conformance{port}@localhost")),
    ];
    let mut holder = Command::new("sh")
        .args(["-c", HOLDER])
        .env("DIR", &dir)
        .env("SBIN", sbin)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .env("RABBITMQ_NODE_PORT", port.to_string())
        .env("RABBITMQ_DIST_PORT", dist.to_string())
        .env("RABBITMQ_MNESIA_BASE", path("mnesia"))
        .env("RABBITMQ_LOG_BASE", path("log"))
        .env("RABBITMQ_PID_FILE", path("pid"))
        .env("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf"))
        .env("RABBITMQ_CONF_ENV_FILE", path("env.conf"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins"))
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("there is a shell");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let deadline = Instant::now() + Duration::from_secs(90);
    while !answers(address) {
        let over = holder.try_wait().expect("it is our child").is_some() || Instant::now() > deadline;
        let said = || std::fs::read_to_string(path("log").join("stdout")).unwrap_or_default();
        assert!(!over, "RabbitMQ did not start:\n{}", said());
        std::thread::sleep(Duration::from_millis(100));
    }
    RabbitMq { address, _holder: Some(holder), environment, control: OnceLock::new() }
}

/// Whether a broker speaks AMQP there: the last thing that RabbitMQ's start brings about.
fn answers(address: SocketAddr) -> bool {
    let Ok(mut socket) = TcpStream::connect(address) else { return false };
    let mut first = [0; 1];
    socket.set_read_timeout(Some(Duration::from_secs(5))).is_ok()
        && socket.write_all(b"AMQP\x00\x00\x09\x01").is_ok()
        && socket.read_exact(&mut first).is_ok()
}

/// Ports that nobody listens on at this moment.
fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free"));
    listeners.map(|listener| listener.local_addr().expect("it is bound").port())
}
