// Layout, accessibility and weight of the pages: small screens, large type, dark mode, keyboard, screen readers.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { answer, base, box, message, open, renew, send, shows, suite, tap, until } from './stage.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const refused = /401 .*links\/exchange/;
const WEIGHT_MAX = 14 * 1024;

const lunch = stage => stage.family({ dad: { name: 'Dad', phone: null }, gran: { name: 'Grandma' }, sis: { name: 'Sis', phone: null } });

/** The findings of axe in every visible frame, as sentences. */
async function violations(page) {
  const found = [];
  for (const frame of page.frames()) {
    await frame.evaluate(axe);
    const { violations: all } = await frame.evaluate(() => globalThis.axe.run(document, { iframes: false, preload: false, resultTypes: ['violations'] }));
    for (const { id, impact, nodes } of all) {
      if (!['serious', 'critical'].includes(impact)) continue;
      found.push(...nodes.map(node => `${id} (${impact}): ${node.html.slice(0, 140)} ${node.any.map(any => any.message).join('; ')}`));
    }
  }
  return found;
}

/** Checks a page with axe, in light and dark mode. */
async function accessible(what, page) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    assert.deepEqual(await violations(page), [], `${what}, ${colorScheme}`);
  }
  await page.emulateMedia({ colorScheme: 'light' });
}

/** The visible controls as [name, width, height]; a link within a sentence is as large as its words. */
const targets = page => page.locator('button, input, textarea, select, summary, a.big').evaluateAll(all => all
  .filter(it => it.checkVisibility())
  .map(it => [it.id || it.textContent.trim() || it.tagName, it.getBoundingClientRect()])
  .map(([what, { width, height, left, right }]) => ({ what, width, height, left, right })));

/** Checks that a page fits a screen of `width`, and that its controls are large enough for a thumb. */
async function fits(what, page, width) {
  const across = await page.evaluate(() => Math.max(document.documentElement.scrollWidth, document.body.scrollWidth));
  assert.ok(across <= width, `${what}: ${across} px across on a screen of ${width}`);
  for (const target of await targets(page)) {
    assert.ok(target.width >= 44 && target.height >= 44, `${what}: ${target.what} is ${target.width} × ${target.height} px`);
    assert.ok(target.left >= 0 && target.right <= width, `${what}: ${target.what} reaches from ${target.left} to ${target.right} px of ${width}`);
  }
}

/** Brings the landing page into each of its states, and calls `look` in each. */
async function landings(stage, page, look) {
  stage.expects(refused);
  const home = await lunch(stage);
  const link = await home.link('dad', 'gran');
  await home.expireLinks();
  await page.goto(link);
  await shows('the button', open(page));
  await look('the landing page');
  await page.route('**/links/exchange', route => route.fulfill({ status: 503, headers: { 'retry-after': '1' }, body: '' }), { times: 1 });
  stage.expects(/503 .*links\/exchange/);
  await open(page).click();
  await shows('that it is busy', page.getByText('It is very busy just now.'));
  await look('the landing page when it is busy');
  await page.reload();
  await open(page).click();
  await shows('that it no longer works', renew(page));
  await look('the landing page of a dead link');
  await renew(page).click();
  await shows('that it is on its way', page.getByText('On its way.'));
  await look('the landing page when a fresh link is on its way');
  await page.goto(`${base}/dev`);
  await page.goto(`${base}/l`);
  await page.getByLabel('Your mobile number').fill('12');
  await page.getByRole('button', { name: 'Text me a link' }).click();
  await shows('that it is not complete', page.getByText('That number is not complete.'));
  await look('the landing page without a link');
  await page.getByLabel('Your mobile number').fill('+15550199998');
  await page.getByRole('button', { name: 'Text me a link' }).click();
  await shows('the answer', page.getByText('If we know this number'));
  await look('the landing page when a link was asked for');
  stage.expects(/401 .*\/t\/th_/);
  await page.goto(`${base}/t/${home.thread}`);
  await shows('that it is locked', page.getByRole('heading', { name: 'Please open the messages again' }));
  await look('a thread that is not open to this phone');
}

/** The same for the thread page. */
async function threads(stage, page, look) {
  const home = await lunch(stage);
  await tap(page, await home.linkWithoutMessage('gran'));
  await look('an empty thread');
  await home.say('dad', 'Lunch on Sunday? The map is at https://example.com/a-rather-long-address-for-so-small-a-screen?with=more');
  await home.say('sis', 'Yes!');
  await answer(page, 'Lovely');
  await until('all messages', async () => (await page.locator('article').count()) === 3);
  await until('that it is sent', async () => (await page.locator('.pending').count()) === 0);
  await look('a thread');
  const menu = page.locator('summary');
  await menu.click();
  await look('the menu');
  await page.getByRole('button', { name: 'No texts at all' }).click();
  await look('the menu when it asks again');
  await page.getByRole('button', { name: 'No, go back' }).click();
  await menu.click();
  stage.expects(/ERR_/);
  await page.route('**/messages', route => (route.request().method() === 'POST' ? route.abort() : route.continue()));
  await answer(page, 'I bring the pie');
  await shows('that it is not sent', page.getByText('Not sent yet. It will'));
  await look('a thread with an answer that is not sent');
  await box(page).fill('x'.repeat(4010));
  await shows('that it is too long', page.getByText('Too long by 10'));
  await look('a thread with an answer that is too long');
  await page.evaluate(() => localStorage.clear());
}

suite('the look', {
  'axe finds nothing on the landing page': async stage => {
    const page = await stage.phone();
    await landings(stage, page, what => accessible(what, page));
  },

  'axe finds nothing in the thread': async stage => {
    const page = await stage.phone();
    await threads(stage, page, what => accessible(what, page));
  },

  'axe finds nothing on the phone wall': async stage => {
    const page = await stage.phone({ viewport: { width: 1280, height: 800 } });
    await page.goto(`${base}/dev`);
    const gran = page.locator('.handset', { has: page.getByRole('heading', { name: 'Grandma', exact: true }) }).first();
    await shows('a text', gran.locator('.link').first());
    await accessible('the wall', page);
    await gran.locator('.link').last().click();
    const inside = gran.frameLocator('iframe');
    await shows('the page in the handset', inside.locator('#open, #box').first());
    await accessible('the wall with a page open', page);
  },

  'on 320 px, the landing page fits and its controls are large enough': async stage => {
    const page = await stage.phone({ viewport: { width: 320, height: 568 }, hasTouch: true, isMobile: true });
    await landings(stage, page, what => fits(what, page, 320));
  },

  'on 320 px, the thread page fits and its controls are large enough': async stage => {
    const page = await stage.phone({ viewport: { width: 320, height: 568 }, hasTouch: true, isMobile: true });
    await threads(stage, page, what => fits(what, page, 320));
  },

  'with type twice as large, the pages fit and there is room to read': async stage => {
    // As with a larger font size in the browser's settings, in which the pages measure.
    const twice = () => new MutationObserver((_, observer) => {
      if (!document.documentElement) return;
      document.documentElement.style.fontSize = '200%';
      observer.disconnect();
    }).observe(document, { childList: true });
    for (const states of [landings, threads]) {
      const page = await stage.phone({ viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });
      await page.addInitScript(twice);
      await states(stage, page, async what => {
        assert.equal(await page.evaluate(() => getComputedStyle(document.documentElement).fontSize), '32px');
        await fits(what, page, 360);
        if (await page.locator('#scroll').count()) {
          const room = await page.locator('#scroll').evaluate(it => it.clientHeight);
          assert.ok(room >= 150, `${what}: ${room} px to read in`);
          const hint = await box(page).evaluate(it => (it.value ? 0 : it.scrollHeight - it.clientHeight));
          assert.ok(hint <= 0, `${what}: the hint in the box is cut through`);
          const cut = await page.locator('#send').evaluate(it => it.scrollWidth > it.clientWidth + 1);
          assert.ok(!cut, `${what}: the button's word is cut`);
        }
      });
    }
  },

  'in landscape, there is room to read and to answer': async stage => {
    const page = await stage.phone({ viewport: { width: 640, height: 320 }, hasTouch: true, isMobile: true });
    await threads(stage, page, async what => {
      await fits(what, page, 640);
      const room = await page.locator('#scroll').evaluate(it => it.clientHeight);
      assert.ok(room >= (what.includes('too long') ? 60 : 150), `${what}: ${room} px to read in`);
      for (const control of [box(page), send(page), page.locator('summary')]) {
        const { y, height } = await control.boundingBox();
        assert.ok(y >= 0 && y + height <= 320, `${what}: a control at ${y} to ${y + height}`);
      }
      // The label is in the middle of the menu's button, and the button in the middle of the header.
      const [above, below, over, under] = await page.locator('summary').evaluate(it => {
        const words = document.createRange();
        words.selectNodeContents(it);
        const [word, button, header] = [words, it, document.getElementById('top')].map(one => one.getBoundingClientRect());
        return [word.top - button.top, button.bottom - word.bottom, button.top - header.top, header.bottom - button.bottom];
      });
      assert.ok(Math.abs(above - below) <= 2, `${what}: ${above} px above the menu's word, ${below} below`);
      assert.ok(over >= 2 && under >= 2, `${what}: ${over} px over the menu's button, ${under} under it`);
      const sheet = page.locator('.sheet');
      if (await sheet.isVisible()) {
        await sheet.evaluate(it => { it.scrollTop = it.scrollHeight; });
        const last = await sheet.locator('button:visible').last().boundingBox();
        assert.ok(last.y + last.height <= 320, `${what}: its last button ends at ${last.y + last.height}`);
      }
    });
  },

  'after rotation, the phone shows the whole draft and the newest message': async stage => {
    const home = await lunch(stage);
    const link = await home.link('dad', 'gran');
    for (let n = 1; n <= 8; n += 1) await home.say('dad', `Message ${n} of those that fill a screen`);
    const page = await stage.phone({ viewport: { width: 844, height: 390 }, hasTouch: true, isMobile: true });
    await tap(page, link);
    await box(page).fill('I think that we will be there at about half past eleven, if the train is.');
    const hidden = () => box(page).evaluate(it => it.scrollHeight - it.clientHeight);
    const below = () => page.locator('#scroll').evaluate(it => it.scrollHeight - it.clientHeight - it.scrollTop);
    for (const [width, height] of [[844, 390], [390, 844], [844, 390]]) {
      await page.setViewportSize({ width, height });
      await until(`all of the box on ${width} × ${height}`, async () => (await hidden()) <= 0);
      await until(`the end of the messages on ${width} × ${height}`, async () => (await below()) < 5);
    }
    const lines = await box(page).evaluate(it => it.clientHeight);
    assert.ok(lines < 80, `on its side again, the box is ${lines} px high`);
  },

  'in dark mode, the pages are dark': async stage => {
    const home = await lunch(stage);
    const page = await stage.phone({ colorScheme: 'dark' });
    const brightness = selector => page.locator(selector).first().evaluate(it => {
      const [r, g, b] = getComputedStyle(it).backgroundColor.match(/[\d.]+/g).map(Number);
      return (r + g + b) / 3;
    });
    await page.goto(await home.link('dad', 'gran'));
    assert.ok(await brightness('body') < 50);
    await open(page).click();
    await answer(page, 'Good night');
    await shows('the answer', message(page, 'Good night'));
    for (const part of ['body', '#top', '#foot', '.bubble', '.mine .bubble', '#box', 'summary']) {
      assert.ok(await brightness(part) < 80, `${part} is ${await brightness(part)}`);
    }
  },

  'with the keyboard only: open, read, answer, mute; the focus is visible': async stage => {
    const home = await lunch(stage);
    const page = await stage.phone({ viewport: { width: 800, height: 700 } });
    await page.goto(await home.link('dad', 'gran'));
    await shows('the button', open(page));
    const focused = () => page.evaluate(() => {
      const it = document.activeElement;
      const { outlineStyle, outlineWidth } = getComputedStyle(it);
      return { what: it.id || it.dataset.texts || it.tagName, seen: outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2 };
    });
    const tabTo = async (what, back) => {
      for (let i = 0; i < 12; i += 1) {
        await page.keyboard.press(back ? 'Shift+Tab' : 'Tab');
        const at = await focused();
        if (at.what === 'BODY') continue;
        assert.ok(at.seen, `the focus is not seen on ${at.what}`);
        if (at.what === what) return;
      }
      throw new Error(`no way to ${what} by Tab`);
    };
    await tabTo('open');
    await page.keyboard.press('Enter');
    await shows('the box', box(page));
    await tabTo('scroll');
    await tabTo('box');
    await page.keyboard.type('Typed');
    await page.keyboard.press('Shift+Enter');
    await page.keyboard.type('on two lines');
    await tabTo('send');
    await page.keyboard.press('Enter');
    await until('the answer', async () => (await home.said()).at(-1) === 'Typed\non two lines');
    assert.equal((await focused()).what, 'box', 'ready for the next');
    await page.keyboard.type('With Enter');
    await page.keyboard.press('Enter');
    await until('the answer', async () => (await home.said()).at(-1) === 'With Enter');
    await tabTo('SUMMARY', true);
    await page.keyboard.press('Enter');
    await tabTo('hours');
    await page.keyboard.press('Space');
    await shows('until when', page.getByText(/^No texts from here until/));
    assert.equal((await focused()).what, 'SUMMARY', 'its button is gone, and the focus is not lost');
    assert.equal((await home.say('dad', 'Hello?')).notifications.queued, 0);
    await tabTo('leave');
    await page.keyboard.press('Enter');
    assert.equal((await focused()).what, 'sure-text', 'the question is read out');
    await tabTo('no');
    await page.keyboard.press('Enter');
    assert.equal((await focused()).what, 'SUMMARY');
    await tabTo('on');
    await page.keyboard.press('Escape');
    assert.equal(await page.locator('#menu').evaluate(it => it.open), false);
    assert.deepEqual(await focused(), { what: 'SUMMARY', seen: true });
  },

  'landing page and empty thread fit into the first packets and load nothing else': async stage => {
    const home = await lunch(stage);
    const link = await home.linkWithoutMessage('gran');
    const page = await stage.phone();
    const devtools = await page.context().newCDPSession(page);
    await devtools.send('Network.enable');
    const loads = new Map();
    devtools.on('Network.responseReceived', ({ requestId, type, response }) => loads.set(requestId, { type, url: response.url, encoding: response.headers['content-encoding'] ?? response.headers['Content-Encoding'] }));
    devtools.on('Network.loadingFinished', ({ requestId, encodedDataLength }) => Object.assign(loads.get(requestId) ?? {}, { bytes: encodedDataLength }));
    const weighed = async what => {
      const all = await until(`${what} is here`, () => {
        const some = [...loads.values()].filter(({ type, url }) => type !== 'Fetch' && !url.startsWith('data:'));
        return some.length && some.every(({ bytes }) => bytes) && some;
      });
      loads.clear();
      assert.deepEqual(all.map(({ type, encoding }) => [type, encoding]), [['Document', 'gzip']], what);
      assert.ok(all[0].bytes < WEIGHT_MAX, `${what}: ${all[0].bytes} bytes with its headers`);
    };
    await page.goto(link);
    await weighed('the landing page');
    await open(page).click();
    await shows('the thread', page.getByText('No messages yet.'));
    await weighed('the thread');
  },
});
