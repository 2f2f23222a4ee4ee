//! The text of an SMS, for any sender, message and title.

use shared::i18n::Language;
use worker::sms::{Content, Limits, Subject, compose, verify::verify};

use crate::input::parts;

/// Input: seven bytes of settings, then sender, message and title.
pub(crate) fn harness(bytes: &[u8]) {
    let Some((set, written)) = bytes.split_at_checked(7) else { return };
    let [sender, body, thread] = parts(written).map(String::from_utf8_lossy);
    let flags = set[0];
    let within =
        |byte: u8, least: usize, most: usize| least + usize::from(byte) % (most - least + 1);
    let waiting = match set[1] {
        u8::MAX => u32::MAX,
        waiting => u32::from(waiting),
    };
    let subject = Subject::Message {
        sender: &sender,
        body: (flags & 1 == 0).then_some(&*body),
        file_count: i32::from(set[2]) - 1,
        waiting,
    };
    // Any address and token that a worker accepts.
    let (host, token) = (within(set[3], 6, 30), within(set[4], 70, 80));
    let link = format!("https://{}.ex/l#a{}", "h".repeat(host - 3), "B".repeat(token - 1));
    let content = Content {
        subject: if flags & 2 == 0 { subject } else { Subject::FreshLink },
        thread: &thread,
        language: Language::ALL[within(set[5], 0, Language::ALL.len() - 1)],
        stop_notice: flags & 4 == 0,
        link: &link,
        limits: Limits::new(within(set[6], 1, 4), within(set[6] / 4, 1, 4)).expect("limits"),
    };
    verify(&content, &compose(&content)).expect("a text as it must be");
}
