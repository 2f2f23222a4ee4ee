// Compares our segment counter with Twilio's: reads the JSON lines of
// `cargo run -p worker --example segments`, prints how many agree, and fails if one does not.
import { createInterface } from "node:readline";
import { SegmentedMessage } from "sms-segments-calculator";

const graphemes = new Intl.Segmenter("en", { granularity: "grapheme" });

// The one known difference: Twilio's never splits a grapheme (an emoji with its skin tone, a letter
// with its accent). 3GPP TS 23.038 and TS 23.040 only know characters, so ours splits between them, and
// never needs more segments.
const joins = (text) => {
    for (const { segment } of graphemes.segment(text)) {
        if ([...segment].length > 1 && segment !== "\r\n") return true;
    }
    return false;
};

// Twilio's counter on the same text with each character as its own grapheme: a joining character is
// replaced by one of the same length that does not join.
const apart = (text) =>
    [...text].map((c) => (c.length === 2 ? "😀" : c.charCodeAt(0) > 127 ? "я" : c)).join("");

let [agree, known, differ] = [0, 0, 0];
for await (const line of createInterface({ input: process.stdin })) {
    const { text, encoding, segments } = JSON.parse(line);
    const theirs = new SegmentedMessage(text);
    const same = (other) => other.encodingName === encoding && other.segmentsCount === segments;
    if (same(theirs)) {
        agree += 1;
    } else if (
        encoding === "UCS-2" &&
        joins(text) &&
        theirs.segmentsCount > segments &&
        same(new SegmentedMessage(apart(text)))
    ) {
        known += 1;
    } else {
        differ += 1;
        const reason =
            theirs.encodingName === encoding ? "another count" : "another alphabet";
        console.log(
            `${reason}: ours ${encoding} ${segments}, theirs ${theirs.encodingName} ` +
                `${theirs.segmentsCount}, of ${JSON.stringify(text)}`,
        );
    }
}
console.log(`${agree} agree, ${known} differ since theirs keeps graphemes whole, ${differ} differ`);
if (differ > 0 || agree === 0) process.exitCode = 1;
