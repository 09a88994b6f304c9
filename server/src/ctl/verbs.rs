//! The verbs of `leveretctl` and their arguments: `rabbitmqctl`'s, and a few of ours (RabbitMQ docs: rabbitmqctl(8)).

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// One command line.
#[derive(Debug, Parser)]
#[command(name = "leveretctl", version, about = ABOUT, after_help = EXAMPLES, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = false)]
pub struct CommandLine {
    /// What applies to every verb.
    #[command(flatten)]
    pub options: Options,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What applies to every verb; before or after it.
#[derive(Args, Debug)]
pub struct Options {
    /// Data directory of the broker, where its admin socket is
    #[arg(long, global = true, value_name = "DIR", env = "LEVERET_DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,
    /// The vhost it is about
    #[arg(short = 'p', long, global = true, value_name = "VHOST", default_value = "/")]
    pub vhost: String,
    /// Print no sentences, only results
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Print neither sentences nor table headers
    #[arg(short, long, global = true)]
    pub silent: bool,
    /// Print no table headers
    #[arg(long, global = true)]
    pub no_table_headers: bool,
    /// How results look; most are tables
    #[arg(long, global = true, value_name = "FORMAT")]
    pub formatter: Option<Formatter>,
    /// Seconds to wait for the broker's answer
    #[arg(short, long, global = true, value_name = "SECONDS", default_value_t = 60)]
    pub timeout: u64,
    /// Accepted for rabbitmqctl's sake: the data directory says which node is meant
    #[arg(short, long, global = true, hide = true, value_name = "NODE")]
    pub node: Option<String>,
    /// Accepted for rabbitmqctl's sake, without effect
    #[arg(short, long, global = true, hide = true)]
    pub longnames: bool,
}

/// How results look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Formatter {
    /// Columns with tabs between them.
    Table,
    /// One JSON document.
    Json,
    /// Comma separated values.
    Csv,
    /// A table with lines, for people.
    PrettyTable,
}

/// What can be asked for.
#[derive(Debug, Subcommand)]
#[command(rename_all = "snake_case", subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
pub enum Verb {
    /// Tell how the node is: memory, disk, alarms, totals
    Status,
    /// Check that the node answers
    Ping,
    /// Tell the version of this tool
    Version,
    /// Wait until the node serves clients
    AwaitStartup,

    /// Tell which nodes belong to the cluster and which of them run
    ClusterStatus,
    /// Wait until so many nodes of the cluster run
    AwaitOnlineNodes {
        /// How many, this one included
        count: u16,
    },
    /// Wait until each quorum queue with a replica here has a running member to spare
    AwaitOnlineQuorumPlusOne,
    /// Put the node under maintenance: it serves no clients, and others lead where they can
    Drain,
    /// End the maintenance
    Revive,
    /// Remove a node from the cluster that does not run and will not come back
    ForgetClusterNode {
        /// Its name, as cluster_status shows it
        node: String,
    },
    /// Tell how a node joins a cluster
    JoinCluster {
        /// A node of that cluster
        node: String,
        /// Accepted for rabbitmqctl's sake, without effect
        #[arg(long, hide = true)]
        ram: bool,
        /// Accepted for rabbitmqctl's sake, without effect
        #[arg(long, hide = true)]
        disc: bool,
    },
    /// Tell how a node leaves its cluster and forgets what it has
    Reset,
    /// The same
    #[command(hide = true)]
    ForceReset,

    /// List users and their tags
    ListUsers,
    /// Create a user; it may do nothing until set_permissions
    AddUser {
        /// Its name
        username: String,
        /// Its password; read from standard input if it is not given
        password: Option<String>,
    },
    /// Delete a user and close its connections
    DeleteUser {
        /// Its name
        username: String,
    },
    /// Give a user another password
    ChangePassword {
        /// Its name
        username: String,
        /// The password; read from standard input if it is not given
        password: Option<String>,
    },
    /// Take a user's password away: it cannot log in with any
    ClearPassword {
        /// Its name
        username: String,
    },
    /// Check a user's password
    AuthenticateUser {
        /// Its name
        username: String,
        /// The password; read from standard input if it is not given
        password: Option<String>,
    },
    /// Replace a user's tags, such as administrator, monitoring, policymaker, management
    SetUserTags {
        /// Its name
        username: String,
        /// All the tags it is to have; none takes them away
        tags: Vec<String>,
    },
    /// Print the hash of a password, as definitions hold it
    HashPassword {
        /// The password; read from standard input if it is not given
        password: Option<String>,
    },
    /// Limit a user's connections or channels
    SetUserLimits {
        /// Its name
        username: String,
        /// Such as '{"max-connections": 5, "max-channels": 20}'
        definition: String,
    },
    /// Take a limit of a user away
    ClearUserLimits {
        /// Its name
        username: String,
        /// max-connections, max-channels or all
        limit: String,
    },
    /// List the limits of users
    ListUserLimits {
        /// Only of this user
        #[arg(long)]
        user: Option<String>,
        /// Of all users, which is the default
        #[arg(long)]
        global: bool,
    },

    /// Allow a user what in a vhost, each by a regular expression over names
    SetPermissions {
        /// The user
        username: String,
        /// What it may declare and delete
        configure: String,
        /// What it may publish to and bind
        write: String,
        /// What it may consume from and bind from
        read: String,
    },
    /// Allow a user nothing in a vhost
    ClearPermissions {
        /// The user
        username: String,
    },
    /// List who may do what in a vhost
    ListPermissions,
    /// List what a user may do, in all vhosts
    ListUserPermissions {
        /// The user
        username: String,
    },
    /// Allow a user routing keys of a topic exchange, by regular expressions
    SetTopicPermissions {
        /// The user
        username: String,
        /// The exchange
        exchange: String,
        /// Keys it may publish with
        write: String,
        /// Keys it may bind with
        read: String,
    },
    /// Take a user's topic permissions away
    ClearTopicPermissions {
        /// The user
        username: String,
        /// Only those for this exchange
        exchange: Option<String>,
    },
    /// List the topic permissions in a vhost
    ListTopicPermissions,
    /// List a user's topic permissions, in all vhosts
    ListUserTopicPermissions {
        /// The user
        username: String,
    },

    /// Create a vhost
    AddVhost {
        /// Its name
        name: String,
        /// What it is for
        #[arg(long, default_value = "")]
        description: String,
        /// Words about it, with commas between them
        #[arg(long, value_delimiter = ',')]
        tags: Vec<String>,
        /// The type of queues declared without one
        #[arg(long = "default-queue-type", value_name = "TYPE")]
        default_queue_type: Option<String>,
        /// Refuse delete_vhost until disable_vhost_deletion_protection
        #[arg(long = "protected-from-deletion")]
        protected_from_deletion: bool,
    },
    /// Delete a vhost with all that is in it
    DeleteVhost {
        /// Its name
        name: String,
    },
    /// List vhosts
    ListVhosts {
        /// Columns, such as name, tracing, description, tags
        columns: Vec<String>,
    },
    /// Change what is said about a vhost
    UpdateVhostMetadata {
        /// Its name
        name: String,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
        /// Words about it, with commas between them
        #[arg(long, value_delimiter = ',')]
        tags: Option<Vec<String>>,
        /// The type of queues declared without one
        #[arg(long = "default-queue-type", value_name = "TYPE")]
        default_queue_type: Option<String>,
    },
    /// Replace a vhost's tags
    SetVhostTags {
        /// Its name
        name: String,
        /// All the tags it is to have; none takes them away
        tags: Vec<String>,
    },
    /// Refuse delete_vhost for a vhost
    EnableVhostDeletionProtection {
        /// Its name
        name: String,
    },
    /// Allow delete_vhost for a vhost again
    DisableVhostDeletionProtection {
        /// Its name
        name: String,
    },
    /// Limit a vhost's connections or queues
    SetVhostLimits {
        /// Such as '{"max-connections": 100, "max-queues": 50}'
        definition: String,
    },
    /// Take a vhost's limits away
    ClearVhostLimits,
    /// List the limits of a vhost
    ListVhostLimits {
        /// Of all vhosts
        #[arg(long)]
        global: bool,
    },
    /// Copy what is published and delivered in a vhost to amq.rabbitmq.trace
    TraceOn,
    /// End trace_on
    TraceOff,

    /// Set or replace a policy
    SetPolicy(SetPolicy),
    /// Remove a policy
    ClearPolicy {
        /// Its name
        name: String,
    },
    /// List the policies of a vhost
    ListPolicies,
    /// Set or replace an operator policy, which limits what policies and arguments ask for
    SetOperatorPolicy(SetPolicy),
    /// Remove an operator policy
    ClearOperatorPolicy {
        /// Its name
        name: String,
    },
    /// List the operator policies of a vhost
    ListOperatorPolicies,
    /// Set a runtime parameter of a component
    SetParameter {
        /// The component
        component: String,
        /// The parameter's name
        name: String,
        /// JSON
        value: String,
    },
    /// Remove a runtime parameter
    ClearParameter {
        /// The component
        component: String,
        /// The parameter's name
        name: String,
    },
    /// List the runtime parameters of a vhost
    ListParameters,
    /// Set a parameter of the whole node
    SetGlobalParameter {
        /// Its name
        name: String,
        /// JSON
        value: String,
    },
    /// Remove a parameter of the whole node
    ClearGlobalParameter {
        /// Its name
        name: String,
    },
    /// List the parameters of the whole node
    ListGlobalParameters,
    /// Name the cluster, as clients see it
    SetClusterName {
        /// The name
        name: String,
    },

    /// List the queues of a vhost
    ListQueues {
        /// Only those that are there
        #[arg(long)]
        online: bool,
        /// Only those of nodes that cannot be reached, or without a majority of their replicas
        #[arg(long)]
        offline: bool,
        /// Only those of this node, or with a replica on it
        #[arg(long)]
        local: bool,
        /// Columns, such as name, messages, messages_ready, consumers, state, policy, memory, arguments; the default is name messages
        columns: Vec<String>,
    },
    /// List the exchanges of a vhost
    ListExchanges {
        /// Columns, such as name, type, durable, auto_delete, internal, arguments, policy; the default is name type
        columns: Vec<String>,
    },
    /// List the bindings of a vhost
    ListBindings {
        /// Columns, such as source_name, destination_name, destination_kind, routing_key, arguments
        columns: Vec<String>,
    },
    /// List client connections
    ListConnections {
        /// Columns, such as pid, name, user, vhost, state, peer_host, channels; the default is user peer_host peer_port state
        columns: Vec<String>,
    },
    /// List channels
    ListChannels {
        /// Columns, such as pid, user, consumer_count, messages_unacknowledged, prefetch_count, confirm, number
        columns: Vec<String>,
    },
    /// List the consumers of a vhost
    ListConsumers {
        /// Columns, such as queue_name, channel_pid, consumer_tag, ack_required, prefetch_count, active, arguments
        columns: Vec<String>,
    },

    /// Add a replica of a quorum queue on a node
    AddMember {
        /// The queue
        queue: String,
        /// The node, as cluster_status shows it
        node: String,
        /// Accepted for rabbitmq-queues' sake: a replica has no vote until it has caught up
        #[arg(long, hide = true)]
        membership: Option<String>,
    },
    /// Remove the replica of a quorum queue on a node
    DeleteMember {
        /// The queue
        queue: String,
        /// The node
        node: String,
    },
    /// Have another replica of a quorum queue lead
    TransferLeadership {
        /// The queue
        queue: String,
        /// The node
        node: String,
    },
    /// Add replicas of quorum queues on a node
    Grow {
        /// The node
        node: String,
        /// Of all queues, or of those with an even number of replicas
        strategy: Strategy,
        /// Which queues
        #[command(flatten)]
        queues: Patterns,
        /// List only queues that it failed for
        #[arg(long = "errors-only")]
        errors_only: bool,
    },
    /// Remove all replicas of quorum queues on a node
    Shrink {
        /// The node
        node: String,
        /// List only queues that it failed for
        #[arg(long = "errors-only")]
        errors_only: bool,
    },
    /// Have all running nodes lead equally many quorum queues
    Rebalance {
        /// The type of queues; others than quorum have one node each
        #[arg(value_parser = ["all", "quorum"])]
        kind: String,
        /// Which queues
        #[command(flatten)]
        queues: Patterns,
    },
    /// Tell how the replicas of a quorum queue are
    QuorumStatus {
        /// The queue
        queue: String,
    },
    /// Check that no quorum queue would lose its majority with this node
    CheckIfNodeIsQuorumCritical,

    /// Delete a queue with its messages
    DeleteQueue {
        /// Its name
        queue: String,
        /// Only if it holds no messages
        #[arg(short = 'e', long = "if-empty")]
        if_empty: bool,
        /// Only if it has no consumers
        #[arg(short = 'u', long = "if-unused")]
        if_unused: bool,
    },
    /// Remove the messages of a queue that wait for consumers
    PurgeQueue {
        /// Its name
        queue: String,
        /// At most so many, the oldest
        #[arg(long, value_name = "N")]
        count: Option<u64>,
    },
    /// Show messages of a queue without taking them out or changing anything
    PeekQueue {
        /// Its name
        queue: String,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 1)]
        count: u32,
        /// Leave out so many from the head
        #[arg(long, value_name = "N", default_value_t = 0)]
        offset: u64,
    },
    /// Deliver nothing from a queue until resume_queue or a restart; publishers go on
    PauseQueue {
        /// Its name
        queue: String,
    },
    /// Deliver from a queue again
    ResumeQueue {
        /// Its name
        queue: String,
    },
    /// Move messages from a queue to another, in the same vhost
    MoveMessages {
        /// The queue to take from
        source: String,
        /// The queue to append to
        destination: String,
        /// Which of them
        #[command(flatten)]
        selection: Selection,
    },
    /// Delete messages of a queue
    DeleteMessages {
        /// Its name
        queue: String,
        /// Which of them
        #[command(flatten)]
        selection: Selection,
    },
    /// Tell why messages left a queue without being acked: expired, over a limit, rejected, purged
    Why {
        /// Its name
        queue: String,
    },
    /// List the messages that a delayed exchange holds, first due first
    ListDelayed {
        /// The exchange
        exchange: String,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 100)]
        count: usize,
    },
    /// Drop messages that a delayed exchange holds
    CancelDelayed {
        /// The exchange
        exchange: String,
        /// The message_id property of the messages
        #[arg(required_unless_present = "sequence", conflicts_with = "sequence")]
        message_id: Option<String>,
        /// Only the one with this number in list_delayed
        #[arg(long, value_name = "N")]
        sequence: Option<u64>,
    },

    /// Close a connection
    CloseConnection {
        /// Its pid or name, as list_connections shows them
        connection: String,
        /// What the client is told
        reason: String,
    },
    /// Close all connections of a vhost, or of all with --global
    CloseAllConnections {
        /// Those of all vhosts
        #[arg(long)]
        global: bool,
        /// Accepted for rabbitmqctl's sake, without effect
        #[arg(long = "per-connection-delay", hide = true)]
        per_connection_delay: Option<u64>,
        /// Accepted for rabbitmqctl's sake, without effect
        #[arg(long, hide = true)]
        limit: Option<u64>,
        /// What the clients are told
        reason: String,
    },
    /// Close all connections of a user
    CloseAllUserConnections {
        /// The user
        username: String,
        /// What the clients are told
        reason: String,
    },
    /// Stop publishers above this much memory, until a restart
    SetVmMemoryHighWatermark {
        /// A fraction of the memory such as 0.6; or the word absolute and a size such as 2GB
        #[arg(required = true, num_args = 1..=2, value_names = ["FRACTION|absolute", "SIZE"])]
        watermark: Vec<String>,
    },
    /// Stop publishers below this much free disk space, until a restart
    SetDiskFreeLimit {
        /// A size such as 2GB; or the word mem_relative and a multiple of the memory such as 1.5
        #[arg(required = true, num_args = 1..=2, value_names = ["SIZE|mem_relative", "FRACTION"])]
        limit: Vec<String>,
    },
    /// Write users, vhosts, permissions, policies, queues, exchanges and bindings as JSON
    ExportDefinitions {
        /// The file; - is standard output
        file: PathBuf,
        /// The format, which is json
        #[arg(long, default_value = "json", value_parser = ["json"])]
        format: String,
    },
    /// Add what a definitions file holds, of this broker or RabbitMQ
    ImportDefinitions {
        /// The file; - or nothing is standard input
        file: Option<PathBuf>,
        /// The format, which is json
        #[arg(long, default_value = "json", value_parser = ["json"])]
        format: String,
        /// Accepted for rabbitmqctl's sake: importing what is there already changes nothing
        #[arg(long = "skip-if-unchanged")]
        skip_if_unchanged: bool,
    },
}

/// Queues that get replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Strategy {
    /// All that have none there.
    All,
    /// Of those the ones with an even number of replicas.
    Even,
}

/// Queues by regular expressions.
#[derive(Args, Debug)]
pub struct Patterns {
    /// Only in vhosts whose names match this regular expression
    #[arg(long = "vhost-pattern", value_name = "PATTERN", default_value = ".*")]
    pub vhost_pattern: String,
    /// Only queues whose names match this regular expression
    #[arg(long = "queue-pattern", value_name = "PATTERN", default_value = ".*")]
    pub queue_pattern: String,
}

/// A policy or operator policy.
#[derive(Args, Debug)]
pub struct SetPolicy {
    /// Its name
    pub name: String,
    /// Names it applies to, as a regular expression
    pub pattern: String,
    /// JSON, such as '{"max-length": 1000}'
    pub definition: String,
    /// The highest of those that match applies
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub priority: i64,
    /// all, exchanges, queues, classic_queues, quorum_queues or streams
    #[arg(long, default_value = "all")]
    pub apply_to: String,
}

/// Which messages of a queue. Without any of these: all that wait for consumers.
#[derive(Args, Debug)]
pub struct Selection {
    /// At most so many, the oldest of them
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Leave out so many from the head
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub offset: u64,
    /// Only those with this message_id property
    #[arg(long, value_name = "ID")]
    pub message_id: Option<String>,
}

const ABOUT: &str =
    "Administers a running Leveret broker, with the verbs of rabbitmqctl, rabbitmq-queues and rabbitmq-upgrade.";

const EXAMPLES: &str = "\
Examples:
  leveretctl status                                        Is all well?
  leveretctl list_queues name messages consumers           What waits where?
  leveretctl -p orders peek_queue invoices --count 5       Look without touching
  leveretctl add_user bob secret                           A user ...
  leveretctl set_permissions bob '.*' '.*' '.*'            ... and what it may do
  leveretctl set_policy short '^log' '{\"max-length\":1000}' --apply-to queues
  leveretctl -q list_queues --formatter json | jq          For programs

It speaks to the broker through the socket admin.sock in its data directory, which only the user that runs the broker may
open: --data-dir or LEVERET_DATA_DIR says where that is.

Exit codes are rabbitmqctl's: 0 done, 64 wrong usage, 65 wrong data, 67 no such user, 69 refused or no broker there, 70 in
conflict with what is there.";
