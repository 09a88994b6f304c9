//! `leveretctl`: command lines to administrative requests and their answers to text. It decides nothing and reads and writes nothing, so that the
//! program, the broker's admin socket and tests use it alike.
//!
//! 1. [`parse`] turns arguments into an [`Invocation`], or into the [`Outcome`] of a wrong usage.
//! 2. [`Invocation::input`] tells what has to be read for it first.
//! 3. [`Invocation::plan`] names the [`AdminRequest`] to make, if one is needed at all.
//! 4. [`Invocation::outcome`] words the answer.

mod cluster;
mod columns;
mod output;
mod replicas;
mod reply;
mod request;
mod tenants;
mod verbs;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use clap::error::ErrorKind;
use leveret_engine::management::{AdminError, AdminErrorKind, AdminReply, AdminRequest};

pub use output::{Outcome, exit};
pub use verbs::{CommandLine, Formatter, Options, Patterns, Selection, SetPolicy, Strategy, Verb};

/// A command line that makes sense.
#[derive(Debug)]
pub struct Invocation {
    line: CommandLine,
}

/// What has to be read before a request can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NeededInput {
    /// Nothing.
    None,
    /// A line of standard input that is not shown: a password.
    Password,
    /// All of a file.
    File(PathBuf),
    /// All of standard input.
    StandardInput,
}

/// What is to be done for a command line.
#[derive(Debug)]
pub enum Plan {
    /// Nothing has to be asked.
    Done(Outcome),
    /// The node has to be asked this.
    Ask(Box<AdminRequest>),
}

/// Reads a command line, without the program's name.
///
/// # Errors
/// What to print and exit with, if it makes no sense or asks for help.
pub fn parse<I>(arguments: I) -> Result<Invocation, Outcome>
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let line = std::iter::once(OsString::from("leveretctl")).chain(arguments.into_iter().map(Into::into));
    CommandLine::try_parse_from(line).map(|line| Invocation { line }).map_err(|error| {
        let text = error.render().to_string();
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Outcome { output: text, ..Outcome::default() },
            _ => Outcome::failure(exit::USAGE, text),
        }
    })
}

impl Invocation {
    /// Where the broker's data is.
    pub fn data_dir(&self) -> &Path {
        &self.line.options.data_dir
    }

    /// How long to wait for the answer.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.line.options.timeout)
    }

    /// Whether to ask again until a broker answers, and answers other than that it cannot do that ([`exit::UNAVAILABLE`]).
    pub fn waits_for_broker(&self) -> bool {
        matches!(self.line.verb, Verb::AwaitStartup | Verb::AwaitOnlineNodes { .. } | Verb::AwaitOnlineQuorumPlusOne)
    }

    /// What has to be read for [`Invocation::plan`].
    pub fn input(&self) -> NeededInput {
        match &self.line.verb {
            Verb::AddUser { password: None, .. }
            | Verb::ChangePassword { password: None, .. }
            | Verb::AuthenticateUser { password: None, .. }
            | Verb::HashPassword { password: None } => NeededInput::Password,
            Verb::ImportDefinitions { file: Some(file), .. } if file.as_os_str() != "-" => {
                NeededInput::File(file.clone())
            }
            Verb::ImportDefinitions { .. } => NeededInput::StandardInput,
            _ => NeededInput::None,
        }
    }

    /// The file that the output goes to, if not to standard output.
    pub fn output_file(&self) -> Option<&Path> {
        match &self.line.verb {
            Verb::ExportDefinitions { file, .. } if file.as_os_str() != "-" => Some(file),
            _ => None,
        }
    }

    /// What to do, with what [`Invocation::input`] asked for.
    pub fn plan(&self, input: Option<&str>) -> Plan {
        match request::plan(&self.line, input) {
            Ok(plan) => plan,
            Err(outcome) => Plan::Done(outcome),
        }
    }

    /// What to print and exit with for the node's answer.
    pub fn outcome(&self, reply: Result<AdminReply, AdminError>) -> Outcome {
        let CommandLine { options, verb } = &self.line;
        let banner = request::banner(options, verb);
        match reply
            .map_err(|error| (self.code_of(error.kind), self.reason(error)))
            .and_then(|reply| reply::body(&self.line, reply))
        {
            Ok(body) => Outcome { output: output::format(options, &banner, &body), ..Outcome::default() },
            Err((code, text)) => {
                let output = output::format(options, &banner, &output::Body::Nothing);
                Outcome { code, output, error: format!("Error:\n{}\n", text.trim_end()) }
            }
        }
    }

    /// The reason of a refusal, as rabbitmqctl words it.
    fn reason(&self, error: AdminError) -> String {
        match (error.kind, &self.line.verb) {
            (
                AdminErrorKind::BadRequest,
                Verb::SetPolicy(_) | Verb::SetOperatorPolicy(_) | Verb::SetParameter { .. },
            ) => {
                format!("Validation failed\n\n{}", error.text)
            }
            _ => error.text,
        }
    }

    /// The exit code for a refusal, as rabbitmqctl has it.
    fn code_of(&self, kind: AdminErrorKind) -> u8 {
        match (kind, &self.line.verb) {
            (
                AdminErrorKind::NotFound,
                Verb::ChangePassword { .. }
                | Verb::ClearPassword { .. }
                | Verb::DeleteUser { .. }
                | Verb::SetUserTags { .. }
                | Verb::ListUserPermissions { .. },
            ) => exit::NO_USER,
            (AdminErrorKind::NotFound, Verb::DeleteQueue { .. }) => exit::USAGE,
            (
                AdminErrorKind::NotFound,
                Verb::ImportDefinitions { .. }
                | Verb::DeleteVhost { .. }
                | Verb::ListPermissions
                | Verb::ListQueues { .. }
                | Verb::ListExchanges { .. }
                | Verb::ListBindings { .. }
                | Verb::ListConsumers { .. },
            ) => exit::DATA,
            (_, Verb::AuthenticateUser { .. }) => exit::DATA,
            (AdminErrorKind::Conflict, _) => exit::CONFLICT,
            (
                AdminErrorKind::BadRequest,
                Verb::SetPolicy(_) | Verb::SetOperatorPolicy(_) | Verb::SetParameter { .. },
            ) => exit::UNAVAILABLE,
            (AdminErrorKind::BadRequest, _) => exit::DATA,
            (AdminErrorKind::NotFound | AdminErrorKind::Refused, _) => exit::UNAVAILABLE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        CommandLine::command().debug_assert();
    }

    /// Each verb with what it has to be given.
    #[test]
    fn every_verb_is_carried_out() {
        for verb in CommandLine::command().get_subcommands().filter(|verb| verb.get_name() != "help") {
            let mut line = vec![verb.get_name().to_owned()];
            for argument in verb.get_positionals().filter(|argument| argument.is_required_set()) {
                let word = match argument.get_id().as_str() {
                    "strategy" | "kind" => "all",
                    "definition" | "value" => "{}",
                    "watermark" => "0.5",
                    "limit" if verb.get_name() == "set_disk_free_limit" => "1GB",
                    "count" => "1",
                    other => other,
                };
                line.push(word.to_owned());
            }
            if verb.get_name() == "cancel_delayed" {
                line.push("id".to_owned());
            }
            let invocation = parse(&line).unwrap_or_else(|outcome| panic!("{line:?}: {}", outcome.error));
            match invocation.plan(Some("{}")) {
                Plan::Ask(_) => {}
                // These tell what to do instead.
                Plan::Done(_) if matches!(line[0].as_str(), "join_cluster" | "reset" | "force_reset") => {}
                Plan::Done(outcome) => assert_eq!(outcome.code, exit::OK, "{line:?}: {}", outcome.error),
            }
        }
    }

    #[test]
    fn wrong_usage_is_64_and_says_what_is_meant() {
        let wrong = |line: &[&str]| parse(line).unwrap_err();
        assert_eq!(wrong(&["nonsense"]).code, exit::USAGE);
        assert!(wrong(&["list_usrs"]).error.contains("list_users"));
        let few = wrong(&["set_permissions", "bob", ".*"]);
        assert_eq!(few.code, exit::USAGE);
        assert!(few.error.contains("<WRITE>"), "{}", few.error);
        assert_eq!(wrong(&["--help"]).code, exit::OK);
        assert_eq!(wrong(&["help", "add_user"]).code, exit::OK);
    }

    #[test]
    fn options_stand_anywhere() {
        for line in [["-p", "v", "list_queues", "-q"], ["list_queues", "--vhost", "v", "-q"]] {
            let options = parse(line).unwrap().line.options;
            assert!(options.vhost == "v" && options.quiet);
        }
    }

    #[test]
    fn passwords_and_files_are_read_when_they_are_not_given() {
        let input = |line: &[&str]| parse(line).unwrap().input();
        assert_eq!(input(&["add_user", "bob"]), NeededInput::Password);
        assert_eq!(input(&["add_user", "bob", "secret"]), NeededInput::None);
        assert_eq!(input(&["import_definitions"]), NeededInput::StandardInput);
        assert_eq!(input(&["import_definitions", "a.json"]), NeededInput::File(PathBuf::from("a.json")));
    }
}
