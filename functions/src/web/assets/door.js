// The door: a tap, never the load, spends the link, so that a preview of it can't.
(() => {
  /** The link's secret. It is in the fragment, which browsers keep to themselves. */
  let token = '';
  /** Counts what was shown, so that a late answer to an older link changes nothing. */
  let turn = 0;
  const labels = new Map(['open', 'renew'].map(id => [id, $(id).textContent]));

  function only(id, speak) {
    for (const other of ['ready', 'dead', 'lost']) $(other).hidden = other !== id;
    show($(id), speak);
  }

  /** Starts over with whatever link the address has now. */
  function read(speak) {
    turn++;
    token = location.hash.slice(1);
    for (const [id, label] of labels) {
      // Named for this turn: what an older one brings is no longer its business.
      name($(id), label);
      $(id).hidden = false;
    }
    for (const id of ['ready-note', 'dead-note']) $(id).textContent = '';
    $('renewed').hidden = true;
    // The page of a thread that is not open to this browser has no link, whatever its fragment.
    only(token && !data.locked ? 'ready' : 'lost', speak);
  }

  $('open').addEventListener('click', async () => {
    const mine = turn;
    // The same browser may exchange the same link again, so a lost answer is harmless.
    const answer = await press($('open'), $('ready-note'), words.opening, () => call('POST', 'links/exchange', { token }));
    if (!answer || mine !== turn) return;
    if (answer.ok && answer.json) {
      $('open').textContent = words.opening;
      $('open').setAttribute('aria-disabled', 'true');
      // Replaced, so that neither the address bar nor the way back keeps the link.
      location.replace(data.root + 't/' + encodeURIComponent(answer.json.threadId));
    } else {
      only('dead', true);
    }
  });

  $('renew').addEventListener('click', async () => {
    const mine = turn;
    const answer = await press($('renew'), $('dead-note'), words.renewing, () => call('POST', 'links/renew', { token }));
    if (!answer || mine !== turn) return;
    $('renew').hidden = true;
    $('renewed').hidden = false;
    $('renewed').focus();
  });

  // A second link tapped while this page is open changes the fragment alone.
  addEventListener('hashchange', () => read(true));
  // Shown again by the back button, just as it was left: in the middle of opening.
  addEventListener('pageshow', event => event.persisted && read());
  read();
})();
