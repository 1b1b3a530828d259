// Keeps the page true: asks its own URL for a newer one and turns this one into it.
(() => {
  'use strict';
  const main = document.querySelector('main');
  const note = document.getElementById('note');
  // What was said when the page came counts: a newer page answers our GET, not the request that failed.
  const { live, back, failing, lost, copied, stay } = main.dataset;
  // Rebuilt, since a URL with a password in it must not be fetched.
  const url = location.origin + location.pathname + location.search;
  const EVERY = 1000, HIDDEN = 5000, SLOWEST = 10000, PATIENCE = 10000;
  // A page that keeps coming back, and an answer that is not anteroom's, must not become a loop of reloads.
  const RELOADS = 3, WINDOW = 60000, STRANGERS = 3, STRANGE_WINDOW = 30000;
  // Whether each of the details is open. A reader may open them by a click, and a browser by what it searches for.
  const unfolded = (tree) => [...tree.querySelectorAll('details')].map((it) => it.open).join();
  let misses = 0, strangers = 0, timer, busy = false, ended = false, touched = false, sent = unfolded(main);

  const past = (name, within) => {
    try {
      const times = JSON.parse(sessionStorage.getItem('anteroom ' + name + url)) || [];
      return times.filter((at) => Date.now() - at < within && at <= Date.now());
    } catch { return []; }
  };
  const reload = (name, within, most) => {
    const times = past(name, within);
    if (times.length >= most) return false;
    try {
      sessionStorage.setItem('anteroom ' + name + url, JSON.stringify([...times, Date.now()]));
    } catch {
      // Nothing can be remembered here; that the page was reloaded once already is all that is known.
      if (performance.getEntriesByType('navigation')[0]?.type === 'reload') return false;
    }
    ended = true;
    location.reload();
    return true;
  };

  // Changes one tree into another in place, so that focus, selection, scrolling and opened details stay.
  const morph = (from, to) => {
    if (from.nodeName !== to.nodeName) return from.replaceWith(to);
    if (from.nodeType !== 1) {
      if (from.data !== to.data) from.data = to.data;
      return;
    }
    if (from.nodeName === 'BUTTON') return;
    const kept = (name) => name === 'open' && touched;
    for (const { name } of [...from.attributes]) if (!to.hasAttribute(name) && !kept(name)) from.removeAttribute(name);
    for (const { name, value } of to.attributes) {
      if (from.getAttribute(name) !== value && !kept(name)) from.setAttribute(name, value);
    }
    const olds = [...from.childNodes], news = [...to.childNodes];
    news.forEach((node, i) => (olds[i] ? morph(olds[i], node) : from.append(node)));
    olds.slice(news.length).forEach((node) => node.remove());
  };

  const buttons = () => main.querySelectorAll('button').forEach((button) => { button.hidden = false; });

  const say = (sentence, again) => {
    ended = true;
    document.title = main.querySelector('h1').textContent = sentence;
    main.querySelector('#advice').textContent = '';
    main.querySelector('.bar')?.remove();
    main.querySelector('#again').hidden = !again;
  };

  const show = (html, ready) => {
    const fresh = new DOMParser().parseFromString(html, 'text/html');
    const next = fresh.querySelector('main');
    if (!next) return;
    const keep = (what) => { next.querySelector(what).textContent = main.querySelector(what).textContent; };
    // The request that failed is the one to find in the log, not the one that asked how it goes.
    if (live !== 'watch') keep('#reference');
    if (live === 'tell' && !ready) keep('#advice');
    document.title = fresh.title;
    const icon = 'link[rel=icon]';
    document.querySelector(icon).href = fresh.querySelector(icon).href;
    touched ||= unfolded(main) !== sent;
    sent = unfolded(next);
    morph(main, next);
    buttons();
  };

  const look = async () => {
    const answer = await fetch(url, {
      headers: { 'X-Anteroom': 'status', Accept: 'text/html' },
      cache: 'no-store', credentials: 'same-origin', redirect: 'manual',
      signal: AbortSignal.timeout?.(PATIENCE),
    });
    const state = answer.headers.get('X-Anteroom-State');
    if (!state) {
      // A server's error or a missing route is Traefik without us: that passes. Anything else is someone else's
      // page, most likely a login because the session has ended, which the visitor should see; but not where that
      // would send a POST again.
      if (answer.status >= 500 || answer.status === 404 || live === 'tell') throw new Error('away');
      strangers += 1;
      if (strangers >= STRANGERS) reload('strange', STRANGE_WINDOW, 1);
      return;
    }
    strangers = 0;
    const ready = state === 'ready';
    if (ready && live === 'reload' && reload('ready', WINDOW, RELOADS)) return;
    show(await answer.text(), ready);
    if (ready && live !== 'watch') say(live === 'tell' ? back : failing, live !== 'tell');
  };

  const tick = async () => {
    clearTimeout(timer);
    if (busy || ended) return;
    busy = true;
    try {
      await look();
      misses = 0;
      if (note.textContent === lost) note.textContent = '';
    } catch {
      misses += 1;
      // One miss is nothing to speak of.
      if (misses > 1) note.textContent = lost;
    }
    busy = false;
    const pace = document.hidden ? HIDDEN : EVERY;
    if (!ended) timer = setTimeout(tick, Math.min(pace * 2 ** Math.min(misses, 4), Math.max(SLOWEST, pace)));
  };

  const copy = async (code) => {
    try {
      await navigator.clipboard.writeText(code.dataset.command);
    } catch {
      // Without HTTPS there is no clipboard, but there is the old way.
      getSelection().selectAllChildren(code);
      if (!document.execCommand('copy')) return false;
    }
    return true;
  };

  main.addEventListener('click', async (event) => {
    const { target } = event;
    if (target.closest('summary')) touched = true;
    // The link alone would lose the fragment of this address.
    if (target.closest('#again a') && !(event.ctrlKey || event.metaKey || event.shiftKey)) {
      event.preventDefault();
      location.reload();
    }
    const button = target.closest('button');
    if (!button || !(await copy(button.parentNode.querySelector('code')))) return;
    const label = button.dataset.label ??= button.textContent;
    button.textContent = note.textContent = copied;
    setTimeout(() => {
      button.textContent = label;
      if (note.textContent === copied) note.textContent = '';
    }, 2000);
  });

  buttons();
  // Only a script can keep that promise.
  if (stay) main.querySelector('#advice').textContent = stay;
  if (live === 'off') return;
  addEventListener('visibilitychange', () => document.hidden || tick());
  addEventListener('online', tick);
  timer = setTimeout(tick, EVERY);
})();
