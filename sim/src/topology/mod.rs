//! `leveret-sim topology`: can this topology lose messages, and how?
//!
//! Definitions exported from RabbitMQ go into the real engine, and every situation that their settings make possible is tried: nobody
//! consumes, limits are reached, consumers reject or crash, the broker is restarted, killed, loses power. What is reported is what was
//! lost in such a run, with the engine's recorded reason; nothing is reported because it looks wrong. So a finding is a story that can
//! be told in a few lines, and silence means that all of it was tried and nothing was lost.

mod definitions;
mod experiment;
mod finding;
mod lab;
mod picture;
mod print;
mod routes;
mod rules;
mod subject;
mod trials;
mod weakness;

use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use self::definitions::Definitions;
use self::experiment::Tally;
use self::finding::{Finding, shortest};
use self::routes::{Routes, unknown};
use self::rules::{ConsumeRule, IgnoreRule, PublishRule};
use self::subject::Subject;
use self::trials::Trials;

/// Exit code when messages can be lost.
const MESSAGES_CAN_BE_LOST: u8 = 2;
/// Exit code when the engine panics, which is a bug.
const ENGINE_PANICKED: u8 = 4;

/// What the user asks.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TopologyArgs {
    /// Definitions as `rabbitmqctl export_definitions FILE` or `/api/definitions` gives them (RabbitMQ 3.x or 4.x, all vhosts or one).
    #[arg(required_unless_present = "explain")]
    definitions: Option<PathBuf>,
    /// Judges only this vhost.
    #[arg(long, value_name = "NAME")]
    vhost: Option<String>,
    /// Somebody publishes like this, and nobody otherwise: `EXCHANGE KEY [persistent|transient] [confirm] [mandatory]`. Names with
    /// spaces, and the default exchange, stand in double quotes. Left out: persistent messages with confirms to every exchange.
    #[arg(long, value_name = "RULE")]
    publish: Vec<String>,
    /// Somebody consumes like this: `QUEUE [auto-ack|ack|reject|never] [prefetch=N]`. Left out: consumers ack what they have handled.
    #[arg(long, value_name = "RULE")]
    consume: Vec<String>,
    /// Does not report this, everywhere or in one queue or exchange.
    #[arg(long, value_name = "WEAKNESS[:NAME]")]
    ignore: Vec<String>,
    /// Says more about a weakness, or about all of them.
    #[arg(long, value_name = "WEAKNESS|all", conflicts_with = "definitions")]
    explain: Option<String>,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
    /// Writes a page with a drawing of the topology, what loses messages in red, and all stories. It needs no network.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

const EXAMPLES: &str = "Exit codes: 0 nothing was lost, 1 wrong usage or no definitions, 2 messages can be lost, 4 the engine panicked.\n\n\
Examples:\n  \
rabbitmqctl export_definitions defs.json\n  \
leveret-sim topology defs.json\n  \
leveret-sim topology defs.json --publish 'shop.events order.1.paid confirm' --consume 'billing auto-ack prefetch=50'\n  \
leveret-sim topology defs.json --html topology.html\n  \
leveret-sim topology defs.json --ignore ttl-without-dlx:cache --json\n  \
leveret-sim topology --explain drop-head-before-dlx";

/// The verdict on definitions.
#[derive(Debug)]
struct Verdict {
    findings: Vec<Finding>,
    ignored: usize,
    notes: Vec<String>,
    subjects: Vec<Subject>,
    tally: Tally,
}

/// What the user says beside the definitions.
#[derive(Debug, Default)]
struct Rules {
    vhost: Option<String>,
    publish: Vec<PublishRule>,
    consume: Vec<ConsumeRule>,
    ignore: Vec<IgnoreRule>,
}

/// The verb.
///
/// # Errors
/// If the definitions cannot be read, or a rule names what they do not have.
pub(crate) fn main(args: &TopologyArgs) -> Result<ExitCode, String> {
    if let Some(name) = &args.explain {
        print::explain(name)?;
        return Ok(ExitCode::SUCCESS);
    }
    let path = args.definitions.as_deref().expect("clap asks for it");
    let text = read(path)?;
    let parse = |rules: &[String]| rules.iter().map(|rule| PublishRule::parse(rule)).collect::<Result<Vec<_>, _>>();
    let rules = Rules {
        vhost: args.vhost.clone(),
        publish: parse(&args.publish)?,
        consume: args.consume.iter().map(|rule| ConsumeRule::parse(rule)).collect::<Result<_, _>>()?,
        ignore: args.ignore.iter().map(|rule| IgnoreRule::parse(rule)).collect::<Result<_, _>>()?,
    };
    // Other verbs keep panics to report them; here they are for the terminal.
    drop(std::panic::take_hook());
    let Ok(verdict) = catch_unwind(AssertUnwindSafe(|| judge(&text, &rules))) else {
        return Ok(ExitCode::from(ENGINE_PANICKED));
    };
    let verdict = verdict.map_err(|error| format!("{}: {error}", path.display()))?;
    if let Some(file) = &args.html {
        std::fs::write(file, picture::page(path, &verdict)).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    if args.json {
        print::json(path, &verdict);
    } else {
        print::text(path, &verdict);
    }
    Ok(if verdict.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(MESSAGES_CAN_BE_LOST) })
}

fn read(path: &Path) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    String::from_utf8(bytes).map_err(|_| format!("{}: this is not UTF-8, so no JSON either", path.display()))
}

/// Tries everything.
fn judge(text: &str, rules: &Rules) -> Result<Verdict, String> {
    let definitions = Definitions::read(text)?;
    let mut subjects = Subject::all(&definitions)?;
    if let Some(vhost) = &rules.vhost {
        let names: Vec<String> = subjects.iter().map(|subject| subject.vhost.clone()).collect();
        subjects.retain(|subject| subject.vhost == *vhost);
        if subjects.is_empty() {
            return Err(format!("--vhost: {}", unknown("vhost with queues or exchanges", vhost, names.iter())));
        }
    }
    let has_rules = !rules.publish.is_empty() || !rules.consume.is_empty();
    if has_rules && subjects.len() > 1 {
        let names: Vec<&str> = subjects.iter().map(|subject| subject.vhost.as_str()).collect();
        let names = names.join(", ");
        return Err(format!("--publish and --consume are about one vhost: say with --vhost which of {names}"));
    }
    let mut notes = definitions.notes;
    let mut findings = Vec::new();
    let mut tally = Tally::default();
    for subject in &subjects {
        for rule in &rules.consume {
            if !subject.queues.contains_key(&rule.queue) {
                return Err(format!("--consume: {}", unknown("queue", &rule.queue, subject.queues.keys())));
            }
        }
        let routes = Routes::find(subject, &rules.publish)?;
        notes.extend(routes.notes.iter().cloned());
        let mut trials = Trials::new(subject, &routes, &rules.consume);
        let bar = progress(trials.steps());
        trials.run(|| bar.inc(1));
        bar.finish_and_clear();
        findings.append(&mut trials.findings);
        tally.add(trials.tally);
    }
    let mut findings = shortest(findings);
    let all = findings.len();
    findings.retain(|finding| !rules.ignore.iter().any(|rule| rule.covers(finding.weakness, &finding.place)));
    Ok(Verdict { ignored: all - findings.len(), findings, notes, subjects, tally })
}

fn progress(steps: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{bar:30} {pos}/{len} queues tried, {eta} left").expect("a fixed template");
    ProgressBar::new(steps).with_style(style)
}

#[cfg(test)]
mod tests;
