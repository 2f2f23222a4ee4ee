//! libFuzzer's entry point: `KINLINE_FUZZ_HARNESS` names the harness. `run.sh` builds and runs it.

#![no_main]
#![expect(clippy::expect_used, reason = "a panic is how a harness says no")]

use std::{env, sync::LazyLock};

use fuzz::{HARNESSES, Harness};

static HARNESS: LazyLock<Harness> = LazyLock::new(|| {
    let name = env::var("KINLINE_FUZZ_HARNESS").expect("KINLINE_FUZZ_HARNESS");
    let found = HARNESSES.into_iter().find(|(known, _)| *known == name);
    found.expect("KINLINE_FUZZ_HARNESS names a harness").1
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| HARNESS(bytes));
