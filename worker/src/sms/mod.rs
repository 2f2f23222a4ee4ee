//! Composing SMS and counting their segments.

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

/// The content of an SMS.
pub struct Content<'a> {
    /// The subject.
    pub subject: Subject<'a>,
    /// The thread's title.
    pub thread: &'a str,
    /// The recipient's language, for phrases.
    pub language: Language,
    /// Whether it must say how to opt out.
    pub stop_notice: bool,
    /// The link, which is never cut, at the end of the SMS.
    pub link: &'a str,
    /// The maximum segments.
    pub limits: Limits,
}

/// The subject of an SMS.
#[derive(Clone, Copy)]
pub enum Subject<'a> {
    /// A message.
    Message {
        /// The author's name.
        sender: &'a str,
        /// The message's text; `None` if it has only files.
        body: Option<&'a str>,
        /// The number of files.
        file_count: i32,
        /// The number of further waiting messages in the thread. With 0 the SMS does not name the thread.
        waiting: u32,
    },
    /// A requested link.
    FreshLink,
}

/// The text of an SMS. Hidden in `Debug`: it has a name, a message and a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Sms(String);

impl Sms {
    /// Returns the text.
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
