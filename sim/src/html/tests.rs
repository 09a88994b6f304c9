use std::io::Read;

use flate2::read::GzDecoder;

use super::*;
use crate::record::{Band, Cause, EVENTS_MAX, Event, Fate, Kind, Lane, LaneKind, Look, QueueLook};
use crate::report::Failure;
use crate::rng::mix;
use crate::run::{RunOptions, plan, run_plan};
use crate::scenario::Scenario;

/// What the script of a page reads.
pub(crate) fn data_of(page: &str) -> serde_json::Value {
    let (_, rest) = page.split_once("<script type=\"text/plain\" id=\"data\">").unwrap();
    let (text, _) = rest.split_once("</script>").unwrap();
    let packed = STANDARD.decode(text.trim()).unwrap();
    let mut json = String::new();
    GzDecoder::new(&packed[..]).read_to_string(&mut json).unwrap();
    serde_json::from_str(&json).unwrap()
}

/// As many events as a recording may have, with as little in common as events of a run have.
fn long_recording() -> Recording {
    let lanes = (0..12).map(|number| Lane { kind: LaneKind::Client, name: format!("client {number}") }).collect();
    let event = |number: u64| {
        let random = mix(number);
        let at = number * 97 + random % 90;
        Event {
            at,
            from: Some(at - random % 90),
            kind: [Kind::Publish, Kind::Deliver, Kind::Ack, Kind::Confirm][usize::try_from(random % 4).unwrap()],
            lane: usize::try_from(random % 12).unwrap(),
            to: Some(usize::try_from(random % 11).unwrap()),
            fate: if random.is_multiple_of(50) { Fate::Lost } else { Fate::Done },
            messages: vec![u32::try_from(random % 5000).unwrap()],
            queue: Some(format!("queue-{}", random % 7)),
            channel: Some((u32::try_from(random % 40).unwrap(), 1)),
            tag: Some(random % 700),
            text: format!("the node delivers #{} from queue-{} to consumer {}", random % 5000, random % 7, random % 12),
        }
    };
    let queue =
        |number: u64| QueueLook { name: format!("q{number}"), ready: mix(number) % 900, unacked: 3, consumers: 2 };
    let look = |at: u64| Look {
        at: at * 2000,
        node: "ready".to_owned(),
        queues: (at..at + 7).map(queue).collect(),
        ..Look::default()
    };
    Recording {
        lanes,
        events: (1..=EVENTS_MAX as u64).map(event).collect(),
        bands: vec![Band { from: 5, to: 90, lane: 1, is_fault: true, text: "disk stall".to_owned() }],
        looks: (0..1000).map(look).collect(),
        cause: Some(Cause { at: 1_900_000, messages: vec![7], text: "#7 is lost".to_owned(), ..Cause::default() }),
        left_out: 3,
        end: 2_000_000,
    }
}

fn page_of(recording: &Recording) -> String {
    let scenario = Scenario::built_in().into_iter().find(|scenario| scenario.name == "steady").unwrap();
    let mut report = run_plan(plan(&scenario, 0), RunOptions::default());
    report.failure = Some(Failure::crash("<b>{{data}} & more".to_owned()));
    let explanation = crate::explain::explain(&report, recording, "leveret-sim replay x").unwrap();
    let run = Run { label: "run", report: &report, recording, explanation: &explanation };
    let build = "0.1.0".to_owned();
    page(&Page { runs: vec![run], build, rustc: "rustc", shrinking: None })
}

#[test]
fn a_page_of_twenty_thousand_events_is_below_two_megabytes_and_has_them_all() {
    let page = page_of(&long_recording());
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    let data = data_of(&page);
    assert_eq!(data["runs"][0]["recording"]["events"].as_array().unwrap().len(), EVENTS_MAX);
    assert_eq!(data["runs"][0]["recording"]["cause"]["messages"][0], 7);
}

#[test]
fn a_page_loads_nothing() {
    let page = page_of(&long_recording());
    for word in ["http:", "https:", "src=", "<link", "@import", "url(", "fetch(", "XMLHttpRequest", "import("] {
        assert!(!page.contains(word), "the page contains {word:?}");
    }
    assert!(page.contains("default-src 'none'"), "the browser is told to load nothing");
    assert!(!page.contains("{{"), "a field of the template was not filled");
    assert!(page.contains("<noscript>"));
}

#[test]
fn what_is_filled_in_is_text_and_not_looked_into() {
    let fields = [("{{a}}", "{{b}}".to_owned()), ("{{b}}", "x".to_owned())];
    assert_eq!(fill("<{{a}}|{{b}}|{{c}}>", &fields), "<{{b}}|x|{{c}}>");
    assert_eq!(escape("<b>\"&"), "&lt;b&gt;&quot;&amp;");
}
