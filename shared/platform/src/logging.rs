//! JSON log lines, as CloudWatch Logs Insights reads them.

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, filter::Targets, fmt::MakeWriter, layer::SubscriberExt, registry::LookupSpan,
    util::SubscriberInitExt,
};

/// Sends log lines to standard error as JSON, one object a line, from `info` up.
///
/// Meant for `main`: a second call in the same process changes nothing.
pub fn init() {
    let log = tracing_subscriber::registry().with(json(std::io::stderr));
    let _already_set = log.with(levels()).try_init();
}

/// What is worth a line. For the whole log, not a layer of it: layers with filters of their own cost
/// several times as much at each step of a request.
#[must_use]
pub fn levels() -> Targets {
    Targets::new()
        .with_default(LevelFilter::INFO)
        // The SDK and the database driver log bodies and statements from `debug` down.
        .with_target("sqlx", LevelFilter::WARN)
        .with_target("aws", LevelFilter::WARN)
        .with_target("hyper", LevelFilter::WARN)
}

/// One JSON object a line to `writer`; the fields of the innermost span go along.
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
