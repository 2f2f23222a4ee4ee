//! Internationalization: languages, and message catalogues of Project Fluent.

use std::sync::OnceLock;

pub use fluent_bundle::FluentArgs;
use fluent_bundle::{FluentResource, concurrent::FluentBundle};
use unic_langid::LanguageIdentifier;

/// A supported language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Language {
    /// English, also in place of unsupported languages.
    #[default]
    English,
    /// Spanish.
    Spanish,
    /// Chinese, in simplified characters.
    Chinese,
    /// Russian.
    Russian,
    /// French.
    French,
    /// German.
    German,
}

impl Language {
    /// All languages.
    pub const ALL: [Self; 6] =
        [Self::English, Self::Spanish, Self::Chinese, Self::Russian, Self::French, Self::German];

    /// Its BCP 47 tag.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Spanish => "es",
            Self::Chinese => "zh",
            Self::Russian => "ru",
            Self::French => "fr",
            Self::German => "de",
        }
    }

    /// Returns the language of a BCP 47 tag such as `es-MX`, if it is supported.
    #[must_use]
    pub fn of_tag(tag: &str) -> Option<Self> {
        let primary = tag.trim().split(['-', '_']).next().unwrap_or_default();
        Self::ALL.into_iter().find(|language| primary.eq_ignore_ascii_case(language.tag()))
    }

    /// Returns the language of a user's `locale`, English if it is not supported.
    #[must_use]
    pub fn of_locale(locale: Option<&str>) -> Self {
        locale.and_then(Self::of_tag).unwrap_or_default()
    }

    /// Returns the preferred language of an `Accept-Language` header (RFC 9110, 12.5.4), English if none is
    /// supported.
    #[must_use]
    pub fn accepted(header: &str) -> Self {
        let mut best = (0.0, Self::default());
        for range in header.split(',').take(32) {
            let (tag, quality) = range.split_once(';').unwrap_or((range, "q=1"));
            let quality = quality.trim().strip_prefix("q=").and_then(|q| q.parse::<f32>().ok());
            let quality = quality.filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0);
            if let Some(language) = Self::of_tag(tag).filter(|_| quality > best.0) {
                best = (quality, language);
            }
        }
        best.1
    }
}

/// Message catalogue in every [`Language`], meant for a `static`: each language is parsed at its first use.
pub struct Catalogue {
    /// The Fluent sources, in the order of [`Language::ALL`].
    sources: [&'static str; 6],
    bundles: [OnceLock<FluentBundle<FluentResource>>; 6],
}

impl Catalogue {
    /// Makes a catalogue of Fluent sources, in the order of [`Language::ALL`].
    #[must_use]
    pub const fn new(sources: [&'static str; 6]) -> Self {
        Self { sources, bundles: [const { OnceLock::new() }; 6] }
    }

    /// Returns the message `id` in `language`.
    #[must_use]
    pub fn say(&self, language: Language, id: &str) -> String {
        self.format(language, id, None)
    }

    /// Returns the message `id` in `language`, with its variables from `args`.
    #[must_use]
    pub fn say_with(&self, language: Language, id: &str, args: &FluentArgs<'_>) -> String {
        self.format(language, id, Some(args))
    }

    fn format(&self, language: Language, id: &str, args: Option<&FluentArgs<'_>>) -> String {
        let bundle = self.bundle(language);
        // A test checks that every language has every message.
        let Some(pattern) = bundle.get_message(id).and_then(|message| message.value()) else {
            return id.to_owned();
        };
        bundle.format_pattern(pattern, args, &mut Vec::new()).into_owned()
    }

    fn bundle(&self, language: Language) -> &FluentBundle<FluentResource> {
        let at = language as usize;
        self.bundles[at].get_or_init(|| {
            let tag: LanguageIdentifier = language.tag().parse().unwrap_or_default();
            let mut bundle = FluentBundle::new_concurrent(vec![tag]);
            // No isolation marks around variables: the GSM 7-bit alphabet lacks them, and pages use
            // elements instead.
            bundle.set_use_isolating(false);
            let resource = FluentResource::try_new(self.sources[at].to_owned());
            let resource = resource.unwrap_or_else(|(read, _errors)| read);
            bundle.add_resource_overriding(resource);
            bundle
        })
    }

    /// Lists the faults of the catalogue: sources that can't be parsed, and languages whose messages differ
    /// from those of English. For tests.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let ids = |source: &str| -> Vec<String> {
            let ids =
                source.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
            let mut ids: Vec<String> =
                ids.filter_map(|line| Some(line.split_once('=')?.0.trim().to_owned())).collect();
            ids.sort();
            ids
        };
        let english = ids(self.sources[0]);
        let mut faults = Vec::new();
        for (language, source) in Language::ALL.into_iter().zip(self.sources) {
            if let Err((_, errors)) = FluentResource::try_new(source.to_owned()) {
                faults.push(format!("{}: {errors:?}", language.tag()));
            }
            if ids(source) != english {
                faults.push(format!("{}: not the messages of English", language.tag()));
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static CATALOGUE: Catalogue = Catalogue::new([
        "hello = Hello\nfiles = { $n ->\n    [one] one file\n   *[other] { $n } files\n}\n",
        "hello = Hola\nfiles = { $n } archivos\n",
        "hello = 你好\nfiles = { $n }个文件\n",
        "hello = Привет\nfiles = { $n ->\n    [one] { $n } файл\n    [few] { $n } файла\n   *[many] { $n } файлов\n}\n",
        "hello = Salut\nfiles = { $n } fichiers\n",
        "hello = Hallo\nfiles = { $n } Dateien\n",
    ]);

    #[test]
    fn each_language_has_its_messages_and_plurals() {
        assert_eq!(CATALOGUE.faults(), Vec::<String>::new());
        assert_eq!(CATALOGUE.say(Language::Spanish, "hello"), "Hola");
        let files = |language, n| {
            let mut args = FluentArgs::new();
            args.set("n", n);
            CATALOGUE.say_with(language, "files", &args)
        };
        assert_eq!(files(Language::English, 1), "one file");
        assert_eq!(files(Language::English, 3), "3 files");
        assert_eq!(files(Language::Russian, 2), "2 файла");
        assert_eq!(files(Language::Russian, 5), "5 файлов");
    }

    #[test]
    fn a_missing_message_or_language_is_a_fault() {
        let catalogue =
            Catalogue::new(["a = A\n", "a = A\n", "b = B\n", "a = A\n", "a = {\n", "a = A\n"]);
        assert_eq!(catalogue.faults().len(), 2);
        assert_eq!(catalogue.say(Language::English, "missing"), "missing");
    }

    #[test]
    fn a_locale_or_a_header_names_a_language() {
        assert_eq!(Language::of_locale(Some("es-MX")), Language::Spanish);
        assert_eq!(Language::of_locale(Some("zh_Hant_TW")), Language::Chinese);
        assert_eq!(Language::of_locale(Some("DE")), Language::German);
        for none in [None, Some(""), Some("xx"), Some("english")] {
            assert_eq!(Language::of_locale(none), Language::English);
        }
        assert_eq!(Language::accepted("pt, fr;q=0.5, ru;q=0.8, *;q=0.1"), Language::Russian);
        assert_eq!(Language::accepted("de-CH,de;q=0.9,en;q=0.8"), Language::German);
        for odd in ["", "*", "es;q=0", "es;q=x", ";;;,,,", "es;q=NaN"] {
            assert_eq!(Language::accepted(odd), Language::English, "{odd}");
        }
    }
}
