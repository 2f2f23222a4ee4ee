//! The modules at the top of each crate: no two of them import each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

const CRATES: [&str; 5] = ["functions", "infra/local", "shared", "shared/platform", "worker"];

/// For each pair of modules, the first file of one that imports the other.
type Imports = BTreeMap<(String, String), String>;

#[test]
fn no_two_modules_import_each_other() {
    let mut wrong = Vec::new();
    for name in CRATES {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src");
        let imports = imports(&source);
        for ((a, b), file) in imports.iter().filter(|((a, b), _)| a < b) {
            if let Some(other) = imports.get(&(b.clone(), a.clone())) {
                wrong.push(format!(
                    "{name}/src/{file} imports `{b}`, and {name}/src/{other} imports `{a}`"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// HTTP and Lambda belong to `functions` and `worker`, and what calls out to `platform`.
#[test]
fn shared_names_no_crate_of_http_or_lambda() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/Cargo.toml");
    let manifest: toml::Table =
        fs::read_to_string(manifest).expect("a manifest").parse().expect("TOML");
    let dependencies = manifest["dependencies"].as_table().expect("a table");
    assert!(dependencies.contains_key("sqlx"));
    let foreign = ["axum", "http", "hyper", "lambda", "reqwest", "tower"];
    for name in dependencies.keys() {
        assert!(!foreign.iter().any(|foreign| name.starts_with(foreign)), "{name}");
    }
}

fn imports(source: &Path) -> Imports {
    let mut files = Vec::new();
    list(source, source, &mut files);
    let modules: BTreeSet<&str> = files.iter().map(|(path, _)| path[0].as_str()).collect();
    // A re-export of the crate's root belongs to its module.
    let root = ["lib.rs", "main.rs"].map(|name| fs::read_to_string(source.join(name)));
    let root = root.into_iter().flatten().collect::<String>();
    let mut homes: BTreeMap<&str, &str> = modules.iter().map(|&name| (name, name)).collect();
    for statement in root.split("pub use ").skip(1).filter_map(|rest| rest.split(';').next()) {
        let mut names = identifiers(statement);
        let home = names.next().unwrap_or_default();
        for name in names {
            homes.entry(name).or_insert(home);
        }
    }
    let mut imports = Imports::new();
    for (path, file) in &files {
        let text = fs::read_to_string(source.join(file)).expect("a source");
        // A unit test may compare its module with any other; the product has none of it.
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let code: Vec<&str> =
            text.lines().map(|line| line.split("//").next().unwrap_or("")).collect();
        for name in from_root(&code.join("\n"), path.len()) {
            if let Some(home) = homes.get(name.as_str()).filter(|home| **home != path[0]) {
                imports.entry((path[0].clone(), (*home).to_owned())).or_insert(file.clone());
            }
        }
    }
    imports
}

/// Each source file of a crate with its module's path, without the crate's roots.
fn list(source: &Path, folder: &Path, files: &mut Vec<(Vec<String>, String)>) {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    for entry in entries {
        let file = entry.strip_prefix(source).expect("it is in there");
        let file = file.to_str().expect("UTF-8").to_owned();
        if entry.is_dir() && file != "bin" {
            list(source, &entry, files);
        } else if let Some(path) = file.strip_suffix(".rs").filter(|p| !["lib", "main"].contains(p))
        {
            let path = path.strip_suffix("/mod").unwrap_or(path);
            files.push((path.split('/').map(str::to_owned).collect(), file));
        }
    }
}

/// The names that a file imports from its crate's root, by `crate::` or by one `super::` for each level
/// of its module.
fn from_root(code: &str, depth: usize) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for root in ["crate::".to_owned(), "super::".repeat(depth)] {
        for (at, _) in code.match_indices(&root) {
            let (before, after) = (&code[..at], &code[at + root.len()..]);
            let is_whole = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            if is_whole && !after.starts_with("super::") {
                names.extend(first_names(after));
            }
        }
    }
    names
}

/// The first names of a path: `a` of `a::b`, and `a`, `c` of `{a::{b}, c}`.
fn first_names(path: &str) -> Vec<String> {
    let name = |part: &str| identifiers(part).next().map(str::to_owned);
    let Some(group) = path.strip_prefix('{') else { return name(path).into_iter().collect() };
    let (mut depth, mut start, mut names) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.extend(name(&group[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names
}

fn identifiers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|name| !name.is_empty())
}

#[test]
fn imports_are_found_in_any_form() {
    let code = "use crate::{one::{a, b}, two, three::c};\n use super::four::D;\n crate::five::f();";
    let names = |depth| from_root(code, depth).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(names(1), "five four one three two");
    assert_eq!(names(2), "five one three two");
    assert!(from_root("use super::super::six;", 1).is_empty());
    assert_eq!(first_names("super::six"), ["super"]);
    assert!(from_root("use super::super::six;", 2).contains("six"));
}
