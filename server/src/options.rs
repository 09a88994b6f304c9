//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use tracing_subscriber::EnvFilter;

/// What a user may choose when starting a node.
#[derive(Debug, Parser)]
#[command(name = "leveret", version, about = ABOUT, after_help = EXAMPLES, after_long_help = HELP, max_term_width = 100)]
pub(crate) struct Options {
    /// Address and port for AMQP 0-9-1 clients
    ///
    /// May be given more than once, or as a list with commas. The default is every address of the machine, IPv6 and IPv4, as
    /// RabbitMQ has it; the user guest is let in from this machine only. With port 0 the system chooses one, and the line "leveret
    /// ready on ADDR" names it.
    #[arg(long, value_name = "ADDR", env = "LEVERET_LISTEN", default_value = "[::]:5672", value_delimiter = ',', value_parser = address)]
    pub(crate) listen: Vec<SocketAddr>,

    /// Configuration file, in the format of RabbitMQ's rabbitmq.conf
    ///
    /// Options and environment variables win over it. A key that does not exist, or a value that makes no sense, is an error with its
    /// line; a key of RabbitMQ's that means nothing here is logged.
    #[arg(long, value_name = "FILE", env = "LEVERET_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// Definitions to import at every start: users, vhosts, policies, queues, exchanges, bindings
    ///
    /// A JSON file exported by this broker or by RabbitMQ. Queues, exchanges and bindings that are there stay as they are; users,
    /// permissions, policies, limits and parameters become what the file says. Clients are let in when all of it is durable.
    #[arg(long, value_name = "FILE", env = "LEVERET_DEFINITIONS")]
    pub(crate) definitions: Option<PathBuf>,

    /// Directory for messages and definitions
    ///
    /// It is made if it does not exist, readable by its owner only, and used by one broker at a time.
    #[arg(long, value_name = "DIR", env = "LEVERET_DATA_DIR", default_value = "./data")]
    pub(crate) data_dir: PathBuf,

    /// Start so many nodes in this process: a cluster to try things with
    ///
    /// Their ports follow that of --listen, their data is in node1, node2 and so on in --data-dir, and they find each other on this
    /// machine. Each says when it is ready. Against the failure of a machine, start each node on a machine of its own instead: --config
    /// names the others.
    #[arg(long, value_name = "NODES", value_parser = clap::value_parser!(u16).range(1..=9), conflicts_with = "node_name")]
    pub(crate) cluster: Option<u16>,

    /// What this node is called among others, such as leveret@node1
    ///
    /// Without a host, that of this machine is added. The default is the one node on this machine among those that the configuration
    /// names (cluster_formation.classic_config.nodes), or leveret at the machine's name. A node keeps its name for as long as it has its
    /// data directory.
    #[arg(long, value_name = "NAME", env = "LEVERET_NODE_NAME")]
    pub(crate) node_name: Option<String>,

    /// Give damaged data up even if no other node has what is in it
    ///
    /// A node of a cluster whose data turns out to be damaged moves it aside by itself, into a folder damaged-1 of its data directory, and
    /// gets everything again from the others, if they have everything. Where they have not, it stops and says what would be lost. Start
    /// it once with this option when that is not to be had back. Without a cluster the node then begins with nothing.
    #[arg(long)]
    pub(crate) give_up_damaged_data: bool,

    /// How much to log to standard error
    ///
    /// One of error, warn, info, debug, trace or off; or a filter by module, such as "warn,leveret_server=debug".
    #[arg(long, value_name = "LEVEL", env = "LEVERET_LOG", default_value = "info", value_parser = log_filter)]
    pub(crate) log: String,

    /// How log lines look
    #[arg(long, value_name = "FORMAT", env = "LEVERET_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    /// One line of text each, for people.
    Text,
    /// One JSON object each, for machines.
    Json,
}

const ABOUT: &str = "Leveret is a message broker for RabbitMQ's clients (AMQP 0-9-1).";

const EXAMPLES: &str = "\
Examples:
  leveret                                      Serve on port 5672, with data in ./data
  leveret --listen 127.0.0.1:5673              Only for this machine, on another port
  leveret --data-dir /var/lib/leveret --log warn
  leveret --config rabbitmq.conf --definitions definitions.json
  leveret --cluster 3                          Three nodes, on ports 5672 to 5674

More: leveret --help";

const HELP: &str = "\
Connecting:
  Any RabbitMQ client library, from this machine:
  amqp://guest:guest@localhost:5672

Starting:
  When clients are let in, one line goes to standard output:
  leveret ready on ADDR
  A node of a cluster is ready when a majority of them is there.
  Logs go to standard error.

Stopping:
  Ctrl-C or SIGTERM tells the clients, brings everything to disk and exits.
  A second one exits at once, and the next start recovers. Like a crash or a
  power failure, that loses nothing that was confirmed.

Exit codes:
  0    stopped as asked
  1    could not start: the address, the data directory, the configuration
       or the definitions cannot be used
  2    wrong usage
  3    stopped by itself, since going on could have lost messages (a disk that
       failed, for one); the last line says why
  130  ended by a second Ctrl-C; 143 by a second SIGTERM
  134  a bug: a panic, reported on standard error

Examples:
  leveret
      Serve on port 5672, with data in ./data
  leveret --listen 127.0.0.1:5673
      Only for this machine, on another port
  leveret --data-dir /var/lib/leveret --log warn
      Keep messages elsewhere, and log only what needs attention
  leveret --cluster 3
      Three nodes in one process, on ports 5672, 5673 and 5674
  leveret --node-name leveret@node1 --config cluster.conf
      One of the nodes that the file names
  LEVERET_LISTEN=127.0.0.1:0 leveret
      By environment; the system chooses the port";

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an IP address and a port, such as 127.0.0.1:5672 or [::1]:5672".to_owned())
}

fn log_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn listen_takes_lists_and_repetition() {
        let options = Options::parse_from(["leveret", "--listen", "127.0.0.1:1,[::1]:2", "--listen", "127.0.0.1:0"]);
        assert_eq!(options.listen.len(), 3);
        assert!(Options::try_parse_from(["leveret", "--listen", "localhost"]).is_err());
        assert!(Options::try_parse_from(["leveret", "--log", "loud,,=="]).is_err());
    }
}
