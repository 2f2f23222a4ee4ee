// What both pages have: talking to the server, and asking for a new link.
// Written for phones of five years ago: Chrome 80, Safari 13.1. Comments are not sent.
'use strict';
const $ = id => document.getElementById(id);
const data = JSON.parse($('data').textContent);
const words = data.words;
/** How long an answer may take, in milliseconds: longer than a bad network, shorter than patience. */
const PATIENCE = 20000;

/** Asks the server; rejects when no answer comes. The address is relative, whatever serves the page. */
async function call(method, path, body, headers) {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), PATIENCE);
  const options = { method, headers: headers || {}, credentials: 'same-origin', cache: 'no-store', signal: abort.signal };
  if (body) {
    options.headers['Content-Type'] = 'application/json';
    options.body = JSON.stringify(body);
  }
  try {
    // Two people may share a phone: what is done here is never done as the other.
    if (data.me) options.headers['X-Kin-Member'] = data.me;
    const answer = await fetch(data.root + path, options);
    // The body is part of the answer: one that breaks off is no answer.
    const text = await answer.text();
    let json = null;
    try { json = JSON.parse(text); } catch (e) {}
    return { ok: answer.ok, status: answer.status, json, etag: answer.headers.get('ETag'), wait: wait(answer) };
  } finally {
    clearTimeout(timer);
  }
}

/** The milliseconds that `Retry-After` asks for, up to a minute; 0 where it says nothing. */
function wait(answer) {
  const seconds = parseInt(answer.headers.get('Retry-After'), 10);
  return seconds > 0 ? Math.min(seconds, 60) * 1000 : 0;
}

/** Whether it is worth trying the same again. */
const passing = answer => answer.status >= 500 || answer.status === 429 || answer.status === 408;

/** Gives a button its label (anew), whatever became of its last use. */
function name(button, label) {
  button.textContent = button.dataset.label = label;
  button.removeAttribute('aria-disabled');
}

/** Runs `work` once however often a button is tapped; `note` says why it did not work out. */
async function press(button, note, doing, work) {
  if (button.getAttribute('aria-disabled') === 'true') return;
  const label = button.dataset.label || (button.dataset.label = button.textContent);
  // Disabled for good it would lose the focus, and a screen reader its place.
  button.setAttribute('aria-disabled', 'true');
  button.textContent = doing;
  note.textContent = '';
  let answer = null;
  try { answer = await work(); } catch (e) {}
  // It is for something else by now.
  if (button.dataset.label !== label) return;
  if (answer && !passing(answer)) {
    button.removeAttribute('aria-disabled');
    button.textContent = label;
    return answer;
  }
  note.textContent = answer ? words.busy : words.offline;
  button.textContent = words.again;
  setTimeout(() => button.dataset.label === label && button.removeAttribute('aria-disabled'), answer ? answer.wait || 1000 : 0);
}

/** Shows one thing and has it read out. */
function show(element, speak) {
  element.hidden = false;
  if (speak) (element.querySelector('[tabindex="-1"]') || element).focus();
}

$('ask').addEventListener('submit', async event => {
  event.preventDefault();
  const note = $('ask-note');
  // A Chinese keyboard writes wide digits, and 00 is what some were taught for +.
  const phone = $('phone').value.normalize('NFKC').replace(/[^+\d]/g, '').replace(/^00/, '+');
  // As people say it at home, where the browser tells which country that is.
  const region = (/^[a-z]{2,3}(?:-[A-Z][a-z]{3})?-([A-Z]{2})$/.exec(navigator.language) || [])[1];
  if (!/^\+?\d{7,15}$/.test(phone) || !(phone[0] === '+' || region)) {
    note.textContent = words.phoneWrong;
    $('phone').setAttribute('aria-invalid', 'true');
    return $('phone').focus();
  }
  $('phone').removeAttribute('aria-invalid');
  const answer = await press($('ask').querySelector('button'), note, words.renewing, () => call('POST', 'links/request', { phone, region }));
  if (!answer) return;
  $('ask').hidden = true;
  show($('asked'), true);
});
$('ask-again').addEventListener('click', () => {
  $('asked').hidden = true;
  $('ask').hidden = false;
  $('phone').focus();
});
