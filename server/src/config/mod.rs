//! The configuration file: the keys of `rabbitmq.conf` that mean something here (RabbitMQ docs: Configuration).
//!
//! A key that is known with a value that makes no sense is an error with its line. A key of RabbitMQ's that means nothing here is
//! accepted and said so, and any other is an error that names the nearest.

pub mod cluster;
mod file;
mod keys;
pub mod size;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use leveret_engine::config::Config;

use self::cluster::ClusterSettings;

/// What a file sets.
#[derive(Clone, Debug)]
pub struct FileSettings {
    /// The engine's settings, those that the file does not name as they were before.
    pub engine: Config,
    /// Addresses to listen on; `None` if the file names none.
    pub listen: Option<Vec<SocketAddr>>,
    /// With which nodes it is to be one broker.
    pub cluster: ClusterSettings,
    /// A file of definitions to import.
    pub definitions: Option<PathBuf>,
    /// How much to log, as the option `--log` has it.
    pub log: Option<String>,
    /// What is there without effect, for the log.
    pub warnings: Vec<String>,
    /// What is done otherwise than one might think, for the log.
    pub notes: Vec<String>,
    /// Whether a line has named tags of the default user.
    names_user_tags: bool,
}

/// Why a file cannot be used, all at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    path: PathBuf,
    /// Each with its line.
    mistakes: Vec<(usize, String)>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (line, what)) in self.mistakes.iter().enumerate() {
            let separator = if at > 0 { "\n" } else { "" };
            write!(f, "{separator}{}:{line}: {what}", self.path.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Reads the text of a configuration file. `engine` holds what it does not name, `memory_bytes` what fractions are of.
///
/// # Errors
/// All mistakes in it, with their lines.
pub fn parse(path: &Path, text: &str, engine: Config, memory_bytes: u64) -> Result<FileSettings, ConfigError> {
    let failed = |mistakes| ConfigError { path: path.to_path_buf(), mistakes };
    let lines = file::lines(text).map_err(|mistake| failed(vec![mistake]))?;
    let mut settings = FileSettings {
        engine,
        listen: None,
        cluster: ClusterSettings::default(),
        definitions: None,
        log: None,
        warnings: Vec::new(),
        notes: Vec::new(),
        names_user_tags: false,
    };
    let mut mistakes = Vec::new();
    for line in &lines {
        match keys::set(&mut settings, line.key, line.value, memory_bytes) {
            Ok(true) => {}
            Ok(false) => settings.warnings.push(format!(
                "{}:{}: {} has no effect on this broker",
                path.display(),
                line.number,
                line.key
            )),
            Err(reason) => mistakes.push((line.number, reason)),
        }
    }
    if mistakes.is_empty() { Ok(settings) } else { Err(failed(mistakes)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leveret_engine::config::Durability;
    use leveret_engine::metadata::LeaderLocator;
    use std::time::Duration;

    fn read(text: &str) -> Result<FileSettings, String> {
        parse(Path::new("a.conf"), text, Config::default(), 1000).map_err(|error| error.to_string())
    }

    #[test]
    fn known_keys_take_effect() {
        let settings = read(
            "listeners.tcp.default = 5673\nlisteners.tcp.other = 127.0.0.1:5674\nlisteners.tcp.six = ::1:5675\ndefault_user = bob\ndefault_pass = 's # t'\n\
             loopback_users = none\nvm_memory_high_watermark.relative = 0.4\ndisk_free_limit.absolute = 2GB\nheartbeat = 30\n\
             frame_max = 65536\nchannel_max = 100\nmax_message_size = 1000\nhandshake_timeout = 5000\ncluster_name = east\n\
             default_user_tags.monitoring = true\nconsumer_timeout = infinity\nconsumer_disconnected_timeout = 5000\nlog.console.level = warning\nload_definitions = /tmp/d.json\n",
        )
        .unwrap();
        let FileSettings { engine, listen, definitions, log, warnings, .. } = settings;
        assert_eq!(
            listen.unwrap().iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["[::]:5673", "127.0.0.1:5674", "[::1]:5675"]
        );
        assert_eq!((engine.default_user.as_str(), engine.default_pass.as_str()), ("bob", "s # t"));
        assert_eq!(engine.resources.memory_high_bytes, Some(400));
        assert_eq!(engine.resources.disk_free_bytes, 2_000_000_000);
        assert_eq!(engine.heartbeat, Duration::from_secs(30));
        assert_eq!((engine.frame_max, engine.channel_max, engine.message_size_max), (65536, 100, 1000));
        assert_eq!(engine.handshake_timeout, Duration::from_secs(5));
        assert_eq!(engine.cluster_name.as_deref(), Some("east"));
        assert_eq!(engine.loopback_users, Vec::<String>::new());
        assert_eq!(engine.default_user_tags, ["monitoring"]);
        assert_eq!((engine.consumer_timeout, engine.consumer_disconnected_timeout), (None, Duration::from_secs(5)));
        assert_eq!(log.as_deref(), Some("warn"));
        assert_eq!(definitions, Some(PathBuf::from("/tmp/d.json")));
        assert_eq!(warnings, Vec::<String>::new());
    }

    #[test]
    fn mistakes_are_told_all_at_once_with_their_lines() {
        let error =
            read("heartbeat = soon\n\nhartbeat = 5\nframe_max = 10\nlisteners.tcp.default = 99999").unwrap_err();
        assert!(error.contains("a.conf:1: heartbeat") && error.contains("soon"), "{error}");
        assert!(error.contains("a.conf:3:") && error.contains("did you mean heartbeat?"), "{error}");
        assert!(error.contains("a.conf:4:") && error.contains("4096"), "{error}");
        assert!(error.contains("a.conf:5:"), "{error}");
    }

    #[test]
    fn what_means_nothing_here_is_said() {
        let settings = read("cluster_formation.node_type = disc\nmanagement.tcp.port = 15672\n").unwrap();
        assert_eq!(settings.warnings.len(), 2);
        assert!(settings.warnings[0].contains("a.conf:1: cluster_formation.node_type"), "{:?}", settings.warnings);
        assert!(!settings.cluster.is_wanted());
    }

    #[test]
    fn a_locator_goes_by_either_name() {
        let check =
            |text: &str, expected| assert_eq!(read(text).unwrap().engine.queue_leader_locator, expected, "{text}");
        check("", None);
        check("queue_master_locator = min-masters", Some(LeaderLocator::Balanced));
        for text in [
            "queue_master_locator = random\nqueue_leader_locator = client-local",
            "queue_leader_locator = client-local\nqueue_master_locator = random",
        ] {
            check(text, Some(LeaderLocator::ClientLocal));
        }
        let wrong = read("queue_leader_locator = nearest").unwrap_err();
        assert!(wrong.contains("neither client-local nor balanced"), "{wrong}");
    }

    #[test]
    fn confirms_promise_what_was_asked_for() {
        let check = |text: &str, expected| assert_eq!(read(text).unwrap().engine.durability, expected, "{text}");
        check("", Durability::Fsync);
        check("durability = fsync", Durability::Fsync);
        check("durability = os", Durability::Os);
        assert!(read("durability = none").unwrap_err().contains("neither fsync nor os"));
    }

    #[test]
    fn partitions_are_handled_or_it_is_said_that_they_are_not() {
        let settings = read("cluster_partition_handling = autoheal").unwrap();
        assert!(settings.warnings.is_empty() && settings.notes[0].contains("nothing can diverge"), "{settings:?}");
        let settings = read("cluster_partition_handling = pause_minority").unwrap();
        assert!(settings.cluster.pause_minority && settings.warnings.is_empty(), "{settings:?}");
        let settings = read("cluster_partition_handling = pause_if_all_down").unwrap();
        assert!(settings.warnings[0].contains("not known here") && settings.notes.is_empty(), "{settings:?}");
        let error = read("\ncluster_partition_handling = split").unwrap_err();
        assert!(error.contains("a.conf:2: cluster_partition_handling: \"split\""), "{error}");
    }

    #[test]
    fn a_secret_is_in_no_mistake() {
        let error = read("cluster.secret hunter2\n").unwrap_err();
        assert!(error.contains("a.conf:1: \"cluster.secret ...\" is no setting"), "{error}");
        let error = read("default_pass hunter2\n").unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
        let error = read("cluster.secert = hunter2\n").unwrap_err();
        assert!(error.contains("did you mean cluster.secret?") && !error.contains("hunter2"), "{error}");
    }
}
