//! Triggers in words: "3rd confirm", "10th publish to orders", "between write and fsync".

use super::error::hint;
use crate::plan::{Moment, Trigger};

/// What can be waited for: its words, whether a queue may be named, and what it is.
const MOMENTS: &[(&str, bool, Moment)] = &[
    ("confirm", false, Moment::Confirm),
    ("refusal", false, Moment::Refusal),
    ("publish", true, Moment::Publish),
    ("delivery", true, Moment::Delivery),
    ("settlement", true, Moment::Settlement),
    ("death", true, Moment::Death),
    ("connection", false, Moment::Connection),
    ("alarm", false, Moment::Alarm),
    ("consumer timeout", false, Moment::ConsumerTimeout),
    ("boot", false, Moment::Boot),
    ("ready", false, Moment::Ready),
    ("write", false, Moment::Write),
    ("between write and fsync", false, Moment::Unsynced),
    ("fsync", false, Moment::Fsync),
];

const ORDINALS: [&str; 10] =
    ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"];

/// Reads a trigger; the queue, if one is named, is not looked up.
///
/// # Errors
/// With what is wrong, and what may have been meant.
pub(super) fn parse(text: &str) -> Result<Trigger, String> {
    let mut rest = text.trim();
    let mut repeats = false;
    if let Some(after) = rest.strip_prefix("every ") {
        (repeats, rest) = (true, after.trim_start());
    }
    let mut nth = 1;
    if let Some((word, after)) = rest.split_once(' ')
        && let Some(number) = ordinal(word)
    {
        (nth, rest) = (number, after.trim_start());
    }
    if nth == 0 {
        return Err("counting starts with the 1st".to_owned());
    }
    let (what, queue) =
        if let Some(found) = [" to ", " of ", " from ", " in "].iter().find_map(|it| rest.split_once(it)) {
            (found.0.trim(), Some(found.1.trim()))
        } else {
            (rest, None)
        };
    let Some(&(_, takes_queue, moment)) = MOMENTS.iter().find(|(words, ..)| *words == what) else {
        return Err(format!("nothing to wait for is called \"{what}\"{}", hint(what, MOMENTS.iter().map(|it| it.0))));
    };
    if queue.is_some() && !takes_queue {
        return Err(format!("a {what} belongs to no queue"));
    }
    let queues = queue.map(str::to_owned).into_iter().collect();
    Ok(Trigger { moment, queues, nth, repeats, after_us: 0 })
}

/// "first", "3rd", "10th"…
fn ordinal(word: &str) -> Option<u32> {
    if let Some(at) = ORDINALS.iter().position(|it| *it == word) {
        return u32::try_from(at + 1).ok();
    }
    ["st", "nd", "rd", "th"].iter().find_map(|end| word.strip_suffix(end)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger(moment: Moment, queue: &str, nth: u32, repeats: bool) -> Trigger {
        let queues = Some(queue).filter(|it| !it.is_empty()).map(str::to_owned).into_iter().collect();
        Trigger { moment, queues, nth, repeats, after_us: 0 }
    }

    #[test]
    fn triggers_are_read_as_they_are_said() {
        assert_eq!(parse("3rd confirm"), Ok(trigger(Moment::Confirm, "", 3, false)));
        assert_eq!(parse("10th publish to orders"), Ok(trigger(Moment::Publish, "orders", 10, false)));
        assert_eq!(parse("first delivery of orders"), Ok(trigger(Moment::Delivery, "orders", 1, false)));
        assert_eq!(parse("every 5th between write and fsync"), Ok(trigger(Moment::Unsynced, "", 5, true)));
        assert_eq!(parse("boot"), Ok(trigger(Moment::Boot, "", 1, false)));
    }

    #[test]
    fn what_is_no_trigger_says_what_is() {
        assert!(parse("3rd confrim").unwrap_err().contains("did you mean `confirm`"));
        assert!(parse("0th confirm").unwrap_err().contains("1st"));
        assert!(parse("confirm of orders").unwrap_err().contains("no queue"));
        assert!(parse("sunset").unwrap_err().contains("`fsync`"));
    }
}
