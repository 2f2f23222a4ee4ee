// The link in an SMS, and its landing page.
import assert from 'node:assert/strict';
import {
  answer, api, base, loseAnswer, message, nextPoll, onThread, open, renew, shows, suite, tap, until, vanishes,
} from './stage.mjs';

/** User agents of link previews and scanners. */
const PREVIEWS = [
  'WhatsApp/2.23.20.0', 'facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)', 'Twitterbot/1.0',
  'Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)', 'TelegramBot (like TwitterBot)',
  'Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)', 'Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)',
  'LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)',
  'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_1) AppleWebKit/601.2.4 (KHTML, like Gecko) Version/9.0.1 Safari/601.2.4 facebookexternalhit/1.1 Facebot Twitterbot/1.0',
  'Mozilla/5.0 (compatible; Applebot/0.1; +http://www.apple.com/go/applebot)',
  'Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5', 'Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)',
  'Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0 Mobile Safari/537.36 Google-Safety',
  'Google-PageRenderer Google (+https://developers.google.com/+/web/snippet/)', 'Viber/13.3.0', 'Snap URL Preview Service',
];

const lunch = stage => stage.family({ dad: { name: 'Dad' }, gran: { name: 'Grandma' } });
const refused = /Failed to load resource: .*401 .*links\/exchange/;

suite('the landing page', {
  'a tap opens the thread; an answer reaches the other phone by polling and by SMS': async stage => {
    const home = await lunch(stage);
    const gran = await stage.phone();
    await tap(gran, await home.link('dad', 'gran', 'Lunch on Sunday?'));
    await shows("Dad's message on Grandma's phone", message(gran, 'Lunch on Sunday?'));
    await answer(gran, 'Lovely. I bring pie.');
    const dad = await stage.phone();
    await tap(dad, (await home.text('dad')).link);
    await shows("Grandma's answer on Dad's phone", message(dad, 'Lovely. I bring pie.'));

    // Both pages are open and poll; no page is reloaded.
    await answer(dad, 'Apple or cherry?');
    await shows("Dad's question on Grandma's phone", message(gran, 'Apple or cherry?'));
    await answer(gran, 'Both!');
    await shows("Grandma's answer on Dad's phone", message(dad, 'Both!'));
    assert.match((await home.text('dad', 2)).body, /^Grandma: Both!/);
    assert.match((await home.text('gran', 2)).body, /^Dad: Apple or cherry\?/);
    assert.deepEqual(await home.said(), ['Lunch on Sunday?', 'Lovely. I bring pie.', 'Apple or cherry?', 'Both!']);
  },

  'loading a link without a tap does not spend it': async stage => {
    const home = await lunch(stage);
    const posted = await home.say('dad', 'Lunch?');
    const { link } = await home.text('gran');
    const page = link.split('#')[0];
    const seen = new Set();
    for (let i = 0; i < 100; i += 1) {
      const headers = { 'user-agent': PREVIEWS[i % PREVIEWS.length] };
      const [got, looked] = await Promise.all([api('GET', new URL(page).pathname, { headers }), api('HEAD', new URL(page).pathname, { headers })]);
      assert.deepEqual([got.status, looked.status], [200, 200]);
      // A preview gets no data of the family, and nothing to fetch.
      seen.add(/<title>.*<\/title>/.exec(got.text)[0]);
      assert.doesNotMatch(got.text, /og:|twitter:|Grandma|Dad|Lunch/);
    }
    assert.deepEqual([...seen], ['<title>Kinline</title>']);
    // Scanners that run scripts, for hours.
    for (const userAgent of PREVIEWS.slice(0, 3)) {
      const bot = await stage.phone({ userAgent });
      const asked = [];
      bot.on('request', request => request.resourceType() !== 'document' && !request.url().startsWith('data:') && asked.push(request.url()));
      await bot.clock.install();
      await bot.goto(link);
      await shows('the button', open(bot));
      await bot.mouse.move(200, 400);
      await bot.mouse.wheel(0, 2000);
      await bot.clock.runFor('02:00:00');
      // A request after any that the page may have made.
      await bot.evaluate(() => fetch('/health'));
      assert.deepEqual(asked, [`${base}/health`], 'the page asks for nothing by itself');
      await bot.reload();
      await shows('the button', open(bot));
    }
    const path = `/threads/${home.thread}/messages/${posted.message.id}/deliveries`;
    const opened = async () => (await home.as('dad', 'GET', path)).deliveries[0].openedAt;
    assert.equal(await opened(), null);
    const gran = await stage.phone();
    await tap(gran, link);
    await shows('the message', message(gran, 'Lunch?'));
    assert.ok(await opened());
  },

  'an expired link offers a fresh one by SMS, which opens': async stage => {
    stage.expects(refused);
    const home = await lunch(stage);
    const link = await home.link('dad', 'gran');
    await home.expireLinks();
    const gran = await stage.phone();
    await gran.goto(link);
    await open(gran).click();
    await shows('that it no longer works', gran.getByRole('heading', { name: 'This link no longer works' }));
    assert.equal(await gran.evaluate(() => document.activeElement.textContent), 'This link no longer works', 'is read out');
    await renew(gran).click();
    await shows('that it is on its way', gran.getByText('On its way.'));
    const fresh = await home.text('gran', 2);
    assert.notEqual(fresh.link, link);
    // In the same tab, where only the fragment differs.
    await gran.goto(fresh.link);
    await open(gran).click();
    await onThread(gran);
    await shows('the message', message(gran, 'Lunch on Sunday?'));
    assert.equal((await home.texts('gran')).length, 2);
  },

  'a forwarded link opens nothing, and its fresh one goes to the number on file': async stage => {
    stage.expects(refused);
    const home = await stage.family({ dad: { name: 'Dad' }, gran: { name: 'Grandma' }, sis: { name: 'Sis' } });
    const link = await home.link('dad', 'gran');
    const gran = await stage.phone();
    await tap(gran, link);
    await home.text('sis');
    const stranger = await stage.phone();
    await stranger.goto(link);
    await open(stranger).click();
    await shows('that it no longer works', stranger.getByRole('heading', { name: 'This link no longer works' }));
    assert.doesNotMatch(await stranger.locator('body').innerText(), /Dad|Grandma|Lunch|555/);
    await renew(stranger).click();
    await shows('that it is on its way', stranger.getByText('On its way.'));
    const fresh = await home.text('gran', 2);
    assert.equal(fresh.to, home.people.gran.phone);
    assert.deepEqual([(await home.texts('dad')).length, (await home.texts('sis')).length], [0, 1]);
    // The stranger tries the thread's address, and the link again.
    stage.expects(/401 .*\/t\/th_/);
    const page = await stranger.goto(gran.url());
    assert.equal(page.status(), 401);
    await stranger.goto(link);
    await open(stranger).click();
    await shows('that it still does not work', stranger.getByRole('heading', { name: 'This link no longer works' }));
    // The first browser still has access.
    await tap(gran, link);
    await shows('the message', message(gran, 'Lunch on Sunday?'));
  },

  'a removed member is locked out at once, and the page clears its messages': async stage => {
    stage.expects(/401 /, /404 /);
    const home = await stage.family({ dad: { name: 'Dad' }, gran: { name: 'Grandma' }, sis: { name: 'Sis' } });
    const link = await home.link('dad', 'gran', 'Our secret');
    const gran = await stage.phone();
    await gran.clock.install();
    await tap(gran, link);
    await shows('the message', message(gran, 'Our secret'));
    await gran.locator('#box').fill('a draft');
    const removed = await api('DELETE', `/families/${home.id}/users/gran`, { token: home.host });
    assert.equal(removed.status, 204);
    await nextPoll(gran);
    await shows('that it must be opened again', gran.getByRole('heading', { name: 'Please open the messages again' }));
    assert.doesNotMatch(await gran.content(), /Our secret|Dad/);
    assert.equal(await gran.locator('article').count(), 0);
    const again = await gran.reload();
    assert.equal(again.status(), 401);
    await shows('where a number goes', gran.getByLabel('Your mobile number'));
    await gran.goto(link);
    await open(gran).click();
    await shows('that the link is dead', gran.getByRole('heading', { name: 'This link no longer works' }));
    await renew(gran).click();
    await shows('the same words as ever', gran.getByText('On its way.'));
    // No SMS was sent: a later one has arrived on another phone.
    await home.say('dad', 'She has left');
    await home.text('sis', 2);
    assert.equal((await home.texts('gran')).length, 1);
  },

  'another tap repeats an exchange whose answer was lost': async stage => {
    stage.expects(/ERR_CONNECTION_RESET .*links\/exchange/);
    const home = await lunch(stage);
    const link = await home.link('dad', 'gran');
    const gran = await stage.phone();
    const answers = [];
    await gran.route('**/links/exchange', async route => { answers.push(await loseAnswer(route)); }, { times: 1 });
    await gran.goto(link);
    await open(gran).click();
    await shows('why nothing opened', gran.getByRole('alert').getByText('There is no connection.'));
    assert.deepEqual(answers, [200], 'the server spent the link');
    await gran.getByRole('button', { name: 'Try again' }).click();
    await onThread(gran);
    await shows('the message', message(gran, 'Lunch on Sunday?'));
  },

  'two quick taps make one exchange, even with a slow answer': async stage => {
    const home = await lunch(stage);
    const link = await home.link('dad', 'gran');
    const gran = await stage.phone();
    let exchanges = 0, release;
    const held = new Promise(done => { release = done; });
    await gran.route('**/links/exchange', async route => { exchanges += 1; await held; await route.continue(); });
    await gran.goto(link);
    await open(gran).dblclick();
    await shows('that it is opening', gran.getByRole('button', { name: 'Opening…' }));
    await gran.getByRole('button', { name: 'Opening…' }).click({ force: true });
    release();
    await onThread(gran);
    assert.equal(exchanges, 1);
  },

  'the back button leaves the thread and never shows a spent link; no token is stored': async stage => {
    const home = await lunch(stage);
    const first = await home.link('dad', 'gran', 'One');
    const second = await home.link('dad', 'gran', 'Two');
    const gran = await stage.phone();
    // Another page, without an icon.
    stage.expects(/404 .*favicon/);
    await gran.goto(`${base}/health`);
    await tap(gran, first);
    const history = await (await gran.context().newCDPSession(gran)).send('Page.getNavigationHistory');
    assert.deepEqual(history.entries.map(entry => new URL(entry.url).pathname + new URL(entry.url).hash).slice(-2), ['/health', `/t/${home.thread}`]);
    assert.equal(new URL(gran.url()).hash, '');
    const kept = await gran.evaluate(() => JSON.stringify([document.cookie, { ...localStorage }, { ...sessionStorage }]));
    assert.ok(!kept.includes(first.split('#')[1]), 'no token on the phone');
    await gran.goBack();
    assert.equal(new URL(gran.url()).pathname, '/health');
    await gran.goForward();
    await shows('the message', message(gran, 'One'));
    await answer(gran, 'Still alive');
    await until('the answer on the server', async () => (await home.said()).includes('Still alive'));

    // The landing page is open in a tab, and the link of another SMS is tapped: only the fragment changes.
    await gran.goto(first);
    await shows('the button', open(gran));
    await gran.evaluate(hash => { location.hash = hash; }, second.split('#')[1]);
    await open(gran).click();
    await onThread(gran);
    await shows('the newer message', message(gran, 'Two'));
    await gran.goBack();
    await shows('the landing page as it was left', open(gran));
    await open(gran).click();
    await onThread(gran);
    await shows('the thread again', message(gran, 'Two'));
  },

  'a valid link replaces a dead one in the same tab': async stage => {
    stage.expects(refused);
    const home = await lunch(stage);
    const old = await home.link('dad', 'gran', 'One');
    await home.expireLinks();
    const good = await home.link('dad', 'gran', 'Two');
    const gran = await stage.phone();
    await gran.goto(old);
    await open(gran).click();
    await shows('that it no longer works', renew(gran));
    await gran.evaluate(hash => { location.hash = hash; }, good.split('#')[1]);
    await vanishes('what was said of the old one', renew(gran));
    await open(gran).click();
    await onThread(gran);
  },

  'without a link, a phone number requests one; an unknown number gets the same answer': async stage => {
    const home = await lunch(stage);
    await home.link('dad', 'gran', 'One');
    const gran = await stage.phone({ locale: 'en-US' });
    await gran.goto(`${base}/l`);
    const field = gran.getByLabel('Your mobile number');
    const submit = gran.getByRole('button', { name: 'Text me a link' });
    await field.fill('555');
    await submit.click();
    await shows('what is wrong with it', gran.getByRole('alert').getByText('That number is not complete.'));
    assert.equal(await field.getAttribute('aria-invalid'), 'true');
    assert.ok(await field.evaluate(it => it === document.activeElement));
    // In national form, for the country of the browser's locale.
    const number = home.people.gran.phone;
    await field.fill(`(${number.slice(2, 5)}) ${number.slice(5, 8)}-${number.slice(8)}`);
    await submit.click();
    await shows('the answer', gran.getByText('If we know this number, a text is on its way.'));
    const fresh = await home.text('gran', 2);
    await gran.getByRole('button', { name: 'Use another number' }).click();
    await field.fill('+15550199999');
    await submit.click();
    await shows('the same answer', gran.getByText('If we know this number, a text is on its way.'));
    await tap(gran, fresh.link);
  },

  'the landing page and the SMS are in the recipient’s language': async stage => {
    const home = await stage.family({
      dad: { name: 'Dad' },
      es: { name: 'Abuela', locale: 'es' },
      zh: { name: '奶奶', locale: 'zh-CN' },
      ru: { name: 'Бабушка', locale: 'ru' },
      fr: { name: 'Mamie', locale: 'fr-CA' },
      de: { name: 'Oma', locale: 'de' },
    });
    await home.say('dad', 'Pie');
    const opens = { fr: 'Ouvrir les messages', de: 'Nachrichten öffnen' };
    const sends = { es: 'Enviar', zh: '发送', ru: 'Отправить', fr: 'Envoyer', de: 'Senden' };
    const hereIs = { es: 'este es su enlace', zh: '这是您的链接', ru: 'вот ваша ссылка', fr: 'voici votre lien', de: 'hier ist Ihr Link' };
    await Promise.all(Object.keys(sends).map(async id => {
      const { link } = await home.text(id);
      // The landing page uses the browser's language, the thread page the member's: here they differ.
      const foreign = await stage.phone({ locale: id === 'de' ? 'fr-FR' : 'de-DE' });
      await foreign.goto(link);
      assert.equal(await foreign.locator('html').getAttribute('lang'), id === 'de' ? 'fr' : 'de');
      assert.equal(await foreign.locator('#open').innerText(), opens[id === 'de' ? 'fr' : 'de']);
      await foreign.locator('#open').click();
      await onThread(foreign);
      assert.equal(await foreign.locator('html').getAttribute('lang'), id);
      assert.equal(await foreign.locator('#send').innerText(), sends[id]);
      const asked = await home.linkWithoutMessage(id);
      assert.notEqual(asked, link);
      const { body } = await home.text(id, 2);
      assert.ok(body.includes(hereIs[id]), `${id}: ${body}`);
    }));
    const phone = await stage.phone({ locale: 'ru-RU' });
    await phone.goto(`${base}/l`);
    assert.equal(await phone.locator('html').getAttribute('lang'), 'ru');
  },
});
