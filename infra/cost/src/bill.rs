//! A month's bill for a number of families: Kinline's, and that of the design that it replaces.

use crate::inputs::{Prices, Usage};

/// Days of an average month, and its hours.
const DAYS: f64 = 30.4;
const HOURS: f64 = 730.0;

/// One line of a bill.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// The billed item.
    pub what: &'static str,
    /// US dollars a month.
    pub usd: f64,
}

/// A month's bill.
#[derive(Debug, Clone, PartialEq)]
pub struct Bill {
    /// Its lines.
    pub lines: Vec<Line>,
}

impl Bill {
    /// US dollars a month, in total.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.lines.iter().map(|line| line.usd).sum()
    }

    /// US dollars a month for everything but SMS.
    #[must_use]
    pub fn without_sms(&self) -> f64 {
        self.total() - self.of("SMS")
    }

    /// US dollars a month for `what`.
    #[must_use]
    pub fn of(&self, what: &str) -> f64 {
        self.lines.iter().filter(|line| line.what == what).map(|line| line.usd).sum()
    }
}

/// The PostgreSQL that is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    /// The template's Aurora Serverless v2, behind RDS Proxy in a VPC.
    Aurora,
    /// The smallest instance of RDS.
    Small,
}

/// The events of a month.
#[derive(Debug, Clone, Copy)]
struct Month {
    posts: f64,
    sms: f64,
    requests: f64,
    batches: f64,
}

impl Month {
    fn of(usage: &Usage, families: f64) -> Self {
        let posts = families * usage.family.posts_a_day * DAYS;
        let sms = posts * usage.sms_a_post();
        let requests = posts + families * usage.family.requests_a_day * DAYS;
        // The jobs of one message come together, and a window of a second adds few until there are
        // many: between one batch a message and full batches.
        let batches = (sms / usage.platform.batch).max(posts.min(DAYS * 86_400.0));
        Self { posts, sms, requests, batches }
    }
}

/// The bill of `families` with Kinline.
///
/// # Errors
/// When a price is missing.
pub fn ours(
    prices: &Prices,
    usage: &Usage,
    database: Database,
    families: f64,
) -> anyhow::Result<Bill> {
    let month = Month::of(usage, families);
    let (platform, measured) = (&usage.platform, &usage.measured);
    let invocations = month.requests + month.batches;
    let gb_seconds = month.requests * measured.request_ms / 1e3 * platform.api_memory_gb
        + month.batches * usage.batch_ms() / 1e3 * platform.worker_memory_gb;
    // A post's jobs are sent in tens, and received and deleted in batches.
    let sends = month.posts * (usage.sms_a_post() / platform.batch).ceil();
    let queue = sends + 2.0 * month.batches + platform.idle_receives_a_month;
    let stored = (platform.kept_months * month.posts * measured.message_bytes
        + platform.sms_months * month.sms * (measured.sms_bytes + measured.link_bytes))
        / 1e9;
    let mut lines = vec![
        sms(prices, month.sms * usage.text.segments)?,
        Line {
            what: "functions",
            usd: invocations * prices.of("lambda_request")?
                + gb_seconds * prices.of("lambda_gb_second")?,
        },
        Line { what: "API", usd: month.requests * prices.of("http_api_request")? },
        queue_line(prices, queue)?,
        Line { what: "logs, alarms, secrets", usd: watching(prices, usage, &month)? },
    ];
    match database {
        Database::Aurora => {
            let acu = acus(usage, &month);
            let endpoints = platform.interface_endpoints * platform.zones;
            lines.extend([
                Line {
                    what: "database",
                    usd: acu * HOURS * prices.of("aurora_acu_hour")?
                        + stored * prices.of("aurora_gb_month")?
                        // The log record of each commit, and the pages of each row once.
                        + (month.posts + 2.0 * month.batches + month.sms)
                            * prices.of("aurora_io")?,
                },
                Line {
                    what: "proxy",
                    usd: acu.max(platform.proxy_smallest_acu)
                        * HOURS
                        * prices.of("proxy_acu_hour")?,
                },
                Line { what: "endpoints", usd: endpoints * HOURS * prices.of("endpoint_hour")? },
            ]);
        }
        Database::Small => lines.push(Line {
            what: "database",
            usd: HOURS * prices.of("small_database_hour")?
                + stored.max(20.0) * prices.of("small_database_gb_month")?,
        }),
    }
    Ok(Bill { lines })
}

/// The bill of `families` with the design that this one replaces: SMS of two and three segments, a
/// call to the queue for each recipient and a receive and a delete for each job, and servers.
///
/// # Errors
/// When a price is missing.
pub fn other(prices: &Prices, usage: &Usage, families: f64) -> anyhow::Result<Bill> {
    let month = Month::of(usage, families);
    let servers = (families / usage.platform.families_a_server).ceil();
    let stored = usage.platform.kept_months
        * (month.posts * usage.measured.message_bytes + month.sms * usage.measured.sms_bytes)
        / 1e9;
    Ok(Bill {
        lines: vec![
            sms(prices, month.sms * usage.text.other_segments)?,
            Line {
                what: "servers",
                usd: HOURS * (servers * prices.of("server_hour")? + prices.of("balancer_hour")?),
            },
            queue_line(prices, 3.0 * month.sms + usage.platform.idle_receives_a_month)?,
            Line { what: "logs, alarms, secrets", usd: watching(prices, usage, &month)? },
            Line {
                what: "database",
                usd: servers * HOURS * prices.of("server_database_hour")?
                    + stored.max(20.0) * prices.of("small_database_gb_month")?,
            },
        ],
    })
}

fn sms(prices: &Prices, segments: f64) -> anyhow::Result<Line> {
    let segment = prices.of("sms_segment")? + prices.of("sms_carrier_fee")?;
    Ok(Line { what: "SMS", usd: segments * segment })
}

fn queue_line(prices: &Prices, requests: f64) -> anyhow::Result<Line> {
    // The first million of a month is free.
    let paid = (requests - 1e6).max(0.0);
    Ok(Line { what: "queue", usd: paid * prices.of("sqs_request")? })
}

fn watching(prices: &Prices, usage: &Usage, month: &Month) -> anyhow::Result<f64> {
    let logged = (month.requests + month.sms) * usage.measured.log_bytes_a_request / 1e9;
    Ok(logged * prices.of("logs_gb")?
        + usage.platform.alarms * prices.of("alarm_month")?
        + usage.platform.secrets * prices.of("secret_month")?)
}

/// Capacity units that the database has on average, so that its peaks fit.
fn acus(usage: &Usage, month: &Month) -> f64 {
    let measured = &usage.measured;
    let busy_ms = month.posts * measured.post_database_ms
        + (month.requests - month.posts) * measured.read_database_ms
        + month.batches * measured.batch_database_ms;
    let vcpus = busy_ms / 1e3 / (HOURS * 3600.0) / usage.platform.busy;
    (vcpus / usage.platform.acu_vcpus).max(usage.platform.smallest_acu)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs() -> (Prices, Usage) {
        (
            Prices::read(include_str!("../prices.toml")).expect("prices"),
            Usage::read(include_str!("../usage.toml")).expect("usage"),
        )
    }

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-6 * b.abs().max(1.0), "{a} is not {b}");
    }

    #[test]
    fn every_price_says_where_it_stands_and_since_when() {
        for (name, price) in inputs().0.0 {
            assert!(price.usd > 0.0 && price.source.starts_with("https://"), "{name}");
            assert!(price.as_of.len() == 7 && price.as_of.starts_with("20"), "{name}");
        }
    }

    #[test]
    fn a_hundred_families_by_hand() {
        let (prices, usage) = inputs();
        let bill = ours(&prices, &usage, Database::Aurora, 100.0).expect("a bill");
        // 100 × 6 × 30.4 = 18,240 messages, four SMS each, one segment each.
        near(bill.of("SMS"), 72_960.0 * (0.00581 + 0.003));
        // 18,240 sent, twice as many received and deleted, idle receives: within the free million.
        near(bill.of("queue"), 0.0);
        near(bill.of("API"), (18_240.0 + 182_400.0) * 0.000_001);
        near(bill.of("proxy"), 8.0 * 730.0 * 0.015);
        near(bill.of("endpoints"), 6.0 * 730.0 * 0.01);
        let small = ours(&prices, &usage, Database::Small, 100.0).expect("a bill");
        near(small.of("database"), 730.0 * 0.016 + 20.0 * 0.115);
        assert!(small.without_sms() < bill.without_sms() / 5.0);
    }

    #[test]
    fn the_other_design_pays_for_segments_and_calls() {
        let (prices, usage) = inputs();
        for families in [100.0, 10_000.0, 1_000_000.0] {
            let ours = ours(&prices, &usage, Database::Aurora, families).expect("a bill");
            let other = other(&prices, &usage, families).expect("a bill");
            near(other.of("SMS") / ours.of("SMS"), 2.5);
            assert!(other.of("queue") >= ours.of("queue"));
        }
        let other = other(&prices, &usage, 10_000.0).expect("a bill");
        near(other.of("queue"), (3.0 * 7_296_000.0 + 657_000.0 - 1e6) * 0.000_000_4);
    }

    #[test]
    fn a_price_that_is_missing_is_named() {
        let (mut prices, usage) = inputs();
        prices.0.remove("sqs_request");
        let error = ours(&prices, &usage, Database::Small, 1.0).expect_err("no price");
        assert_eq!(error.to_string(), "prices.toml has no sqs_request");
    }
}
