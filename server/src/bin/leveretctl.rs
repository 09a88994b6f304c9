//! The `leveretctl` binary: carries a command line to the broker and its outcome back.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use leveret_server::admin::short_path;
use leveret_server::ctl::{self, Invocation, NeededInput, Outcome, Plan, exit};
use serde_json::{Value, json};

/// How long to wait before asking again whether a broker has come up.
const RETRY: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let outcome = run(&arguments).unwrap_or_else(|outcome| outcome);
    // Nobody may be reading it.
    let _ = io::stdout().write_all(outcome.output.as_bytes());
    let _ = io::stderr().write_all(outcome.error.as_bytes());
    ExitCode::from(outcome.code)
}

#[expect(clippy::disallowed_methods, reason = "this program has no runtime that could be blocked")]
fn run(arguments: &[std::ffi::OsString]) -> Result<Outcome, Outcome> {
    let invocation = ctl::parse(arguments)?;
    let input = read_input(&invocation)?;
    if let Plan::Done(outcome) = invocation.plan(input.as_deref()) {
        return Ok(outcome);
    }
    // The line was understood, so it is text.
    let words: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
    let question = json!({ "arguments": words, "input": input }).to_string();
    let mut outcome = ask(&invocation, &question)?;
    if let Some(file) = invocation.output_file()
        && outcome.code == exit::OK
    {
        let written = fs::write(file, &outcome.output);
        written.map_err(|error| failure(exit::DATA, format!("cannot write {}: {error}", file.display())))?;
        outcome.output.clear();
    }
    Ok(outcome)
}

fn read_input(invocation: &Invocation) -> Result<Option<String>, Outcome> {
    let mut text = String::new();
    let read = match invocation.input() {
        NeededInput::None => return Ok(None),
        NeededInput::Password => io::stdin().read_line(&mut text).map(|_| {
            text.truncate(text.trim_end_matches(['\r', '\n']).len());
        }),
        NeededInput::StandardInput => io::stdin().read_to_string(&mut text).map(drop),
        NeededInput::File(path) => {
            let read = fs::read_to_string(&path);
            text = read.map_err(|error| failure(exit::DATA, format!("cannot read {}: {error}", path.display())))?;
            Ok(())
        }
    };
    read.map_err(|error| failure(exit::DATA, format!("cannot read standard input: {error}")))?;
    if text.is_empty() && matches!(invocation.input(), NeededInput::Password) {
        return Err(failure(exit::DATA, "Password is not provided via argument or stdin".to_owned()));
    }
    Ok(Some(text))
}

/// Asks the broker, which need not be there yet if that is what is waited for.
#[expect(clippy::disallowed_methods, reason = "this program has no runtime that could be blocked")]
fn ask(invocation: &Invocation, question: &str) -> Result<Outcome, Outcome> {
    let deadline = Instant::now() + invocation.timeout();
    loop {
        match ask_once(invocation, question, deadline) {
            Err(_) if invocation.waits_for_broker() && Instant::now() < deadline => sleep(RETRY),
            Ok(Outcome { code: exit::UNAVAILABLE, .. })
                if invocation.waits_for_broker() && Instant::now() < deadline =>
            {
                sleep(RETRY);
            }
            Ok(outcome) => return Ok(outcome),
            Err(error) => {
                let place = invocation.data_dir().display();
                let text = match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => format!(
                        "no broker runs with the data directory {place}: start it, or say where its data is with --data-dir or \
                         LEVERET_DATA_DIR"
                    ),
                    io::ErrorKind::PermissionDenied => {
                        format!("only the user that runs the broker may use its data directory {place}")
                    }
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                        format!("the broker did not answer in {} s", invocation.timeout().as_secs())
                    }
                    _ => format!("cannot speak to the broker in {place}: {error}"),
                };
                return Err(failure(exit::UNAVAILABLE, text));
            }
        }
    }
}

fn ask_once(invocation: &Invocation, question: &str, deadline: Instant) -> io::Result<Outcome> {
    let directory = File::open(invocation.data_dir())?;
    let mut socket = UnixStream::connect(short_path(&directory))?;
    // A timeout of zero would be none.
    let patience = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    socket.set_read_timeout(Some(patience))?;
    socket.write_all(question.as_bytes())?;
    socket.write_all(b"\n")?;
    let mut line = Vec::new();
    BufReader::new(&socket).read_until(b'\n', &mut line)?;
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "its answer makes no sense");
    if line.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection"));
    }
    let answer: Value = serde_json::from_slice(&line).map_err(|_| bad())?;
    let code = answer["code"].as_u64().and_then(|code| u8::try_from(code).ok()).ok_or_else(bad)?;
    let text = |name: &str| answer[name].as_str().map(str::to_owned).ok_or_else(bad);
    Ok(Outcome { code, output: text("output")?, error: text("error")? })
}

fn failure(code: u8, text: impl Into<String>) -> Outcome {
    Outcome::failure(code, format!("Error:\n{}\n", text.into()))
}
