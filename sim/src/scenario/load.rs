//! Scenario files: reading them, and those that are part of the program.

use super::Scenario;
use super::check::check;
use super::error::of_toml;
use crate::atlas;

/// The scenarios that are part of the program: folder, file name without its end, text. Made by the build script.
const BUILT_IN: &[(&str, &str, &str)] = include!(concat!(env!("OUT_DIR"), "/scenarios.rs"));

impl Scenario {
    /// Reads a scenario file's text.
    ///
    /// # Errors
    /// With line and column, the reason and a hint if it is no scenario.
    pub fn parse(text: &str) -> Result<Self, String> {
        let scenario: Self = toml::from_str(text).map_err(|error| of_toml(&error).show(text))?;
        check(&scenario).map_err(|complaint| complaint.show(text))?;
        atlas::check(&scenario.faults, scenario.run.beyond_claim || scenario.expect.fails.is_some())?;
        Ok(scenario)
    }

    /// Those of the built-in scenarios that are run where nobody asks for anything else: any seed may be given to them, and a run
    /// takes little time.
    ///
    /// # Panics
    /// Never: each of them is parsed in a test.
    pub fn built_in() -> Vec<Self> {
        [Self::folder("fast"), Self::folder("cluster")].concat()
    }

    /// Runs in which something was wrong once: scenarios of one seed.
    ///
    /// # Panics
    /// Never: each of them is parsed in a test.
    pub fn regressions() -> Vec<Self> {
        Self::folder("regressions")
    }

    /// The built-in scenarios of one folder: "fast", "slow", "rare", "cluster", "jepsen", "negative", "regressions" or
    /// "upgrade".
    ///
    /// # Panics
    /// Never: each of them is parsed in a test.
    pub fn folder(folder: &str) -> Vec<Self> {
        let texts = BUILT_IN.iter().filter(|(of, ..)| *of == folder);
        texts.map(|(.., text)| Self::parse(text).expect("parsed in a test")).collect()
    }

    /// The one of this name, if it is built in.
    pub(crate) fn called(name: &str) -> Option<Self> {
        let (_, _, text) = BUILT_IN.iter().find(|(_, its, _)| *its == name)?;
        Some(Self::parse(text).expect("parsed in a test"))
    }

    /// All built-in scenarios, each with its folder.
    ///
    /// # Panics
    /// Never: each of them is parsed in a test.
    pub fn all() -> Vec<(&'static str, Self)> {
        BUILT_IN.iter().map(|(folder, _, text)| (*folder, Self::parse(text).expect("parsed in a test"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_built_in_scenario_parses_and_has_its_files_name() {
        let mut names = BTreeSet::new();
        for (folder, name, text) in BUILT_IN {
            let scenario = Scenario::parse(text).unwrap_or_else(|error| panic!("{folder}/{name}: {error}"));
            assert_eq!(&scenario.name, name);
            assert!(names.insert(*name), "{name} is there twice");
            assert!(scenario.about.ends_with('.'), "{name}");
            assert_eq!(scenario.run.seed.is_some(), *folder == "regressions", "{folder}/{name}");
            assert_eq!(scenario.expect.fails.is_some(), *folder == "negative", "{folder}/{name}");
            assert!(text.starts_with("#:schema ../schema.json\n"), "{folder}/{name} does not name its schema");
        }
        assert!(names.len() >= 60, "{} scenarios", names.len());
    }

    /// Whoever copies it from the page has something that runs.
    #[test]
    fn the_examples_of_the_readme_are_scenarios() {
        let text = include_str!("../../../scenarios/README.md");
        let is_code = |line: &&str| line.starts_with("    ") || line.is_empty();
        let example = text.split("\n\n    #:schema ../schema.json").nth(1).expect("the example is there");
        let example = example.lines().take_while(is_code).collect::<Vec<_>>().join("\n");
        let example = Scenario::parse(&example).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((example.client.len(), example.fault.len(), example.nemesis.len()), (2, 1, 1));
        let drawn = text.split("\n\n    [run]").nth(1).expect("the drawn parts are there");
        let drawn = drawn.lines().take_while(is_code).collect::<Vec<_>>().join("\n");
        let drawn = format!("name = \"x\"\nabout = \"X.\"\n[run]{drawn}");
        let drawn = Scenario::parse(&drawn).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(drawn.story.features.len(), 17);
    }

    /// Misspelt and misplaced things are shown where they are, with what may have been meant.
    #[test]
    fn a_mistake_is_shown_where_it_is() {
        let start = "name = \"x\"\nabout = \"X.\"\n";
        let queue = "[[queue]]\nname = \"orders\"\n";
        for (text, place, hint) in [
            ("[clients]\nconfirmin = [1, 2]\n", "line 4, column 1", "did you mean `confirming`?"),
            ("[clients]\npublishers = [1, 2]\n", "line 4, column 1", "known are `confirming`"),
            ("[clients\n", "line 3, column 9", ""),
            ("[run]\nchaos_ms = \"2s\"\n", "line 4, column 12", "invalid type"),
            ("[phases]\nchaos = \"2 s\"\n", "line 4, column 9", "a duration such as"),
            ("[[fault]]\nkind = \"powerloss\"\nat = \"1s\"\n", "line 4, column 8", "did you mean `power_loss`?"),
            ("[[fault]]\nkind = \"kill\"\n", "line 4, column 8", "`at` or `on`"),
            ("[[fault]]\nkind = \"kill\"\non = \"3rd confrim\"\n", "line 5, column 6", "did you mean `confirm`?"),
            ("[[fault]]\nkind = \"kill\"\nat = \"1h\"\n", "line 5, column 6", "a duration such as"),
            ("[[fault]]\nkind = \"rot\"\nat = \"1s\"\n", "line 4, column 8", "beyond_claim = true"),
            ("[expect]\nfails = \"nothing lots\"\n", "line 4, column 9", "did you mean `nothing lost`?"),
            ("[expect]\nsometimes = [\"redelivery\"]\n", "line 4, column 14", "`redeliveries`"),
            ("[node]\nplant = \"ConfirmBeforFsync\"\n", "line 4, column 9", "did you mean `ConfirmBeforeFsync`?"),
        ] {
            let error = Scenario::parse(&format!("{start}{text}")).expect_err(text);
            assert!(error.starts_with(place) && error.contains(hint), "{text}\ngives: {error}");
        }
        for (text, place, hint) in [
            ("x-mesage-ttl = 5\n", "line 5, column 1", "did you mean `x-message-ttl`?"),
            ("[[client]]\nkind = \"consumer\"\nqueue = \"oders\"\n", "line 7, column 9", "did you mean `orders`?"),
            ("[[client]]\nkind = \"consummer\"\n", "line 6, column 8", "did you mean `consumer`?"),
            ("[[client]]\nkind = \"consumer\"\n", "line 5", "`queue` is missing"),
            ("[[client]]\nkind = \"consumer\"\nqueue = \"orders\"\nmandatory = true\n", "line 5", "`mandatory`"),
            ("[[fault]]\nkind = \"kill\"\non = \"publish to oders\"\n", "line 7, column 6", "did you mean `orders`?"),
            ("[[fault]]\nkind = \"kill\"\nat = \"1s\"\ntarget = \"leader(oders)\"\n", "line 8, column 10", "`orders`"),
            ("[[fault]]\nkind = \"kill\"\nat = \"1s\"\ntarget = \"minority\"\n", "line 8, column 10", "parts"),
            ("[[fault]]\nkind = \"kill\"\nat = \"1s\"\ntarget = \"node b\"\n", "line 8, column 10", "no node"),
            ("[[fault]]\nkind = \"isolate\"\nat = \"1s\"\n", "line 6, column 8", "several nodes"),
            ("[[fault]]\nkind = \"kill\"\nat = \"1s\"\ntarget = \"consumers\"\n", "line 8, column 10", "node"),
            ("[[fault]]\nkind = \"fin\"\nat = \"1s\"\ntarget = \"client 3\"\n", "line 8, column 10", "no client"),
        ] {
            let error = Scenario::parse(&format!("{start}{queue}{text}")).expect_err(text);
            assert!(error.starts_with(place) && error.contains(hint), "{text}\ngives: {error}");
        }
        let error = Scenario::parse(&format!("{start}[cluster]\nnodes = 10\n")).unwrap_err();
        assert!(error.starts_with("line 4, column 9") && error.contains("1 to 9"), "{error}");
    }
}
