//! JSON log lines, as CloudWatch Logs Insights reads them.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// Sends log lines to standard error as JSON, one object a line, from `info` up.
///
/// Meant for `main`: a second call in the same process changes nothing.
pub fn init() {
    let levels = Targets::new()
        .with_default(LevelFilter::INFO)
        // The SDK and the database driver log bodies and statements from `debug` down.
        .with_target("sqlx", LevelFilter::WARN)
        .with_target("aws", LevelFilter::WARN)
        .with_target("hyper", LevelFilter::WARN);
    let json = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_writer(std::io::stderr);
    let _already_set = tracing_subscriber::registry()
        .with(levels)
        .with(json)
        .try_init();
}
