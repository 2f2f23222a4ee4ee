//! The functions' binaries, built once in a test process.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use serde_json::Value;

/// The binary of the function `name`. The first call builds all of them, and blocks.
///
/// They are built separately, as for a deployment: in one build with the tests, cargo would unify the
/// features of shared dependencies. The profile is `KINLINE_TEST_PROFILE`, or `dev`.
///
/// # Panics
/// If they don't build, with cargo's output; if there is no such function.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    static BUILT: OnceLock<Binaries> = OnceLock::new();
    let profile = || env::var("KINLINE_TEST_PROFILE").unwrap_or_else(|_| "dev".to_owned());
    find(BUILT.get_or_init(|| build(&profile())), name)
}

/// [`binary`] with the release profile.
///
/// # Panics
/// As [`binary`].
#[must_use]
pub fn release(name: &str) -> PathBuf {
    static BUILT: OnceLock<Binaries> = OnceLock::new();
    find(BUILT.get_or_init(|| build("release")), name)
}

/// Paths of the binaries, by name.
type Binaries = BTreeMap<String, PathBuf>;

fn find(built: &Binaries, name: &str) -> PathBuf {
    let path = built.get(name).unwrap_or_else(|| panic!("{name} is none of {:?}", built.keys()));
    path.clone()
}

/// Builds them in the target folder of this test.
fn build(profile: &str) -> Binaries {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--message-format=json-render-diagnostics"])
        .args(["-p", "functions", "-p", "worker", "--bins", "--profile", profile])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .env("CARGO_TARGET_DIR", target_folder())
        .output()
        .unwrap_or_else(|error| panic!("can't run cargo: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the functions don't build ({}):\n{said}", output.status);
    // One JSON object a line; those about a binary have its path.
    output
        .stdout
        .split(|&byte| byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
        .filter_map(|artifact| {
            let name = artifact["target"]["name"].as_str()?.to_owned();
            Some((name, PathBuf::from(artifact["executable"].as_str()?)))
        })
        .collect()
}

/// The target folder of this test, which is `<target>/<profile>/deps/<test>`.
fn target_folder() -> PathBuf {
    let test = env::current_exe().unwrap_or_else(|error| panic!("can't find this test: {error}"));
    let target = test.ancestors().nth(3);
    target.unwrap_or_else(|| panic!("no target folder above {}", test.display())).to_owned()
}
