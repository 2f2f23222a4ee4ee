//! A simulated carrier: Amazon SNS's interface for SMS, strict about numbers and lengths. It keeps
//! every SMS and shows it on the phone wall.

mod sns;

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use shared::phone::PhoneNumber;
use time::OffsetDateTime;
use tokio::sync::broadcast;
use uuid::Uuid;
use worker::sms::{self, Encoding, Measure};

use crate::faults::Faults;

/// Which way an SMS went, seen from the handset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To the handset.
    Received,
    /// From the handset.
    Sent,
}

/// An SMS that the carrier accepted.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sms {
    /// Its direction.
    pub direction: Direction,
    /// The handset's number, in E.164.
    pub phone: String,
    /// Its whole text.
    pub body: String,
    /// The number of segments that are billed.
    pub segments: u32,
    /// `GSM-7` or `UCS-2`.
    pub encoding: String,
    /// When the carrier accepted it.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The carrier's id for it.
    pub message_id: String,
}

#[derive(Default)]
struct Memory {
    sms: Vec<Sms>,
    opted_out: BTreeSet<String>,
    file: Option<File>,
}

/// The carrier. Clones are the same carrier.
#[derive(Clone)]
pub struct Carrier {
    /// The faults that were asked for.
    pub faults: Faults,
    memory: Arc<Mutex<Memory>>,
    changed: broadcast::Sender<()>,
}

impl Default for Carrier {
    fn default() -> Self {
        let changed = broadcast::Sender::new(64);
        Self { faults: Faults::default(), memory: Arc::default(), changed }
    }
}

impl Carrier {
    /// A carrier that keeps its SMS in `file`, those of earlier runs included.
    ///
    /// # Errors
    /// When the file can't be read or written.
    pub fn with_file(file: &Path) -> anyhow::Result<Self> {
        let open = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(file);
        let mut file = open.with_context(|| format!("can't open {}", file.display()))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        // A line that a kill cut short is skipped.
        let lines = bytes.split(|&b| b == b'\n');
        let sms = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
        if bytes.last().is_some_and(|&last| last != b'\n') {
            file.write_all(b"\n")?;
        }
        let carrier = Self::default();
        *carrier.memory() = Memory { sms, file: Some(file), ..Memory::default() };
        Ok(carrier)
    }

    /// Whether a number has opted out of SMS.
    #[must_use]
    pub fn has_opted_out(&self, phone: &str) -> bool {
        self.memory().opted_out.contains(phone)
    }

    /// Opts a number out of SMS, or in again.
    pub fn set_opted_out(&self, phone: &str, opted_out: bool) {
        let mut memory = self.memory();
        if opted_out {
            memory.opted_out.insert(phone.to_owned());
        } else {
            memory.opted_out.remove(phone);
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every SMS, oldest first.
    #[must_use]
    pub fn sms(&self) -> Vec<Sms> {
        self.memory().sms.clone()
    }

    /// The SMS that handsets received, oldest first: those of one number, or all.
    #[must_use]
    pub fn received(&self, phone: Option<&str>) -> Vec<Sms> {
        let of = |sms: &&Sms| {
            sms.direction == Direction::Received && phone.is_none_or(|phone| sms.phone == phone)
        };
        self.memory().sms.iter().filter(of).cloned().collect()
    }

    /// Deletes every SMS.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn clear(&self) -> anyhow::Result<()> {
        let mut memory = self.memory();
        memory.sms.clear();
        if let Some(file) = &memory.file {
            file.set_len(0)?;
        }
        drop(memory);
        self.notify();
        Ok(())
    }

    /// A receiver that hears of every SMS that is added, and of every clear.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<()> {
        self.changed.subscribe()
    }

    fn notify(&self) {
        // There may be no receiver.
        let _no_receiver = self.changed.send(());
    }

    /// Accepts an SMS, to or from a handset.
    ///
    /// # Errors
    /// When the file can't be written: then the carrier has not accepted it.
    pub fn take(
        &self,
        direction: Direction,
        phone: &PhoneNumber,
        body: &str,
    ) -> anyhow::Result<Sms> {
        let Measure { encoding, segments } = sms::measure(body);
        let sms = Sms {
            direction,
            phone: phone.e164().to_owned(),
            body: body.to_owned(),
            segments,
            encoding: match encoding {
                Encoding::Gsm7 => "GSM-7",
                Encoding::Ucs2 => "UCS-2",
            }
            .to_owned(),
            at: OffsetDateTime::now_utc(),
            message_id: Uuid::new_v4().to_string(),
        };
        let mut memory = self.memory();
        if let Some(file) = &mut memory.file {
            let mut line = serde_json::to_vec(&sms)?;
            line.push(b'\n');
            file.write_all(&line)?;
        }
        memory.sms.push(sms.clone());
        drop(memory);
        self.notify();
        Ok(sms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sms_survive_a_restart_and_a_cut_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("texts.jsonl");
        let phone = PhoneNumber::parse("+15550100001", None).expect("possible");
        let carrier = Carrier::with_file(&file).expect("opens");
        carrier.take(Direction::Received, &phone, "one").expect("taken");
        drop(carrier);
        let mut cut = OpenOptions::new().append(true).open(&file).expect("opens");
        cut.write_all(b"{\"body\":\"caf\xc3").expect("written");
        let carrier = Carrier::with_file(&file).expect("opens");
        carrier.take(Direction::Sent, &phone, "two").expect("taken");
        let bodies: Vec<String> = Carrier::with_file(&file)
            .expect("opens")
            .sms()
            .into_iter()
            .map(|sms| sms.body)
            .collect();
        assert_eq!(bodies, ["one", "two"]);
    }
}
