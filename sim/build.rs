//! Notes which sources, which dependencies and which compiler a build is made of, so that a failure capsule can say whether it comes
//! from the same build. The notes depend on nothing but those, so builds stay reproducible.
//!
//! And it makes the list of the scenarios that are part of the program, so that a file needs only to be put into its folder.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const FOLDERS: [&str; 8] = ["fast", "slow", "rare", "cluster", "jepsen", "negative", "regressions", "upgrade"];

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in a workspace").to_owned();
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo says where to write"));
    std::fs::write(out.join("scenarios.rs"), list_scenarios(&root)).expect("the folder is there to be written to");
    let mut sources = Hash::new();
    for folder in ["engine/src", "sim/src"] {
        let mut files = Vec::new();
        collect(&root.join(folder), &mut files);
        files.sort();
        for file in files {
            sources.file(&root, &file);
        }
        println!("cargo:rerun-if-changed={}", root.join(folder).display());
    }
    let mut lock = Hash::new();
    lock.file(&root, &root.join("Cargo.lock"));
    println!("cargo:rerun-if-changed={}", root.join("Cargo.lock").display());
    let compiler = std::env::var_os("RUSTC").map(|rustc| Command::new(rustc).arg("--version").output());
    let compiler =
        compiler.and_then(Result::ok).map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    println!("cargo:rustc-env=LEVERET_RUSTC={}", compiler.as_deref().unwrap_or("unknown"));
    println!("cargo:rustc-env=LEVERET_SOURCES={:016x}", sources.0);
    println!("cargo:rustc-env=LEVERET_LOCK={:016x}", lock.0);
    for name in ["LEVERET_COMMIT", "GITHUB_SHA"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
}

/// The text of a list of folder, name and content of all scenarios.
fn list_scenarios(root: &Path) -> String {
    let mut list = String::from("&[\n");
    for folder in FOLDERS {
        let path = root.join("scenarios").join(folder);
        println!("cargo:rerun-if-changed={}", path.display());
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
        files.sort();
        for file in files {
            println!("cargo:rerun-if-changed={}", file.display());
            let name = file.file_stem().expect("a file has a name").to_string_lossy();
            let path = file.display().to_string();
            writeln!(list, "    ({folder:?}, {name:?}, include_str!({path:?})),").expect("memory takes all");
        }
    }
    list.push_str("]\n");
    list
}

/// All Rust files in a folder and below.
fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// FNV-1a, 64 bits.
struct Hash(u64);

impl Hash {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Takes in a file's path below the root, and its content; a file that is not there counts as empty.
    fn file(&mut self, root: &Path, path: &Path) {
        let name = path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/");
        for &byte in name.as_bytes().iter().chain(&[0]).chain(&std::fs::read(path).unwrap_or_default()) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
