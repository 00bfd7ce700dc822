// The compare page by keyboard: ratings, preference, raw text, mentions, word count.

let raw = null;

const task = () => document.querySelector("[data-task]");
const typing = (element) => element.matches("textarea, select, input:not([type=radio], [type=checkbox])");

document.addEventListener("htmx:load", prepare);
prepare();

function prepare() {
  const field = document.querySelector("#justification");
  if (!field) return;
  if (raw !== null) showRaw(raw); // somebody who reads raw text wants the next pair raw, too
  countWords(field);
}

document.addEventListener("input", ({ target }) => {
  if (target.id === "justification") countWords(target);
});

// What has been answered leaves the list of what is missing.
document.addEventListener("change", ({ target }) => {
  const group = target.closest?.("[data-scale]");
  const line = group && document.querySelector(`[data-focuses="${group.querySelector("input").id}"]`)?.closest("li");
  const side = line?.parentElement.closest("li");
  line?.remove();
  if (side && !side.querySelector("a")) side.remove();
  if (line) document.querySelector(".problems").hidden = !document.querySelector("[data-focuses]");
});

function countWords(field) {
  const place = document.querySelector("[data-words]");
  const count = (field.value.match(/\S+/g) ?? []).length;
  place.textContent = count ? place.dataset.text.replace("#", count) : "";
  place.classList.toggle("is-off", count > Number(place.dataset.most));
}

document.addEventListener("click", (event) => {
  const inserter = event.target.closest("[data-inserts]");
  if (inserter) insert(inserter.dataset.inserts);
  if (event.target.closest("[data-raw]")) {
    event.preventDefault();
    toggleRaw();
  }
});

function insert(mention) {
  const field = document.querySelector("#justification");
  const before = field.value.slice(0, field.selectionStart);
  const space = before && !/\s$/.test(before) ? " " : "";
  field.setRangeText(`${space}${mention} `, field.selectionStart, field.selectionEnd, "end");
  field.dispatchEvent(new Event("input", { bubbles: true }));
  field.focus();
}

function toggleRaw() {
  raw = document.querySelector("[data-raw]").getAttribute("aria-pressed") !== "true";
  showRaw(raw);
}

function showRaw(on) {
  document.querySelector("[data-raw]").setAttribute("aria-pressed", on);
  for (const text of document.querySelectorAll(".text-raw")) text.hidden = !on;
  for (const text of document.querySelectorAll(".text-rendered")) text.hidden = on;
}

// --- Keys ---

const questions = () => [...task().querySelectorAll("[data-scale], #justification")];
const answered = (question) =>
  question.matches("textarea") ? question.value.trim() !== "" : question.querySelector(":checked") !== null;

function goTo(question) {
  if (!question) return;
  const field = question.matches("textarea") ? question : (question.querySelector(":checked") ?? question.querySelector("input"));
  field.focus();
}

function move(from, step) {
  const all = questions();
  const at = all.indexOf(from);
  goTo(at < 0 ? all[0] : all[at + step]);
}

function choose(question, index) {
  const radio = question.querySelectorAll("input[type=radio]")[index];
  if (!radio) return;
  if (!radio.checked) {
    radio.checked = true;
    radio.dispatchEvent(new Event("input", { bubbles: true }));
    radio.dispatchEvent(new Event("change", { bubbles: true }));
  }
  move(question, 1);
}

const keys = {
  r: toggleRaw,
  g: () => document.querySelector("[data-opens=guideline-dialog]").click(),
  s: () => document.querySelector("[data-opens=skip-dialog]").click(),
  "?": () => document.querySelector("[data-opens=keys-dialog]").click(),
  a: () => goTo(questions().find((question) => !answered(question))),
  j: (question) => move(question, 1),
  k: (question) => move(question, -1),
};

document.addEventListener("keydown", (event) => {
  if (!task() || event.defaultPrevented || event.isComposing || document.querySelector("dialog:modal")) return;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    if (!event.repeat) document.querySelector("#answer").requestSubmit();
    return;
  }
  if (typing(event.target)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const focused = event.target.closest("[data-scale]");
  const question = focused ?? questions().find((each) => !answered(each));
  const digit = /^[0-9]$/.test(event.key) ? Number(event.key) : null;
  if (question?.dataset.scale === "rating" && digit !== null) choose(question, digit);
  else if (question?.dataset.scale === "preference" && (digit !== null || event.key === "n"))
    choose(question, (digit ?? 7) - 1);
  else if (Object.hasOwn(keys, event.key)) keys[event.key](focused);
  else return;
  event.preventDefault();
});
