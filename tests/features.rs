//! The readme, whose table of features is long, names files that exist.

use std::path::Path;

#[test]
fn files_named_in_the_table_exist() {
    let table = include_str!("../README.md");
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut links = 0;
    for link in table.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
        assert!(is_elsewhere(link) || folder.join(link).exists(), "README.md names {link}, which is not there");
        links += 1;
    }
    assert!(links > 100, "the table was read");
}

#[test]
fn every_folder_of_transcripts_is_in_the_table() {
    let table = include_str!("../README.md");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance");
    for entry in folder.read_dir().expect("the folder of transcripts is there").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            assert!(
                table.contains(&format!("(tests/conformance/{name})")),
                "no feature names the transcripts in {name}"
            );
        }
    }
}

/// Whether a link leads out of the project, or to another part of the page.
fn is_elsewhere(link: &str) -> bool {
    link.starts_with("https://") || link.starts_with('#')
}
