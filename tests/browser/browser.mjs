// The browser that the tests and the pictures use, and what they hear it complain about.
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import process from 'node:process';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

/** The browser of CHROMIUM, /usr/bin/chromium, or `chromium` on the PATH; or an error that says why none. */
export function findChromium() {
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
  throw new Error(`${looked}: install one (apt-get install chromium), or set CHROMIUM to its path`);
}

export const launch = () => chromium.launch({
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

/** Notes into `troubles` all that a person would find in red in the developer tools of a context's
    pages, what the policy blocked (a blocked style is silent otherwise), dialogs, and every request
    to somebody else. */
export async function listen(context, base, troubles) {
  const { origin } = new URL(base);
  context.on('console', line => {
    if (line.type() === 'error') troubles.push(`console: ${line.text()} ${line.location().url}`.trim());
  });
  context.on('weberror', error => troubles.push(`script: ${error.error().message}`));
  context.on('dialog', dialog => {
    troubles.push(`dialog: ${dialog.message()}`);
    dialog.dismiss().catch(() => {});
  });
  context.on('request', request => {
    const url = new URL(request.url());
    if (url.origin !== origin && !['data:', 'about:', 'blob:'].includes(url.protocol)) {
      troubles.push(`third party: ${request.url()}`);
    }
  });
  await context.exposeBinding('violated', (_, what) => { troubles.push(`policy: ${what}`); });
  await context.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', event => {
      globalThis.violated(`${event.violatedDirective} blocked ${event.blockedURI || 'something inline'}`);
    });
  });
}

// `node browser.mjs` says which one it is, for run.sh.
if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  try {
    console.log(findChromium());
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
