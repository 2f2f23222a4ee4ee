//! Prices and assumptions, read from the files beside this crate.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Deserialize;

/// A list price and its source.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// US dollars for one unit.
    pub usd: f64,
    /// The public page that lists it.
    pub source: String,
    /// The month in which it was known to be right.
    pub as_of: String,
}

/// Every price, by name.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct Prices(pub BTreeMap<String, Price>);

impl Prices {
    /// The prices in `text`.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn read(text: &str) -> anyhow::Result<Self> {
        toml::from_str(text).context("prices.toml")
    }

    /// US dollars for one unit of `name`.
    ///
    /// # Errors
    /// When the file doesn't have it.
    pub fn of(&self, name: &str) -> anyhow::Result<f64> {
        Ok(self.0.get(name).with_context(|| format!("prices.toml has no {name}"))?.usd)
    }
}

/// Assumptions and measurements.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "usage.toml says what each is")]
pub struct Usage {
    pub family: Family,
    pub text: Text,
    pub measured: Measured,
    pub platform: Platform,
    pub peak: Peak,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "usage.toml says what each is")]
pub struct Family {
    pub members: f64,
    pub posts_a_day: f64,
    pub requests_a_day: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "usage.toml says what each is")]
pub struct Text {
    pub segments: f64,
    pub other_segments: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "usage.toml says what each is")]
pub struct Measured {
    pub request_ms: f64,
    pub post_database_ms: f64,
    pub read_database_ms: f64,
    pub batch_database_ms: f64,
    pub carrier_ms: f64,
    pub carrier_spread_ms: f64,
    pub message_bytes: f64,
    pub sms_bytes: f64,
    pub link_bytes: f64,
    pub log_bytes_a_request: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "usage.toml says what each is")]
pub struct Platform {
    pub api_memory_gb: f64,
    pub worker_memory_gb: f64,
    pub batch: f64,
    pub interface_endpoints: f64,
    pub zones: f64,
    pub alarms: f64,
    pub secrets: f64,
    pub kept_months: f64,
    pub sms_months: f64,
    pub idle_receives_a_month: f64,
    pub acu_vcpus: f64,
    pub busy: f64,
    pub smallest_acu: f64,
    pub proxy_smallest_acu: f64,
    pub families_a_server: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "usage.toml says what each is")]
pub struct Peak {
    pub hour_share: f64,
}

impl Usage {
    /// The assumptions in `text`.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn read(text: &str) -> anyhow::Result<Self> {
        toml::from_str(text).context("usage.toml")
    }

    /// SMS for each message: one for every member but its author.
    #[must_use]
    pub fn sms_a_post(&self) -> f64 {
        self.family.members - 1.0
    }

    /// Milliseconds of a Lambda environment for a full batch, whose SMS are sent side by side.
    #[must_use]
    pub fn batch_ms(&self) -> f64 {
        // The slowest of ten exponential waits is 2.93 times their mean: 1 + 1/2 + … + 1/10.
        let slowest: f64 = (1..=10).map(|n| 1.0 / f64::from(n)).sum();
        let measured = &self.measured;
        measured.batch_database_ms + measured.carrier_ms + slowest * measured.carrier_spread_ms
    }
}
