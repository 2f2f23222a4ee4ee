//! Composing an SMS, and what it costs.

mod alphabet;
mod compose;
mod limits;
mod normalize;
mod phrases;
mod sanitize;
#[cfg(test)]
mod tests;
mod transliterate;
#[cfg(any(test, feature = "verify"))]
pub mod verify;

use std::fmt;

use shared::i18n::Language;

pub use self::{
    alphabet::{Encoding, Measure, measure},
    compose::compose,
    limits::Limits,
};

/// What a text is made of.
pub struct Content<'a> {
    /// What it is about.
    pub subject: Subject<'a>,
    /// The thread's title.
    pub thread: &'a str,
    /// The language of whoever gets it, for the words that are ours.
    pub language: Language,
    /// Whether it says how to opt out of texts.
    pub stop_notice: bool,
    /// The link, which always stays whole and is the last thing in the text.
    pub link: &'a str,
    /// How long the text may be.
    pub limits: Limits,
}

/// What a text is about.
#[derive(Clone, Copy)]
pub enum Subject<'a> {
    /// A message that somebody wrote.
    Message {
        /// Who wrote it.
        sender: &'a str,
        /// What they wrote; `None` when it is files only.
        body: Option<&'a str>,
        /// How many files there are.
        file_count: i32,
        /// How many more messages wait in the thread. With 0 the text doesn't name the thread.
        waiting: u32,
    },
    /// A link that was asked for in place of an old one.
    FreshLink,
}

/// An SMS as it goes to the carrier. Invisible to `Debug`: it holds a name, a message and a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Sms(String);

impl Sms {
    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Sms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sms(…)")
    }
}
