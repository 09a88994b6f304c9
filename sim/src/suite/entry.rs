//! A scenario as part of a suite: what it has to show there.

use crate::cli::find::Found;
use crate::scenario::Scenario;

/// One scenario of a suite.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The scenario.
    pub(crate) scenario: Scenario,
    /// Its file, or its name if it is part of the program.
    pub(crate) place: String,
    /// What it has to show.
    pub(crate) expected: Expected,
    /// Why this program cannot run it, if it cannot. The suite then goes without it, and says so.
    pub(crate) unavailable: Option<String>,
}

/// What a scenario has to show in a suite, beside that no promise is broken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    /// The one promise that has to break in it, in at least one seed; no other may in any. `None`: all are kept.
    pub(crate) fails: Option<String>,
    /// Promises that have to be at stake in it, and situations that it has to come to.
    pub(crate) sometimes: Vec<String>,
}

impl Entry {
    /// What the suite makes of a scenario.
    pub(crate) fn new(found: Found) -> Self {
        let expected = Expected::of(&found.scenario);
        let unavailable = found.scenario.unavailable();
        Self { scenario: found.scenario, place: found.place, expected, unavailable }
    }

    /// The scenario's name.
    pub(crate) fn name(&self) -> &str {
        &self.scenario.name
    }

    /// The command that repeats one run of it.
    pub(crate) fn repeat_command(&self, seed: u64) -> String {
        let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_./+=".contains(character);
        let place = match &self.place {
            place if place.chars().all(is_plain) => place.clone(),
            place => format!("'{}'", place.replace('\'', r"'\''")),
        };
        format!("leveret-sim run {place} --seed {seed}")
    }
}

impl Expected {
    /// What a scenario file asks for.
    fn of(scenario: &Scenario) -> Self {
        Self {
            fails: scenario.expected_failure().map(str::to_owned),
            sometimes: scenario.required_marks().map(str::to_owned).collect(),
        }
    }
}

/// Takes scenarios into a suite.
///
/// # Errors
/// If two have the same name: nobody could tell which one failed.
pub(crate) fn entries(found: Vec<Found>) -> Result<Vec<Entry>, String> {
    let mut entries: Vec<Entry> = Vec::new();
    for found in found {
        match entries.iter().find(|entry| entry.name() == found.scenario.name) {
            Some(other) if other.place == found.place => {}
            Some(other) => {
                return Err(format!(
                    "two scenarios are called {}: {} and {}; give one of them another name",
                    other.name(),
                    other.place,
                    found.place
                ));
            }
            None => entries.push(Entry::new(found)),
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::find::find;

    #[test]
    fn a_scenario_named_twice_is_run_once_and_two_of_one_name_are_refused() {
        let steady = find("steady").unwrap().remove(0);
        let twice = entries(vec![steady.clone(), steady.clone()]).unwrap();
        assert_eq!(twice.len(), 1);
        let other = Found { place: "mine.toml".to_owned(), ..steady.clone() };
        let error = entries(vec![steady, other]).unwrap_err();
        assert!(error.contains("steady") && error.contains("mine.toml"), "{error}");
    }

    #[test]
    fn what_a_file_expects_is_what_it_has_to_show() {
        let text =
            "name = \"x\"\nabout = \"X.\"\n[clients]\n[expect]\nfails = \"order\"\nsometimes = [\"redeliveries\"]\n";
        let entry = Entry::new(Found { scenario: Scenario::parse(text).unwrap(), place: "x.toml".to_owned() });
        let expected = Expected { fails: Some("order".to_owned()), sometimes: vec!["redeliveries".to_owned()] };
        assert_eq!((entry.expected, entry.unavailable), (expected, None));
    }

    #[test]
    fn a_place_with_spaces_can_be_pasted_into_a_shell() {
        let mut entry = Entry::new(find("steady").unwrap().remove(0));
        assert_eq!(entry.repeat_command(7), "leveret-sim run steady --seed 7");
        entry.place = "it's mine.toml".to_owned();
        assert_eq!(entry.repeat_command(7), r"leveret-sim run 'it'\''s mine.toml' --seed 7");
    }
}
