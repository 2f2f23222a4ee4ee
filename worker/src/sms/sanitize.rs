//! Breaking links in users' texts, so that phones do not detect them and people can still read them.
//!
//! Link detectors (Android's `Linkify` and text classifier, Apple's data detectors) detect `scheme:` with
//! text after it, and a dot with a top-level domain directly after it. A space after the dot or the colon
//! prevents both, since sentences are written like that: "evil. com". A space before the dot would not: some
//! detectors accept ".com" with a path.

use std::borrow::Cow;

/// Inserts spaces into `line`, which is in NFKC, so that phones detect no link in it.
pub(super) fn sanitize(line: &str) -> Cow<'_, str> {
    if !line.contains(['.', '。', ':']) {
        return Cow::Borrowed(line);
    }
    let mut safe = String::with_capacity(line.len() + 8);
    for (i, word) in line.split(' ').enumerate() {
        if i > 0 {
            safe.push(' ');
        }
        sanitize_word(word, &mut safe);
    }
    Cow::Owned(safe)
}

fn sanitize_word(word: &str, safe: &mut String) {
    let chars: Vec<char> = word.chars().collect();
    let digit = |at: usize| chars.get(at).is_some_and(char::is_ascii_digit);
    let is_number = |at: usize| at > 0 && digit(at - 1) && digit(at + 1);
    let points = (0..chars.len()).filter(|&at| chars[at] == '.' && is_number(at)).count();
    // More than two points may be an IP address. An email address may have any domain.
    let numbers_are_safe = points <= 2 && !chars.contains(&'@');
    let initials_are_safe = !chars.contains(&'@');
    for (at, &c) in chars.iter().enumerate() {
        safe.push(c);
        let after = &chars[at + 1..];
        let is_link = match c {
            '.' if numbers_are_safe && is_number(at) => false,
            '.' if initials_are_safe && are_initials(&chars[..at], after) => false,
            '.' | '。' => after.first().is_some_and(|&next| !ends_sentence(next)),
            // Without text after it this is a smiley, ":/".
            ':' if after.first() == Some(&'/') => {
                !after[1..].iter().all(|&next| ends_sentence(next))
            }
            ':' => at > 0 && !is_number(at) && is_scheme_part(after),
            _ => false,
        };
        if is_link {
            safe.push(' ');
        }
    }
}

/// Whether `c` is punctuation that no host name begins with.
fn ends_sentence(c: char) -> bool {
    matches!(
        c,
        '.' | '。'
            | ','
            | ';'
            | ':'
            | '!'
            | '?'
            | ')'
            | ']'
            | '"'
            | '\''
            | '”'
            | '“'
            | '’'
            | '»'
            | '」'
            | '』'
    )
}

/// Whether single letters are on both sides, as in "e.g." and "p.m.": no top-level domain has one letter.
/// Ideographs, which have no case, do not count.
fn are_initials(before: &[char], after: &[char]) -> bool {
    let is_letter = |c: char| c.is_lowercase() || c.is_uppercase();
    let first = match before {
        [letter] => is_letter(*letter),
        [.., between, letter] => is_letter(*letter) && !between.is_alphanumeric(),
        [] => false,
    };
    first
        && matches!(after, [letter, rest @ ..]
            if is_letter(*letter) && rest.first().is_none_or(|&next| ends_sentence(next)))
}

/// Whether the text after a colon may belong to a scheme. Smileys do not.
fn is_scheme_part(after: &[char]) -> bool {
    match after {
        [] | [':' | ')' | ',' | '"' | '\'', ..] => false,
        ['(' | '-', rest @ ..] => rest.first().is_some_and(char::is_ascii_digit),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_become_text() {
        for (link, text) in [
            ("http://evil.com", "http: //evil. com"),
            ("HTTPS://EVIL.COM/x?y=1", "HTTPS: //EVIL. COM/x?y=1"),
            ("www.evil.co.uk", "www. evil. co. uk"),
            ("evil.com", "evil. com"),
            ("see (evil.com/path).", "see (evil. com/path)."),
            ("bit.ly/x", "bit. ly/x"),
            ("mailto:a@b.com", "mailto: a@b. com"),
            ("javascript:alert(1)", "javascript: alert(1)"),
            ("tel:+15550100001", "tel: +15550100001"),
            ("tel:(555)0100001", "tel: (555)0100001"),
            ("myapp://x", "myapp: //x"),
            ("://x", ": //x"),
            ("1.2.3.4/x", "1. 2. 3. 4/x"),
            ("user@host.tld", "user@host. tld"),
            ("user@a.b", "user@a. b"),
            ("пример.рф", "пример. рф"),
            ("点击。公司", "点击。 公司"),
            ("evil..com", "evil.. com"),
            ("e.g.com", "e.g. com"),
            ("www.e", "www. e"),
            ("https://kin.example/l#token", "https: //kin. example/l#token"),
        ] {
            assert_eq!(sanitize(link), text);
        }
    }

    #[test]
    fn other_text_is_unchanged() {
        for text in [
            "It's 3.50, e.g. this, at 5 p.m. or 18:30.",
            "12.05.2026 10.30-11.30 3.50/kg",
            "Well... yes. No!",
            "Thanks:) :D :-( sorry:(",
            "U.S.A. т.е. z.B.",
            "Note: this",
            "Late :/ thanks:/",
            "[Done.] „Да.“ 「你好。」",
            "\"Stop.\" (He did.)",
        ] {
            assert_eq!(sanitize(text), text);
        }
        assert_eq!(sanitize("Hi.Bye"), "Hi. Bye");
        assert_eq!(sanitize("wait...what"), "wait... what");
    }
}
