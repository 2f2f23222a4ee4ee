//! Report of figures by name: a table, a file, and ratios to an earlier run.

use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The figures of one run.
#[derive(Serialize, Deserialize)]
pub(crate) struct Report {
    /// Time of the run, RFC 3339.
    date: String,
    /// Messages of the data set.
    messages: i64,
    /// Number and name of the processors.
    machine: String,
    /// Figures in the order of measurement.
    #[serde(with = "ordered")]
    figures: Vec<(String, f64)>,
    /// The same figures of the baseline's build, where it was measured too.
    #[serde(with = "ordered", default, skip_serializing_if = "Vec::is_empty")]
    baseline: Vec<(String, f64)>,
}

/// Targets of figures, by the parts of their names.
const TARGETS: [(&str, &str, Limit); 24] = [
    ("history page of 50", "CPU, µs a request", Limit::Most(110.0)),
    ("history page of 50", "PostgreSQL's CPU, µs a request", Limit::Most(170.0)),
    ("history page of 50", "p50 / pgbench's", Limit::Most(3.0)),
    ("resolve, thread exists", "CPU, µs a request", Limit::Most(90.0)),
    ("resolve, thread exists", "p50 / pgbench's", Limit::Most(3.0)),
    ("post, 2 members", "CPU, µs a request", Limit::Most(180.0)),
    ("post, 10 members", "CPU, µs a request", Limit::Most(250.0)),
    ("post, 50 members", "CPU, µs a request", Limit::Most(600.0)),
    ("post, 2 members", "p50 over pgbench's, ms", Limit::Most(7.0)),
    ("post, 10 members", "p50 over pgbench's, ms", Limit::Most(7.0)),
    ("post, 50 members", "p50 over pgbench's, ms", Limit::Most(7.0)),
    ("history", "spread by length, %", Limit::Most(10.0)),
    ("history", "spread by depth, %", Limit::Most(10.0)),
    ("worker", "texts/s", Limit::Least(3000.0)),
    ("worker", "CPU, µs a text", Limit::Most(150.0)),
    ("worker, batch of 10", "p50 over the carrier's, ms", Limit::Most(4.0)),
    ("start", "init, ms", Limit::Most(15.0)),
    ("start", "init / hello's", Limit::Most(4.0)),
    ("start", "first answer, ms", Limit::Most(30.0)),
    ("start", "memory, MiB", Limit::Most(25.0)),
    ("start", "zip, MB", Limit::Most(6.0)),
    ("post to text", "p50, ms", Limit::Most(15.0)),
    ("post to text", "p99, ms", Limit::Most(60.0)),
    ("post to text", "posts/s", Limit::Least(95.0)),
];

#[derive(Clone, Copy)]
enum Limit {
    Most(f64),
    Least(f64),
}

impl Report {
    pub(crate) fn new(messages: i64) -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let machine = format!("{cores} × {}", model.map_or("?", |(_, name)| name));
        let date = OffsetDateTime::now_utc().format(&Rfc3339).expect("a date");
        Self { date, messages, machine, figures: Vec::new(), baseline: Vec::new() }
    }

    /// Adds a figure, whose name is `what: figure, unit`, and prints it.
    pub(crate) fn add(&mut self, name: String, value: f64) {
        println!("{name:<82} {}", number(value));
        self.figures.push((name, value));
    }

    /// Adds a figure of this build, and of the baseline's if there are two.
    pub(crate) fn add_sides(&mut self, name: &str, values: &[f64]) {
        let mut values = values.iter();
        if let Some(value) = values.next() {
            self.add(name.to_owned(), *value);
        }
        if let Some(value) = values.next() {
            println!("{:<82} {}", "    baseline", number(*value));
            self.baseline.push((name.to_owned(), *value));
        }
    }

    /// A table of all figures, beside those of the baseline and of an earlier run.
    pub(crate) fn print(&self, earlier: Option<&Self>) {
        fn by_name(figures: &[(String, f64)]) -> BTreeMap<&str, f64> {
            figures.iter().map(|(name, value)| (name.as_str(), *value)).collect()
        }
        let others: Vec<(&str, BTreeMap<&str, f64>)> = [
            ("baseline", by_name(&self.baseline)),
            ("earlier", earlier.map(|report| by_name(&report.figures)).unwrap_or_default()),
        ]
        .into_iter()
        .filter(|(_, figures)| !figures.is_empty())
        .collect();
        println!("\n{}, {}, {} messages\n", self.date, self.machine, self.messages);
        print!("{:<82} {:>10} {:>10}", "", "measured", "target");
        for (other, _) in &others {
            print!(" {other:>10} {:>7}", "ratio");
        }
        println!();
        for (name, value) in &self.figures {
            let (what, figure) = name.split_once(": ").unwrap_or((name, ""));
            let target = TARGETS.iter().find(|(of, target, _)| {
                *target == figure && (what == *of || what.starts_with(&format!("{of} of ")))
            });
            let (target, missed) = match target {
                Some((.., Limit::Most(most))) => (format!("≤ {}", number(*most)), value > most),
                Some((.., Limit::Least(least))) => (format!("≥ {}", number(*least)), value < least),
                None => (String::new(), false),
            };
            print!("{name:<82} {:>10} {target:>10}", number(*value));
            for (_, figures) in &others {
                match figures.get(name.as_str()) {
                    Some(0.0) => print!(" {:>10} {:>7}", 0, ""),
                    Some(other) => print!(" {:>10} {:>7.2}", number(*other), value / other),
                    None => print!(" {:>18}", ""),
                }
            }
            println!("{}", if missed { "  missed" } else { "" });
        }
    }

    pub(crate) fn write(&self, file: &Path) {
        let json = serde_json::to_string_pretty(self).expect("JSON");
        fs::write(file, json + "\n").expect("the figures' file");
    }
}

/// A report of an earlier run.
pub(crate) fn read(file: &Path) -> Report {
    let json = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_slice(&json).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Formats a number with its significant digits.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// An object whose fields keep their order.
mod ordered {
    use std::fmt;

    use serde::{
        Deserializer, Serializer,
        de::{MapAccess, Visitor},
        ser::SerializeMap,
    };

    pub(super) fn serialize<S: Serializer>(
        figures: &[(String, f64)],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(figures.len()))?;
        for (name, value) in figures {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<(String, f64)>, D::Error> {
        struct Figures;

        impl<'de> Visitor<'de> for Figures {
            type Value = Vec<(String, f64)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("figures by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut figures = Vec::new();
                while let Some(figure) = map.next_entry()? {
                    figures.push(figure);
                }
                Ok(figures)
            }
        }

        from.deserialize_map(Figures)
    }
}
