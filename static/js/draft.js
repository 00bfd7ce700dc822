// Nothing typed is lost: each change goes into this browser at once and to the server a moment later. The copy in the
// browser lives until the server has said that it has the text. Also counts the seconds somebody was at work.

const WAIT = 1200;
const RETRY = 5000;
const LONGEST_RETRY = 60000;
const IDLE = 60000;

const cookie = (name) => document.cookie.match(new RegExp(`(?:^|; )${name}=([^;]*)`))?.[1] ?? "";
let lastActive = Date.now();
for (const kind of ["pointerdown", "pointermove", "keydown", "input", "wheel", "scroll", "touchstart"]) {
  document.addEventListener(kind, () => (lastActive = Date.now()), { passive: true, capture: true });
}

const started = new WeakSet();
const startAll = () => document.querySelectorAll("[data-answer]").forEach(start);
document.addEventListener("htmx:load", startAll);
startAll();

function start(form) {
  if (started.has(form)) return;
  started.add(form);
  const key = `tiebreak:draft:${form.dataset.user}:${form.dataset.assignment}`;
  const status = form.querySelector("[data-draft-status]");
  const trouble = form.querySelector("[data-trouble]");
  const gone = new AbortController();
  let revision = 0;
  let saved = 0;
  let retry = RETRY;
  let timer = 0;
  let submitting = false;
  let settled = false; // submitted or skipped elsewhere: no draft is wanted any more

  restore();
  const clock = setInterval(tick, 1000);
  form.addEventListener("input", changed);
  form.addEventListener("change", changed);
  form.addEventListener("draft:changed", changed);
  const listen = (target, kind, act) => target.addEventListener(kind, act, { signal: gone.signal });
  listen(window, "online", flush);
  listen(window, "focus", flush);
  listen(window, "pagehide", () => flush({ keepalive: true }));
  listen(document, "visibilitychange", () => flush({ keepalive: document.visibilityState === "hidden" }));

  form.addEventListener("htmx:beforeRequest", () => {
    submitting = true;
    clearTimeout(timer);
    keep();
    if (!settled) say(null);
  });
  form.addEventListener("htmx:beforeOnLoad", (event) => {
    const { xhr } = event.detail;
    submitting = false;
    if (![409, 422].includes(xhr.status) && xhr.status >= 300) return;
    if (!xhr.responseText.includes('id="task"')) {
      event.preventDefault(); // a page of somebody else's, such as a hotel's sign-in: do not put it in place of the text
      say("failed");
    } else if (xhr.status < 300) {
      localStorage.removeItem(key);
    }
  });
  form.addEventListener("htmx:responseError", ({ detail }) => {
    submitting = false;
    say(detail.xhr.status === 401 ? "signed-out" : "failed", detail.xhr.status);
  });
  for (const kind of ["htmx:sendError", "htmx:timeout"]) {
    form.addEventListener(kind, () => {
      submitting = false;
      say("offline");
    });
  }

  function changed() {
    revision += 1;
    if (settled) return;
    keep();
    status.textContent = "";
    clearTimeout(timer);
    timer = setTimeout(send, WAIT);
  }

  function flush(options) {
    if (!form.isConnected) return leave();
    if (revision > saved && !submitting && !settled) send(options);
  }

  async function send({ keepalive = false } = {}) {
    clearTimeout(timer);
    if (!form.isConnected) return leave();
    const sent = revision;
    let response;
    try {
      response = await fetch(form.dataset.draftUrl, {
        method: "PUT",
        headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": cookie("csrftoken") },
        body: JSON.stringify(read(form)),
        keepalive,
      });
    } catch {
      return again("offline");
    }
    if (!response.ok) response.body?.cancel(); // a body that nobody reads holds its connection
    if (!form.isConnected || submitting) return;
    if (response.status === 409) return settle();
    if (response.status === 401) return again("signed-out", 401);
    if (response.status >= 500 || response.status === 403) return again("failed", response.status);
    if (!response.ok) return say("failed", response.status);
    retry = RETRY;
    const answer = await response.json();
    say(answer.held ? null : "late");
    if (sent < revision) return;
    saved = sent;
    localStorage.removeItem(key);
    status.textContent = status.dataset.saved;
  }

  function settle() {
    settled = true;
    localStorage.removeItem(key);
    if (form.dataset.refused !== "409") say("settled"); // the page that refused the submit has said so itself
  }

  function again(kind, code) {
    if (!form.isConnected || submitting) return;
    say(kind, code);
    clearTimeout(timer);
    timer = setTimeout(send, retry);
    retry = Math.min(2 * retry, LONGEST_RETRY);
  }

  // The words of each trouble stand in the page as templates, so that they are translated with it.
  function say(kind, code = "") {
    if ((trouble.dataset.kind ?? "") === (kind ?? "")) return;
    trouble.dataset.kind = kind ?? "";
    trouble.hidden = !kind;
    trouble.replaceChildren();
    if (!kind) return;
    status.textContent = "";
    trouble.append(form.querySelector(`template[data-says="${kind}"]`).content.cloneNode(true));
    const place = trouble.querySelector("[data-code]");
    if (place) place.textContent = code;
  }

  function keep() {
    if (settled) return;
    try {
      localStorage.setItem(key, JSON.stringify({ body: read(form), at: Date.now() }));
    } catch {
      // The browser's store is full or forbidden; the server's copy is then the only one.
    }
  }

  function restore() {
    if (form.dataset.refused === "409") return localStorage.removeItem(key);
    let kept;
    try {
      kept = JSON.parse(localStorage.getItem(key));
    } catch {
      return;
    }
    if (!kept) return;
    if (kept.at < Date.parse(form.dataset.savedAt ?? 0)) return localStorage.removeItem(key);
    write(form, kept.body);
    if (!form.dataset.refused) status.textContent = status.dataset.restored;
    revision += 1;
    timer = setTimeout(send, WAIT);
  }

  function tick() {
    if (!form.isConnected) return leave();
    if (document.visibilityState !== "visible" || Date.now() - lastActive > IDLE) return;
    form.elements.active_seconds.value = Number(form.elements.active_seconds.value) + 1;
  }

  function leave() {
    clearInterval(clock);
    clearTimeout(timer);
    gone.abort();
  }
}

function read(form) {
  const body = {
    ratings: { 1: {}, 2: {} },
    justification: form.elements.justification.value,
    active_seconds: Number(form.elements.active_seconds.value),
  };
  for (const { name, value } of form.querySelectorAll("input[type=radio]:checked")) {
    const [, label, attribute] = name.match(/^rating-([12])-(.+)$/) ?? [];
    if (label) body.ratings[label][attribute] = Number(value);
    else body.preference = value === "neither" ? value : Number(value);
  }
  return body;
}

function write(form, body) {
  for (const radio of form.querySelectorAll("input[type=radio]")) {
    const [, label, attribute] = radio.name.match(/^rating-([12])-(.+)$/) ?? [];
    const value = label ? body.ratings?.[label]?.[attribute] : body.preference;
    radio.checked = String(value) === radio.value;
  }
  form.elements.justification.value = body.justification ?? "";
  form.elements.active_seconds.value = body.active_seconds ?? 0;
}
