//! The phrases of SMS, in each language.

use shared::i18n::{Catalogue, FluentArgs, Language};

use super::alphabet::Encoding;

static CATALOGUE: Catalogue = Catalogue::new([
    include_str!("../../locales/en.ftl"),
    include_str!("../../locales/es.ftl"),
    include_str!("../../locales/zh.ftl"),
    include_str!("../../locales/ru.ftl"),
    include_str!("../../locales/fr.ftl"),
    include_str!("../../locales/de.ftl"),
]);

/// Maximum length of the opt-out notice, in units of the default alphabet. Links leave room for it.
pub(super) const NOTICE_MAX: usize = 28;

/// A phrase.
#[derive(Clone, Copy)]
pub(super) enum Phrase {
    /// The opt-out notice.
    Notice,
    /// In place of a message with only emoji.
    Emoji,
    /// In place of a message that can't be shown.
    NewMessage,
    /// Before a requested link.
    FreshLink,
    /// In place of a message with this number of files.
    Files(i32),
}

impl Phrase {
    pub(super) fn say(self, language: Language) -> String {
        match self {
            Self::Notice => CATALOGUE.say(language, "notice"),
            Self::Emoji => CATALOGUE.say(language, "emoji"),
            Self::NewMessage => CATALOGUE.say(language, "new-message"),
            Self::FreshLink => CATALOGUE.say(language, "fresh-link"),
            Self::Files(count) => {
                let mut args = FluentArgs::new();
                args.set("count", count);
                CATALOGUE.say_with(language, "files", &args)
            }
        }
    }
}

/// Returns `language` if its phrases are in the default alphabet, else English.
pub(super) fn gsm7_language(language: Language) -> Language {
    match Encoding::of(&Phrase::NewMessage.say(language)) {
        Encoding::Gsm7 => language,
        Encoding::Ucs2 => Language::English,
    }
}

/// Returns the latest sender with the number of further waiting messages and the thread.
pub(super) fn waiting(language: Language, sender: &str, count: u32, thread: &str) -> String {
    let mut args = FluentArgs::new();
    args.set("sender", sender);
    args.set("count", count);
    args.set("thread", thread);
    CATALOGUE.say_with(language, "waiting", &args)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Phrase; 7] = [
        Phrase::Notice,
        Phrase::Emoji,
        Phrase::NewMessage,
        Phrase::FreshLink,
        Phrase::Files(1),
        Phrase::Files(2),
        Phrase::Files(21),
    ];

    #[test]
    fn every_language_has_every_phrase() {
        assert_eq!(CATALOGUE.faults(), Vec::<String>::new());
        for language in Language::ALL {
            for phrase in ALL {
                assert!(!phrase.say(language).contains(['{', '}']), "{}", phrase.say(language));
            }
            // Carriers recognize only this word.
            let notice = Phrase::Notice.say(language);
            assert!(notice.contains("STOP"), "{notice}");
            let length = Encoding::Gsm7.length(&notice);
            assert!(length <= NOTICE_MAX, "{notice} has {length}");
            assert!(waiting(language, "Ann", 3, "Pie").starts_with("Ann +3"));
            assert!(waiting(language, "Ann", 3, "Pie").ends_with("Pie"));
        }
    }

    #[test]
    fn languages_in_latin_script_use_the_default_alphabet() {
        let latin = [Language::English, Language::Spanish, Language::French, Language::German];
        for language in latin {
            assert_eq!(gsm7_language(language), language);
            for phrase in ALL {
                let said = phrase.say(language);
                assert_eq!(Encoding::of(&said), Encoding::Gsm7, "{said}");
            }
            assert_eq!(Encoding::of(&waiting(language, "Ann", 3, "Pie")), Encoding::Gsm7);
        }
    }

    #[test]
    fn files_have_their_plurals() {
        let files = |language, count| Phrase::Files(count).say(language);
        assert_eq!(files(Language::English, 1), "[photo]");
        assert_eq!(files(Language::English, 2), "[2 files]");
        assert_eq!(files(Language::Russian, 3), "[3 файла]");
        assert_eq!(files(Language::Russian, 5), "[5 файлов]");
        assert_eq!(files(Language::Russian, 21), "[21 файл]");
    }
}
