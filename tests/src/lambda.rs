//! AWS Lambda for one function: its binary in a process, and the Runtime API it asks for work.

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

/// How long a function may take until it asks for work: what AWS Lambda allows the init phase.
const INIT_LIMIT: Duration = Duration::from_secs(10);

/// One function's process and the Runtime API it talks to. Dropping it kills the process.
pub struct Function {
    process: Process,
    api: RuntimeApi,
    /// One environment does one thing at a time; the lock is fair, so calls keep their order.
    turn: Mutex<()>,
    started: Instant,
    /// When it first took an event.
    ready: OnceLock<Instant>,
}

/// Why a function gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum FunctionError {
    /// The handler failed, and said so: `errorType` and `errorMessage`.
    #[error("the handler failed: {0}")]
    Handler(Value),
    /// The function failed before it could take work, and said so.
    #[error("the function failed to start: {error}; its log:\n{log}")]
    Init {
        /// `errorType` and `errorMessage`.
        error: Value,
        /// What it had written until then.
        log: String,
    },
    /// The process ended without an answer, or had ended before.
    #[error("the function's process ended ({status}); its log:\n{log}")]
    Exited {
        /// How it ended.
        status: ExitStatus,
        /// All that it wrote.
        log: String,
    },
    /// No answer within the time given. The process has been killed, as AWS Lambda does.
    #[error("the function gave no answer within {limit:?}; its log:\n{log}")]
    TimedOut {
        /// The time given.
        limit: Duration,
        /// All that it wrote.
        log: String,
    },
    /// Ten seconds passed without the process asking for work. It has been killed.
    #[error("the function asked for no work within {INIT_LIMIT:?}; its log:\n{log}")]
    Stalled {
        /// All that it wrote.
        log: String,
    },
}

impl Function {
    /// Starts `binary` with nothing in its environment but what AWS Lambda puts there, and `env`,
    /// which wins. Does not wait for it: what goes wrong then is what [`Function::invoke`] says.
    ///
    /// # Panics
    /// If there is no loopback port to serve on, or `binary` can't be run.
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

    /// Hands `event` to the function once it is its turn, and waits for the answer. `timeout` is
    /// what the function sees as its deadline; it counts from the moment it takes the event.
    ///
    /// A caller that gives up (drops the future) leaves the function at work on what it took.
    ///
    /// # Errors
    /// [`FunctionError`]; at once if the process has ended, whenever it did.
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
            // An answer counts even if the process ended right after it.
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

    /// What it wrote to its standard output and error so far, line by line; complete once it ended.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// What it asked of the Runtime API that AWS Lambda would have refused: an answer to an unknown
    /// or answered invocation, an unknown path. Empty for a function that behaves.
    #[must_use]
    pub fn refused(&self) -> Vec<String> {
        self.api.refused()
    }

    /// From the start of its process to when it asked for work, if it has been given any: a wait for
    /// the first event is a part of it.
    #[must_use]
    pub fn init_time(&self) -> Option<Duration> {
        Some(self.ready.get()?.duration_since(self.started))
    }

    /// The process's id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Kills the process without a warning, and returns when it is gone.
    pub async fn kill(self) {
        self.process.kill().await;
    }
}

/// What waiting for an answer came to.
enum Waited {
    Answer(runtime_api::Answer),
    NotTaken,
    TooLong,
}
