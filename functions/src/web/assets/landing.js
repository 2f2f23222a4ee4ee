// The landing page: a tap exchanges the link, not the load, so that a preview can't.
(() => {
  /** The link's secret, from the fragment, which browsers do not send. */
  let token = '';
  /** Counts the links shown: a late answer to an older one changes nothing. */
  let turn = 0;
  const labels = new Map(['open', 'renew'].map(id => [id, $(id).textContent]));

  function only(id, speak) {
    for (const other of ['ready', 'dead', 'lost']) $(other).hidden = other !== id;
    show($(id), speak);
  }

  /** Starts over with the link that the address has now. */
  function read(speak) {
    turn++;
    token = location.hash.slice(1);
    for (const [id, label] of labels) {
      name($(id), label);
      $(id).hidden = false;
    }
    for (const id of ['ready-note', 'dead-note']) $(id).textContent = '';
    $('renewed').hidden = true;
    // The page of a locked thread ignores the fragment.
    only(token && !data.locked ? 'ready' : 'lost', speak);
  }

  $('open').addEventListener('click', async () => {
    const mine = turn;
    // The same browser may exchange a link again, so a lost answer is harmless.
    const answer = await press($('open'), $('ready-note'), i18n.opening, () => call('POST', 'links/exchange', { token }));
    if (!answer || mine !== turn) return;
    if (answer.ok && answer.json) {
      $('open').textContent = i18n.opening;
      $('open').setAttribute('aria-disabled', 'true');
      // Replaced: neither the address bar nor the history keeps the link.
      location.replace(data.root + 't/' + encodeURIComponent(answer.json.threadId));
    } else {
      only('dead', true);
    }
  });

  $('renew').addEventListener('click', async () => {
    const mine = turn;
    const answer = await press($('renew'), $('dead-note'), i18n.renewing, () => call('POST', 'links/renew', { token }));
    if (!answer || mine !== turn) return;
    $('renew').hidden = true;
    $('renewed').hidden = false;
    $('renewed').focus();
  });

  // A second link tapped while this page is open changes the fragment alone.
  addEventListener('hashchange', () => read(true));
  // Shown again by the back button.
  addEventListener('pageshow', event => event.persisted && read());
  read();
})();
