// The thread page: reading, answering, network failures, mutes.
import assert from 'node:assert/strict';
import {
  answer, box, loseAnswer, message, nextPoll, shows, suite, tap, until, vanishes,
} from './stage.mjs';

const lunch = stage => stage.family({ dad: { name: 'Dad', phone: null }, gran: { name: 'Grandma' } });
const texts = page => page.locator('article .text').allInnerTexts();
const unsent = page => page.locator('#unsent');
const top = page => page.locator('#scroll').evaluate(it => { it.scrollTop = 0; });
const offline = /ERR_INTERNET_DISCONNECTED/;

/** Simulates the visibility of a page, which a headless browser lacks. */
const hideable = page => page.addInitScript(() => {
  globalThis.away = false;
  Object.defineProperty(Document.prototype, 'hidden', { get: () => globalThis.away });
  Object.defineProperty(Document.prototype, 'visibilityState', { get: () => (globalThis.away ? 'hidden' : 'visible') });
});
const putAway = (page, away) => page.evaluate(to => {
  globalThis.away = to;
  document.dispatchEvent(new Event('visibilitychange'));
}, away);

/** Records the polls of a page, with the time of its clock. */
const counting = page => page.addInitScript(() => {
  globalThis.looks = [];
  globalThis.answered = 0;
  const original = globalThis.fetch;
  globalThis.fetch = async (url, options) => {
    if (!url.includes('after=')) return original(url, options);
    globalThis.looks.push(Date.now());
    try {
      return await original(url, options);
    } finally {
      globalThis.answered += 1;
    }
  };
});

suite('the thread', {
  'two members share a phone, and each page posts as its own member': async stage => {
    const home = await stage.family({ mum: { name: 'Mum', phone: null }, dad: { name: 'Dad' }, gran: { name: 'Grandma' } });
    const [toDad, toGran] = [await home.link('mum', 'dad'), (await home.text('gran')).link];
    const grans = await stage.phone();
    await tap(grans, toGran);
    const dads = await grans.context().newPage();
    await tap(dads, toDad);
    await answer(grans, 'From Grandma');
    await shows('it in the other tab', message(dads, 'From Grandma'));
    await answer(dads, 'From Dad');
    await until('both on the server', async () => (await home.said()).length === 3);
    const { messages } = await home.as('mum', 'GET', `/threads/${home.thread}/messages`);
    assert.deepEqual(messages.map(it => [it.authorName, it.body]).reverse().slice(1), [['Grandma', 'From Grandma'], ['Dad', 'From Dad']]);
  },

  'an answer written offline is kept, shown as not sent, and sent once': async stage => {
    stage.expects(offline, /ERR_CONNECTION/);
    const home = await lunch(stage);
    const gran = await stage.phone();
    await tap(gran, await home.link('dad', 'gran'));
    await gran.context().setOffline(true);
    await answer(gran, 'I bring the pie');
    await answer(gran, 'and cream');
    await shows('that it is not sent', gran.getByText('Not sent yet. It will be sent when the network is back.'));
    assert.deepEqual(await texts(gran), ['Lunch on Sunday?', 'I bring the pie', 'and cream']);
    assert.equal(await box(gran).inputValue(), '');
    assert.deepEqual(await home.said(), ['Lunch on Sunday?']);

    // The page is opened again, and posts still fail.
    await gran.route('**/messages', route => (route.request().method() === 'POST' ? route.abort('connectionfailed') : route.continue()));
    await gran.context().setOffline(false);
    await gran.reload();
    await shows('that it is still not sent', unsent(gran));
    assert.deepEqual(await texts(gran), ['Lunch on Sunday?', 'I bring the pie', 'and cream']);

    // The network is back, and the answer to the first try is lost.
    let posts = 0, lost = 0;
    await gran.unroute('**/messages');
    await gran.route('**/messages', async route => {
      if (route.request().method() !== 'POST') return route.continue();
      posts += 1;
      if (posts > 1) return route.continue();
      lost = await loseAnswer(route);
    });
    await gran.getByRole('button', { name: 'Send now' }).click();
    await vanishes('that it is not sent', unsent(gran));
    await until('both on the server', async () => (await home.said()).length === 3);
    assert.equal(lost, 201, 'the server had it the first time');
    assert.ok(posts >= 3, `${posts} posts`);
    await until('both marked as sent', async () => (await gran.locator('.pending').count()) === 0);
    assert.deepEqual(await texts(gran), ['Lunch on Sunday?', 'I bring the pie', 'and cream']);
    assert.deepEqual(await home.said(), ['Lunch on Sunday?', 'I bring the pie', 'and cream']);
    await gran.reload();
    await shows('the message', message(gran, 'and cream'));
    assert.deepEqual(await texts(gran), ['Lunch on Sunday?', 'I bring the pie', 'and cream']);
  },

  'a draft survives a reload, and the network’s return is noticed': async stage => {
    stage.expects(offline);
    const home = await lunch(stage);
    const gran = await stage.phone();
    await gran.clock.install();
    await tap(gran, await home.link('dad', 'gran'));
    await box(gran).fill('I was about to s');
    await gran.reload();
    await until('the draft', async () => (await box(gran).inputValue()) === 'I was about to s');
    await box(gran).fill('');
    await gran.context().setOffline(true);
    await nextPoll(gran);
    await nextPoll(gran);
    await until('that there is no connection', async () => {
      await nextPoll(gran);
      return (await gran.locator('#strip').innerText()).includes('No connection');
    });
    await home.say('dad', 'Are you there?');
    await gran.context().setOffline(false);
    await shows('what was said meanwhile', message(gran, 'Are you there?'));
    assert.equal(await gran.locator('#strip').innerText(), '');
  },

  'the answer of a captive portal counts as no answer: nothing is lost or doubled': async stage => {
    stage.expects(/403 /);
    const home = await lunch(stage);
    const gran = await stage.phone();
    await tap(gran, await home.link('dad', 'gran'));
    await gran.route('**/messages', route => (route.request().method() === 'POST'
      ? route.fulfill({ status: 403, contentType: 'text/html', body: '<h1>Welcome to our hotel</h1>' })
      : route.continue()));
    await answer(gran, 'I bring the pie');
    await shows('that it is not sent', unsent(gran));
    await gran.unroute('**/messages');
    await gran.getByRole('button', { name: 'Send now' }).click();
    await vanishes('that it is not sent', unsent(gran));
    assert.deepEqual(await home.said(), ['Lunch on Sunday?', 'I bring the pie']);
  },

  'a button gets its label back after its action has failed': async stage => {
    stage.expects(offline, /ERR_CONNECTION|ERR_FAILED/);
    const home = await lunch(stage);
    const gran = await stage.phone();
    await tap(gran, await home.link('dad', 'gran'));
    await gran.route('**/texts', route => route.abort('connectionfailed'));
    await gran.locator('summary').click();
    await gran.getByRole('button', { name: 'Not for 8 hours' }).click();
    await gran.unroute('**/texts');
    await gran.locator('#menu').getByRole('button', { name: 'Try again' }).click();
    await shows('until when', gran.locator('#texts').getByText(/^No texts from here until \w+/));
    await gran.getByRole('button', { name: 'Text me again' }).click();
    await shows('its name', gran.getByRole('button', { name: 'Not for 8 hours' }));
    assert.equal(await gran.getByRole('button', { name: 'Try again' }).count(), 0);
  },

  'a message that the server refuses comes back into the box with the reason': async stage => {
    stage.expects(/422 /);
    const home = await lunch(stage);
    const gran = await stage.phone();
    await tap(gran, await home.link('dad', 'gran'));
    await gran.route('**/messages', route => (route.request().method() === 'POST'
      ? route.fulfill({ status: 422, contentType: 'application/problem+json', body: '{"error":"invalid_text","detail":"The text is not one."}' })
      : route.continue()));
    await answer(gran, 'strange');
    await shows('why', gran.getByText('This was not sent. The text is not one.'));
    assert.equal(await box(gran).inputValue(), 'strange');
    assert.equal(await gran.locator('.pending').count(), 0);
    // 4,000 characters; an emoji counts as one.
    await box(gran).fill('🥧'.repeat(4001));
    await shows('by how much it is too long', gran.getByText('Too long by 1'));
    await box(gran).fill('🥧'.repeat(3990));
    await shows('how much is left', gran.getByText('Characters left: 10'));
  },

  '120 messages: scrolling back shows each once, in order, and keeps the position': async stage => {
    const home = await lunch(stage);
    const link = await home.link('dad', 'gran', 'message 1');
    await home.as('gran', 'PUT', `/threads/${home.thread}/texts`, { state: 'muted' });
    for (let n = 2; n <= 120; n += 1) await home.say('dad', `message ${n}`);
    const gran = await stage.phone();
    // The test releases the answers.
    let release = [];
    await gran.route(/before=/, async route => { await new Promise(done => release.push(done)); await route.continue(); });
    await tap(gran, link);
    await shows('the newest', message(gran, 'message 120'));
    assert.equal((await texts(gran)).length, 30);
    const numbers = async () => (await texts(gran)).map(text => Number(text.split(' ')[1]));
    const run = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
    for (const [from, then] of [[91, 41], [41, 1]]) {
      await top(gran);
      await until('that earlier ones are asked for', () => release.length);
      const place = () => message(gran, `message ${from}`).evaluate(it => it.getBoundingClientRect().top);
      const before = await place();
      release.splice(0).forEach(done => done());
      await shows('earlier messages', gran.locator(`article[data-seq="${then}"]`));
      // The day's heading moves up to the first message: messages below it move by its height at most.
      assert.ok(Math.abs(await place() - before) < 60, `message ${from} moved from ${before} to ${await place()}`);
      assert.deepEqual(await numbers(), run(then, 120));
    }
    assert.equal(await gran.locator('.day').count(), 1);
    await top(gran);
    await vanishes('the way to earlier ones', gran.locator('#earlier'));

    // A reader further up keeps the position, and sees a notice.
    await home.say('dad', 'message 121');
    await gran.getByRole('button', { name: /New messages/ }).waitFor();
    assert.ok(await gran.locator('#scroll').evaluate(it => it.scrollTop < 10));
    await gran.getByRole('button', { name: /New messages/ }).click();
    await until('the end', () => gran.locator('#scroll').evaluate(it => it.scrollHeight - it.scrollTop - it.clientHeight < 5));
    assert.deepEqual(await numbers(), run(1, 121));
  },

  'messages are shown as text, and no script in them runs': async stage => {
    const words = 'w'.repeat(4000);
    const hostile = [
      '<script>alert(1)</script>', '<img src=x onerror=alert(1)>', '</script><script>alert(1)</script>', '</p></article><h1>Bank</h1>',
      '"><svg onload=alert(1)>', 'javascript:alert(1)', '{{ 7 * 7 }} ${7 * 7} <%= 7 %>', '&lt;b&gt; &amp; &#60;', '\u202Egnp.exe\u202C ok', '\u2066x\u2069',
      'line one\nline two\n\n  indented', '👩‍👩‍👧‍👦🏳️‍🌈 Ünïcödé नमस्ते שלום', words, '<!--', '<template><p>', "'; DROP TABLE messages; --", '\\u003cscript>',
    ];
    const name = '<img src=x onerror=alert(2)> "Dad" </script>';
    const home = await stage.family({ dad: { name, phone: null }, gran: { name: '<b>Gran</b>' } }, { title: '</title><script>alert(3)</script>' });
    const [first, ...others] = hostile;
    const link = await home.link('dad', 'gran', first);
    await home.as('gran', 'PUT', `/threads/${home.thread}/texts`, { state: 'muted' });
    const half = others.length / 2 | 0;
    for (const text of others.slice(0, half)) await home.say('dad', text);
    const gran = await stage.phone({ viewport: { width: 320, height: 600 } });
    await tap(gran, link);
    // The others arrive by polling, which is another path.
    for (const text of others.slice(half)) await home.say('dad', text);
    await until('all of them', async () => (await gran.locator('article').count()) === hostile.length);
    for (const text of ['<script>alert(4)</script>', '<img src=x onerror=alert(5)>']) {
      await answer(gran, text);
      hostile.push(text);
      await until('the answer', async () => (await home.said()).at(-1) === text);
    }
    // Except for directional overrides, which are not stored.
    const kept = hostile.map(text => text.replace(/[\u202A-\u202E\u2066-\u2069]/g, ''));
    assert.deepEqual(await gran.locator('article .text').evaluateAll(all => all.map(it => it.textContent)), kept);
    assert.equal(await gran.locator('.who').first().innerText(), name);
    assert.equal(await gran.locator('#top h1').innerText(), '</title><script>alert(3)</script>');
    assert.match(await gran.locator('#people').innerText(), /<img src=x onerror=alert\(2\)> "Dad" <\/script>, you/);
    assert.equal(await gran.locator('article :is(script, img, svg, h1), article a').count(), 0);
    assert.equal(await gran.locator('html').evaluate(it => it.scrollWidth), 320, 'a long word makes nothing wider');
    assert.equal(await gran.locator('#scroll').evaluate(it => it.scrollWidth <= it.clientWidth), true);

    // An address becomes a link to exactly that address.
    await home.say('dad', 'see https://example.com/a?b=<c>. or http://x.example/"onclick=alert(1)');
    await shows('the address', gran.getByRole('link').first());
    const links = await gran.getByRole('link').evaluateAll(all => all.map(a => [a.getAttribute('href'), a.textContent, a.rel, a.target]));
    const safe = ['noopener noreferrer nofollow', '_blank'];
    assert.deepEqual(links, [
      ['https://example.com/a?b=', 'https://example.com/a?b=', ...safe], ['http://x.example/', 'http://x.example/', ...safe],
    ]);
    await gran.reload();
    await shows('the messages', gran.locator('article'));
    assert.deepEqual(await gran.locator('article .text').evaluateAll(all => all.slice(0, -1).map(it => it.textContent)), kept);
  },

  'SMS settings: muted for eight hours, muted here, off for all threads, and on again': async stage => {
    const home = await lunch(stage);
    const gran = await stage.phone();
    await tap(gran, await home.link('dad', 'gran'));
    const queued = async () => (await home.say('dad', 'Hello?')).notifications.queued;
    const menu = gran.locator('#menu');
    const summary = gran.locator('summary');
    const state = gran.locator('#texts');
    const choose = async name => {
      if (!await menu.evaluate(it => it.open)) await summary.click();
      await menu.getByRole('button', { name, exact: true }).click();
    };
    await summary.click();
    await shows('how it is', state.getByText('You get a text when somebody writes here.', { exact: true }));
    await choose('Not for 8 hours');
    await shows('until when', state.getByText(/^No texts from here until \w+/));
    assert.equal(await queued(), 0);
    await choose('No texts from this conversation');
    await shows('that there are none', state.getByText('No texts from this conversation.'));
    assert.equal(await queued(), 0);
    await choose('Text me again');
    await shows('that they come', state.getByText('You get a text when somebody writes here.'));
    assert.equal(await queued(), 1);
    await choose('No texts at all');
    await shows('what that means', gran.getByText('You would get no more texts, from anybody.'));
    await gran.getByRole('button', { name: 'No, go back' }).click();
    assert.equal(await queued(), 1, 'asked, and not done');
    await choose('No texts at all');
    await gran.getByRole('button', { name: 'Yes, stop all texts' }).click();
    await shows('that there are none at all', state.getByText('No texts at all, from any conversation.'));
    const posted = await home.say('dad', 'Hello?');
    assert.equal(posted.notifications.queued, 0);
    const { deliveries } = await home.as('dad', 'GET', `/threads/${home.thread}/messages/${posted.message.id}/deliveries`);
    assert.deepEqual(deliveries.map(({ state: is, reason }) => [is, reason]), [['suppressed', 'opted_out']]);
    await gran.reload();
    await summary.click();
    await shows('that it is remembered', state.getByText('No texts at all, from any conversation.'));
    await choose('Text me again');
    await shows('that they come', state.getByText('You get a text when somebody writes here.'));
    assert.equal(await queued(), 1);
  },

  'signing out closes the thread in this browser only': async stage => {
    stage.expects(/401 /);
    const home = await lunch(stage);
    const gran = await stage.phone();
    await tap(gran, await home.link('dad', 'gran', 'Our secret'));
    await box(gran).fill('half a thought');
    await gran.locator('summary').click();
    await gran.getByRole('button', { name: 'Sign out on this phone' }).click();
    await gran.getByRole('button', { name: 'Yes, sign out' }).click();
    await shows('that it is done', gran.getByRole('heading', { name: 'You are signed out' }));
    assert.doesNotMatch(await gran.content(), /Our secret|half a thought/);
    assert.equal(await gran.evaluate(() => localStorage.length), 0);
    assert.equal((await gran.reload()).status(), 401);
    await gran.goBack();
    assert.doesNotMatch(await gran.content(), /Our secret/);
  },

  'only messages in view on a visible page are marked as read': async stage => {
    const home = await lunch(stage);
    const link = await home.link('dad', 'gran');
    assert.equal(await home.unread('gran'), 1);
    const gran = await stage.phone();
    await hideable(gran);
    await gran.clock.install();
    await tap(gran, link);
    await until('that it is read', async () => (await home.unread('gran')) === 0);
    // A message arrives while the page is hidden, by a poll from just before.
    let release, held;
    const holding = new Promise(done => { held = done; });
    await gran.route(/after=/, async route => {
      held();
      await new Promise(done => { release = done; });
      await route.continue();
    }, { times: 1 });
    await nextPoll(gran);
    await holding;
    await putAway(gran, true);
    await home.say('dad', 'Are you there?');
    release();
    await message(gran, 'Are you there?').waitFor();
    await nextPoll(gran);
    assert.equal(await home.unread('gran'), 1, 'it is unread');
    await putAway(gran, false);
    await until('that it is read', async () => (await home.unread('gran')) === 0);
    // Visible page, but scrolled further up.
    for (let n = 0; n < 12; n += 1) await home.say('dad', `line ${n}`);
    await nextPoll(gran);
    await until('that all is read', async () => (await home.unread('gran')) === 0);
    await top(gran);
    await home.say('dad', 'The last one');
    await nextPoll(gran);
    await gran.locator('#jump').waitFor();
    assert.equal(await home.unread('gran'), 1);
    await gran.locator('#jump').click();
    await until('that it is read', async () => (await home.unread('gran')) === 0);
  },

  'it polls often, then rarely, never while hidden, and when a busy server allows it': async stage => {
    stage.expects(/429 /);
    const home = await lunch(stage);
    const link = await home.link('dad', 'gran');
    const gran = await stage.phone();
    await hideable(gran);
    await counting(gran);
    await gran.clock.install();
    await tap(gran, link);
    // From here on, the page's clock moves only when the test moves it.
    await gran.clock.pauseAt(Date.now() + 60_000);
    const looks = () => gran.evaluate(() => globalThis.looks.length);
    const settled = () => until('an answer', () => gran.evaluate(() => globalThis.looks.length === globalThis.answered));
    /** Moves the clock in steps so small that each poll is answered before the next is due. */
    const pass = async (seconds, step = 1) => {
      const before = await looks();
      for (let at = 0; at < seconds; at += step) {
        await gran.clock.runFor(step * 1000);
        await settled();
      }
      return await looks() - before;
    };
    await settled();
    // The page becomes visible again after a while, just after a poll.
    await gran.locator('#scroll').dispatchEvent('pointerdown');
    await settled();
    const often = await pass(30, 0.5);
    assert.ok(often >= 9 && often <= 11, `${often} looks in the first half minute`);
    await pass(31);
    const seldom = await pass(120, 2);
    assert.ok(seldom >= 10 && seldom <= 13, `${seldom} polls in two minutes without input`);
    await pass(150, 5);
    const rare = await pass(300, 5);
    assert.ok(rare >= 8 && rare <= 11, `${rare} looks in five minutes more`);
    // After a touch, it polls often again.
    await gran.locator('#scroll').dispatchEvent('pointerdown');
    await settled();
    assert.ok(await pass(12) >= 3, 'quick after a touch');

    await putAway(gran, true);
    const rested = await looks();
    await gran.evaluate(() => dispatchEvent(new Event('online')));
    await pass(3600, 600);
    assert.equal(await looks(), rested, 'put away, it rests');
    await home.say('dad', 'While you were away');
    await putAway(gran, false);
    await shows('what was said meanwhile', message(gran, 'While you were away'));
    assert.ok(await pass(9) >= 2, 'quick again');

    let busy = 0;
    await gran.route(/after=/, async route => {
      busy += 1;
      await route.fulfill({ status: 429, headers: { 'retry-after': '20' }, contentType: 'application/problem+json', body: '{}' });
    }, { times: 1 });
    await pass(4);
    assert.equal(busy, 1);
    const asked = await looks();
    await gran.locator('#scroll').dispatchEvent('pointerdown');
    await gran.evaluate(() => dispatchEvent(new Event('online')));
    await pass(15);
    assert.equal(await looks(), asked, 'it waits for as long as it was asked to');
    await pass(10);
    assert.ok(await looks() > asked, 'and no longer');
  },

  'an empty thread says so until the first message': async stage => {
    const home = await lunch(stage);
    const gran = await stage.phone();
    await tap(gran, await home.linkWithoutMessage('gran'));
    await shows('that there is nothing', gran.getByText('No messages yet. Write the first one.'));
    await answer(gran, 'Hello');
    await shows('the message', message(gran, 'Hello'));
    await vanishes('that there is nothing', gran.getByText('No messages yet.'));
  },
});
