// Compares our segment counter with that of Twilio: reads the JSON lines of
// `cargo run -p worker --example segments`, says how many agree, and fails when one does not.
import { createInterface } from "node:readline";
import { SegmentedMessage } from "sms-segments-calculator";

const graphemes = new Intl.Segmenter("en", { granularity: "grapheme" });

// The one known difference: theirs never splits a grapheme (an emoji with its skin tone, a letter
// with its accent), a kindness of one carrier. 3GPP TS 23.038 and TS 23.040 know characters alone,
// so ours splits between them, and can only need fewer segments.
const joins = (text) => {
    for (const { segment } of graphemes.segment(text)) {
        if ([...segment].length > 1 && segment !== "\r\n") return true;
    }
    return false;
};

// Their counter on the same text with every character as a grapheme of its own: what joins is
// replaced by what takes as many units and joins nothing.
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
