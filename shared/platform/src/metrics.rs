//! Figures for CloudWatch, as lines of the log in its embedded metric format: counts and times,
//! never whose.

use std::{io, sync::OnceLock};

use metrics_cloudwatch_embedded::{Builder, Collector};

use crate::config;

static COLLECTOR: OnceLock<&Collector> = OnceLock::new();

/// Begins to collect, where `KINLINE_METRICS_NAMESPACE` says under which name; counts the start.
pub(crate) fn init() {
    let Some(namespace) = config::METRICS_NAMESPACE.optional() else { return };
    // A recorder is there already only when this is called twice.
    if let Ok(collector) = Builder::new().cloudwatch_namespace(namespace).init() {
        let _first = COLLECTOR.set(collector);
        metrics::counter!("ColdStarts").increment(1);
    }
}

/// Writes down what was collected since the last time. At the end of each invocation: afterwards
/// the environment may be frozen for good.
pub fn flush() {
    if let Some(collector) = COLLECTOR.get()
        && let Err(error) = collector.flush(io::stdout())
    {
        tracing::warn!(%error, "figures are lost");
    }
}
