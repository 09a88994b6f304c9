//! Bounding a recording: what matters to the failure stays, of the rest the end, and of the beginning a sample.

use super::{Cause, Event, Kind};

/// Cuts `events` down to `most`. Returns how many were left out.
///
/// The last three quarters of what fits are the last events. Of older ones, whole messages are kept, so that whoever picks one still
/// sees all of its life.
pub(super) fn thin(events: &mut Vec<Event>, cause: Option<&Cause>, most: usize) -> u64 {
    if events.len() <= most {
        return 0;
    }
    let before = events.len();
    let matters = |event: &Event| is_landmark(event.kind) || cause.is_some_and(|cause| event.is_about(&cause.messages));
    let kept_anyhow = events.iter().filter(|event| matters(event)).count().min(most);
    let room = most - kept_anyhow;
    let tail = events.len() - room * 3 / 4;
    for share in (1..).map(|power| 1u32 << power.min(31)) {
        let is_kept = |at: usize, event: &Event| {
            let number = event.messages.first().copied().unwrap_or_else(|| u32::try_from(at).unwrap_or(u32::MAX));
            at >= tail || matters(event) || number.is_multiple_of(share)
        };
        let count = events.iter().enumerate().filter(|(at, event)| is_kept(*at, event)).count();
        if count <= most || share == 1 << 31 {
            let mut at = 0;
            events.retain(|event| {
                at += 1;
                is_kept(at - 1, event)
            });
            break;
        }
    }
    // So many landmarks alone: then the oldest go.
    let excess = events.len().saturating_sub(most);
    events.drain(..excess);
    (before - events.len()) as u64
}

/// Whether an event is part of every story.
fn is_landmark(kind: Kind) -> bool {
    matches!(kind, Kind::Node | Kind::FaultBegins | Kind::FaultEnds | Kind::LogLost | Kind::Broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(count: u32) -> Vec<Event> {
        let event = |at: u32| Event { at: at.into(), messages: vec![at / 4], ..Event::default() };
        (0..count).map(event).collect()
    }

    #[test]
    fn what_matters_and_the_end_stay_and_the_beginning_is_thinned() {
        let mut long = events(10_000);
        long[3].kind = Kind::Node;
        let cause = Cause { messages: vec![17], ..Cause::default() };
        let left_out = thin(&mut long, Some(&cause), 1000);
        assert!((850..=1000).contains(&long.len()), "{}", long.len());
        assert_eq!(left_out, 10_000 - long.len() as u64);
        assert_eq!(long.iter().filter(|event| event.messages == [17]).count(), 4);
        assert_eq!(long[0].at, 0, "a sample of the beginning is there");
        assert!(long.iter().any(|event| event.kind == Kind::Node));
        assert!(long.iter().rev().take(700).zip((0..10_000).rev()).all(|(event, at)| event.at == at));
        assert!(long.is_sorted_by_key(|event| event.at));
        // Whoever is kept is kept whole.
        let middle = long.iter().find(|event| event.at > 1000).expect("a sample").messages[0];
        assert_eq!(long.iter().filter(|event| event.messages == [middle]).count(), 4);
    }

    #[test]
    fn short_recordings_are_left_alone_and_the_bound_holds_whatever_matters() {
        let mut short = events(50);
        assert_eq!(thin(&mut short, None, 50), 0);
        let mut landmarks = events(50);
        landmarks.iter_mut().for_each(|event| event.kind = Kind::Node);
        assert_eq!(thin(&mut landmarks, None, 10), 40);
        assert_eq!(landmarks.iter().map(|event| event.at).collect::<Vec<_>>(), (40..50).collect::<Vec<_>>());
    }
}
