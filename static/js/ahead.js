// The next pair is fetched while this one is read, kept outside of the page, and shown the moment this one is answered.

const WAIT = 1500;

const on = document.addEventListener.bind(document);
const one = document.querySelector.bind(document);
const token = () => document.cookie.match(/(?:^|; )csrftoken=([^;]*)/)?.[1] ?? "";
let ahead = null;
let timer = 0;

on("htmx:load", plan);
plan();

function plan() {
  clearTimeout(timer);
  if (!ahead) timer = setTimeout(fetchNext, WAIT);
}

async function fetchNext() {
  const form = one("[data-next-url]");
  if (!form) return;
  const headers = { "HX-Request": "true", "X-CSRFToken": token() };
  const response = await fetch(form.dataset.nextUrl, { method: "POST", headers }).catch(() => null);
  if (response?.status !== 200) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html"); // nothing in it is alive
  const task = page.querySelector("[data-task]");
  const id = task?.querySelector("[data-assignment]").dataset.assignment;
  if (task && form.isConnected) ahead = { task, id, release: form.dataset.releaseUrl };
}

on("htmx:configRequest", ({ detail }) => {
  if (ahead && detail.verb === "post") detail.parameters.ahead = ahead.id;
});

// The answer is stored, and the server says whether the pair at hand comes next.
on("pair:done", async ({ detail: { next, queue, says, counts } }) => {
  const old = one("#task");
  const task = ahead?.id === next ? ahead.task : null;
  ahead = null;
  if (task) {
    show(old, task, counts);
  } else {
    await htmx.ajax("GET", queue, { source: "#task" }).catch(() => null);
    if (old.isConnected) return location.assign(queue);
  }
  if (location.pathname !== queue) history.replaceState(null, "", queue);
  one("#announcer").textContent = says;
});

function show(old, task, counts) {
  if (counts) {
    for (const place of task.querySelectorAll("[data-count]")) place.textContent = Number(place.textContent) + 1;
    task.querySelector("[data-undo]").hidden = false;
  }
  old.replaceWith(task);
  htmx.process(task);
  task.dispatchEvent(new CustomEvent("htmx:load", { bubbles: true }));
  task.querySelector("[autofocus]").focus({ preventScroll: true });
  scrollTo(0, 0);
}

// Whoever leaves gives back what they never saw.
addEventListener("pagehide", () => {
  if (!ahead) return;
  const body = new FormData();
  body.set("csrfmiddlewaretoken", token());
  navigator.sendBeacon(ahead.release, body);
  ahead = null;
});
