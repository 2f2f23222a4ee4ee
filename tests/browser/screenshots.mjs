// Posts through the phone wall in a real browser, opens the links on the handsets, answers there, checks
// that it all arrives, and takes the pictures in docs/.
//
//   npm ci --prefix tests/browser
//   node tests/browser/screenshots.mjs http://127.0.0.1:3000 docs
//
// The stack at the first argument must be running with its demo family, best a fresh one. The browser is
// CHROMIUM, /usr/bin/chromium, or `chromium` on the PATH.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { launch, listen } from './browser.mjs';

const AUTHOR = 'Mum';
const READERS = ['Grandma', 'Dad', 'Sis'];
const MESSAGE = 'Bring the old photo albums on Sunday, please!';
/** The answers on the handsets, in order. */
const ANSWERS = [
  ['Grandma', 'Yes, but one is missing!'],
  ['Dad', 'I have it. Sorry, everybody!'],
];
const LAST = 'Save me a piece of pie! 🥧';
/** Milliseconds until anything must show; an SMS takes a few dozen. */
const PATIENCE = 15_000;
const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };

function giveUp(why) {
  console.error(`screenshots: ${why}`);
  process.exit(1);
}

const [base, folder] = process.argv.slice(2);
if (!base || !folder) giveUp('usage: node screenshots.mjs <URL of a running stack> <output folder>');
mkdirSync(folder, { recursive: true });

/** A time zone in which it is now between eleven and twelve in the morning, for every picture. */
function lateMorning() {
  const east = 11 - new Date().getUTCHours();
  // In these names, the sign is reversed.
  return `Etc/GMT${east > 0 ? '-' : '+'}${Math.abs(east)}`;
}

/** Waits for an element, and names what was missing instead of its selector. */
async function shows(what, locator) {
  await locator.waitFor({ state: 'attached' }).catch(error => {
    throw new Error(`${what}: not on the page after ${PATIENCE / 1000} s`, { cause: error });
  });
}

const browser = await launch().catch(error => giveUp(error.message));
const problems = [];
async function open(options) {
  const context = await browser.newContext({ colorScheme: 'light', locale: 'en-GB', timezoneId: lateMorning(), ...options });
  context.setDefaultTimeout(PATIENCE);
  await listen(context, base, problems);
  return context.newPage();
}
const picture = (page, name) => page.screenshot({ path: join(folder, name), animations: 'disabled', caret: 'hide' });

try {
  const wall = await open({ viewport: { width: 1280, height: 790 } });
  const answer = await wall.goto(new URL('/dev', base).href);
  assert.equal(answer.status(), 200, `the wall answers ${answer.status()}`);
  assert.match(answer.headers()['content-security-policy'] ?? '', /default-src 'none'/, 'the page has a policy to violate');

  const handset = name => wall.locator('.handset', { has: wall.getByRole('heading', { name, exact: true }) });
  const bubbles = name => handset(name).locator('.bubble', { hasText: MESSAGE });
  const inside = name => handset(name).frameLocator('iframe');
  await shows(`${AUTHOR}'s phone`, handset(AUTHOR));
  // The stack may have run this script before, so only new messages count.
  const before = new Map();
  for (const name of [AUTHOR, ...READERS]) before.set(name, await bubbles(name).count());

  await wall.getByLabel('Post as').selectOption({ label: AUTHOR });
  // The wall loads the author's threads when the author is chosen.
  await shows(`${AUTHOR}'s thread`, wall.locator('#thread option').first());
  await wall.getByLabel('Message', { exact: true }).fill(MESSAGE);
  await wall.getByRole('button', { name: 'Post' }).click();

  const posted = `Posted. ${READERS.length} texts on their way.`;
  await shows(`"${posted}"`, wall.getByText(posted));
  // Without a reload, since the page gets an event for each SMS.
  for (const name of READERS) await shows(`the text on ${name}'s phone`, bubbles(name).nth(before.get(name)));
  // The last change has been drawn, so the author's phone would show an SMS by now.
  for (const name of READERS) assert.equal(await bubbles(name).count(), before.get(name) + 1, `${name} got one text`);
  assert.equal(await bubbles(AUTHOR).count(), before.get(AUTHOR), `${AUTHOR} wrote it, and got no text`);

  // Grandma and Dad open their links; each sees the other's answer.
  for (const [name] of ANSWERS) {
    await bubbles(name).last().locator('.link').click();
    await inside(name).locator('#open').click();
    await shows(`the message on ${name}'s page`, inside(name).locator('article .text', { hasText: MESSAGE }).last());
  }
  for (const [name, text] of ANSWERS) {
    const seen = new Map();
    const said = reader => inside(reader).locator('article:not(.pending) .text', { hasText: text });
    for (const [reader] of ANSWERS) seen.set(reader, await said(reader).count());
    await inside(name).locator('#box').fill(text);
    await inside(name).locator('#send').click();
    for (const [reader] of ANSWERS) await shows(`${name}'s answer on ${reader}'s page`, said(reader).nth(seen.get(reader)));
    await shows(`the text about it on ${AUTHOR}'s phone`, handset(AUTHOR).locator('.bubble', { hasText: text.slice(0, 20) }).last());
  }
  await wall.getByRole('heading', { name: 'Kinline', exact: true }).click();
  await wall.mouse.move(0, 0);
  await picture(wall, 'phone-wall.png');

  // Sis opens the link in her last SMS, in a separate browser.
  const link = await handset('Sis').locator('.link').last().getAttribute('href');
  const sis = await open(PHONE);
  await sis.goto(link);
  await shows('the button', sis.locator('#open'));
  await picture(sis, 'landing.png');
  await sis.locator('#open').click();
  await shows('the thread', sis.locator('article').last());
  const mine = sis.locator('.mine:not(.pending) .text', { hasText: LAST });
  const written = await mine.count();
  await sis.locator('#box').fill(LAST);
  await sis.locator('#send').click();
  await shows('her answer', mine.nth(written));
  await sis.locator('#box').blur();
  await picture(sis, 'thread.png');
  await sis.emulateMedia({ colorScheme: 'dark' });
  await picture(sis, 'thread-dark.png');

  assert.deepEqual(problems, [], 'the browser had something to complain about');
  console.log(`screenshots: ${READERS.join(', ')} got the text, and answered; the pictures are in ${folder}`);
} catch (error) {
  console.error(`screenshots: ${error.message}`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
