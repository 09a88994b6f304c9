//! Scenarios by name, file or folder.

use std::path::{Path, PathBuf};

use crate::scenario::Scenario;

/// A built-in scenario, one from a file, or all of a folder by their names.
pub(super) fn find(name: &str) -> Result<Vec<Scenario>, String> {
    let all = [Scenario::built_in(), Scenario::regressions()].concat();
    if let Some(scenario) = all.into_iter().find(|scenario| scenario.name == name) {
        return Ok(vec![scenario]);
    }
    let path = Path::new(name);
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(|error| format!("{name}: {error}"))?;
        let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
        files.sort();
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

/// The scenario of a file.
fn parse(path: &Path) -> Result<Scenario, String> {
    Scenario::parse(&read(path)?).map_err(|error| format!("{}: {error}", path.display()))
}

/// A file's text, or an error that names the file.
pub(super) fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
