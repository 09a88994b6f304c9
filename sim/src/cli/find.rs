//! Scenarios by name, file or folder.

use std::path::{Path, PathBuf};

use crate::scenario::Scenario;
use crate::suite::canary;

/// A scenario, and what `leveret-sim run` would be given for it alone.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The scenario.
    pub(crate) scenario: Scenario,
    /// Its file, or its name if it is part of the program.
    pub(crate) place: String,
}

/// The scenarios that are part of the program.
pub(crate) fn built_in() -> Vec<Found> {
    let all = [Scenario::built_in(), Scenario::regressions()].concat();
    all.into_iter().map(|scenario| Found { place: scenario.name.clone(), scenario }).collect()
}

/// All of these; if none is named, those of the program that are quick, and those that have to fail.
pub(crate) fn find_all(names: &[String]) -> Result<Vec<Found>, String> {
    if names.is_empty() {
        let negative = Scenario::folder("negative").into_iter();
        let negative = negative.map(|scenario| Found { place: scenario.name.clone(), scenario });
        return Ok(built_in().into_iter().chain(negative).collect());
    }
    let found = names.iter().map(|name| find(name)).collect::<Result<Vec<_>, _>>()?;
    Ok(found.concat())
}

/// A built-in scenario, one from a file, or all of a folder and the folders in it, by their names.
pub(crate) fn find(name: &str) -> Result<Vec<Found>, String> {
    if let Some(scenario) = Scenario::called(name) {
        return Ok(vec![Found { scenario, place: name.to_owned() }]);
    }
    if name == canary::NAME {
        return Ok(vec![Found { scenario: canary::scenario(), place: name.to_owned() }]);
    }
    let path = Path::new(name);
    if path.is_dir() {
        let mut files = Vec::new();
        collect_files(path, &mut files)?;
        return match &files[..] {
            [] => Err(format!("{name} holds no scenario: no file in it ends in .toml")),
            _ => files.iter().map(|file| parse(file)).collect(),
        };
    }
    if !path.exists() {
        return Err(format!(
            "no scenario is called {name}, and no file is; `leveret-sim list` shows the built-in ones"
        ));
    }
    Ok(vec![parse(path)?])
}

/// All scenario files below a folder, in the order of their names, folders after files.
fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let problem = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(problem)? {
        paths.push(entry.map_err(problem)?.path());
    }
    paths.sort();
    let (folders, others): (Vec<PathBuf>, Vec<PathBuf>) = paths.into_iter().partition(|path| path.is_dir());
    files.extend(others.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "toml")));
    folders.iter().try_for_each(|folder| collect_files(folder, files))
}

/// The scenario of a file.
fn parse(path: &Path) -> Result<Found, String> {
    let scenario = Scenario::parse(&read(path)?).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Found { scenario, place: path.display().to_string() })
}

/// A file's text, or an error that names the file.
pub(crate) fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
