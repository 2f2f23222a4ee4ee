// Posts through the phone wall in a real browser, checks that the family's phones got the text, opens
// its link on two of them, answers, and takes the README's picture.
//
//   npm ci --prefix tests/browser
//   node tests/browser/screenshots.mjs http://127.0.0.1:3000 docs
//
// The stack of the first argument must be running with its demo family; the best picture is of a
// fresh one. The browser is the one of CHROMIUM, /usr/bin/chromium, or `chromium` on the PATH.
import assert from 'node:assert/strict';
import { accessSync, constants, mkdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import process from 'node:process';
import { chromium } from 'playwright-core';

const AUTHOR = 'Mum';
const READERS = ['Grandma', 'Dad', 'Sis'];
/** Whose links are opened, each on its own phone; the last one answers. */
const OPENERS = ['Dad', 'Sis'];
const ANSWER = 'I have them here already.';
const MESSAGE = 'Bring the old photo albums on Sunday, please!';
/** Milliseconds for anything to show; a text takes a few dozen. */
const PATIENCE = 15_000;

function giveUp(why) {
  console.error(`screenshots: ${why}`);
  process.exit(1);
}

function findChromium() {
  const onPath = (process.env.PATH ?? '').split(delimiter).map(folder => join(folder, 'chromium'));
  // A browser that was asked for by name is the one, or none is.
  const places = process.env.CHROMIUM ? [process.env.CHROMIUM] : ['/usr/bin/chromium', ...onPath];
  for (const place of places) {
    try {
      accessSync(place, constants.X_OK);
      return place;
    } catch {
      // The next one, then.
    }
  }
  const looked = process.env.CHROMIUM ? `CHROMIUM names ${places[0]}, which can't be run` : 'no Chromium found';
  return giveUp(`${looked}: install one (apt-get install chromium), or set CHROMIUM to its path`);
}

const [base, folder] = process.argv.slice(2);
if (!base || !folder) giveUp('usage: node screenshots.mjs <URL of a running stack> <output folder>');
const wall = new URL('/dev', base).href;
mkdirSync(folder, { recursive: true });

/** Waits for something to show, and says what was missing instead of which selector. */
async function shows(what, locator) {
  await locator.waitFor({ state: 'attached' }).catch(error => {
    throw new Error(`${what}: not on the page after ${PATIENCE / 1000} s`, { cause: error });
  });
}

const browser = await chromium.launch({
  executablePath: findChromium(),
  // Chromium's sandbox refuses to run as root, and only there is it left out.
  chromiumSandbox: process.getuid?.() !== 0,
  args: [
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
});
try {
  const page = await browser.newPage({
    viewport: { width: 1280, height: 720 },
    colorScheme: 'light',
    locale: 'en-GB',
  });
  page.setDefaultTimeout(PATIENCE);

  // Everything that a person would find in red in the developer tools, and what the policy blocked:
  // a blocked style is silent otherwise.
  const troubles = [];
  page.on('console', line => line.type() === 'error' && troubles.push(`console: ${line.text()}`));
  page.on('pageerror', error => troubles.push(`script: ${error.message}`));
  await page.exposeFunction('violated', what => troubles.push(`policy: ${what}`));
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', event => {
      globalThis.violated(`${event.violatedDirective} blocked ${event.blockedURI || 'something inline'}`);
    });
  });

  const answer = await page.goto(wall);
  assert.equal(answer.status(), 200, `${wall} answers ${answer.status()}`);
  const policy = answer.headers()['content-security-policy'] ?? '';
  assert.match(policy, /default-src 'none'/, 'the page has a policy to violate');

  const handset = name => page.locator('.handset', { has: page.getByRole('heading', { name, exact: true }) });
  const bubbles = name => handset(name).locator('.bubble', { hasText: MESSAGE });
  await shows(`${AUTHOR}'s phone`, handset(AUTHOR));
  // The stack may have seen this script before: what counts is what is new.
  const before = new Map();
  for (const name of [AUTHOR, ...READERS]) before.set(name, await bubbles(name).count());

  await page.getByLabel('Post as').selectOption({ label: AUTHOR });
  // The author's threads are asked for when the author is chosen.
  await shows(`${AUTHOR}'s thread`, page.locator('#thread option').first());
  await page.getByLabel('Message', { exact: true }).fill(MESSAGE);
  await page.getByRole('button', { name: 'Post' }).click();

  const posted = `Posted. ${READERS.length} texts on their way.`;
  await shows(`"${posted}"`, page.getByText(posted));
  // Without a reload: the page hears of a text by itself, or it is broken.
  for (const name of READERS) await shows(`the text on ${name}'s phone`, bubbles(name).nth(before.get(name)));
  // The last change has been drawn; the author's phone would have shown it by now.
  for (const name of READERS) assert.equal(await bubbles(name).count(), before.get(name) + 1, `${name} got one text`);
  assert.equal(await bubbles(AUTHOR).count(), before.get(AUTHOR), `${AUTHOR} wrote it, and got no text`);

  // Side by side in this one browser, and yet each as the phone's own person.
  const pages = new Map();
  for (const name of OPENERS) {
    const phone = handset(name);
    await phone.getByRole('link').last().click();
    const screen = phone.frameLocator('iframe');
    await screen.getByRole('button', { name: 'Open the messages' }).click();
    await shows(`the message on ${name}'s page`, screen.getByText(MESSAGE).last());
    pages.set(name, screen);
  }
  const [reader, writer] = OPENERS;
  const answers = pages.get(reader).locator('.msg', { hasText: ANSWER });
  const told = handset(AUTHOR).locator('.bubble', { hasText: ANSWER });
  const [answersBefore, toldBefore] = [await answers.count(), await told.count()];
  await pages.get(writer).getByLabel('Your answer').fill(ANSWER);
  await pages.get(writer).getByRole('button', { name: 'Send' }).click();
  await shows(`${writer}'s answer on ${reader}'s page`, answers.nth(answersBefore));
  assert.match(await answers.nth(answersBefore).innerText(), new RegExp(writer), `it is ${writer}'s for ${reader}`);
  await shows(`${writer}'s answer on ${AUTHOR}'s phone`, told.nth(toldBefore));

  const picture = join(folder, 'phone-wall.png');
  await page.screenshot({ path: picture, fullPage: true, animations: 'disabled', caret: 'hide' });
  assert.deepEqual(troubles, [], 'the browser had something to complain about');
  console.log(`screenshots: ${READERS.join(', ')} got the text, ${OPENERS.join(' and ')} opened it; ${picture} written`);
} catch (error) {
  console.error(`screenshots: ${error.message}`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
