//! The pages' message catalogue, for templates and for scripts.

use std::collections::BTreeMap;

use shared::i18n::{Catalogue, FluentArgs, Language};

static CATALOGUE: Catalogue = Catalogue::new([
    include_str!("../../locales/en.ftl"),
    include_str!("../../locales/es.ftl"),
    include_str!("../../locales/zh.ftl"),
    include_str!("../../locales/ru.ftl"),
    include_str!("../../locales/fr.ftl"),
    include_str!("../../locales/de.ftl"),
]);

/// Ids of the messages that `assets/common.js` shows.
const COMMON: [&str; 5] = ["again", "busy", "offline", "phone-wrong", "renewing"];
/// The placeholder of a variable in a message that a script completes.
const PLACE: &str = "%";

/// Messages for a script by their ids in camel case: `phone-wrong` is `phoneWrong`.
pub(super) type ForScript = BTreeMap<String, String>;

/// The messages in one language.
#[derive(Clone, Copy)]
pub(super) struct Locale(pub(super) Language);

impl Locale {
    pub(super) fn say(self, id: &str) -> String {
        CATALOGUE.say(self.0, id)
    }

    pub(super) fn say_with(self, id: &str, args: &FluentArgs<'_>) -> String {
        CATALOGUE.say_with(self.0, id, args)
    }

    pub(super) const fn tag(self) -> &'static str {
        self.0.tag()
    }

    /// The messages of `assets/common.js` and these. Each in `open` has one variable, which the script
    /// fills in.
    pub(super) fn for_script(self, ids: &[&str], open: &[(&str, &str)]) -> ForScript {
        let ids = COMMON.iter().chain(ids);
        let mut messages: ForScript = ids.map(|id| (camel_case(id), self.say(id))).collect();
        for (id, variable) in open {
            let mut args = FluentArgs::new();
            args.set(*variable, PLACE);
            messages.insert(camel_case(id), self.say_with(id, &args));
        }
        messages
    }
}

fn camel_case(id: &str) -> String {
    let mut parts = id.split('-');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (first, rest) = part.split_at_checked(1).unwrap_or((part, ""));
        name.push_str(&first.to_ascii_uppercase());
        name.push_str(rest);
    }
    name
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{
        super::{landing, thread},
        *,
    };

    #[test]
    fn every_language_has_every_message() {
        assert_eq!(CATALOGUE.faults(), Vec::<String>::new());
        // Templates, scripts and `thread` use all messages of the catalogue, and no others.
        let templates = [
            include_str!("templates/ask.html"),
            include_str!("templates/error.html"),
            include_str!("templates/landing.html"),
            include_str!("templates/message.html"),
            include_str!("templates/thread.html"),
        ];
        let said = templates.iter().flat_map(|template| template.split("locale.say(\"").skip(1));
        let said = said.filter_map(|rest| Some(rest.split_once('"')?.0));
        let scripts = [&COMMON[..], &landing::MESSAGES, &thread::MESSAGES].concat();
        let open = thread::OPEN_MESSAGES.iter().map(|(id, _)| *id);
        let here = ["direct-message", "family-chat", "files"];
        let used: BTreeSet<&str> = said.chain(scripts).chain(open).chain(here).collect();
        let catalogue = include_str!("../../locales/en.ftl").lines();
        let catalogue = catalogue.filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
        let catalogue = catalogue.filter_map(|line| Some(line.split_once(" = ")?.0));
        assert_eq!(used, catalogue.collect());
    }

    #[test]
    fn every_script_has_the_messages_that_it_shows_and_no_others() {
        let english = Locale(Language::English);
        let landing = english.for_script(&landing::MESSAGES, &[]);
        let mut thread = english.for_script(&thread::MESSAGES, &thread::OPEN_MESSAGES);
        thread.insert("files".to_owned(), String::new());
        for (script, given) in [(landing::SCRIPT, landing), (thread::SCRIPT, thread)] {
            let shown = script.split("i18n.").skip(1);
            let shown =
                shown.filter_map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric()).next());
            let shown: BTreeSet<String> = shown.map(str::to_owned).collect();
            assert_eq!(shown, given.into_keys().collect());
        }
        for language in Language::ALL {
            let page = thread::thread(language, thread::tests::reading(vec![])).expect("a page");
            for (id, _) in thread::OPEN_MESSAGES {
                let name = format!("\"{}\":\"", camel_case(id));
                let (_, rest) = page.html.split_once(&name).expect("the message");
                let message = rest.split('"').next().unwrap_or_default();
                assert_eq!(message.matches(PLACE).count(), 1, "{message}");
            }
        }
    }
}
