// The stage of a browser test: its own family on the running stack, phones (a browser context each), and
// the SMS that arrive. An error in a phone's browser fails the test.
import assert from 'node:assert/strict';
import { randomBytes, randomInt } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import process from 'node:process';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { launch, listen } from './browser.mjs';

export const base = process.env.KINLINE_URL ?? '';
if (!base) throw new Error('KINLINE_URL is not set: start the tests with tests/browser/run.sh');
/** Milliseconds until anything must happen; an idle machine needs a fiftieth. */
export const PATIENCE = 15_000;
/** The default screen: an iPhone upright. */
const PORTRAIT = { width: 390, height: 844 };

// Ten thousand phone numbers for each test file, since files run side by side. They begin at random, so that
// a stack can be used again.
const files = readdirSync(fileURLToPath(new URL('.', import.meta.url))).filter(name => name.endsWith('.test.mjs')).sort();
const block = files.indexOf(basename(process.argv[1] ?? '')) + 1;
let given = randomInt(9000);
const nextNumber = () => `+15550${11 + block}${String(given++).padStart(4, '0')}`;

let browser, database;
after(async () => {
  await browser?.then(it => it.close());
  await database?.end();
});

/** Runs a statement as the worker, which sees every family. */
export function sql(statement, values) {
  if (!database) {
    const line = readFileSync(join(process.env.KINLINE_DATA, 'worker.env'), 'utf8').match(/^DATABASE_URL='(.*)'$/m)[1];
    const url = new URL(line);
    const role = url.searchParams.get('options[role]');
    url.search = '';
    database = new pg.Pool({ connectionString: url.href, options: `-c role=${role}`, max: 2 });
  }
  return database.query(statement, values);
}

/** Waits until `probe` returns something; names what it waited for if it does not. */
export async function until(what, probe) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const found = await probe();
    if (found) return found;
    if (Date.now() > end) throw new Error(`${what}: not after ${PATIENCE / 1000} s`);
    await new Promise(done => setTimeout(done, 40));
  }
}

/** Waits for an element, and names what was missing instead of its selector. */
export async function shows(what, locator) {
  await locator.first().waitFor({ state: 'visible' }).catch(error => {
    throw new Error(`${what}: not to be seen after ${PATIENCE / 1000} s`, { cause: error });
  });
  return locator;
}
export async function vanishes(what, locator) {
  await locator.first().waitFor({ state: 'hidden' }).catch(error => {
    throw new Error(`${what}: still to be seen after ${PATIENCE / 1000} s`, { cause: error });
  });
}

async function api(method, path, { token, headers, body } = {}) {
  const answer = await fetch(base + path, {
    method,
    headers: {
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(token ? { authorization: `Bearer ${token}` } : {}),
      ...headers,
    },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await answer.text();
  let json = null;
  try { json = JSON.parse(text); } catch { /* Not every answer is JSON. */ }
  return { status: answer.status, headers: answer.headers, json, text };
}
export async function ask(method, path, options) {
  const answer = await api(method, path, options);
  assert.ok(answer.status < 300, `${method} ${path} answers ${answer.status} ${answer.text}`);
  return answer.json;
}
export { api };

/** A family with a thread, made through the API. */
class Family {
  constructor() {
    this.id = `b${process.pid}-${randomBytes(5).toString('hex')}`;
    this.people = {};
    this.tokens = {};
  }

  static async make(people, thread = {}) {
    const family = new Family();
    family.host = (await ask('POST', '/dev/token', { body: { role: 'service' } })).token;
    await ask('PUT', `/families/${family.id}`, { token: family.host, body: { name: 'A family' } });
    for (const [id, about] of Object.entries(people)) {
      const { phone = nextNumber(), ...rest } = about;
      family.people[id] = { ...rest, phone };
      await ask('PUT', `/families/${family.id}/users/${id}`, {
        token: family.host, body: { ...rest, ...(phone ? { phone } : {}) },
      });
    }
    const [first] = Object.keys(people);
    family.first = first;
    family.thread = (await family.as(first, 'POST', '/threads', { memberIds: Object.keys(people), ...thread })).thread.id;
    return family;
  }

  /** The API's answer to a member. */
  async as(id, method, path, body) {
    this.tokens[id] ??= (await ask('POST', '/dev/token', { body: { userId: id, familyId: this.id } })).token;
    return ask(method, path, { token: this.tokens[id], body });
  }

  say(id, body) {
    return this.as(id, 'POST', `/threads/${this.thread}/messages`, { body });
  }

  /** The messages on the server, oldest first. */
  async said(id = this.first) {
    const { messages } = await this.as(id, 'GET', `/threads/${this.thread}/messages?limit=200`);
    return messages.map(message => message.body).reverse();
  }

  async unread(id) {
    return (await this.as(id, 'GET', '/threads')).threads[0].unreadCount;
  }

  async texts(id) {
    const to = encodeURIComponent(this.people[id].phone);
    return (await ask('GET', `/dev/sms?to=${to}`)).messages;
  }

  /** Waits for the `nth` SMS of `id`, from 1 on, and returns it. */
  async text(id, nth = 1) {
    const text = await until(`text ${nth} for ${id}`, async () => (await this.texts(id))[nth - 1]);
    const links = text.body.match(/https?:\/\/\S+/g) ?? [];
    assert.equal(links.length, 1, `one link in: ${text.body}`);
    return { ...text, link: links[0], token: links[0].split('#')[1] };
  }

  /** Posts, and returns the link in the SMS that `to` gets about it. */
  async link(from, to, body = 'Lunch on Sunday?') {
    const nth = (await this.texts(to)).length + 1;
    await this.say(from, body);
    return (await this.text(to, nth)).link;
  }

  /** The link in the SMS that `to` gets after a request by phone number. */
  async linkWithoutMessage(to) {
    const nth = (await this.texts(to)).length + 1;
    await ask('POST', '/links/request', { body: { phone: this.people[to].phone } });
    return (await this.text(to, nth)).link;
  }

  /** Expires all links of this family. */
  expireLinks() {
    return sql("UPDATE magic_links SET expires_at = now() - interval '1 second' WHERE family_id = $1", [this.id]);
  }
}

class Stage {
  constructor() {
    this.phones = [];
    this.problems = [];
    this.expected = [];
  }

  family(people, thread) {
    return Family.make(people, thread);
  }

  /** A new phone: a separate browser context. */
  async phone(options = {}) {
    browser ??= launch();
    const context = await (await browser).newContext({ viewport: PORTRAIT, locale: 'en-GB', colorScheme: 'light', ...options });
    context.setDefaultTimeout(PATIENCE);
    await listen(context, base, this.problems);
    const page = await context.newPage();
    this.phones.push(page);
    return page;
  }

  /** Declares browser errors that the test expects. */
  expects(...patterns) {
    this.expected.push(...patterns);
  }

  check() {
    const surprises = this.problems.filter(problem => !this.expected.some(pattern => pattern.test(problem)));
    assert.deepEqual(surprises, [], 'the browser had something to complain about');
  }

  /** The text on the phones' screens at a failure. */
  async describe(name) {
    const lines = [];
    for (const [i, page] of this.phones.entries()) {
      const text = await page.evaluate(() => document.body.innerText).catch(error => `(${error.message})`);
      lines.push(`  phone ${i + 1} at ${page.url()}`, ...text.split('\n').filter(Boolean).slice(0, 25).map(line => `    | ${line.slice(0, 120)}`));
      if (process.env.SHOTS) {
        mkdirSync(process.env.SHOTS, { recursive: true });
        const file = join(process.env.SHOTS, `${name.replace(/\W+/g, '-').slice(0, 60)}-${i + 1}.png`);
        await page.screenshot({ path: file }).then(() => lines.push(`    ${file}`), () => {});
      }
    }
    if (this.problems.length) lines.push('  complaints:', ...this.problems.map(problem => `    ${problem}`));
    return lines.join('\n');
  }

  async close() {
    await Promise.all(this.phones.map(page => page.context().close().catch(() => {})));
  }
}

/** A readable failure: the error, its place in the tests, and the text on the phones' screens. */
function readable(error, phones) {
  const plain = text => text.replace(/\x1b\[\d+m/g, '');
  const [first, ...rest] = plain(error.message).split('\n');
  const where = (error.stack ?? '').split('\n').filter(line => /\.test\.mjs/.test(line)).map(line => line.trim());
  const failure = new Error(first);
  failure.stack = [first, ...rest.slice(0, 20), ...where.map(line => `  ${line}`), phones].filter(Boolean).join('\n');
  return failure;
}

/** Tests that run side by side, each `[name, async stage => …]`. */
export function suite(name, tests) {
  describe(name, { concurrency: 3 }, () => {
    for (const [what, body] of Object.entries(tests)) {
      it(what, { timeout: 60_000 }, async () => {
        const stage = new Stage();
        try {
          await body(stage);
          stage.check();
        } catch (error) {
          throw readable(error, await stage.describe(what));
        } finally {
          await stage.close();
        }
      });
    }
  });
}

// --- Actions of a member ---

export const open = page => page.getByRole('button', { name: 'Open the messages' });
export const renew = page => page.getByRole('button', { name: 'Text me a fresh link' });
export const box = page => page.locator('#box');
export const send = page => page.locator('#send');
/** Messages with the text `text`. */
export const message = (page, text) => page.locator('article .text').getByText(text, { exact: true });
export const onThread = page => page.waitForURL(/\/t\/th_/);

/** Opens a link from an SMS and taps its button. */
export async function tap(page, link) {
  await page.goto(link);
  await page.locator('#open').click();
  await onThread(page);
  await shows('the box for an answer', box(page));
}

export async function answer(page, text) {
  await box(page).fill(text);
  await send(page).click();
}

/** Moves a phone's clock, which must be installed, to its next poll. */
export const nextPoll = page => page.clock.fastForward(31_000);

/** Sends a request to the server and drops the answer, with its cookies. */
export async function loseAnswer(route) {
  const request = route.request();
  const cookies = await request.frame().page().context().cookies(request.url());
  const answer = await fetch(request.url(), {
    method: request.method(),
    headers: {
      'content-type': 'application/json',
      origin: new URL(request.url()).origin,
      ...(request.headers()['idempotency-key'] ? { 'idempotency-key': request.headers()['idempotency-key'] } : {}),
      cookie: cookies.map(({ name, value }) => `${name}=${value}`).join('; '),
    },
    body: request.postData(),
  });
  await answer.arrayBuffer();
  await route.abort('connectionreset');
  return answer.status;
}
