// Shared by the landing page and the thread page: requests, and the form for a new link. For Chrome 80,
// Safari 13.1 and later.
'use strict';
const $ = id => document.getElementById(id);
const data = JSON.parse($('data').textContent);
const i18n = data.i18n;
/** Milliseconds. */
const TIMEOUT = 20000;

/** Rejects without an answer. The URL is relative: the page may be served under a path. */
async function call(method, path, body, headers) {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), TIMEOUT);
  const options = { method, headers: headers || {}, credentials: 'same-origin', cache: 'no-store', signal: abort.signal };
  if (body) {
    options.headers['Content-Type'] = 'application/json';
    options.body = JSON.stringify(body);
  }
  try {
    // Members may share a phone: no request acts as another member.
    if (data.me) options.headers['X-Kin-Member'] = data.me;
    const answer = await fetch(data.root + path, options);
    const text = await answer.text();
    let json = null;
    try { json = JSON.parse(text); } catch (e) {}
    return { ok: answer.ok, status: answer.status, json, etag: answer.headers.get('ETag'), wait: wait(answer) };
  } finally {
    clearTimeout(timer);
  }
}

/** `Retry-After` in milliseconds, up to a minute; 0 without it. */
function wait(answer) {
  const seconds = parseInt(answer.headers.get('Retry-After'), 10);
  return seconds > 0 ? Math.min(seconds, 60) * 1000 : 0;
}

/** Whether a retry may help. */
const passing = answer => answer.status >= 500 || answer.status === 429 || answer.status === 408;

/** Labels and enables a button. */
function name(button, label) {
  button.textContent = button.dataset.label = label;
  button.removeAttribute('aria-disabled');
}

/** Runs `work` once however often a button is tapped; `note` shows a failure. */
async function press(button, note, doing, work) {
  if (button.getAttribute('aria-disabled') === 'true') return;
  const label = button.dataset.label || (button.dataset.label = button.textContent);
  // `disabled` would lose the focus, and a screen reader's place.
  button.setAttribute('aria-disabled', 'true');
  button.textContent = doing;
  note.textContent = '';
  let answer = null;
  try { answer = await work(); } catch (e) {}
  // The button has another use by now.
  if (button.dataset.label !== label) return;
  if (answer && !passing(answer)) {
    button.removeAttribute('aria-disabled');
    button.textContent = label;
    return answer;
  }
  note.textContent = answer ? i18n.busy : i18n.offline;
  button.textContent = i18n.again;
  setTimeout(() => button.dataset.label === label && button.removeAttribute('aria-disabled'), answer ? answer.wait || 1000 : 0);
}

/** Shows an element and has it read out. */
function show(element, speak) {
  element.hidden = false;
  if (speak) (element.querySelector('[tabindex="-1"]') || element).focus();
}

$('ask').addEventListener('submit', async event => {
  event.preventDefault();
  const note = $('ask-note');
  // Chinese keyboards write wide digits; 00 stands for +.
  const phone = $('phone').value.normalize('NFKC').replace(/[^+\d]/g, '').replace(/^00/, '+');
  // The browser's country, for national numbers.
  const region = (/^[a-z]{2,3}(?:-[A-Z][a-z]{3})?-([A-Z]{2})$/.exec(navigator.language) || [])[1];
  if (!/^\+?\d{7,15}$/.test(phone) || !(phone[0] === '+' || region)) {
    note.textContent = i18n.phoneWrong;
    $('phone').setAttribute('aria-invalid', 'true');
    return $('phone').focus();
  }
  $('phone').removeAttribute('aria-invalid');
  const answer = await press($('ask').querySelector('button'), note, i18n.renewing, () => call('POST', 'links/request', { phone, region }));
  if (!answer) return;
  $('ask').hidden = true;
  show($('asked'), true);
});
$('ask-again').addEventListener('click', () => {
  $('asked').hidden = true;
  $('ask').hidden = false;
  $('phone').focus();
});
