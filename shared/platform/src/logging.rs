//! JSON log lines for CloudWatch Logs Insights.

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, filter::Targets, fmt::MakeWriter, layer::SubscriberExt, registry::LookupSpan,
    util::SubscriberInitExt,
};

/// Writes log lines of level `info` and above to standard error, one JSON object a line.
///
/// Called by `main`: a second call in the same process changes nothing.
pub fn init() {
    let log = tracing_subscriber::registry().with(json(std::io::stderr));
    let _already_set = log.with(levels()).try_init();
}

/// Returns the log levels by target. A filter for the whole log: filters for each layer cost several
/// times as much at each step of a request.
#[must_use]
pub fn levels() -> Targets {
    Targets::new()
        .with_default(LevelFilter::INFO)
        // The SDK and the database driver log bodies and statements at `debug` and below.
        .with_target("sqlx", LevelFilter::WARN)
        .with_target("aws", LevelFilter::WARN)
        .with_target("hyper", LevelFilter::WARN)
}

/// Layer that writes one JSON object a line to `writer`, with the fields of the innermost span.
pub fn json<S, W>(writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_writer(writer)
}
