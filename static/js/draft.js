// Nothing typed is lost: each change is kept here at once, and until the server has it. Counts the seconds at work, too.

const WAIT = 1200;
const RETRY = 5000;
const MINUTE = 60000;

let lastActive = Date.now();
for (const kind of ["pointerdown", "pointermove", "keydown", "input", "wheel", "scroll", "touchstart"]) {
  document.addEventListener(kind, () => (lastActive = Date.now()), { passive: true, capture: true });
}

let started = null;
document.addEventListener("htmx:load", startNew);
startNew();

function startNew() {
  const form = document.querySelector("[data-answer]");
  if (form && form !== started) start((started = form));
}

function start(form) {
  const key = `tiebreak:draft:${form.dataset.user}:${form.dataset.assignment}`;
  const status = form.querySelector("[data-draft-status]");
  const trouble = form.querySelector("[data-trouble]");
  const gone = new AbortController();
  let revision = 0;
  let saved = 0;
  let retry = RETRY;
  let timer = 0;
  let submitting = false;
  let settled = false; // no draft is wanted any more
  let base = Date.parse(form.dataset.savedAt ?? 0); // of the copy this one grew from

  restore();
  const clock = setInterval(tick, 1000);
  const listen = (target, kinds, act) =>
    kinds.split(" ").forEach((kind) => target.addEventListener(kind, act, { signal: gone.signal }));
  listen(form, "input change", changed);
  listen(window, "online focus", flush);
  listen(window, "pagehide", () => flush({ keepalive: true }));
  listen(document, "visibilitychange", () => flush({ keepalive: document.hidden }));
  listen(document, "signed-in", ({ target }) => {
    target.reset();
    target.closest("dialog").close();
    say(null);
    form.querySelector("[type=submit]").focus();
    flush();
  });
  listen(form, "htmx:beforeRequest", () => {
    submitting = true;
    clearTimeout(timer);
    keep();
    if (!settled) say(null);
  });
  const task = form.closest("[data-task]"); // the dialog to skip is in it, too
  listen(task, "htmx:beforeOnLoad", (event) => {
    const { xhr } = event.detail;
    submitting = false;
    if (xhr.status === 204 && xhr.getResponseHeader("HX-Trigger")) return settle();
    if ((xhr.status >= 300 && ![409, 422].includes(xhr.status)) || xhr.responseText.includes('id="task"')) return;
    event.preventDefault(); // somebody else's page, such as a hotel's sign-in
    say("failed", xhr.status);
  });
  listen(document, "htmx:responseError htmx:sendError htmx:timeout", ({ detail: { xhr } }) => {
    submitting = false;
    document.querySelector("dialog:modal")?.close();
    refuse(xhr.status);
    if (xhr.status === 401) trouble.querySelector("button").click();
  });

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
      const token = document.cookie.match(/(?:^|; )csrftoken=([^;]*)/)?.[1] ?? "";
      const headers = { Accept: "application/json", "X-CSRFToken": token };
      const body = new FormData(form);
      body.delete("csrfmiddlewaretoken"); // may be too old
      response = await fetch(form.dataset.draftUrl, { method: "POST", headers, body, keepalive });
    } catch {
      return again(0);
    }
    const answer = await response.json().catch(() => ({})); // unread, it would hold its connection
    if (!form.isConnected || submitting) return;
    const code = response.status;
    if (code === 409) {
      settle();
      if (form.dataset.refused !== "409") say("settled"); // else the page has said so itself
    } else if (code === 422) {
      say("refused", answer.detail);
    } else if (!response.ok) {
      again(code);
    } else {
      retry = RETRY;
      say(answer.held ? null : "late");
      base = Date.parse(answer.saved_at);
      if (sent < revision) return keep();
      saved = sent;
      localStorage.removeItem(key);
      status.textContent = status.dataset.saved;
    }
  }

  function settle() {
    settled = true;
    localStorage.removeItem(key);
  }

  function again(code) {
    if (!form.isConnected || submitting) return;
    refuse(code);
    clearTimeout(timer);
    timer = setTimeout(send, retry);
    retry = Math.min(2 * retry, MINUTE);
  }

  const refuse = (code) => say({ 0: "offline", 401: "signed-out", 404: "foreign" }[code] ?? "failed", code);

  // The words are templates of the page.
  function say(kind, code = "") {
    if (trouble.dataset.kind === String(kind)) return;
    trouble.dataset.kind = kind;
    trouble.hidden = !kind;
    trouble.replaceChildren();
    if (!kind) return;
    status.textContent = "";
    trouble.append(form.querySelector(`template[data-says="${kind}"]`).content.cloneNode(true));
    trouble.querySelector("[data-code]")?.append(code);
  }

  function keep() {
    if (settled) return;
    try {
      localStorage.setItem(key, JSON.stringify({ fields: [...new FormData(form)].slice(1), at: Date.now(), base }));
    } catch {
      // The store is full: only the server has it.
    }
  }

  function restore() {
    const kept = JSON.parse(localStorage.getItem(key));
    if (!kept?.fields) return;
    // Clocks differ, so they count only against a copy from elsewhere.
    if (form.dataset.refused === "409" || (kept.base !== base && kept.at < base)) return localStorage.removeItem(key);
    write(form, kept.fields);
    if (!form.dataset.refused) status.textContent = status.dataset.restored;
    revision += 1;
    timer = setTimeout(send, WAIT);
  }

  function tick() {
    if (!form.isConnected) return leave();
    if (document.hidden || Date.now() - lastActive > MINUTE) return;
    form.elements.active_seconds.value = Number(form.elements.active_seconds.value) + 1;
  }

  function leave() {
    clearInterval(clock);
    clearTimeout(timer);
    gone.abort();
  }
}

function write(form, fields) {
  for (const field of form.elements) {
    const values = fields.filter(([name]) => name === field.name).map(([, value]) => value);
    if (["radio", "checkbox"].includes(field.type)) field.checked = values.includes(field.value);
    else if (values.length) field.value = values[0];
  }
}
