//! Set-up and exit code of every binary's `main`.

use std::{fmt::Display, future::Future, process::ExitCode};

/// Runs `main` with logs and metrics set up. An error is logged as one line and sets the exit code.
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
