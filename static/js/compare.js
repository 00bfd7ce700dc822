// The compare page by keyboard, and what is typed and pasted.

const on = document.addEventListener.bind(document);
const one = document.querySelector.bind(document);
const task = () => one("[data-task]");
const typing = (element) => element.matches("textarea, select, input:not([type=radio], [type=checkbox])");

on("htmx:load", countWords);
countWords();

// --- The text ---

let before = 0;

on("beforeinput", ({ target }) => {
  if (target.id === "justification") before = target.value.length - (target.selectionEnd - target.selectionStart);
});

on("input", typed, true); // before the draft is kept

function typed({ target, inputType }) {
  if (target.id !== "justification") return;
  if (inputType === "insertText" && /(?<![\w.])@[12]$/.test(target.value.slice(0, target.selectionEnd))) {
    target.selectionStart = target.selectionEnd - 1;
    type(`Response ${target.value[target.selectionStart]}`);
  }
  const pasted = target.form.elements.pasted_characters;
  const more = /^insertFrom(Paste|Drop)/.test(inputType) ? target.value.length - before : 0;
  pasted.value = Math.min(Number(pasted.value) + more, target.value.length);
  countWords();
}

function countWords() {
  const field = one("#justification");
  if (!field) return;
  const place = one("[data-words]");
  const count = (field.value.match(/\S+/g) ?? []).length;
  place.textContent = count ? place.dataset.text.replace("#", count) : "";
  place.classList.toggle("is-off", count > Number(place.dataset.most));
}

on("click", ({ target }) => {
  const mention = target.closest("[data-inserts]")?.dataset.inserts;
  if (!mention) return;
  const field = one("#justification");
  field.focus();
  type(`${/\S$/.test(field.value.slice(0, field.selectionStart)) ? " " : ""}${mention} `);
});

// Deprecated, and the only way to type for somebody that they can undo.
const type = (text) => document.execCommand("insertText", false, text);

// --- The questions ---

// What has been answered leaves the list of what is missing.
on("change", ({ target }) => {
  const group = target.closest?.("[data-scale]");
  const line = group && one(`[data-focuses="${group.querySelector("[type=radio]").id}"]`)?.closest("li");
  line?.remove();
  if (line) one(".problems").hidden = !one("[data-focuses]");
});

const questions = () => [...task().querySelectorAll("[data-scale], #justification")];
const optional = (question) => question?.dataset.scale === "confidence";
const answered = (question) =>
  question.matches("textarea") ? question.value.trim() !== "" : question.querySelector("[type=radio]:checked") !== null;
const firstOpen = () => questions().find((question) => !answered(question) && !optional(question));

function goTo(question) {
  if (!question) return;
  const radio = question.querySelector("[type=radio]:checked") ?? question.querySelector("[type=radio]");
  (radio ?? question).focus();
}

function move(from, step) {
  const all = questions();
  const at = all.indexOf(from);
  goTo(at < 0 ? all[0] : all[at + step]);
}

function choose(question, index) {
  const radio = question.querySelectorAll("[type=radio]")[index];
  if (!radio) return;
  if (!radio.checked) radio.click();
  const next = questions()[questions().indexOf(question) + 1];
  move(question, optional(next) ? 2 : 1);
}

// To the checkboxes of a question, or else of the response, and back.
function toChecks(question, target) {
  const checks = question?.querySelector(".checks");
  const flags = (target.closest(".rated") ?? one(".rated")).querySelector("[data-flags]");
  if (checks) checks.open = !checks.open;
  if (checks?.open === false || target.closest("[data-flags]")) goTo(question ?? firstOpen());
  else (checks ?? flags)?.querySelector("input").focus();
}

// --- Keys ---

const keys = {
  a: () => goTo(firstOpen()),
  c: () => goTo(questions().find(optional)),
  j: (question) => move(question, 1),
  k: (question) => move(question, -1),
  x: toChecks,
};

on("keydown", (event) => {
  const { key, target } = event;
  if (!task() || event.defaultPrevented || event.isComposing) return;
  const modal = one("dialog:modal");
  if (key === "Enter" && (event.ctrlKey || event.metaKey) && !modal) {
    event.preventDefault();
    if (!event.repeat) one("#answer").requestSubmit();
    return;
  }
  if (typing(target)) {
    if (key === "Escape") target.blur();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const focused = target.closest("[data-scale]");
  const question = focused ?? firstOpen();
  const digit = /^[0-9]$/.test(key) ? Number(key) : null;
  const list = modal ?? target.closest(".checks[open], [data-flags]");
  const tool = task().querySelector(`[aria-keyshortcuts="${CSS.escape(key)}"]:not([hidden])`);
  if (list && digit !== null) {
    const box = list.querySelectorAll("[type=radio], [type=checkbox]")[digit - 1];
    box?.focus();
    box?.click();
  } else if (modal) return;
  else if (digit !== null && question?.dataset.scale) choose(question, question.dataset.scale === "rating" ? digit : digit - 1);
  else if (key === "n" && question?.dataset.scale === "preference") choose(question, 6);
  else if (Object.hasOwn(keys, key)) keys[key](focused, target);
  else if (tool) tool.click();
  else return;
  event.preventDefault();
});
