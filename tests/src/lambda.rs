//! AWS Lambda for one function: its binary in a process, and the Runtime API that it polls.

mod binaries;
mod gateway;
mod process;
mod runtime_api;

use std::{
    path::Path,
    process::ExitStatus,
    sync::OnceLock,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{process::Command, sync::Mutex, time};

pub use self::{
    binaries::{binary, release},
    gateway::HttpAnswer,
};
use self::{process::Process, runtime_api::RuntimeApi};
use crate::events::REGION;

/// Time for a function's init phase, as on AWS Lambda.
const INIT_LIMIT: Duration = Duration::from_secs(10);

/// A function's process and its Runtime API. Dropping it kills the process.
pub struct Function {
    process: Process,
    api: RuntimeApi,
    /// An environment handles one event at a time; the lock is fair, so calls keep their order.
    turn: Mutex<()>,
    started: Instant,
    /// The time at which it took its first event.
    ready: OnceLock<Instant>,
}

/// The reason why a function gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum FunctionError {
    /// The handler reported an error: `errorType` and `errorMessage`.
    #[error("the handler failed: {0}")]
    Handler(Value),
    /// The function reported an error of its init phase.
    #[error("the function failed to start: {error}; its log:\n{log}")]
    Init {
        /// `errorType` and `errorMessage`.
        error: Value,
        /// Its output until then.
        log: String,
    },
    /// The process ended without an answer, or had ended before.
    #[error("the function's process ended ({status}); its log:\n{log}")]
    Exited {
        /// Its exit status.
        status: ExitStatus,
        /// Its whole output.
        log: String,
    },
    /// The call timed out. The process has been killed, as AWS Lambda does.
    #[error("the function gave no answer within {limit:?}; its log:\n{log}")]
    TimedOut {
        /// The time-out.
        limit: Duration,
        /// Its whole output.
        log: String,
    },
    /// The process did not ask for work within ten seconds. It has been killed.
    #[error("the function asked for no work within {INIT_LIMIT:?}; its log:\n{log}")]
    Stalled {
        /// Its whole output.
        log: String,
    },
}

impl Function {
    /// Starts `binary` with AWS Lambda's variables and `env`, which wins, and no others. Does not wait
    /// for it: [`Function::invoke`] reports errors of its start.
    ///
    /// # Panics
    /// If there is no free loopback port, or `binary` can't be run.
    pub async fn start(binary: &Path, env: &[(&str, String)]) -> Self {
        let name = binary.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let api = RuntimeApi::serve(&name).await;
        let mut command = Command::new(binary);
        command
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", api.address().to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", &name)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{name}"))
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "2026/01/01/[$LATEST]test")
            .env("AWS_REGION", REGION)
            .env("AWS_DEFAULT_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_SESSION_TOKEN", "test")
            .env("LAMBDA_TASK_ROOT", binary.parent().unwrap_or(binary))
            .env("TZ", ":UTC")
            .env("_HANDLER", "bootstrap")
            .envs(env.iter().map(|(name, value)| (name, value)));
        let started = Instant::now();
        let process = Process::start(command)
            .unwrap_or_else(|error| panic!("can't run {}: {error}", binary.display()));
        Self { process, api, turn: Mutex::new(()), started, ready: OnceLock::new() }
    }

    /// Hands `event` to the function when it is its turn, and waits for the answer. `timeout` sets the
    /// function's deadline, from the moment at which it takes the event.
    ///
    /// If the future is dropped, the function keeps working on the event that it took.
    ///
    /// # Errors
    /// [`FunctionError`]; at once if the process has already ended.
    pub async fn invoke(&self, event: &Value, timeout: Duration) -> Result<Value, FunctionError> {
        let _turn = self.turn.lock().await;
        let (taken, answer) = self.api.offer(event, timeout);
        let answered = async {
            match time::timeout(INIT_LIMIT, taken).await {
                Ok(Ok(())) => {
                    self.ready.get_or_init(Instant::now);
                    match time::timeout(timeout, answer).await {
                        Ok(Ok(answer)) => Waited::Answer(answer),
                        _ => Waited::TooLong,
                    }
                }
                _ => Waited::NotTaken,
            }
        };
        let waited = tokio::select! {
            // An answer is valid even if the process ended right after it.
            biased;
            waited = answered => waited,
            error = self.api.init_error() => {
                return Err(FunctionError::Init { error, log: self.log() });
            }
            status = self.process.exited() => {
                return Err(FunctionError::Exited { status, log: self.log() });
            }
        };
        match waited {
            Waited::Answer(answer) => answer.map_err(FunctionError::Handler),
            Waited::TooLong => {
                self.process.kill().await;
                Err(FunctionError::TimedOut { limit: timeout, log: self.log() })
            }
            Waited::NotTaken => {
                self.process.kill().await;
                Err(FunctionError::Stalled { log: self.log() })
            }
        }
    }

    /// Its standard output and error so far, line by line; complete once it has ended.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Its requests that AWS Lambda would have refused: an answer to an unknown or answered
    /// invocation, an unknown path. Empty for a correct function.
    #[must_use]
    pub fn refused(&self) -> Vec<String> {
        self.api.refused()
    }

    /// The time from the start of its process to its first event, if it has had one: the wait for that
    /// event included.
    #[must_use]
    pub fn init_time(&self) -> Option<Duration> {
        Some(self.ready.get()?.duration_since(self.started))
    }

    /// The process's id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Kills the process with SIGKILL, and returns when it is gone.
    pub async fn kill(self) {
        self.process.kill().await;
    }
}

/// The result of waiting for an answer.
enum Waited {
    Answer(runtime_api::Answer),
    NotTaken,
    TooLong,
}
