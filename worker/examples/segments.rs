//! Writes random texts and their segments as JSON lines, which `tests/segments` compares with an independent
//! counter: `cargo run -p worker --example segments -- 10000 7` (count, seed).

use std::{
    env,
    io::{self, BufWriter, Write},
};

use anyhow::Context;
use fastrand::Rng;
use serde_json::json;
use worker::sms::{self, Encoding};

/// The default alphabet without its escape character, the extension table, characters of one UTF-16 unit,
/// and of two. Only those of `JOINING` form graphemes with their neighbours.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
    ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
const EXTENSION: &str = "\u{c}^{}\\[~]|€";
const WIDE: &str = "`ç·ąбяЖ你好。あカ‐’“…₹✓\u{a0}";
const PAIRS: &str = "😀🎂𝒜𠮷𐍈";
const JOINING: &str = "e\u{301}👩\u{200d}👧❤\u{fe0f}👍🏽🇨🇭";

fn main() -> anyhow::Result<()> {
    let mut numbers = env::args().skip(1).map(|number| number.parse::<u64>());
    let mut number = |default| numbers.next().unwrap_or(Ok(default)).context("not a number");
    let (count, seed) = (number(10_000)?, number(0)?);
    let mut random = Rng::with_seed(seed);
    let mut out = BufWriter::new(io::stdout().lock());
    for _ in 0..count {
        let text = text(&mut random);
        let measured = sms::measure(&text);
        let encoding = match measured.encoding {
            Encoding::Gsm7 => "GSM-7",
            Encoding::Ucs2 => "UCS-2",
        };
        let line = json!({ "text": text, "encoding": encoding, "segments": measured.segments });
        writeln!(out, "{line}")?;
    }
    Ok(out.flush()?)
}

/// Makes a text of a random mix, with a length that is usually near a boundary.
fn text(random: &mut Rng) -> String {
    let mut alphabets = vec![BASIC];
    let more: &[&str] = match random.u8(..8) {
        0 | 1 => &[],
        2 | 3 => &[EXTENSION],
        4 => &[WIDE],
        5 => &[WIDE, PAIRS],
        6 => &[EXTENSION, WIDE, PAIRS],
        _ => &[PAIRS, JOINING],
    };
    alphabets.extend(more);
    // Sometimes without the basic alphabet.
    if random.bool() && alphabets.len() > 1 {
        alphabets.remove(0);
    }
    let alphabets: Vec<Vec<char>> = alphabets.iter().map(|of| of.chars().collect()).collect();
    let units = length(random, more.iter().any(|&of| of != EXTENSION));
    let (mut text, mut used) = (String::new(), 0);
    while used < units {
        let alphabet = random.choice(&alphabets).map_or(&[][..], Vec::as_slice);
        let c = random.choice(alphabet.iter().copied()).unwrap_or('a');
        text.push(c);
        used += if EXTENSION.contains(c) { 2 } else { c.len_utf16() };
    }
    text
}

/// Units of a text: within three of a boundary, or any number up to five segments.
fn length(random: &mut Rng, ucs2: bool) -> usize {
    let (single, part) = if ucs2 { (70, 67) } else { (160, 153) };
    let parts = random.usize(1..=5);
    let boundary = if parts == 1 { single } else { part * parts };
    match random.u8(..4) {
        0 => random.usize(0..part * 5),
        _ => boundary - 3 + random.usize(0..=6),
    }
}
