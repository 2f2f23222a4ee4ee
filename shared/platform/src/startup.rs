//! What every binary's `main` does around its own work.

use std::{fmt::Display, future::Future, process::ExitCode};

/// Runs `main` with the log set up; what stops it goes there as one line, and into the exit code.
pub async fn run<E: Display>(main: impl Future<Output = Result<(), E>>) -> ExitCode {
    crate::logging::init();
    crate::metrics::init();
    match main.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "stopped");
            ExitCode::FAILURE
        }
    }
}
