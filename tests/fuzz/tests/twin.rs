//! Fuzzing without libFuzzer: every seed, and randomly changed seeds, under `cargo test`.

#![expect(clippy::expect_used, reason = "a panic is how a test says no")]

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use fuzz::{HARNESSES, Harness};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, TestRunner},
};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name)
}

/// The seeds of a harness: starting points, and inputs that once failed.
fn seeds(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(folder(name)).expect("a folder of seeds").map(|file| {
        let path = file.expect("a file").path();
        let bytes = fs::read(&path).expect("a seed");
        (path, bytes)
    });
    let mut seeds: Vec<_> = files.collect();
    seeds.sort();
    seeds
}

fn holds(harness: Harness, bytes: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| harness(bytes))).is_ok()
}

#[test]
fn every_harness_has_seeds_and_every_seed_a_harness() {
    let folders = fs::read_dir(folder("")).expect("seeds");
    let mut folders: Vec<String> = folders
        .map(|entry| entry.expect("a folder").file_name().to_string_lossy().into_owned())
        .collect();
    folders.sort();
    assert_eq!(folders, HARNESSES.map(|(name, _)| name));
    for (name, _) in HARNESSES {
        assert!(!seeds(name).is_empty(), "{name}");
    }
}

#[test]
fn the_body_of_every_route_is_fuzzed() {
    let same = |template: &str, path: &str| {
        let (template, path) = (template.split('/'), path.split('/'));
        template.clone().count() == path.clone().count()
            && template.zip(path).all(|(part, is)| part == is || part.starts_with('{'))
    };
    let document = functions::document();
    for (template, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let fuzzed = fuzz::bodies().any(|(known, path)| {
                known.as_str().eq_ignore_ascii_case(method) && same(template, path)
            });
            assert_eq!(fuzzed, operation["requestBody"].is_object(), "{method} {template}");
        }
    }
}

/// A seed, or no bytes, after random edits.
fn changed(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => vec(any::<u8>(), 0..4),
        2 => "[ -~]{0,8}".prop_map(String::into_bytes),
        1 => any::<String>().prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..200),
    ];
    let edit = (any::<Index>(), any::<Index>(), piece);
    let beginning = prop_oneof![9 => select(seeds), 1 => Just(Vec::new())];
    (beginning, vec(edit, 0..6)).prop_map(|(mut bytes, edits)| {
        for (at, length, piece) in edits {
            let at = at.index(bytes.len() + 1);
            // Removes few bytes, since most of a seed is meaningful.
            let lost = length.index((bytes.len() - at).min(16) + 1);
            bytes.splice(at..at + lost, piece);
        }
        bytes
    })
}

fn twin(name: &str) {
    let (_, harness) = HARNESSES.into_iter().find(|(known, _)| *known == name).expect("a harness");
    let seeds = seeds(name);
    for (path, seed) in &seeds {
        assert!(holds(harness, seed), "does not hold for {}", path.display());
    }
    let seeds = seeds.into_iter().map(|(_, seed)| seed).collect();
    // proptest's own files of failures don't hold the bytes.
    let config = Config { failure_persistence: None, ..Config::default() };
    let found = TestRunner::new(config).run(&changed(seeds), |bytes| {
        if holds(harness, &bytes) {
            return Ok(());
        }
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-found"));
        fs::write(&kept, &bytes).expect("written");
        Err(TestCaseError::fail(format!(
            "does not hold for {}; once fixed, keep it in tests/fuzz/seeds/{name}/",
            kept.display()
        )))
    });
    if let Err(found) = found {
        panic!("{found}");
    }
}

macro_rules! twins {
    ($($name:ident),+) => {
        $(#[test]
        fn $name() {
            twin(stringify!($name));
        })+

        #[test]
        fn every_harness_has_a_twin() {
            assert_eq!(HARNESSES.map(|(name, _)| name), [$(stringify!($name)),+]);
        }
    };
}

twins!(bodies, cookie, cursor, gateway, ids, job, jwt, phone, records, text, token, written);
