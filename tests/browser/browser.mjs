// The browser of the tests and screenshots, and the errors that it reports.
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import process from 'node:process';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

/** The browser at CHROMIUM, /usr/bin/chromium, or `chromium` on the PATH; throws with the reason if there is none. */
export function findChromium() {
  const onPath = (process.env.PATH ?? '').split(delimiter).map(folder => join(folder, 'chromium'));
  // If CHROMIUM is set, no other browser is tried.
  const places = process.env.CHROMIUM ? [process.env.CHROMIUM] : ['/usr/bin/chromium', ...onPath];
  for (const place of places) {
    try {
      accessSync(place, constants.X_OK);
      return place;
    } catch {
      // Try the next one.
    }
  }
  const looked = process.env.CHROMIUM ? `CHROMIUM names ${places[0]}, which can't be run` : 'no Chromium found';
  throw new Error(`${looked}: install one (apt-get install chromium), or set CHROMIUM to its path`);
}

export const launch = () => chromium.launch({
  executablePath: findChromium(),
  // Chromium's sandbox refuses to run as root; only then it is off.
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

/** Adds to `problems` every error in the console of a context's pages, everything that the policy
    blocked (a blocked style is silent otherwise), dialogs, and requests to other hosts. */
export async function listen(context, base, problems) {
  const { origin } = new URL(base);
  context.on('console', line => {
    if (line.type() === 'error') problems.push(`console: ${line.text()} ${line.location().url}`.trim());
  });
  context.on('weberror', error => problems.push(`script: ${error.error().message}`));
  context.on('dialog', dialog => {
    problems.push(`dialog: ${dialog.message()}`);
    dialog.dismiss().catch(() => {});
  });
  context.on('request', request => {
    const url = new URL(request.url());
    if (url.origin !== origin && !['data:', 'about:', 'blob:'].includes(url.protocol)) {
      problems.push(`third party: ${request.url()}`);
    }
  });
  await context.exposeBinding('violated', (_, what) => { problems.push(`policy: ${what}`); });
  await context.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', event => {
      globalThis.violated(`${event.violatedDirective} blocked ${event.blockedURI || 'something inline'}`);
    });
  });
}

// `node browser.mjs` prints its path, for run.sh.
if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  try {
    console.log(findChromium());
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
