// The thread page: new messages, answers, the menu.
(() => {
  const scroll = $('scroll'), past = $('past'), log = $('log'), box = $('box');
  const base = `threads/${data.thread}/`;
  /** In characters. */
  const BODY_MAX = 4000;
  /** Whether the page is locked: no more requests. */
  let over = false;
  /** Whether the last message is in view. */
  let pinned = true;

  // --- What a message looks like ---

  /** The phone's locale, if it is of the page's language. */
  const locales = (navigator.languages || []).filter(tag => tag.split('-')[0] === document.documentElement.lang).concat(document.documentElement.lang);
  const intl = options => new Intl.DateTimeFormat(locales, options);
  const clock = intl({ hour: 'numeric', minute: '2-digit' });
  const thisYear = intl({ weekday: 'long', day: 'numeric', month: 'long' });
  const otherYear = intl({ day: 'numeric', month: 'long', year: 'numeric' });
  const whenever = intl({ weekday: 'long', hour: 'numeric', minute: '2-digit' });

  function dayLabel(date) {
    const now = new Date();
    const day = date.toDateString();
    if (day === now.toDateString()) return i18n.today;
    now.setDate(now.getDate() - 1);
    if (day === now.toDateString()) return i18n.yesterday;
    return (date.getFullYear() === new Date().getFullYear() ? thisYear : otherYear).format(date);
  }

  /** Makes URLs into links by text nodes alone: no message is parsed as HTML. */
  function linkify(element) {
    const text = element.textContent;
    const found = /https?:\/\/[^\s<>"'\u200b-\u200f\u202a-\u202e\u2066-\u2069]*[^\s<>"'.,;:!?)\]}»”’。，、！？）\u200b-\u200f\u202a-\u202e\u2066-\u2069]/g;
    let at = 0, match;
    const parts = document.createDocumentFragment();
    while ((match = found.exec(text))) {
      const link = document.createElement('a');
      link.href = link.textContent = match[0];
      link.target = '_blank';
      link.rel = 'noopener noreferrer nofollow';
      parts.append(text.slice(at, match.index), link);
      at = match.index + match[0].length;
    }
    if (!at) return;
    parts.append(text.slice(at));
    element.textContent = '';
    element.append(parts);
  }

  /** Adds the local time, and links. */
  function dress(article) {
    const time = article.querySelector('time');
    if (time.dateTime) time.textContent = clock.format(new Date(time.dateTime));
    linkify(article.querySelector('.text'));
    return article;
  }

  function build(author, mine, text, at, aside) {
    const article = $('message').content.firstElementChild.cloneNode(true);
    article.classList.toggle('mine', mine);
    const name = document.createElement('bdi');
    name.textContent = mine ? i18n.you : author;
    const who = article.querySelector('.who');
    who.textContent = '';
    who.append(name);
    article.querySelector('time').dateTime = at;
    article.querySelector('.text').textContent = text;
    article.querySelector('.aside').textContent = aside;
    return dress(article);
  }

  function buildMessage(m) {
    const asides = m.deletedAt ? [i18n.deleted] : [i18n.files[m.fileIds.length], m.editedAt && i18n.edited];
    const text = m.deletedAt ? '' : m.body || '';
    const author = m.authorErased ? i18n.formerMember : m.authorName;
    const article = build(author, m.authorId === data.me, text, m.createdAt, asides.filter(Boolean).join(' · '));
    article.dataset.seq = m.seq;
    return article;
  }

  const articles = () => document.querySelectorAll('#past article, #log article');
  const seqOf = article => Number(article.dataset.seq);
  /** Every message up to here has come. */
  let seen = log.lastElementChild ? seqOf(log.lastElementChild) : 0;

  /** Adds a heading to each day; "Today" changes at midnight. */
  function markDays() {
    let before = '';
    for (const article of articles()) {
      const date = new Date(article.querySelector('time').dateTime);
      const day = date.toDateString();
      let head = article.querySelector('.day');
      if (day === before) {
        if (head) head.remove();
      } else {
        if (!head) {
          head = document.createElement('h2');
          head.className = 'day';
          article.prepend(head);
        }
        const label = dayLabel(date);
        if (head.textContent !== label) head.textContent = label;
      }
      before = day;
    }
  }

  /** Adds a message once: a post and a poll may both bring it. */
  function add(m) {
    let after = log.lastElementChild;
    while (after && !(seqOf(after) <= m.seq)) after = after.previousElementSibling;
    if (after && seqOf(after) === m.seq) return false;
    log.insertBefore(buildMessage(m), after ? after.nextSibling : log.firstChild);
    $('empty').hidden = true;
    return true;
  }

  // --- Scrolling ---

  const toEnd = () => { scroll.scrollTop = scroll.scrollHeight; };
  function look() {
    if (over) return;
    pinned = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 60;
    if (pinned) {
      $('jump').hidden = true;
      markRead();
    }
  }
  /** Changes the page without moving what is in view. */
  function change(work) {
    if (over) return;
    const stay = pinned;
    work();
    markDays();
    if (stay) toEnd();
    look();
  }
  scroll.addEventListener('scroll', look, { passive: true });
  if (window.ResizeObserver) new ResizeObserver(() => { if (pinned) toEnd(); look(); }).observe(scroll);
  // Safari's keyboard covers the page.
  const view = window.visualViewport;
  if (view) {
    view.addEventListener('resize', () => {
      const covered = view.scale < 1.05 && innerHeight - view.height > 80;
      document.body.style.height = covered ? `${view.height}px` : '';
      if (covered) scrollTo(0, 0);
    });
  }
  $('jump').addEventListener('click', () => { toEnd(); scroll.focus(); });

  let read = data.read, reading = false;
  /** Marks the newest message read when it is in view. */
  async function markRead() {
    const seq = seen;
    if (over || reading || document.hidden || !pinned || seq <= read) return;
    reading = true;
    try {
      const answer = await call('PUT', `${base}read`, { seq });
      if (!passing(answer)) read = Math.max(read, seq);
    } catch (e) {
    }
    reading = false;
    if (seen > seq) markRead();
  }

  // --- Earlier messages ---

  let before = data.before, fetching = false;
  const earlier = $('earlier'), earlierLabel = earlier.textContent;
  const nearTop = window.IntersectionObserver && new IntersectionObserver(
    seen => seen.some(entry => entry.isIntersecting) && loadEarlier(),
    { root: scroll, rootMargin: '400px 0px 0px' },
  );
  async function loadEarlier() {
    if (fetching || over || !before) return;
    fetching = true;
    earlier.textContent = i18n.loading;
    let answer = null;
    try { answer = await call('GET', `${base}messages?limit=50&before=${encodeURIComponent(before)}`); } catch (e) {}
    fetching = false;
    if (over) return;
    earlier.textContent = earlierLabel;
    if (answer && gone(answer)) return lock();
    if (!answer || !answer.json || !answer.ok) return;
    const fromEnd = scroll.scrollHeight - scroll.scrollTop;
    const there = new Set([...articles()].map(seqOf));
    for (const m of answer.json.messages) if (!there.has(m.seq)) past.prepend(buildMessage(m));
    before = answer.json.nextCursor;
    if (!before && document.activeElement === earlier) scroll.focus();
    earlier.hidden = !before;
    markDays();
    scroll.scrollTop = scroll.scrollHeight - fromEnd;
    look();
    // Observed anew, it reports again if it is still in view.
    if (nearTop) { nearTop.unobserve(earlier); nearTop.observe(earlier); }
  }
  earlier.addEventListener('click', loadEarlier);

  // --- New messages ---

  let cursor = data.latest, etag = null, polling = false, fails = 0, timer = 0;
  let polled = Date.now(), active = Date.now(), notBefore = 0;
  const gone = answer => answer.status === 401 || answer.status === 404;

  /** Slows down without activity. */
  function pace() {
    const idle = Date.now() - active;
    return idle < 60000 ? 3000 : idle < 300000 ? 10000 : 30000;
  }
  async function poll() {
    clearTimeout(timer);
    if (polling || over || document.hidden) return;
    if (Date.now() < notBefore) {
      timer = setTimeout(poll, notBefore - Date.now());
      return;
    }
    polling = true;
    let delay = 0, answer = null;
    try {
      answer = await call('GET', `${base}messages?limit=100&after=${encodeURIComponent(cursor)}`, null, etag ? { 'If-None-Match': etag } : {});
    } catch (e) {}
    polling = false;
    polled = Date.now();
    if (over) return;
    if (answer && gone(answer)) return lock();
    if (answer && answer.ok && answer.json) {
      const page = answer.json;
      etag = page.latestCursor === cursor ? answer.etag : null;
      cursor = page.latestCursor;
      if (page.messages.length) {
        seen = Math.max(seen, page.messages[page.messages.length - 1].seq);
        arrive(page.messages);
      }
      delay = page.nextCursor ? 1 : 0;
    }
    if (answer && (answer.ok || answer.status === 304)) {
      if (fails) { fails = 0; flush(); }
      markDays();
      markRead();
    } else {
      fails++;
      delay = Math.min(30000, 1500 * 2 ** fails);
      notBefore = Date.now() + (answer ? answer.wait : 0);
    }
    // One failure may be a tunnel.
    $('strip').textContent = fails > 1 ? i18n.lost : '';
    if (!document.hidden) timer = setTimeout(poll, delay || pace());
  }
  function arrive(messages) {
    active = Date.now();
    change(() => {
      let others = false;
      for (const m of messages) {
        if (!add(m)) continue;
        if (m.authorId !== data.me) { others = true; continue; }
        // Our own message, whose response was lost: only its key is still needed.
        const item = kept().out.find(item => item.body === m.body && !arrived.has(item.key));
        if (item) arrived.add(item.key);
      }
      drawOutbox();
      if (others && !pinned) $('jump').hidden = false;
    });
  }
  /** Polls at once after a long pause. */
  function wake() {
    const slow = pace() > 3000;
    active = Date.now();
    if (fails || polling) return;
    if (active - polled > 3000) {
      poll();
    } else if (slow) {
      // The last poll is recent, but the next may be far off.
      clearTimeout(timer);
      timer = setTimeout(poll, 3000);
    }
  }
  for (const kind of ['pointerdown', 'keydown']) addEventListener(kind, wake, { passive: true });
  scroll.addEventListener('scroll', wake, { passive: true });
  function back() {
    active = Date.now();
    poll();
    flush();
  }
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) return clearTimeout(timer);
    back();
    look();
  });
  addEventListener('online', back);
  // Shown again by the back button.
  addEventListener('pageshow', event => event.persisted && back());

  // --- Answering ---

  /** The draft and unsent messages, kept on the phone until the server has them. */
  const slot = `kinline:${data.thread}:${data.me}`;
  let memory = { draft: '', out: [] }, forgetful = false;
  function kept() {
    // Another tab may have changed it.
    if (!forgetful) try { memory = JSON.parse(localStorage.getItem(slot)) || {}; } catch (e) {}
    if (typeof memory.draft !== 'string' || !Array.isArray(memory.out)) memory = { draft: '', out: [] };
    return memory;
  }
  function keep(work) {
    work(kept());
    try { localStorage.setItem(slot, JSON.stringify(memory)); } catch (e) { forgetful = true; }
  }
  /** Keys of posts that a poll brought. */
  const arrived = new Set();
  let sending = false, failed = false, tries = 0, retryTimer = 0;

  function drawOutbox() {
    const out = kept().out.filter(item => !arrived.has(item.key));
    $('outbox').textContent = '';
    for (const item of out) {
      const article = build('', true, item.body, '', failed ? i18n.unsent : i18n.sending);
      article.classList.add('pending');
      $('outbox').append(article);
    }
    $('unsent').hidden = !(failed && out.length);
    if (out.length) $('empty').hidden = true;
  }

  /** Sends in order. The key makes retries one message. */
  async function flush() {
    clearTimeout(retryTimer);
    if (sending || over) return;
    sending = true;
    for (let item; !over && (item = kept().out[0]);) {
      let answer = null;
      try {
        answer = await call('POST', `${base}messages`, { body: item.body }, { 'Idempotency-Key': item.key });
      } catch (e) {}
      if (over) break;
      if (answer && gone(answer)) { lock(); break; }
      // Not our answer: a captive portal.
      const foreign = answer && !(answer.json && (answer.ok ? answer.json.message : answer.json.error));
      if (!answer || passing(answer) || foreign) {
        failed = true;
        change(drawOutbox);
        retryTimer = setTimeout(flush, Math.max(answer ? answer.wait : 0, Math.min(60000, 2000 * 2 ** tries++)));
        break;
      }
      tries = 0;
      failed = false;
      keep(all => { all.out = all.out.filter(other => other.key !== item.key); });
      if (answer.ok) {
        const [first] = articles(), m = answer.json.message;
        // An old message, answered only now, is among the earlier ones.
        const later = !before || !first || m.seq > seqOf(first);
        change(() => { if (later) add(m); drawOutbox(); });
      } else {
        // Refused: the text goes back into the box.
        box.value = box.value ? `${item.body}\n${box.value}` : item.body;
        written();
        change(drawOutbox);
        complain(`${i18n.refused} ${answer.json && answer.json.detail || ''}`);
      }
    }
    sending = false;
  }
  $('retry').addEventListener('click', flush);
  addEventListener('storage', event => {
    if (event.key !== slot) return;
    change(drawOutbox);
    // Signed out in another tab: the next poll locks this one.
    if (event.newValue === null) {
      box.value = '';
      fit();
      poll();
    }
  });

  const complain = what => { $('count').textContent = what; $('count').className = 'note'; };
  const length = text => [...text].length;
  /** Fits the box to its text. */
  function fit() {
    box.style.height = '';
    box.style.height = `${box.scrollHeight + 4}px`;
  }
  addEventListener('resize', fit);
  /** After each change of the box. */
  function written() {
    keep(all => { all.draft = box.value; });
    fit();
    const left = BODY_MAX - length(box.value.trim());
    $('count').className = 'soft';
    $('count').textContent = left <= 200 && left >= 0 ? i18n.left.replace('%', left) : '';
    if (left < 0) complain(i18n.tooLong.replace('%', -left));
  }
  box.addEventListener('input', written);

  $('answer').addEventListener('submit', event => {
    event.preventDefault();
    // Pasted control characters, which the server refuses.
    const body = box.value.replace(/[\0-\x08\x0b-\x1f\x7f-\x9f]/g, '').trim();
    if (!body || length(body) > BODY_MAX) return box.focus();
    const key = Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, '0')).join('');
    keep(all => { all.out.push({ key, body }); });
    box.value = '';
    written();
    box.focus();
    pinned = true;
    change(drawOutbox);
    tries = 0;
    flush();
  });
  // Enter sends where there is a mouse, thus a keyboard; Ctrl or Cmd with Enter everywhere.
  const keyboard = matchMedia('(hover: hover) and (pointer: fine)').matches;
  box.addEventListener('keydown', event => {
    // An input method takes Enter for itself.
    if (event.key !== 'Enter' || event.isComposing || event.keyCode === 229) return;
    if (!(event.ctrlKey || event.metaKey || (keyboard && !event.shiftKey && !event.altKey))) return;
    event.preventDefault();
    // The oldest supported phones lack requestSubmit.
    $('send').click();
  });

  // --- The menu ---

  const menu = $('menu');
  let texts = data.texts, after = null;
  function drawTexts() {
    const until = texts.mutedUntil && new Date(texts.mutedUntil);
    let state = texts.state;
    if (state === 'muted' && until && until < new Date()) state = 'on';
    const forHours = state === 'muted' && until;
    $('texts').textContent = forHours ? i18n.textsUntil.replace('%', whenever.format(until)) : { on: i18n.textsOn, muted: i18n.textsMuted, off: i18n.textsOff, none: i18n.textsNone }[state];
    for (const button of document.querySelectorAll('[data-texts]')) {
      const wish = button.dataset.texts;
      button.hidden = state === 'none' || wish === (forHours ? 'hours' : state) || (state === 'off' && wish !== 'on');
    }
  }
  /** Asks for confirmation. */
  function sure(text, yes, then) {
    $('choices').hidden = true;
    $('sure-text').textContent = text;
    name($('yes'), yes);
    after = then;
    show($('sure'), true);
  }
  function choices() {
    $('sure').hidden = true;
    $('choices').hidden = false;
    $('menu-note').textContent = '';
    drawTexts();
  }
  async function setTexts(button, wish) {
    const body = wish === 'hours' ? { state: 'muted', hours: 8 } : { state: wish };
    const answer = await press(button, $('menu-note'), i18n.renewing, () => call('PUT', `${base}texts`, body));
    if (!answer) return;
    if (gone(answer)) return lock();
    if (answer.ok && answer.json) texts = answer.json;
    choices();
    if (!answer.ok) $('menu-note').textContent = answer.json && answer.json.detail || i18n.busy;
    menu.querySelector('summary').focus();
  }
  for (const button of document.querySelectorAll('[data-texts]')) {
    button.addEventListener('click', () => {
      if (button.dataset.texts === 'off') sure(i18n.stopSure, i18n.stopYes, () => setTexts($('yes'), 'off'));
      else setTexts(button, button.dataset.texts);
    });
  }
  $('leave').addEventListener('click', () => sure(i18n.signOutSure, i18n.signOutYes, async () => {
    const answer = await press($('yes'), $('menu-note'), i18n.renewing, () => call('POST', 'sessions/end'));
    if (!answer) return;
    // 401: it had ended already.
    if (answer.status !== 204 && answer.status !== 401) {
      $('menu-note').textContent = i18n.busy;
      return;
    }
    // The session was for all threads: their drafts are deleted too.
    try {
      for (const key of Object.keys(localStorage)) if (key.startsWith('kinline:')) localStorage.removeItem(key);
    } catch (e) {}
    lock(i18n.signedOut, i18n.signedOutText);
  }));
  $('yes').addEventListener('click', () => after());
  $('no').addEventListener('click', () => { choices(); menu.querySelector('summary').focus(); });
  menu.addEventListener('toggle', () => menu.open && choices());
  addEventListener('keydown', event => {
    if (event.key !== 'Escape' || !menu.open) return;
    menu.open = false;
    menu.querySelector('summary').focus();
  });
  addEventListener('click', event => { if (!menu.contains(event.target)) menu.open = false; });

  // --- The end ---

  /** Clears the screen. The draft stays on the phone, for the next link. */
  function lock(title, text) {
    over = true;
    clearTimeout(timer);
    clearTimeout(retryTimer);
    for (const id of ['top', 'scroll', 'foot', 'data']) if ($(id)) $(id).remove();
    document.body.className = 'landing';
    const locked = $('locked');
    locked.querySelector('h1').textContent = title || i18n.lockedTitle;
    locked.querySelector('h1 + p').textContent = text || i18n.lockedText;
    show(locked, true);
  }

  // --- The beginning ---

  menu.hidden = $('answer').hidden = false;
  articles().forEach(dress);
  markDays();
  earlier.hidden = !before;
  box.value = kept().draft;
  written();
  drawOutbox();
  const fresh = log.querySelector('.fresh');
  toEnd();
  // Starts at the first new message.
  if (fresh && fresh.offsetTop < scroll.scrollTop) scroll.scrollTop = fresh.offsetTop - 12;
  look();
  if (nearTop && before) nearTop.observe(earlier);
  timer = setTimeout(poll, 1500);
  flush();
})();
