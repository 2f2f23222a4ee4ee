// The API's documentation in a browser.
import assert from 'node:assert/strict';
import { ask, base, shows, suite } from './stage.mjs';

const DESK = { width: 1280, height: 1000 };

async function documentation(stage) {
  const page = await stage.phone({ viewport: DESK });
  await page.goto(`${base}/docs`);
  await shows('the operations', page.locator('.opblock'));
  return page;
}

/** Opens an operation, fills its path's parameters, and sends it. */
async function attempt(page, tag, id, parameters = {}) {
  const operation = page.locator(`#operations-${tag}-${id}`);
  await operation.locator('.opblock-summary-control').click();
  await operation.getByRole('button', { name: 'Try it out' }).click();
  for (const [name, value] of Object.entries(parameters)) {
    await operation.locator(`tr[data-param-name="${name}"] input`).fill(value);
  }
  await operation.getByRole('button', { name: 'Execute' }).click();
  const answer = operation.locator('.live-responses-table tbody .response').first();
  await shows(`the answer to ${id}`, answer);
  return {
    status: (await answer.locator('.response-col_status').innerText()).trim().slice(0, 3),
    text: await answer.locator('.response-col_description').innerText(),
  };
}

suite('the documentation', {
  'it shows every operation and loads nothing from elsewhere': async stage => {
    const page = await documentation(stage);
    const { paths } = await ask('GET', '/openapi.json');
    const documented = Object.values(paths).flatMap(item => Object.keys(item)).length;
    assert.equal(await page.locator('.opblock').count(), documented);
    const { status, text } = await attempt(page, 'Operations', 'getHealth');
    assert.equal(status, '200');
    assert.match(text, /"database": "ok"/);
  },

  'an operation can be tried with a token and its own example': async stage => {
    const page = await documentation(stage);
    const { token } = await ask('POST', '/dev/token', { body: { role: 'service' } });
    await page.locator('.scheme-container .authorize').click();
    const service = page.locator('.modal-ux .auth-container', { hasText: 'service' }).last();
    await service.locator('input').fill(token);
    await service.getByRole('button', { name: 'Apply credentials' }).click();
    await page.locator('.modal-ux .close-modal').click();
    const familyId = `docs-${Date.now()}`;
    const { status, text } = await attempt(page, 'Provisioning', 'putFamily', { familyId });
    assert.equal(status, '201');
    assert.match(text, new RegExp(`"id": "${familyId}"`));
  },
});
