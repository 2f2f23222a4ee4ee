//! Metrics for CloudWatch, as log lines in its embedded metric format: counts and times, without ids.

use std::{io, sync::OnceLock};

use metrics_cloudwatch_embedded::{Builder, Collector};

use crate::config;

static COLLECTOR: OnceLock<&Collector> = OnceLock::new();

/// Starts collecting if `KINLINE_METRICS_NAMESPACE` is set, and counts the cold start.
pub(crate) fn init() {
    let Some(namespace) = config::METRICS_NAMESPACE.optional() else { return };
    // Fails only when it is called twice.
    if let Ok(collector) = Builder::new().cloudwatch_namespace(namespace).init() {
        let _first = COLLECTOR.set(collector);
        metrics::counter!("ColdStarts").increment(1);
    }
}

/// Writes what was collected since the last flush. Called at the end of each invocation: the environment
/// may be frozen for good afterwards.
pub fn flush() {
    if let Some(collector) = COLLECTOR.get()
        && let Err(error) = collector.flush(io::stdout())
    {
        tracing::warn!(%error, "can't write metrics");
    }
}
