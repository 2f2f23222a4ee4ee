// The phone wall: handsets side by side, each with its own browser.
import assert from 'node:assert/strict';
import { api, base, shows, suite, until } from './stage.mjs';

const handset = (page, name) => page.locator('.handset', { has: page.getByRole('heading', { name, exact: true }) }).filter({ visible: true });
const inside = phone => phone.frameLocator('iframe');
const texts = (phone, text) => phone.locator('.bubble', { hasText: text });

/** The open wall, with its own family. */
async function hang(stage, viewport) {
  const home = await stage.family({ gran: { name: 'Grandma' }, mum: { name: 'Mum' }, dad: { name: 'Dad' }, sis: { name: 'Sis' } }, { title: 'Family' });
  const page = await stage.phone(viewport);
  await page.goto(`${base}/dev`);
  await page.locator('#family').selectOption(home.id);
  return page;
}

async function post(page, author, text) {
  await page.getByLabel('Post as').selectOption({ label: author });
  await until(`${author}'s thread`, async () => (await page.locator('#thread option').count()) > 0);
  await page.getByLabel('Message', { exact: true }).fill(text);
  await page.getByRole('button', { name: 'Post' }).click();
  await shows('that it is posted', page.getByText(/^Posted\. 3 texts on their way\.$/));
}

/** Taps the link in an SMS, and then the button on its page, if there is one. */
async function tapIn(phone, text) {
  await texts(phone, text).last().locator('.link').click();
  await inside(phone).locator('#open').click();
  await shows('the thread in the handset', inside(phone).locator('#box'));
}

suite('the phone wall', {
  'post, tap in two handsets, answer in one, see it in the other; text back; get a new phone': async stage => {
    stage.expects(/401 .*links\/exchange/);
    const page = await hang(stage, { viewport: { width: 1280, height: 900 } });
    const [gran, dad, sis, mum] = ['Grandma', 'Dad', 'Sis', 'Mum'].map(name => handset(page, name));
    const album = 'Bring the albums on Sunday';
    await post(page, 'Mum', album);
    for (const phone of [gran, dad, sis]) await shows('the text', texts(phone, album));
    assert.equal(await texts(mum, album).count(), 0, 'the author gets no SMS');

    await tapIn(gran, album);
    await tapIn(dad, album);
    const said = (phone, text) => inside(phone).locator('article').filter({ hasText: text });
    await shows('the message at Grandma’s', said(gran, album));
    assert.match(await said(gran, album).locator('.who').innerText(), /Mum/);
    const pie = 'Only with pie';
    await inside(gran).locator('#box').fill(pie);
    await inside(gran).locator('#send').click();
    await shows('the answer at Dad’s', said(dad, pie));
    assert.equal(await said(dad, pie).locator('.who').innerText(), 'Grandma');
    assert.equal(await said(gran, pie).locator('.who').innerText(), 'You');
    assert.equal(await texts(gran, pie).count(), 0);
    // Each of the others gets an SMS too, and a handset with an open page counts it.
    await shows('the count of new texts', dad.locator('.news').getByText('1'));
    await dad.getByRole('button', { name: /Back to the texts/ }).click();
    await shows('the text about it', texts(dad, pie));

    const back = 'On my way';
    await sis.getByPlaceholder('Text back…').fill(back);
    await sis.getByPlaceholder('Text back…').press('Enter');
    await shows('what Sis texted back', sis.locator('.text.sent .bubble').getByText(back));
    assert.equal(await sis.getByPlaceholder('Text back…').inputValue(), '');

    // The link does not open on a new phone, until a fresh one comes to its number.
    await gran.getByRole('button', { name: 'New phone' }).click();
    await inside(gran).getByRole('button', { name: 'Open the messages' }).click();
    await shows('that it no longer works', inside(gran).getByRole('heading', { name: 'This link no longer works' }));
    const before = await gran.locator('.text').count();
    await inside(gran).getByRole('button', { name: 'Text me a fresh link' }).click();
    await shows('that it is on its way', inside(gran).getByText('On its way.'));
    await shows('the count of new texts', gran.locator('.news').getByText('1'));
    await gran.getByRole('button', { name: /Back to the texts/ }).click();
    assert.equal(await gran.locator('.text').count(), before + 1);
    await gran.locator('.link').last().click();
    await inside(gran).locator('#open').click();
    await shows('the message', said(gran, album));
  },

  'a handset’s page opens in a tab, still as that member': async stage => {
    const page = await hang(stage, { viewport: { width: 1280, height: 900 } });
    const soup = 'Soup tonight';
    await post(page, 'Dad', soup);
    const sis = handset(page, 'Sis');
    await shows('the text', texts(sis, soup));
    await tapIn(sis, soup);
    const [tab] = await Promise.all([page.waitForEvent('popup'), sis.getByRole('link', { name: 'Open this page in a tab' }).click()]);
    await shows('the message', tab.locator('article').filter({ hasText: soup }));
    await tab.locator('#box').fill(`${soup}? Yes!`);
    await tab.locator('#send').click();
    await shows('the answer in the handset', inside(sis).locator('.mine').filter({ hasText: `${soup}? Yes!` }));
  },

  'it fits a small screen, and an open page gets its whole width': async stage => {
    const page = await hang(stage, { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });
    const tea = 'Tea';
    await post(page, 'Grandma', tea);
    const dad = handset(page, 'Dad');
    await shows('the text', texts(dad, tea));
    await tapIn(dad, tea);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth) <= 360);
    const frame = await dad.locator('iframe').boundingBox();
    assert.ok(frame.width > 280, `a page of ${frame.width} px`);
    assert.equal(await inside(dad).locator('html').evaluate(it => it.scrollWidth <= innerWidth), true);
  },

  'names and messages are shown as text on the wall too': async stage => {
    const name = '<img src=x onerror=alert(1)>';
    const home = await stage.family({ dad: { name }, gran: { name: '</script><b>' } });
    await home.say('dad', '<script>alert(1)</script> javascript:alert(1) https://evil.example/"onclick=alert(1)');
    await home.text('gran');
    await api('POST', '/dev/inbound', { body: { from: home.people.gran.phone, body: '<svg onload=alert(1)>' } });
    const page = await stage.phone({ viewport: { width: 1280, height: 900 } });
    await page.goto(`${base}/dev`);
    await page.locator('#family').selectOption(home.id);
    const gran = page.locator('.handset').filter({ visible: true }).filter({ hasText: '</script><b>' });
    await shows('what was texted back', gran.getByText('<svg onload=alert(1)>'));
    await shows('who wrote', gran.locator('.bubble').getByText(name.slice(0, 4)).first());
    assert.equal(await page.locator('#wall :is(script, img, svg, b)').count(), 0);
    const links = await gran.locator('a.link').evaluateAll(all => all.map(a => a.href));
    assert.ok(links.every(link => link.startsWith(`${base}/l#`)), links.join(' '));
  },
});
